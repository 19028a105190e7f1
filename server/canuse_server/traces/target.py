"""Where traces are sent: as the settings say, or else the variables of the environment that OpenTelemetry defines."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final, NamedTuple, cast, get_args

from canuse_server.settings import OtlpProtocol, Settings, collector_problem

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""A collector of everything. Traces have a path of their own there, over HTTP."""
TRACES_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
"""Exactly where traces go."""
PROTOCOL: Final = "OTEL_EXPORTER_OTLP_PROTOCOL"
TRACES_PROTOCOL: Final = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
TRACES_PATH: Final = "/v1/traces"
_PACKAGES: Final[Mapping[OtlpProtocol, str]] = {
    "grpc": "opentelemetry.exporter.otlp.proto.grpc",
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http",
}


class TracesError(RuntimeError):
    """Traces are wanted and can't be sent."""


class Target(NamedTuple):
    """A collector."""

    protocol: OtlpProtocol
    url: str


def target_of(settings: Settings, env: Mapping[str, str]) -> Target | None:
    """Return where traces are sent, or None if nobody wants any.

    Raises:
        TracesError: a variable is invalid, or OpenTelemetry is not installed.
    """
    source, url = _endpoint(settings, env)
    if not url:
        return None
    if problem := collector_problem(url):
        raise TracesError(f"{source}: {problem}")
    protocol = settings.otlp_protocol or _protocol(env)
    if protocol == "http/protobuf" and source != TRACES_ENDPOINT and not url.endswith(TRACES_PATH):
        url = url.rstrip("/") + TRACES_PATH
    if not _is_installed(protocol):
        raise TracesError(f"{source} needs the packages of OpenTelemetry: pip install 'canuse[otel]'")
    return Target(protocol, url)


def _endpoint(settings: Settings, env: Mapping[str, str]) -> tuple[str, str | None]:
    """Return what names the collector, and its URL."""
    if settings.otlp_endpoint is not None:
        return "otlp_endpoint", settings.otlp_endpoint
    if _is_disabled(env):
        return ENDPOINT, None
    source = TRACES_ENDPOINT if env.get(TRACES_ENDPOINT) else ENDPOINT
    return source, env.get(source)


def _is_disabled(env: Mapping[str, str]) -> bool:
    """Whether OpenTelemetry's own variables turn traces off for all programs."""
    return env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or env.get("OTEL_TRACES_EXPORTER") == "none"


def _protocol(env: Mapping[str, str]) -> OtlpProtocol:
    for variable in (TRACES_PROTOCOL, PROTOCOL):
        if value := env.get(variable):
            if value not in get_args(OtlpProtocol):
                raise TracesError(f"{variable}: must be {' or '.join(get_args(OtlpProtocol))}; {value!r} was given")
            return cast("OtlpProtocol", value)
    return "grpc"


def _is_installed(protocol: OtlpProtocol) -> bool:
    """Whether the packages are there. They are not imported: that takes a quarter of a second."""
    try:
        return all(find_spec(name) is not None for name in ("opentelemetry.sdk", _PACKAGES[protocol]))
    except ModuleNotFoundError:
        return False
