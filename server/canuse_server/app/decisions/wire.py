"""Counts of decisions as the processes of a server send them to each other: JSON."""

import json
from collections import Counter
from collections.abc import Mapping

from canuse_server.api.hotpath.decisions import Decision
from canuse_server.transport.http.host import Decisions


def encode_counts(counts: Mapping[Decision, int]) -> bytes:
    """Return counts as bytes."""
    return json.dumps([[*key, count] for key, count in counts.items()]).encode()


def decode_counts(sent: bytes) -> Counter[Decision]:
    """Return counts from bytes; raise ValueError if they are no counts."""
    return Counter({(environment, feature, reason): count for environment, feature, reason, count in json.loads(sent)})


def encode(decisions: Decisions) -> bytes:
    """Return what a supervisor knows as bytes."""
    values = decisions._asdict()
    for name in ("total", "recent"):
        values[name] = [[*key, count] for key, count in values[name].items()]
    return json.dumps(values).encode()


def decode(sent: bytes) -> Decisions:
    """Return what a supervisor knows; raise ValueError if the bytes do not say it."""
    values = json.loads(sent)
    for name in ("total", "recent"):
        values[name] = Counter({tuple(key): count for *key, count in values[name]})
    return Decisions(**values)
