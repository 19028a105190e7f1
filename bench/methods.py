"""The calls that are measured: their bytes, and what a right answer looks like."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.http2 import PREFIX_BYTES, AnswerCheck
from canuse import v1

FEATURE: Final = "api-calls"
DOMAIN: Final = "canuse"
BATCH: Final = 100
"""How many checks one BatchCanUse holds."""
SERVICE: Final = "/canuse.v1.EntitlementService/"
RATE_LIMIT: Final = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

yes_in_field_1: Final[AnswerCheck] = re.compile(rb"\0....\x08\x01", re.DOTALL).match
"""A message whose first field is 1: `access`, `recorded`, Envoy's `overall_code` OK."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method. `message` makes a request of as many users as it has `decisions`; `counts` is what a yes adds to a
    counter."""

    name: str
    path: str
    message: Callable[[Sequence[str]], bytes]
    yes: AnswerCheck = yes_in_field_1
    decisions: int = 1
    counts: int = 0

    def messages(self, users: Sequence[str]) -> list[bytes]:
        """Return requests that go once through all users."""
        size = self.decisions
        padded = [*users, *users[: -len(users) % size]] if len(users) >= size else [*users] * size
        return [self.message(padded[first : first + size]) for first in range(0, len(padded) - size + 1, size)]


def all_of_the_batch(body: bytes) -> bool:
    """Say whether every check of a batch was answered with a yes."""
    results = v1.BatchCanUseResponse.FromString(body[PREFIX_BYTES:]).results
    return len(results) == BATCH and all(result.response.access for result in results)


def _can_use(users: Sequence[str]) -> bytes:
    return v1.CanUseRequest(user_id=users[0], feature_id=FEATURE).SerializeToString()


def _create_usage_event(users: Sequence[str]) -> bytes:
    return v1.CreateUsageEventRequest(user_id=users[0], feature_id=FEATURE).SerializeToString()


def _use_feature(users: Sequence[str]) -> bytes:
    return v1.UseFeatureRequest(user_id=users[0], feature_id=FEATURE).SerializeToString()


def _batch_can_use(users: Sequence[str]) -> bytes:
    requests = [v1.CanUseRequest(user_id=user, feature_id=FEATURE) for user in users]
    return v1.BatchCanUseRequest(requests=requests).SerializeToString()


def _should_rate_limit(users: Sequence[str]) -> bytes:
    return rate_limit_request({"user_id": users[0], "feature_id": FEATURE})


def rate_limit_request(entries: dict[str, str]) -> bytes:
    """Return Envoy's request in wire format: a domain (1), and one descriptor (2) of entries (1) of a key (1) and a
    value (2)."""
    packed = [_field(1, _field(1, key.encode()) + _field(2, value.encode())) for key, value in entries.items()]
    return _field(1, DOMAIN.encode()) + _field(2, b"".join(packed))


def _field(number: int, content: bytes) -> bytes:
    if len(content) > 127:
        raise ValueError(f"{content!r} is longer than one byte can say")
    return bytes((number << 3 | 2, len(content))) + content


CAN_USE: Final = Method("CanUse", SERVICE + "CanUse", _can_use)
CREATE_USAGE_EVENT: Final = Method("CreateUsageEvent", SERVICE + "CreateUsageEvent", _create_usage_event, counts=1)
USE_FEATURE: Final = Method("UseFeature", SERVICE + "UseFeature", _use_feature, counts=1)
BATCH_CAN_USE: Final = Method(
    "BatchCanUse", SERVICE + "BatchCanUse", _batch_can_use, yes=all_of_the_batch, decisions=BATCH
)
SHOULD_RATE_LIMIT: Final = Method("ShouldRateLimit", RATE_LIMIT, _should_rate_limit, counts=1)
METHODS: Final = (CAN_USE, CREATE_USAGE_EVENT, USE_FEATURE, BATCH_CAN_USE, SHOULD_RATE_LIMIT)
