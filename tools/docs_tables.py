"""Generate from the code: tables of the docs, the sample settings, and the settings in the schema of the Helm chart.

    python tools/docs_tables.py [--check]

Each table is between two markers, `<!-- name:begin -->` and `<!-- name:end -->`. With `--check` nothing is written: it
fails if a table differs from the generated one, `deploy/canuse.toml`, or what the chart accepts as `settings`.
"""

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from canuse import v1
from canuse_server.api.errors import ErrorReason
from canuse_server.api.scopes import PUBLIC_METHODS, SCOPES
from canuse_server.cli.main import app
from canuse_server.metrics.definitions import METRICS
from canuse_server.settings import Settings
from canuse_server.transport.http.errors import CODES

ROOT = Path(__file__).resolve().parent.parent


def settings_table() -> str:
    """Return all settings with their names, defaults, descriptions and accepted values."""
    schema = Settings.model_json_schema()["properties"]
    prefix = Settings.model_config["env_prefix"]
    options = _options()
    rows = [
        (
            f"`{name}`",
            f"`{options[name]}`" if name in options else "",
            f"`{prefix}{name.upper()}`",
            "none" if schema[name]["default"] is None else f"`{_text(schema[name]['default'])}`",
            " ".join(filter(None, (schema[name]["description"], _accepted(schema[name])))),
        )
        for name in Settings.model_fields
    ]
    return table(("setting", "option", "environment", "default", "what it does"), rows)


def errors_table() -> str:
    """Return all error reasons with their status, also over HTTP, and advice."""
    rows = [
        (f"`{reason.name}`", f"`{reason.status.name}`", str(CODES[reason.status].http_status), reason.value.advice)
        for reason in ErrorReason
    ]
    return table(("reason", "status", "HTTP", "what to do"), rows)


def reasons_table() -> str:
    """Return all reasons of decisions with their comments in the proto file."""
    source = (ROOT / "protos/canuse/v1/reason.proto").read_text()
    body = re.search(r"^enum Reason \{\n(.*?)^\}", source, re.DOTALL | re.MULTILINE)
    values = re.findall(r"((?:^  //.*\n)+)  (REASON_\w+) = (\d+);", body[1] if body else "", re.MULTILINE)
    assert {name: int(number) for _, name, number in values} == dict(v1.Reason.items())
    meanings = ((name, number, " ".join(re.findall(r"// (.*)", comment))) for comment, name, number in values)
    rows = [(f"`{name}`", number, meaning) for name, number, meaning in meanings if number != "0"]
    return table(("reason", "number", "what it means, and what to do"), rows)


def scopes_table() -> str:
    """Return the scopes of all methods, of which each needs one."""
    methods: dict[tuple[str, str], list[str]] = {}
    for path, scopes in SCOPES.items():
        _, service, method = path.split("/")
        methods.setdefault((service, " or ".join(f"`{scope}`" for scope in scopes)), []).append(f"`{method}`")
    rows = [(f"`{service}`", scopes, ", ".join(names)) for (service, scopes), names in methods.items()]
    return table(("service", "scope", "methods"), rows)


def public_methods_table() -> str:
    """Return the methods for publishable keys and user tokens."""
    rows = []
    for path, field in PUBLIC_METHODS.items():
        _, service, method = path.split("/")
        rows.append((f"`{service}`", f"`{method}`", f"`{field}`"))
    return table(("service", "method", "the user"), rows)


def metrics_table() -> str:
    """Return all metrics with their meanings."""
    suffixes = {"counter": "_total", "gauge": "", "histogram": ""}
    rows = [
        (
            f"`{metric.name}{suffixes[metric.kind]}`",
            metric.kind,
            ", ".join(f"`{label}`" for label in metric.labels),
            metric.meaning,
            metric.act,
        )
        for metric in METRICS
    ]
    return table(("metric", "type", "labels", "what it is", "when to act"), rows)


def sample_settings() -> str:
    """Return a TOML file with all settings, each as a comment with its default."""
    schema = Settings.model_json_schema()["properties"]
    lines = [
        "# All settings of canuse with their defaults: canuse serve --config canuse.toml.",
        "# Options and environment variables (CANUSE_...) have precedence. Remove the # before a setting to change it.",
    ]
    for name in Settings.model_fields:
        default = schema[name]["default"]
        unset = "Not set by default." if default is None else ""
        about = " ".join(filter(None, (schema[name]["description"], _accepted(schema[name]), unset))).replace("`", '"')
        lines += ["", *textwrap.wrap(about, 116, initial_indent="# ", subsequent_indent="# ")]
        lines.append(f"#{name} = {json.dumps('' if default is None else default)}")
    return "\n".join(lines) + "\n"


