"""The scope that each method requires."""

import pytest
from grpc_health.v1 import health_pb2

from canuse_server.api.endpoints import handlers_of
from canuse_server.auth.access import is_loopback
from canuse_server.runtime.fairness import PageScheduler


def test_a_method_without_a_scope_keeps_the_server_from_starting() -> None:
    service = health_pb2.DESCRIPTOR.services_by_name["Health"]
    with pytest.raises(LookupError, match=r"api/scopes.py has no scope for /grpc.health.v1.Health/Check"):
        handlers_of(service, object(), PageScheduler())


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:1", "127.8.9.10:1", "localhost:50051", "[::1]:50051", "::1:50051", "unix:/run/canuse.sock"]
)
def test_an_address_that_only_this_machine_can_reach_is_a_loopback(listen: str) -> None:
    assert is_loopback(listen)


@pytest.mark.parametrize(
    "listen",
    [
        "0.0.0.0:50051",
        "[::]:50051",
        "10.0.0.7:1",
        "128.0.0.1:1",
        "[fe80::1]:1",
        "canuse.internal:50051",
        "localhost.example.com:1",
        "127.0.0.1.example.com:1",
        "127.1:1",
        ":1",
    ],
)
def test_an_address_that_others_may_reach_is_no_loopback(listen: str) -> None:
    assert not is_loopback(listen)
