"""The bounds of every method's requests: larger ones, or ones with too many items, are refused at no cost to others."""

import time

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest

from canuse import v1
from canuse_server.api.bounds import MAX_REQUEST_BYTES, max_items, method_bytes
from support.load import until
from support.message_clients import Client
from support.processes import Canuse
from support.rate_limits import RateLimits, Request, Response, descriptor
from support.requests import AS_A_WHOLE, METHODS, FieldPath, field_paths, in_batch, largest, unknown
from support.resources import subscriber
from support.wire import TIMEOUT_SECONDS, Stubs, failure

SERVED = {path: method for path, method in METHODS.items() if ".testing." not in path}
REPEATED = [field_path for field_path in field_paths() if field_path.field.is_repeated and field_path.path in SERVED]
RATE_LIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
NEEDS_NOTHING = (
    "ListFeatures",
    "ListPackages",
    "ListUsers",
    "ListApiKeys",
    "ApplyCatalog",
    "ListSubscriptions",
    "ListUsageTotals",
    "ListAuditEntries",
)
NO_TIME_SECONDS = 1.0
"""What takes milliseconds takes less on any machine; the defects found here took 1 to 10 seconds."""

every_repeated_field = pytest.mark.parametrize("field_path", REPEATED, ids=str)


def send(stubs: Stubs, path: str, payload: bytes) -> bytes:
    """Call a method; return the last message of its answer."""
    if not SERVED[path].server_streaming:
        return stubs.call_raw(path, payload)
    stream: grpc.UnaryStreamMultiCallable[bytes, bytes] = stubs.channel.unary_stream(path)
    return list(stream(payload, timeout=TIMEOUT_SECONDS))[-1]


def violations(stubs: Stubs, field_path: FieldPath, payload: bytes) -> dict[str, str]:
    """Send a request that must be refused; return the violations, for a batch those of its first item."""
    if field_path.name != "requests[0].metadata" or len(payload) > method_bytes(field_path.path):
        refused = failure(send, stubs, field_path.path, payload)
        assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        return refused.violations
    # A single bad item has its status in its place.
    [result] = v1.BatchCreateUsageEventsResponse.FromString(send(stubs, field_path.path, payload)).results
    bad = BadRequest()
    assert result.status.details[1].Unpack(bad)
    return {f"requests[0].{each.field}": each.description for each in bad.field_violations}


def other_fields(field_path: FieldPath) -> bytes:
    """Return the fields that a request needs to be validated."""
    return Request(domain="canuse").SerializeToString() if field_path.path == RATE_LIMIT else b""


@pytest.mark.parametrize("path", sorted(SERVED.keys() - AS_A_WHOLE))
def test_the_largest_valid_request_is_not_found_to_be_too_large(stubs: Stubs, path: str) -> None:
    try:
        send(stubs, path, largest(SERVED[path].input_type, 1).SerializeToString())
    except grpc.RpcError:
        refused = failure(send, stubs, path, largest(SERVED[path].input_type, 1).SerializeToString())
        assert refused.reason != "MESSAGE_TOO_LARGE"
        found = [text for text in refused.violations.values() if "at most" in text or " bytes" in text]
        assert not found


@pytest.mark.parametrize("path", [path for path in SERVED if path != RATE_LIMIT])
def test_a_request_may_have_as_many_bytes_as_the_method_takes_and_none_more(stubs: Stubs, path: str) -> None:
    max_bytes = method_bytes(path)
    for size in (max_bytes, max_bytes + 1):
        payload = unknown(size)
        if size > max_bytes:
            message = f"must be at most {max_bytes} bytes for {path.rpartition('/')[2]}; {size} were sent"
            assert failure(send, stubs, path, payload).violations == {"request": message}
        elif path.rpartition("/")[2] not in NEEDS_NOTHING:
            assert "request" not in failure(send, stubs, path, payload).violations


