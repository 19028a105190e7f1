"""The port for operations: health as it is, and metrics that agree with the calls that were made."""

import os
import signal
import socket
from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from canuse import CanuseError, v1
from canuse_server.metrics.definitions import METRICS
from support import fork_server
from support.load import running, until
from support.message_clients import Client
from support.processes import SHORT_STORE_TIMEOUT, Canuse, RedisServer
from support.resources import subscriber
from support.tools import VALKEY_SERVER

ANY_PORT = {"CANUSE_OPS_LISTEN": "127.0.0.1:0"}
CAN_USE = "canuse.v1.EntitlementService/CanUse"


def metrics(canuse: Canuse) -> dict[str, Metric]:
    """Return what a server tells, by the name of the metric."""
    answer = httpx.get(f"{canuse.ops_url}/metrics", timeout=30)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def value(canuse: Canuse, name: str, **labels: str) -> float:
    """Return the sum of the samples of a metric that have some labels."""
    families = metrics(canuse).values()
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def ready(canuse: Canuse) -> int:
    """Return the status of /readyz."""
    return httpx.get(f"{canuse.ops_url}/readyz", timeout=30).status_code


def test_the_ready_line_names_the_port(tmp_path: Path) -> None:
    with running(Canuse(tmp_path, env=ANY_PORT)) as canuse:
        assert canuse.ready_line.endswith(f", metrics on {canuse.ops_url}/metrics\n")
        for path in ("/livez", "/readyz"):
            answer = httpx.get(canuse.ops_url + path)
            assert (answer.status_code, answer.text) == (200, "ok\n")
            assert answer.headers["cache-control"] == "no-store"
        assert httpx.get(f"{canuse.ops_url}/canuse.v1.UserService/ListUsers").status_code == 404
        assert httpx.post(f"{canuse.ops_url}/metrics").status_code == 405


def test_on_the_loopback_it_answers_to_no_other_name(tmp_path: Path) -> None:
    paths = ("/livez", "/readyz", "/metrics")
    for folder in ("own", "all"):
        (tmp_path / folder).mkdir()
    with running(Canuse(tmp_path / "own", env=ANY_PORT)) as canuse:
        for path in paths:
            for host in ("localhost", "localhost:9464", "127.0.0.1", "[::1]:9464"):
                assert httpx.get(canuse.ops_url + path, headers={"host": host}).status_code == 200
            for host in ("evil.example", "127.0.0.1.evil.example:80", "10.0.0.7", ""):
                answer = httpx.get(canuse.ops_url + path, headers={"host": host})
                assert answer.status_code == 403
                assert answer.text.startswith("on the loopback the header Host must be one of")
        url = httpx.URL(canuse.ops_url)
        with socket.create_connection((url.host, url.port or 0)) as probe:
            probe.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
            assert probe.makefile("rb").readline().split()[1] == b"200"
    # Probes and collectors have their own names for another address.
    env = {"CANUSE_OPS_LISTEN": "0.0.0.0:0"}
    with running(Canuse(tmp_path / "all", env=env)) as canuse:
        for path in paths:
            assert httpx.get(canuse.ops_url + path, headers={"host": "canuse-0.canuse:9464"}).status_code == 200


def test_a_chosen_port_that_is_taken_keeps_the_server_from_starting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        options = ("--ops-listen", f"127.0.0.1:{port}", "--listen", "127.0.0.1:0")
        ended = fork_server.run("serve", "--data-dir", str(tmp_path / "data"), *options)
    assert ended.returncode == 1
    assert f"can't listen on 127.0.0.1:{port}" in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_calls_are_counted_by_port_method_and_status(tmp_path: Path, transport: str) -> None:
    env = {**ANY_PORT, "CANUSE_HTTP_LISTEN": "127.0.0.1:0", "CANUSE_TRANSPORT": transport}
    with running(Canuse(tmp_path, env=env)) as canuse, Client(canuse.address) as client:
        user_id, feature_id = subscriber(client, 5)
        for _ in range(7):
            client.can_use(user_id, feature_id)
        with pytest.raises(CanuseError):
            client.can_use("nobody", feature_id)
        url = f"{canuse.http_url}/{CAN_USE}"
        assert httpx.post(url, json={"userId": user_id, "featureId": feature_id}).status_code == 200

        def calls(port: str, status: str, method: str = CAN_USE) -> float:
            return value(canuse, "canuse_calls_total", port=port, method=method, status=status)

        until(lambda: calls("grpc", "OK") == 7)
        assert calls("grpc", "NOT_FOUND") == 1
        assert calls("http", "OK") == 1
        assert calls("grpc", "OK", "canuse.v1.UserService/CreateUser") == 1
        durations = "canuse_call_duration_seconds_count"
        assert value(canuse, durations, port="grpc", method=CAN_USE) == 8
        assert value(canuse, "canuse_call_duration_seconds_bucket", port="grpc", method=CAN_USE, le="+Inf") == 8
        assert value(canuse, "canuse_calls_in_flight") == 0
        assert value(canuse, "canuse_build_info", transport=transport) == 1


