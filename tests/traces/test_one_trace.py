"""A call is one trace from its caller through the server to the store, on each transport."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from canuse import v1
from support.collector import CLIENT, ERROR, SERVER, Collector, Received, check_nested, collecting
from support.load import running
from support.message_clients import Client
from support.processes import Canuse
from support.resources import unique

CALLER = Path(__file__).with_name("traced_caller.py")
SERVICE = "canuse.v1.EntitlementService"
SERVER_ATTRIBUTES = {
    "rpc.system",
    "rpc.service",
    "rpc.method",
    "rpc.grpc.status_code",
    "canuse.port",
    "canuse.store.round_trips",
}
STORE_ATTRIBUTES = {"db.system", "db.system.name", "db.operation.name", "db.stored_procedure.name"}


def subscribed(client: Client) -> tuple[str, str, str]:
    """Subscribe a user to a package with a feature; return the ids of all three."""
    user_id, feature_id, package_id = unique("user"), unique("calls"), unique("starter")
    client.create_feature(feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)
    client.create_package(package_id, [v1.PackageFeature(feature_id=feature_id, limit=1000)])
    client.publish_package(package_id)
    client.create_user(user_id)
    client.subscribe(user_id, [package_id])
    return user_id, feature_id, package_id


def traces(collector: Collector) -> list[list[Received]]:
    """Return the traces that begin with the caller, each with its parents before their children."""
    roots = [received.span for received in collector.spans if not received.span.parent_span_id]
    callers = [root.trace_id for root in roots if root.kind != SERVER]
    return [collector.trace(found, 1) for found in callers]


@pytest.mark.parametrize(("transport", "protocol"), [("native", "grpc"), ("grpcio", "http/protobuf")])
def test_caller_server_and_store_are_in_one_trace(tmp_path: Path, transport: str, protocol: str) -> None:
    with collecting() as collector:
        env = {
            "CANUSE_TRANSPORT": transport,
            "CANUSE_OTLP_ENDPOINT": collector.grpc_url if protocol == "grpc" else collector.http_url,
            "CANUSE_OTLP_PROTOCOL": protocol,
            "CANUSE_TRACE_SAMPLE": "0",
        }
        with running(Canuse(tmp_path, env=env)) as canuse:
            with Client(canuse.address) as client:
                ids = subscribed(client)
            command = [sys.executable, str(CALLER), canuse.address, collector.grpc_url, *ids]
            called = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
            assert called.returncode == 0, called.stderr
        # What the server had not sent it sent when it ended.
        found = traces(collector)
        for spans in found:
            check_nested(spans)
            services = [received.resource["service.name"] for received in spans]
            assert services == ["caller"] * services.count("caller") + ["canuse"] * services.count("canuse")
            *_, caller, server = [received for received in spans if received.span.name.startswith("canuse.v1.")]
            assert (caller.span.kind, server.span.kind) == (CLIENT, SERVER)
            assert caller.span.name == server.span.name
            assert server.span.parent_span_id == caller.span.span_id
            assert server.attributes["rpc.grpc.status_code"] == caller.attributes["rpc.grpc.status_code"]
            store = spans[spans.index(server) + 1 :]
            assert {received.span.parent_span_id for received in store} == {server.span.span_id}
            assert {received.span.kind for received in store} == {CLIENT}
            assert server.attributes["canuse.store.round_trips"] == len(store)
            assert server.attributes.keys() == SERVER_ATTRIBUTES
            for received in store:
                assert received.attributes.keys() <= STORE_ATTRIBUTES
        methods = Counter(spans[-2].attributes.get("rpc.method") for spans in found if len(spans) == 3)
        # Of three spans, where one round trip is enough: in the lane, or on the event loop.
        assert methods["CanUse"] >= 2
        assert methods["UseFeature"] == 1
        assert methods["BatchCanUse"] == 1
        [use] = [spans for spans in found if spans[0].span.name == f"{SERVICE}/UseFeature"]
        assert use[-1].span.name == "EVALSHA record_usage"
        assert use[-1].attributes["db.system"] == "redis"
        names = Counter(spans[0].span.name.partition("/")[2] for spans in found)
        expected = {"CanUse": 3, "UseFeature": 1, "BatchCanUse": 1, "GetUser": 3, "MigrateSubscriptions": 2, "": 1}
        assert names == expected
        failed = [spans[0] for spans in found if spans[0].attributes.get("rpc.grpc.status_code")]
        assert [(received.attributes["error.type"], received.span.status.code) for received in failed] == [
            ("NOT_FOUND", ERROR)
        ] * 2
        said = b"".join(received.span.SerializeToString() for received in collector.spans)
        for secret in (*ids, "event-of-the-caller", "nobody-at-all"):
            assert secret.encode() not in said
