"""Where traces are sent: by canuse's settings first, then by the variables of OpenTelemetry."""

import sys
from collections.abc import Mapping
from typing import Final

import pytest
from pydantic import ValidationError

from canuse_server.settings import Settings
from canuse_server.store.scripts.loader import RECORD_USAGE
from canuse_server.traces.commands import operation
from canuse_server.traces.opening import checked
from canuse_server.traces.target import Target, TracesError, target_of

ENDPOINT, TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
PROTOCOL, TRACES_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
HTTP: Final = "http/protobuf"
URL = "http://collector:4318"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the variables that name collectors."""
    for name in (ENDPOINT, TRACES_ENDPOINT, PROTOCOL, TRACES_PROTOCOL, "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("given", "env", "expected"),
    [
        ({}, {}, None),
        ({"otlp_endpoint": URL}, {}, Target("grpc", URL)),
        ({"otlp_endpoint": URL}, {ENDPOINT: "http://another:4317"}, Target("grpc", URL)),
        ({"otlp_endpoint": ""}, {ENDPOINT: URL}, None),
        ({}, {ENDPOINT: URL}, Target("grpc", URL)),
        ({}, {ENDPOINT: ""}, None),
        ({}, {ENDPOINT: URL, "OTEL_SDK_DISABLED": "true"}, None),
        ({}, {ENDPOINT: URL, "OTEL_TRACES_EXPORTER": "none"}, None),
        ({"otlp_endpoint": URL}, {"OTEL_SDK_DISABLED": "true"}, Target("grpc", URL)),
        ({"otlp_endpoint": URL}, {PROTOCOL: HTTP}, Target(HTTP, f"{URL}/v1/traces")),
        ({"otlp_endpoint": URL}, {PROTOCOL: "grpc", TRACES_PROTOCOL: HTTP}, Target(HTTP, f"{URL}/v1/traces")),
        ({"otlp_endpoint": URL, "otlp_protocol": "grpc"}, {PROTOCOL: HTTP}, Target("grpc", URL)),
        ({"otlp_endpoint": f"{URL}/otlp/", "otlp_protocol": HTTP}, {}, Target(HTTP, f"{URL}/otlp/v1/traces")),
        ({"otlp_endpoint": f"{URL}/v1/traces", "otlp_protocol": HTTP}, {}, Target(HTTP, f"{URL}/v1/traces")),
        ({"otlp_protocol": HTTP}, {ENDPOINT: URL}, Target(HTTP, f"{URL}/v1/traces")),
        ({"otlp_protocol": HTTP}, {ENDPOINT: URL, TRACES_ENDPOINT: f"{URL}/in"}, Target(HTTP, f"{URL}/in")),
    ],
)
def test_the_settings_go_before_the_variables(
    given: dict[str, object], env: Mapping[str, str], expected: Target | None
) -> None:
    assert target_of(Settings.load(None, given), env) == expected


@pytest.mark.parametrize(
    ("given", "env", "said"),
    [
        ({"otlp_endpoint": URL}, {PROTOCOL: "http/json"}, f"{PROTOCOL}: must be grpc or http/protobuf; 'http/json'"),
        ({}, {ENDPOINT: "collector:4317"}, f"{ENDPOINT}: must be a URL, like http://localhost:4317"),
        ({}, {TRACES_ENDPOINT: "http://a b"}, f"{TRACES_ENDPOINT}: must be a URL"),
    ],
)
def test_a_variable_that_is_invalid_is_named(given: dict[str, object], env: Mapping[str, str], said: str) -> None:
    with pytest.raises(TracesError) as refused:
        target_of(Settings.load(None, given), env)
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("otlp_endpoint", "collector:4317", "must be a URL, like http://localhost:4317"),
        ("otlp_endpoint", "http://me:secret@collector:4317", "those are for OTEL_EXPORTER_OTLP_HEADERS"),
        ("otlp_protocol", "http/json", "'grpc' or 'http/protobuf'"),
        ("trace_sample", "1.5", "less than or equal to 1"),
    ],
)
def test_a_setting_that_is_invalid_is_named(name: str, value: str, said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings.load(None, {name: value})
    [error] = refused.value.errors()
    assert error["loc"] == (name,)
    assert said in error["msg"]


def test_without_the_extra_a_setting_is_an_error_and_a_variable_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto", None)
    with pytest.raises(TracesError) as refused:
        checked(Settings.load(None, {"otlp_endpoint": URL}))
    said = "needs the packages of OpenTelemetry: pip install 'canuse[otel]'"
    assert str(refused.value) == f"otlp_endpoint {said}"
    assert checked(Settings.load(None, {})).otlp_endpoint is None
    monkeypatch.setenv(ENDPOINT, URL)
    assert checked(Settings.load(None, {})).otlp_endpoint == ""
    shown = capsys.readouterr()
    assert f"{ENDPOINT} {said}" in shown.out + shown.err


def packed(*commands: tuple[str, ...]) -> bytes:
    """Return commands in the store's protocol."""
    return b"".join(
        b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)
        for words in commands
    )


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ([("TIME",)], ("TIME", None)),
        ([("TIME",), ("HMGET", "key", "a\r\nb", "c")], ("HMGET", None)),
        ([("TIME",), ("ASKING",), ("GET", "key")], ("GET", None)),
        ([("SCRIPT", "LOAD", "x" * 40_000), ("EVALSHA", "0" * 40, "1", "key")], ("EVALSHA", None)),
        ([("TIME",)] * 9, ("TIME", None)),
        ([], ("", None)),
    ],
)
def test_a_span_names_the_first_command_that_is_more_than_preparation(
    commands: list[tuple[str, ...]], expected: tuple[str, str | None]
) -> None:
    assert operation(packed(*commands)) == expected


def test_a_span_names_the_script_and_not_its_arguments() -> None:
    assert operation(packed(("EVALSHA", RECORD_USAGE.sha, "1", "user"))) == ("EVALSHA", "record_usage")
