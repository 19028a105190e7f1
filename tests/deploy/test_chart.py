"""The chart of deploy/helm: for each example, helm accepts it, and Kubernetes accepts what helm makes of it."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Final

import kubernetes_validate
import pytest
from kubernetes_validate.utils import SchemaNotFoundError
from ruamel.yaml import YAML

from canuse_server.settings import Settings
from support.chart import CHART, EXAMPLES, KUBERNETES, STORE, environment, helm, rendered, server
from support.tools import ROOT, tool

VERSIONS: Final = ("1.30.0", "1.36.0")
"""The oldest version that the chart accepts, and a new one."""
OPERATORS: Final = {"ServiceMonitor", "PrometheusRule"}
"""Kinds that Kubernetes itself does not know."""


def test_there_are_ten_examples() -> None:
    assert len(EXAMPLES) >= 10


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_helm_and_kubernetes_accept_an_example(example: Path) -> None:
    linted = helm("lint", "--strict", str(CHART), "--kube-version", KUBERNETES, "--values", str(example))
    assert linted.returncode == 0, linted.stdout + linted.stderr
    for version in VERSIONS:
        resources = rendered({}, example, version=version)
        assert resources
        for resource in resources:
            assert resource["metadata"]["namespace"] == "place"
            try:
                kubernetes_validate.validate(resource, version, strict=True)
            except SchemaNotFoundError:
                assert resource["kind"] in OPERATORS


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_server_accepts_what_an_example_gives_it(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resources = rendered({}, example)
    command, *options = server(resources)["args"]
    assert command == "serve"
    overrides: dict[str, object] = {
        name.removeprefix("--").replace("-", "_"): value
        for name, _, value in (option.partition("=") for option in options)
    }
    for name, value in environment(resources).items():
        monkeypatch.setenv(name, value if isinstance(value, str) else "redis://secret:6379")
    given = {name.removeprefix("CANUSE_").lower() for name in environment(resources)}
    assert {*overrides, *given} <= set(Settings.model_fields)
    settings = Settings.load(None, overrides)
    assert (settings.model_fields_set & {*overrides, *given}) == {*overrides, *given}


def test_an_old_kubernetes_is_refused() -> None:
    done = helm("template", "test", str(CHART), "--kube-version", "1.29.9", values=STORE)
    assert done.returncode != 0
    assert "1.30" in done.stderr


def test_the_chart_is_of_this_version() -> None:
    chart = YAML(typ="safe").load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == project["version"]


def test_a_package_of_the_chart_has_the_files_of_the_other_folders(tmp_path: Path) -> None:
    """They are links in the tree."""
    command = [tool("helm"), "package", str(CHART), "--destination", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [package] = tmp_path.glob("*.tgz")
    rules = helm(
        "template",
        "test",
        str(package),
        "--kube-version",
        KUBERNETES,
        values=STORE | {"prometheusRule": {"enabled": True}},
    )
    assert rules.returncode == 0, rules.stderr
    assert "CanuseStoreUnavailable" in rules.stdout


def test_the_values_in_the_docs_work_and_the_manifests_are_valid() -> None:
    page = (ROOT / "docs/kubernetes.md").read_text()
    texts = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    blocks = [YAML(typ="safe").load(text) for text in texts]
    manifests = [block for block in blocks if "kind" in block]
    assert manifests
    for manifest in manifests:
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)
    for values in (block for block in blocks if "kind" not in block):
        assert rendered(values)
