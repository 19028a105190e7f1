"""Which servers the tests run on, and which tests only `make test-all` runs.

A new test is part of `make test`, unless its folder, its server or a mark says otherwise.
"""

from typing import Final

import pytest

FAST: Final = "--fast"
TRANSPORTS: Final = ("native", "grpcio")
HTTP: Final = "http"
"""The transport of tests that call over the HTTP port: the store behind it makes no difference."""
STORES: Final = ("valkey", "redis", "sentinel", "cluster", "acl")
TARGETS: Final = (*(f"{transport}-{store}" for store in STORES for transport in TRANSPORTS), f"{HTTP}-valkey")
"""Each transport on each store; `acl` has TLS and a user with no more rights than the docs grant."""
MAIN_TARGETS: Final = (
    "native-valkey",
    "grpcio-valkey",
    "native-redis",
    "native-cluster",
    "native-acl",
    f"{HTTP}-valkey",
)
"""What all tests of a shared server run on: each transport, each program, slots and rights. The native transport sends
commands both through its lane and as grpcio does. The others run the files about what each transport implements
separately: behind a Sentinel is the same store, and grpcio sends each store the same commands."""
FAST_TARGETS: Final = ("native-valkey", "grpcio-valkey", f"{HTTP}-valkey")
BEFORE_THE_STORE: Final = ("test_malformed_requests.py", "test_request_bounds.py")
"""Files of conformance tests about requests that are refused before the store sees them: they run on one store."""
PROGRAMS: Final = ("valkey", "redis")
ON_EACH_PROGRAM: Final = ("test_store_recovers.py", "test_store_refuses.py", "test_store_unavailable.py")
"""Files about what the programs say and do; `tests/store` has its own stores, and runs on each program as well."""
EXTENDED_FOLDERS: Final = (
    "chaos",
    "console",
    "deploy",
    "frameworks",
    "gateway",
    "go",
    "harness",
    "leases",
    "recorder",
    "test_kit",
    "traces",
    "web",
)
FAST_FAULTS: Final = (
    "test_concurrent_budget.py",
    "test_concurrent_event_ids.py",
    "test_kill_nine.py",
    "test_leases.py",
    "test_overload.py",
    "test_shutdown.py",
    "test_store_recovers.py",
    "test_store_unavailable.py",
)
"""Files of tests of faults that `make test` runs."""
ON_ONE_TRANSPORT: Final = ("conformance", "faults")
"""Folders whose tests `make test` runs on the native transport only, except for the files below."""
ON_EACH_TRANSPORT: Final = (
    "test_api_key_matrix.py",
    "test_api_keys.py",
    "test_batches.py",
    "test_can_use.py",
    "test_client.py",
    "test_errors.py",
    "test_event_ids.py",
    "test_malformed_requests.py",
    "test_rate_limits.py",
    "test_user_journey.py",
    "test_usage_events.py",
    "test_use_feature.py",
    "test_use_features.py",
)
"""Files of conformance tests about what each transport implements separately."""
FAST_OVER_HTTP: Final = (
    "test_can_use.py",
    "test_errors.py",
    "test_user_journey.py",
)
"""Files of conformance tests that `make test` also runs over HTTP."""


def is_fast(config: pytest.Config) -> bool:
    """Whether extended tests are left out."""
    return bool(config.getoption(FAST))


def targets_of(config: pytest.Config, path: str) -> tuple[str, ...]:
    """Return the targets that the tests of a file run on which share a server."""
    _, folder, *_, file = path.split("/")
    targets = TARGETS if folder == "conformance" and file in ON_EACH_TRANSPORT else MAIN_TARGETS
    if folder == "conformance" and file in BEFORE_THE_STORE:
        targets = FAST_TARGETS
    fast = tuple(target for target in targets if not _is_extended_target(target, folder, file))
    # Where none is left, the tests are left out for their folder.
    return fast if is_fast(config) and fast else targets


def programs_of(config: pytest.Config, path: str) -> tuple[str, ...]:
    """Return the programs of the store that the tests of a file run on which use a single one."""
    file = path.rpartition("/")[2]
    return PROGRAMS if file in ON_EACH_PROGRAM and not is_fast(config) else PROGRAMS[:1]


def is_extended(item: pytest.Item) -> bool:
    """Whether only `make test-all` runs a test."""
    _, folder, *_, file = item.nodeid.partition("::")[0].split("/")
    callspec = getattr(item, "callspec", None)
    values = [value for value in callspec.params.values() if isinstance(value, str)] if callspec else []
    return (
        item.get_closest_marker("extended") is not None
        or folder in EXTENDED_FOLDERS
        or (folder == "faults" and file not in FAST_FAULTS)
        or any(_is_extended_target(value, folder, file) for value in values)
    )


def _is_extended_target(value: str, folder: str, file: str) -> bool:
    """Whether only `make test-all` runs the tests of a file on a target, or a transport."""
    transport = value.partition("-")[0]
    if value in TARGETS and value not in FAST_TARGETS:
        return True
    if transport == HTTP:
        return folder in ON_ONE_TRANSPORT and not (folder == "conformance" and file in FAST_OVER_HTTP)
    one_transport = folder in ON_ONE_TRANSPORT and not (folder == "conformance" and file in ON_EACH_TRANSPORT)
    return transport == "grpcio" and one_transport
