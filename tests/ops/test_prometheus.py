"""A real Prometheus scrapes a real server, and what the repository ships for it works there."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from canuse import CanuseError
from support.load import running, until
from support.message_clients import Client
from support.processes import Canuse, free_port
from support.resources import subscriber
from support.tools import ROOT, tool

pytestmark = pytest.mark.extended

RULES = ROOT / "deploy/prometheus/canuse.rules.yaml"
RULE_TESTS = ROOT / "deploy/prometheus/canuse.rules.test.yaml"
DASHBOARD = ROOT / "deploy/grafana/canuse.json"
MIN_QUERIES = 10


def promtool(*arguments: str, text: str = "") -> str:
    """Run promtool, which must succeed; return what it printed."""
    command = [tool("promtool"), *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_each_alert_has_a_runbook() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    page = (ROOT / "docs/operations.md").read_text()
    assert alerts
    assert re.findall(r"^### (Canuse\w+)$", page, re.MULTILINE) == alerts


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """Run a Prometheus that scrapes a server ten times a second; yield its URL."""
    config = {
        "global": {"scrape_interval": "100ms"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "canuse", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    address = f"127.0.0.1:{free_port()}"
    options = (
        *(f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"),
        f"--web.listen-address={address}",
    )
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([tool("prometheus"), *options], stdout=log, stderr=log)
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def answers(url: str, query: str) -> list[dict[str, object]]:
    """Return what a query finds."""
    try:
        response = httpx.get(f"{url}/api/v1/query", params={"query": query}, timeout=10)
    except httpx.TransportError:
        return []
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return []  # It starts.
    answer = response.json()
    assert answer["status"] == "success", f"{query}: {answer}"
    found: list[dict[str, object]] = answer["data"]["result"]
    return found


def dashboard_queries() -> list[str]:
    """Return the queries of the dashboard, as Grafana sends them."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    return [query.replace("$instance", ".*").replace("$__rate_interval", "1m") for query in queries]


def test_the_alert_rules_fire_when_they_should_and_only_then() -> None:
    promtool("check", "rules", str(RULES))
    assert "SUCCESS" in promtool("test", "rules", str(RULE_TESTS))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_prometheus_reads_all_metrics_and_the_queries_of_the_dashboard_find_them(tmp_path: Path, workers: str) -> None:
    tool("promtool")  # Both come with one package.
    env = {"CANUSE_OPS_LISTEN": "127.0.0.1:0"}
    queries = dashboard_queries()
    assert len(queries) >= MIN_QUERIES
    with running(Canuse(tmp_path, "--workers", workers, env=env)) as canuse, Client(canuse.address) as client:
        user_id, feature_id = subscriber(client, 1)
        with prometheus(tmp_path, canuse.ops_url.partition("://")[2]) as url:

            def use() -> None:
                client.use_feature(user_id, feature_id)
                client.can_use(user_id, feature_id)
                with suppress(CanuseError):
                    client.can_use("nobody", feature_id)

            for query in queries:

                def found(query: str = query) -> bool:
                    use()
                    return bool(answers(url, query))

                until(found)
            assert answers(url, "up == 1")
        # What promtool says of a metric are conventions that it breaks.
        assert promtool("check", "metrics", text=httpx.get(f"{canuse.ops_url}/metrics").text) == ""
