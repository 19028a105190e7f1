"""The spans of the store: of writes that it confirms, and of replies that do not come."""

from pathlib import Path

import pytest

from canuse import CanuseError, v1
from support.collector import CLIENT, ERROR, SERVER, Received, check_nested, collecting
from support.load import running
from support.message_clients import Client
from support.processes import SHORT_STORE_TIMEOUT, Canuse, RedisServer
from support.resources import subscriber
from support.tools import VALKEY_SERVER

USE_FEATURE = "canuse.v1.EntitlementService/UseFeature"


def store_of(spans: list[Received], server: Received) -> list[Received]:
    """Return the store's spans of a call."""
    return [received for received in spans if received.span.parent_span_id == server.span.span_id]


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_a_write_that_the_store_confirms_has_its_span(tmp_path: Path, transport: str) -> None:
    with collecting() as collector:
        env = {
            "CANUSE_TRANSPORT": transport,
            "CANUSE_DURABILITY": "fsync",
            "CANUSE_OTLP_ENDPOINT": collector.grpc_url,
            "CANUSE_TRACE_SAMPLE": "1",
        }
        with running(Canuse(tmp_path, env=env)) as canuse, Client(canuse.address) as client:
            user_id, feature_id = subscriber(client, 10)
            client.can_use(user_id, feature_id)
            client.use_feature(user_id, feature_id)
            client.batch_use_feature([v1.UseFeatureRequest(user_id=user_id, feature_id=feature_id)] * 2)
    uses = [
        received
        for received in collector.spans
        if received.span.name in (USE_FEATURE, USE_FEATURE.replace("/", "/Batch"))
    ]
    assert len(uses) == 2
    for server in uses:
        [store] = store_of(collector.spans, server)
        check_nested([server, store])
        assert store.attributes["db.operation.name"] == "EVALSHA"
        assert store.attributes["db.stored_procedure.name"] in ("record_usage", "record_batch")


@pytest.mark.parametrize("transport", ["native", "grpcio"])
@pytest.mark.parametrize("durability", ["memory", "fsync"])
def test_a_store_that_does_not_answer_is_an_error_of_its_span(tmp_path: Path, transport: str, durability: str) -> None:
    redis = RedisServer(VALKEY_SERVER, tmp_path / "store").start()
    try:
        with collecting() as collector:
            env = {
                **SHORT_STORE_TIMEOUT,
                "CANUSE_TRANSPORT": transport,
                "CANUSE_DURABILITY": durability,
                "CANUSE_OTLP_ENDPOINT": collector.grpc_url,
                "CANUSE_TRACE_SAMPLE": "1",
            }
            with (
                running(Canuse(tmp_path, "--redis-url", redis.url, env=env)) as canuse,
                Client(canuse.address, timeout_seconds=30) as client,
            ):
                user_id, feature_id = subscriber(client, 10)
                client.use_feature(user_id, feature_id)
                with redis.paused(), pytest.raises(CanuseError) as failed:
                    client.use_feature(user_id, feature_id)
        _, server = sorted(
            (received for received in collector.spans if received.span.name == USE_FEATURE),
            key=lambda received: received.span.start_time_unix_nano,
        )
        assert (server.span.kind, server.span.status.code) == (SERVER, ERROR)
        assert server.attributes["error.type"] == failed.value.code.name
        [store] = store_of(collector.spans, server)
        assert (store.span.kind, store.span.status.code) == (CLIENT, ERROR)
        assert store.attributes["error.type"]
        assert store.attributes["db.stored_procedure.name"] == "record_usage"
    finally:
        redis.stop()
