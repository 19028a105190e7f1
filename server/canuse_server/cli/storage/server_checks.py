"""The checks of a running server, from outside."""

import time
from collections.abc import Iterator
from importlib import metadata
from statistics import median
from typing import Final

import canuse
from canuse_server.auth.access import is_loopback
from canuse_server.cli.connection import Connection, Refused
from canuse_server.cli.operations.figures import Figures
from canuse_server.cli.operations.ops_port import NoAnswer, get
from canuse_server.store.diagnosis.findings import Finding, ok, problem, warn

CALLS: Final = 10
SLOW_SECONDS: Final = 0.05
MAX_CATALOG_AGE_SECONDS: Final = 30
OK: Final = 200


def check_server(connection: Connection) -> Iterator[Finding]:
    """Yield what calls tell. If the first one, `server`, is a problem, there are no others."""
    try:
        with connection.open() as client:
            times, outcomes = [], list[canuse.CanuseError | None]()
            for _ in range(CALLS + 1):
                started_at = time.perf_counter()
                outcomes.append(_ask(client))
                times.append(time.perf_counter() - started_at)
    except Refused as error:
        yield problem("server", str(error))
        return
    except canuse.CanuseError as error:
        yield problem("server", f"no answer from {connection.server}: {error}")
        return
    # The first one has opened the connection.
    middle = median(times[1:])
    text = f"{connection.server} answers in {middle * 1000:.1f} ms"
    yield warn("server", f"{text}: is it overloaded, or far away?") if middle > SLOW_SECONDS else ok("server", text)
    yield _access(connection, outcomes[-1])
    yield _encryption(connection)


def _ask(client: canuse.Client) -> canuse.CanuseError | None:
    """Make a call that changes nothing; return a refusal that is an answer. Raises other errors."""
    try:
        next(iter(client.list_features(page_size=1)), None)
    except (canuse.Unauthenticated, canuse.PermissionDenied) as error:
        return error
    return None


def _access(connection: Connection, refusal: canuse.CanuseError | None) -> Finding:
    if isinstance(refusal, canuse.Unauthenticated):
        if connection.api_key is None:
            return ok("access", "it requires an API key; none was sent")
        return problem("access", f"the API key is not accepted: {refusal}; canuse keys list shows those that exist")
    if isinstance(refusal, canuse.PermissionDenied):
        return ok("access", "the API key is accepted, and may not read the catalogue")
    if connection.api_key is not None:
        return ok("access", "the API key is accepted")
    text = "it answers calls without an API key"
    if is_loopback(connection.server):
        return ok("access", f"{text}, on this machine")
    return warn("access", f"{text}: create one with canuse keys create (docs/security.md)")


def _encryption(connection: Connection) -> Finding:
    if connection.uses_tls:
        return ok("encryption", "TLS")
    if is_loopback(connection.server):
        return ok("encryption", "none, on this machine")
    return warn("encryption", "API keys and ids are sent unencrypted: use TLS over a network (docs/security.md)")


def check_ops(url: str) -> Iterator[Finding]:
    """Yield what the port for health and metrics tells; without an answer only a problem with `ready`."""
    try:
        status, text = get(url, "/readyz")
        yield ok("ready", text.strip()) if status == OK else problem("ready", f"{text.strip()}: see the server's log")
        status, text = get(url, "/metrics")
    except NoAnswer as error:
        yield problem("ready", str(error))
        return
    if status != OK:
        yield problem(
            "metrics", f"{url} answers /metrics with status {status}: is that the ops_listen of a canuse server?"
        )
        return
    figures = Figures.parse(text, 0.0)
    own = metadata.version("canuse")
    versions = sorted({labels["version"] for labels, _ in figures.of("canuse_build_info")})
    if versions == [own]:
        yield ok("server version", own)
    else:
        yield warn("server version", f"{', '.join(versions)}; this command is of {own}, and may not know what is new")
    if figures.total("canuse_store_up"):
        yield ok("store", "the server reaches it")
    else:
        yield problem("store", "the server can't use it: see its log, and run canuse doctor on the store")
    ages = [age for _, age in figures.of("canuse_catalog_age_seconds")]
    oldest = max(ages, default=0.0)
    if oldest > MAX_CATALOG_AGE_SECONDS:
        yield warn("catalogue", f"it was checked {oldest:.0f} s ago: changes have no effect on this server")
    else:
        yield ok("catalogue", "current")