@every_repeated_field
def test_one_item_too_many_is_refused_before_any_item_is_looked_at(stubs: Stubs, field_path: FieldPath) -> None:
    max_bytes = max_items(field_path.field)
    payload = field_path.filled(max_bytes + 1, other_fields(field_path))
    if field_path.path == RATE_LIMIT:
        # An error would let through a request that Envoy asks about.
        answer = Response.FromString(send(stubs, field_path.path, payload))
        assert (answer.overall_code, list(answer.statuses)) == (Response.OVER_LIMIT, [])
        return
    message = violations(stubs, field_path, payload)
    assert f"{max_bytes + 1} " in message[field_path.name]
    assert not [field for field in message if field.startswith(f"{field_path.name}[")]


@every_repeated_field
@pytest.mark.parametrize("size", ["4 MiB", "what the method takes"])
def test_a_flood_of_items_is_refused_at_once(server: Canuse, stubs: Stubs, field_path: FieldPath, size: str) -> None:
    """2 million empty charges blocked everybody for 3 seconds; so did package ids, scopes and descriptors."""
    max_bytes = MAX_REQUEST_BYTES if size == "4 MiB" else method_bytes(field_path.path)
    payload = field_path.flood(max_bytes, other_fields(field_path))
    with Client(server.address) as client:
        user_id, feature_id = subscriber(client, None)

        def took_no_time() -> bool:
            begun = time.monotonic()
            if field_path.path == RATE_LIMIT:
                assert Response.FromString(send(stubs, field_path.path, payload)).overall_code == Response.OVER_LIMIT
            else:
                assert "sent" in "".join(violations(stubs, field_path, payload).values())
            assert client.can_use(user_id, feature_id).access
            return time.monotonic() - begun < NO_TIME_SECONDS

        # On a busy machine it may have to wait, but not each time.
        until(took_no_time)


def test_what_is_too_large_for_envoys_service_is_answered(client: Client, server: Canuse) -> None:
    """Descriptors repeat headers, which a caller of Envoy can make long; an error would let the request through."""
    user_id, feature_id = subscriber(client, 5)
    with grpc.insecure_channel(server.address) as channel:
        limits = RateLimits(channel)
        long = [descriptor(user_id, feature_id, header="x" * 60_000) for _ in range(32)]
        assert Request(descriptors=long).ByteSize() > method_bytes(RATE_LIMIT)
        answer = limits.ask(*long)
        assert (answer.overall_code, list(answer.statuses)) == (Response.OVER_LIMIT, [])
        assert client.show_usage(user_id, feature_id).current.used == 0
        assert limits.ask(long[0]).overall_code == Response.OK


def test_what_is_too_large_for_envoys_service_is_not_read(stubs: Stubs) -> None:
    answer = send(stubs, RATE_LIMIT, b"\xff" * (method_bytes(RATE_LIMIT) + 1))
    assert Response.FromString(answer).overall_code == Response.OVER_LIMIT


@pytest.mark.parametrize(
    ("name", "batch", "response"),
    [
        ("CanUse", "BatchCanUse", v1.BatchCanUseResponse),
        ("CreateUsageEvent", "BatchCreateUsageEvents", v1.BatchCreateUsageEventsResponse),
    ],
)
def test_an_item_of_a_batch_that_is_too_large_fails_alone(
    client: Client,
    stubs: Stubs,
    name: str,
    batch: str,
    response: type[v1.BatchCanUseResponse] | type[v1.BatchCreateUsageEventsResponse],
) -> None:
    service = "/canuse.v1.EntitlementService/"
    user_id, feature_id = subscriber(client, None)
    good = v1.CanUseRequest(user_id=user_id, feature_id=feature_id).SerializeToString()
    max_bytes = method_bytes(service + name)
    items = [good, good + unknown(max_bytes - len(good)), good + unknown(max_bytes + 1 - len(good)), good]
    payload = b"".join(in_batch(item) for item in items)
    results = response.FromString(send(stubs, service + batch, payload)).results
    message = f"request: must be at most {max_bytes} bytes for {name}; {max_bytes + 1} were sent"
    assert [result.status.message for result in results] == ["", "", message, ""]
