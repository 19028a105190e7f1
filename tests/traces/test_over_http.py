"""Calls over HTTP continue the trace of their headers, at every door."""

from pathlib import Path
from typing import Any

import httpx

from support.collector import ERROR, SERVER, check_nested, collecting
from support.load import running, until
from support.message_clients import Client
from support.processes import Canuse
from support.resources import subscriber
from traces.headers import trace_id, traced

SERVICE = "canuse.v1.EntitlementService"
CAN_USE = f"{SERVICE}/CanUse"


def test_a_request_over_http_continues_the_trace_of_its_headers(tmp_path: Path) -> None:
    with collecting() as collector:
        env = {
            "CANUSE_HTTP_LISTEN": "127.0.0.1:0",
            "CANUSE_OTLP_ENDPOINT": collector.http_url,
            "CANUSE_OTLP_PROTOCOL": "http/protobuf",
            "CANUSE_TRACE_SAMPLE": "0",
        }
        with running(Canuse(tmp_path, env=env)) as canuse, httpx.Client(base_url=canuse.http_url, timeout=60) as http:
            with Client(canuse.address) as client:
                user_id, feature_id = subscriber(client, 5)
            ids = {"userId": user_id, "featureId": feature_id}
            requests: tuple[tuple[str, dict[str, Any], str], ...] = (
                (f"/{CAN_USE}", ids, CAN_USE),
                (f"/{SERVICE}/UseFeature", ids, f"{SERVICE}/UseFeature"),
                (f"/ofrep/v1/evaluate/flags/{feature_id}", {"context": {"targetingKey": user_id}}, CAN_USE),
                ("/graphql", {"query": "{ features { id } }"}, "canuse.v1.CatalogService/ListFeatures"),
            )
            for number, (path, body, _) in enumerate(requests):
                assert http.post(path, json=body, headers=[traced(number)]).status_code == 200
            assert http.post(f"/{CAN_USE}", json={"userId": 1}, headers=[traced(len(requests))]).status_code == 400
        for number, (_, _, method) in enumerate(requests):
            spans = collector.trace(trace_id(number), 1)
            server, store = spans[0], spans[1:]
            check_nested(spans)
            assert (server.span.name, server.attributes["canuse.port"]) == (method, "http")
            assert server.span.parent_span_id.hex() == traced(number)[1].split("-")[2]
            assert {received.span.parent_span_id for received in store} <= {server.span.span_id}
            assert len(store) == server.attributes["canuse.store.round_trips"]
        assert [len(collector.trace(trace_id(number), 1)) for number in range(2)] == [2, 2]
        [refused] = collector.trace(trace_id(len(requests)), 1)
        # The caller's mistake, by OpenTelemetry's conventions, is no error of the server.
        assert refused.attributes["rpc.grpc.status_code"] == 3
        assert refused.span.status.code != ERROR


def test_request_ids_of_the_access_log_are_in_spans(tmp_path: Path) -> None:
    with collecting() as collector:
        env = {"CANUSE_OTLP_ENDPOINT": collector.grpc_url, "CANUSE_TRACE_SAMPLE": "1", "CANUSE_ACCESS_LOG": "all"}
        with running(Canuse(tmp_path, env=env)) as canuse, Client(canuse.address) as client:
            assert list(client.list_users()) == []
        # What had not been sent was sent when the server ended.
        [server] = [received for received in collector.spans if received.span.kind == SERVER]
        [given] = server.attributes["rpc.grpc.request.metadata.x-request-id"]
        until(lambda: f'"request_id": "{given}"' in canuse.log)