def test_every_metric_of_the_documentation_is_told_and_no_other(tmp_path: Path) -> None:
    # One of them is there when a trimming pass has ended.
    env = {
        **ANY_PORT,
        "CANUSE_HTTP_LISTEN": "127.0.0.1:0",
        "CANUSE_TRIM_INTERVAL_SECONDS": "1",
        "CANUSE_TRIM_SHARE": "1",
    }
    with running(Canuse(tmp_path, "--workers", "2", env=env)) as canuse, Client(canuse.address) as client:
        user_id, feature_id = subscriber(client, 5)
        client.use_feature(user_id, feature_id)

        def told() -> set[str]:
            return {name for name in metrics(canuse) if not name.startswith("process_")}

        until(lambda: "canuse_trim_pass_seconds" in told())
        assert told() == {metric.name for metric in METRICS}


@pytest.mark.extended
def test_workers_are_added_up_and_what_a_dead_one_counted_stays(tmp_path: Path) -> None:
    with running(Canuse(tmp_path, "--workers", "2", env=ANY_PORT)) as canuse:
        for _ in range(20):
            with Client(canuse.address) as client, pytest.raises(CanuseError):
                client.can_use("nobody", "nothing")
        until(lambda: value(canuse, "canuse_calls_total", method=CAN_USE) == 20)
        assert value(canuse, "canuse_workers") == 2
        assert ready(canuse) == 200
        pid = int(canuse.log.rpartition('"pid": ')[2].partition(",")[0])
        os.kill(pid, signal.SIGKILL)
        until(lambda: value(canuse, "canuse_workers") == 1 or "is being replaced" in canuse.log)
        until(lambda: value(canuse, "canuse_workers") == 2 and ready(canuse) == 200)
        assert value(canuse, "canuse_calls_total", method=CAN_USE) == 20


def test_a_server_whose_store_has_lost_its_data_is_alive_and_not_ready(tmp_path: Path) -> None:
    store = RedisServer(VALKEY_SERVER, tmp_path / "store").start()
    try:
        env = {**ANY_PORT, **SHORT_STORE_TIMEOUT}
        with running(Canuse(tmp_path, "--redis-url", store.url, env=env)) as canuse:
            assert value(canuse, "canuse_store_up") == 1
            store.command("FLUSHALL")
            until(lambda: ready(canuse) == 503)
            assert value(canuse, "canuse_store_up") == 0
            assert httpx.get(f"{canuse.ops_url}/livez").status_code == 200
    finally:
        store.stop()


@pytest.mark.extended
def test_a_store_that_does_not_answer_is_not_up_and_the_server_stays_ready(tmp_path: Path) -> None:
    store = RedisServer(VALKEY_SERVER, tmp_path / "store").start()
    try:
        env = {**ANY_PORT, **SHORT_STORE_TIMEOUT}
        with running(Canuse(tmp_path, "--redis-url", store.url, env=env)) as canuse:
            with store.paused():
                until(lambda: value(canuse, "canuse_store_up") == 0)
                assert ready(canuse) == 200
            until(lambda: value(canuse, "canuse_store_up") == 1)
    finally:
        store.stop()


def test_the_store_is_counted_now_and_then(tmp_path: Path) -> None:
    canuse = Canuse(tmp_path, env=ANY_PORT)
    with running(canuse), Client(canuse.address) as client:
        user_id, feature_id = subscriber(client, 5)
        client.use_feature(user_id, feature_id)
    with running(canuse):
        until(lambda: value(canuse, "canuse_users", environment="live") == 1)
        until(lambda: value(canuse, "canuse_ledger_events", environment="live") == 1)
        assert value(canuse, "canuse_users", environment="test") == 0


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_decisions_are_counted_by_feature_and_reason(tmp_path: Path, transport: str) -> None:
    env = {**ANY_PORT, "CANUSE_METRICS_FEATURES": "1", "CANUSE_TRANSPORT": transport}
    with running(Canuse(tmp_path, env=env)) as canuse, Client(canuse.address) as client:
        user_id, feature_id = subscriber(client, 2)
        for _ in range(3):
            client.can_use(user_id, feature_id)
        client.can_use(user_id, feature_id, explain=True)
        # The same check in a batch is one decision.
        client.batch_can_use([v1.CanUseRequest(user_id=user_id, feature_id=feature_id)] * 5)
        for _ in range(3):
            client.use_feature(user_id, feature_id)
        client.can_use(user_id, feature_id)
        client.use_features(user_id, {feature_id: 1})
        client.batch_use_feature([v1.UseFeatureRequest(user_id=user_id, feature_id=feature_id)])
        client.create_usage_event(user_id, feature_id)
        client.reserve(user_id, feature_id, 1)

        def decisions(**labels: str) -> float:
            return value(canuse, "canuse_decisions_total", environment="live", **labels)

        assert decisions(feature=feature_id, reason="WITHIN_BUDGET") == 3 + 1 + 1 + 2
        assert decisions(feature=feature_id, reason="BUDGET_EXCEEDED") == 1 + 1 + 1 + 1 + 1 + 1
        assert decisions() == 13
        # The one after the first has no label of its own.
        other_user, other_feature = subscriber(client, 2)
        client.use_feature(other_user, other_feature)
        assert decisions(feature="other", reason="WITHIN_BUDGET") == 1
