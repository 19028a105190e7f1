"""Large requests take memory while they are answered, and none afterwards."""

from contextlib import suppress

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from canuse import v1
from canuse_server.api.bounds import method_bytes
from support.load import running
from support.memory import resident_bytes
from support.message_clients import Client
from support.processes import Canuse
from support.rate_limits import Request, descriptor
from support.requests import field_paths, unknown
from support.resources import subscriber
from support.wire import TIMEOUT_SECONDS, failure

ENTITLEMENTS = "/canuse.v1.EntitlementService/"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
RATE_LIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
PATHS = (ENTITLEMENTS + "CanUse", ENTITLEMENTS + "CreateUsageEvent", ENTITLEMENTS + "UseFeature", RATE_LIMIT)
SENT_BYTES = 80 << 20
"""Number of bytes of different requests to each method, all of them sent twice."""
FIRST = 10
GROWTH_BYTES = 96 << 20
"""Memory that a lane's cache and the allocator may keep."""


def sent(path: str, user_id: str, feature_id: str, number: int) -> bytes:
    """Return a request of the maximum size, different for each number."""
    if path == RATE_LIMIT:
        request = Request(domain="canuse", descriptors=[descriptor(user_id, feature_id)], hits_addend=number)
        plain = request.SerializeToString()
    else:
        plain = v1.CanUseRequest(user_id=user_id, feature_id=feature_id, delta=number).SerializeToString()
    return plain + unknown(method_bytes(path) - len(plain))


def test_requests_with_a_large_field_that_is_not_known_leave_nothing_behind(embedded: Canuse) -> None:
    """150 checks of 4 MiB, each sent twice, permanently raised the server from 74 to 693 MiB."""
    with running(embedded), Client(embedded.address) as client, grpc.insecure_channel(embedded.address) as channel:
        user_id, feature_id = subscriber(client, None)
        before = 0
        for path in PATHS:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
            for number in range(1, SENT_BYTES // method_bytes(path)):
                large = sent(path, user_id, feature_id, number)
                for _ in range(2):
                    call(large, timeout=TIMEOUT_SECONDS)
                # The memory of the first ones is reused.
                if not before and number == FIRST:
                    before = resident_bytes(embedded)
            assert resident_bytes(embedded) - before < GROWTH_BYTES, path


def test_requests_that_are_refused_leave_nothing_behind(embedded: Canuse) -> None:
    """gRPC's abort kept each of them until the collector ran: 200 package ids of 266 KiB took a GiB."""
    with running(embedded), grpc.insecure_channel(embedded.address) as channel:
        before = 0
        for place in [place for place in field_paths() if place.field.is_repeated]:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(place.path)
            flood = place.flood(method_bytes(place.path))
            for _ in range(FIRST):
                with suppress(grpc.RpcError):
                    call(flood, timeout=TIMEOUT_SECONDS)
            before = before or resident_bytes(embedded)
        grown = resident_bytes(embedded) - before
        assert grown < GROWTH_BYTES, grown >> 20


def test_a_waiting_health_check_keeps_no_long_name(embedded: Canuse) -> None:
    """Without a key, each connection could make the server keep a thousand names of 4 MiB."""
    with running(embedded), grpc.insecure_channel(embedded.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        before, watched = 0, []
        for number in range(60):
            call = stub.Watch(health_pb2.HealthCheckRequest(service=f"{number}".ljust(3 << 20)))
            assert next(call).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            watched.append(call)
            before = resident_bytes(embedded) if number == FIRST else before
        grown = resident_bytes(embedded) - before
        assert grown < GROWTH_BYTES, grown >> 20
        assert next(stub.Watch(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
        for call in watched:
            call.cancel()


def test_reflection_requests_leave_nothing_behind(embedded: Canuse) -> None:
    """Each name of 4 MiB in a reflection request was kept, without a key: 900 took 3 GiB."""
    name = "x" * (3 << 20)
    questions = (
        ServerReflectionRequest(file_containing_symbol=name),
        ServerReflectionRequest(file_by_filename=name),
        ServerReflectionRequest(all_extension_numbers_of_type=name),
        ServerReflectionRequest(host=name, list_services=""),
    )
    with running(embedded), grpc.insecure_channel(embedded.address) as channel:
        before = 0

        def send(request: bytes) -> None:
            call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(REFLECTION)
            list(call(iter([request]), timeout=TIMEOUT_SECONDS))

        for number in range(80):
            request = questions[number % len(questions)].SerializeToString()
            assert failure(send, request).fields == ["request"]
            before = resident_bytes(embedded) if number == FIRST else before
        grown = resident_bytes(embedded) - before
        assert grown < GROWTH_BYTES, grown >> 20
