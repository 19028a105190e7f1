"""The spans of the store: of writes that it confirms, and of replies that do not come."""

import asyncio
from pathlib import Path

import pytest

from canuse import CanuseError, v1
from support.collector import CLIENT, ERROR, Received, check_nested, collecting
from support.load import running
from support.message_clients import AsyncClient, Client
from support.processes import SHORT_STORE_TIMEOUT, Canuse, RedisServer
from support.relay import server_behind_relay
from support.resources import subscriber

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
async def test_a_reply_that_does_not_come_is_an_error_of_the_span(
    tmp_path: Path, redis: RedisServer, transport: str, durability: str
) -> None:
    with collecting() as collector:
        env = {
            **SHORT_STORE_TIMEOUT,
            "CANUSE_DURABILITY": durability,
            "CANUSE_OTLP_ENDPOINT": collector.grpc_url,
            "CANUSE_TRACE_SAMPLE": "1",
        }
        async with (
            server_behind_relay(transport, tmp_path, redis, **env) as (canuse, relay),
            AsyncClient(canuse.address, timeout_seconds=60) as client,
        ):
            with Client(canuse.address) as preparing:
                user_id, feature_id = await asyncio.to_thread(subscriber, preparing, 10)
            await client.use_feature(user_id, feature_id)
            relay.drop_reply_to(user_id.encode())
            with pytest.raises(CanuseError):
                await client.use_feature(user_id, feature_id)
            relay.hold_replies()
            with pytest.raises(CanuseError):
                await client.use_feature(user_id, feature_id)
        calls = [received for received in collector.spans if received.span.name == USE_FEATURE]
        calls.sort(key=lambda received: received.span.start_time_unix_nano)
        assert [received.span.status.code == ERROR for received in calls] == [False, True, True]
        for server in calls:
            [store] = store_of(collector.spans, server)
            assert (store.span.kind, store.span.status.code) == (CLIENT, server.span.status.code)
            assert ("error.type" in store.attributes) == (server is not calls[0])
            assert store.attributes["db.stored_procedure.name"] == "record_usage"
