"""The Helm chart, rendered by the real helm."""

import subprocess
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from support.tools import ROOT, tool

CHART: Final = ROOT / "deploy/helm/canuse"
EXAMPLES: Final = tuple(sorted((CHART / "ci").glob("*-values.yaml")))
STORE: Final = {"redis": {"url": "redis://valkey:6379"}}
"""The only value that must be given."""

KUBERNETES: Final = "1.33.0"
"""helm has a default, which depends on how it was built."""

Resource = dict[str, Any]


def helm(*arguments: str, values: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm with values on its standard input."""
    text = StringIO()
    YAML().dump({} if values is None else dict(values), text)
    command = [tool("helm"), *arguments, "--values", "-"]
    return subprocess.run(command, input=text.getvalue(), capture_output=True, text=True, check=False)


def rendered(values: Mapping[str, Any], *files: Path, version: str = KUBERNETES) -> list[Resource]:
    """Return what the chart makes of values, and of files, which yield to them, for a version of Kubernetes."""
    options = [option for file in files for option in ("--values", str(file))]
    done = helm(
        "template", "test", str(CHART), "--namespace", "place", "--kube-version", version, *options, values=values
    )
    assert done.returncode == 0, done.stderr
    return [resource for resource in YAML(typ="safe").load_all(done.stdout) if resource]


def refusal(values: Mapping[str, Any]) -> str:
    """Return why the chart refuses values."""
    done = helm("template", "test", str(CHART), "--kube-version", KUBERNETES, values=values)
    assert done.returncode != 0, done.stdout
    return done.stderr


def only(resources: Sequence[Resource], kind: str, name: str | None = None) -> Resource:
    """Return the resource of a kind, or that with a name."""
    [found] = [
        resource for resource in resources if resource["kind"] == kind and name in (None, resource["metadata"]["name"])
    ]
    return found


def pod(resources: Sequence[Resource]) -> Resource:
    """Return the specification of the pods."""
    spec = only(resources, "Deployment")["spec"]["template"]["spec"]
    assert isinstance(spec, dict)
    return spec


def server(resources: Sequence[Resource]) -> Resource:
    """Return the container of the server."""
    [container] = pod(resources)["containers"]
    assert isinstance(container, dict)
    return container


def environment(resources: Sequence[Resource]) -> dict[str, Any]:
    """Return the variables of the server with their values, or where these are from."""
    variables = server(resources)["env"]
    assert len({variable["name"] for variable in variables}) == len(variables)
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in variables}