def chart_schema(text: str) -> str:
    """Return the schema of the Helm chart's values with the settings that the chart leaves to its users."""
    schema = json.loads(text)
    kept = ("type", "items", "enum", "minimum", "exclusiveMinimum", "maximum", "minLength", "description", "default")
    properties = {}
    for name, setting in Settings.model_json_schema()["properties"].items():
        if name not in SET_BY_CHART:
            # A setting without a default is one type or null.
            full = {**setting, **next(iter(setting.get("anyOf", ())), {})}
            properties[name] = {key: full[key] for key in kept if key in full}
    schema["properties"]["settings"] = {"type": "object", "additionalProperties": False, "properties": properties}
    return json.dumps(schema, indent=2) + "\n"


TABLES: Mapping[str, tuple[str, Callable[[], str]]] = {
    "settings": ("docs/settings.md", settings_table),
    "errors": ("docs/errors.md", errors_table),
    "reasons": ("docs/api.md", reasons_table),
    "scopes": ("docs/api.md", scopes_table),
    "public-methods": ("docs/security.md", public_methods_table),
    "metrics": ("docs/metrics.md", metrics_table),
}
"""The page and the function of each table, by the name in its markers."""
SAMPLE = "deploy/canuse.toml"
"""A file that is generated as a whole."""
CHART_SCHEMA = "deploy/helm/canuse/values.schema.json"
SET_BY_CHART = {
    *("listen", "http_listen", "ops_listen", "redis_url", "transport", "bootstrap_key"),
    *("tls_certificate", "tls_key", "tls_client_ca"),
    # Of the embedded Valkey, which does not run in the chart's pods.
    *("data_dir", "fsync"),
}
"""Settings that follow from other values of the chart."""


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ("---",) * len(head), *(tuple(cell.replace("|", r"\|") for cell in row) for row in rows)]
    return "".join("|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|\n" for line in lines)


def replaced(page: str, name: str, content: str) -> str:
    """Return a page with the text between the markers of a name replaced; exit unless there is exactly one pair."""
    markers = re.compile(rf"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)", re.DOTALL)
    new, count = markers.subn(lambda match: match[1] + content + match[2], page)
    if count != 1:
        sys.exit(f"the markers <!-- {name}:begin --> and <!-- {name}:end --> occur {count} times, not once")
    return new


def _options() -> dict[str, str]:
    """Return the options of `canuse serve` by setting."""
    command: Any = typer.main.get_command(app)
    return {option.name: option.opts[0] for option in command.commands["serve"].params}


def _text(value: object) -> str:
    if isinstance(value, list):
        value = ",".join(map(str, value))
    return value if isinstance(value, str) and value else json.dumps(value)


def _accepted(schema: Mapping[str, Any]) -> str:
    """Return the accepted values; empty if all values of the type are."""
    if choices := schema.get("enum"):
        return "One of " + ", ".join(f"`{choice}`" for choice in choices) + "."
    minimum, above, maximum = (schema.get(key) for key in ("minimum", "exclusiveMinimum", "maximum"))
    if maximum is None:
        return "" if minimum is None else f"{minimum} or more."
    return f"{minimum} to {maximum}." if minimum is not None else f"More than {above}, at most {maximum}."


def main(arguments: Sequence[str] | None = None) -> None:
    """Write or compare the tables; `arguments` defaults to those of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of the pages")
    options = parser.parse_args(arguments)
    stale = []
    for name, (page, content) in TABLES.items():
        path: Path = options.root / page
        old = path.read_text(encoding="utf-8")
        new = replaced(old, name, content())
        if new != old:
            stale.append(f"{page}: {name}")
            if not options.check:
                path.write_text(new, encoding="utf-8")
    chart_values = (options.root / CHART_SCHEMA).read_text(encoding="utf-8")
    for name, text in ((SAMPLE, sample_settings()), (CHART_SCHEMA, chart_schema(chart_values))):
        path = options.root / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not options.check:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
    if options.check and stale:
        sys.exit("not what the code says; run `make docs`:\n" + "\n".join(stale))


if __name__ == "__main__":
    main()
