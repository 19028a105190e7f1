"""The settings, from the command line, `CANUSE_…` variables of the environment, or a TOML file."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from canuse_server.api.validation import id_problem
from canuse_server.store.redis.url import check_redis_url

Transport = Literal["auto", "native", "grpcio"]
Clock = Literal["system", "manual"]
DurabilityName = Literal["memory", "fsync", "replica"]
Fsync = Literal["everysec", "always"]
OtlpProtocol = Literal["grpc", "http/protobuf"]

DAY_SECONDS = 86_400
HIGHEST_PORT = 65_535
MAX_SECONDS = 3_650 * DAY_SECONDS
_SHA256 = re.compile(r"sha256:[0-9a-fA-F]{64}")
_ORIGIN = re.compile(r"https?://[a-z0-9.\-\[\]:]+")
_COLLECTOR = re.compile(r"https?://[^/?#@\s]+(/[^?#\s]*)?")


def collector_problem(url: str) -> str | None:
    """Return what is wrong with the URL of a collector of traces, None if it is valid."""
    if _COLLECTOR.fullmatch(url):
        return None
    accepted = "must be a URL, like http://localhost:4317 or https://collector.example.com:4318"
    return f"{accepted}, without credentials: those are for OTEL_EXPORTER_OTLP_HEADERS" if "@" in url else accepted


class Settings(BaseSettings):
    """The settings of `canuse serve`."""

    model_config = SettingsConfigDict(env_prefix="CANUSE_", extra="forbid", frozen=True)

    listen: str = Field("127.0.0.1:50051", description="Address and port to serve on.")
    http_listen: str = Field(
        "127.0.0.1:50052", description="Address and port to serve HTTP on, in JSON or protobuf. Empty: off."
    )
    http_cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Origins of the web pages that may call over HTTP, separated by commas, like "
        "https://app.example.com.",
    )
    console: bool = Field(
        True,
        description="Serve the console, pages for people, at /console on the HTTP port. On an address that other "
        "machines can reach, it is served only with TLS and while API keys are required.",
    )
    ops_listen: str = Field(
        "127.0.0.1:9464",
        description="Address and port for health and metrics over HTTP (/livez, /readyz, /metrics), without keys. "
        "Empty: off.",
    )
    metrics_features: Annotated[int, Field(ge=0, le=10_000)] = Field(
        200, description="Number of features with metrics of their own. The others are counted as `other`."
    )
    data_dir: Path = Field(Path("canuse-data"), description="Directory for the data of the embedded Valkey.")
    redis_url: str | None = Field(
        None,
        description="URL of a Redis 7+ or Valkey 8+ to use instead of the embedded Valkey: redis://, rediss:// (TLS), "
        "unix://, redis+sentinel:// or redis+cluster://.",
        repr=False,
    )
    transport: Transport = Field(
        "auto",
        description="gRPC server. auto selects native on a loopback address if it is installed and TLS is off, "
        "otherwise grpcio. Use native on another address only for trusted callers or behind Envoy.",
    )
    tls_certificate: Path | None = Field(
        None, description="PEM file with the server's certificate and then the intermediate certificates. Enables TLS."
    )
    tls_key: Annotated[Path | None, Field(validate_default=True)] = Field(
        None, description="PEM file with the private key of the certificate, not encrypted."
    )
    tls_client_ca: Path | None = Field(
        None,
        description="PEM file with the CAs of client certificates. Each client must present a certificate (mTLS).",
    )
    clock: Clock = Field("system", description="Time source. manual lets tests set the time with canuse.testing.v1.")
    demo: bool = Field(False, description="Load the example catalogue and users.")
    fsync: Fsync = Field(
        "everysec",
        description="When the embedded Valkey syncs writes to disk. With durability fsync, the default is always.",
    )
    durability: DurabilityName = Field(
        "memory",
        description="What a write must reach before it is acknowledged: the store's memory, its append-only file on "
        "disk, or its replicas.",
    )
    durability_replicas: Annotated[int, Field(ge=1, le=100)] = Field(
        1, description="Number of replicas that a write must reach with durability replica."
    )
    durability_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        2.0, description="Maximum time to wait for a write to reach the required durability."
    )
    workers: Annotated[int, Field(ge=1, le=256)] = Field(1, description="Server processes that share the port.")
    store_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        1.0, description="Maximum time that a call waits for the store, including for a connection."
    )
    grace_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        10.0, description="Maximum time for calls in flight to finish after SIGTERM."
    )
    default_package: str = Field("", description="Package that an unknown user gets on the first call. Empty: none.")
    dedupe_ttl_seconds: Annotated[int, Field(ge=1, le=MAX_SECONDS)] = Field(
        DAY_SECONDS, description="Minimum time that an event id is remembered."
    )
    ledger_max_age_seconds: Annotated[int, Field(ge=1, le=MAX_SECONDS)] = Field(
        30 * DAY_SECONDS, description="Minimum time that usage events stay in the ledger."
    )
    past_periods_max_age_days: Annotated[int, Field(ge=1, le=400)] = Field(
        62, description="Number of days that a past period of a feature is kept after its end."
    )
    audit_max_age_days: Annotated[int, Field(ge=1, le=3650)] = Field(
        90, description="Number of days that entries of the audit log are kept."
    )
    trim_interval_seconds: Annotated[float, Field(ge=0, le=DAY_SECONDS)] = Field(
        3600.0,
        description="Time from the end of a trimming pass, which removes what is too old of users for whom no call "
        "comes, to the next one. 0: no passes.",
    )
    trim_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.01, description="Maximum share of the store's time that a trimming pass takes."
    )
    max_calls_in_flight: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        8192, description="Maximum number of calls in flight in each process. Further calls are refused at once."
    )
    max_waiting_bytes: Annotated[int, Field(ge=1, le=1 << 40)] = Field(
        64 << 20, description="Maximum total size of the requests and metadata of the calls in flight, in bytes."
    )
    last_known_max_age_seconds: Annotated[int, Field(ge=1, le=DAY_SECONDS)] = Field(
        300, description="Maximum age of a cached answer served while the store is unavailable."
    )
    last_known_entries: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        100_000, description="Number of answers cached for this purpose in each environment, at 512 bytes each."
    )
    ratelimit_live_domain: Annotated[str, Field(min_length=1)] = Field(
        "canuse", description="Domain of Envoy's rate limit requests for the environment live."
    )
    ratelimit_test_domain: Annotated[str, Field(min_length=1)] = Field(
        "canuse-test", description="Domain of Envoy's rate limit requests for the environment test."
    )
    ratelimit_user_key: Annotated[str, Field(min_length=1)] = Field(
        "user_id", description="Key of the descriptor entry that contains the user id."
    )
    ratelimit_feature_key: Annotated[str, Field(min_length=1)] = Field(
        "feature_id", description="Key of the descriptor entry that contains the feature id."
    )
    ratelimit_record_key: Annotated[str, Field(min_length=1)] = Field(
        "record", description="Key of the descriptor entry whose value `fact` marks a use that has already happened."
    )
    ratelimit_unknown: Literal["deny", "allow"] = Field(
        "deny", description="Answer to Envoy for an unknown user or feature."
    )
    reflection: bool = Field(True, description="Serve gRPC reflection, which grpcurl uses to read the API.")
    publishable_keys: bool = Field(
        False,
        description="Allow publishable API keys, which are for web pages: whoever can read the page can read the "
        "entitlements and the usage of any user whose id is known.",
    )
    bootstrap_key: str | None = Field(
        None,
        description="First API key, created if no key exists: sha256: and the SHA-256 of a key in hexadecimal, or the "
        "path of a file with a key or such a hash.",
        repr=False,
    )
    insecure_no_auth: bool = Field(False, description="Do not require API keys, on any address.")
    access_log: Literal["off", "errors", "all"] = Field(
        "off",
        description="Calls that are logged, to stderr, one line of JSON each: all, or those that fail. While it is "
        "on, each call gets a request id, or keeps that of its caller (x-request-id), and returns it.",
    )
    access_log_sample: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="Share of these calls that is logged, chosen by chance."
    )
    otlp_endpoint: str | None = Field(
        None,
        description="URL of the collector that traces are sent to by OTLP, like http://localhost:4317. Without it, "
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT, if set. Empty: no traces.",
    )
    otlp_protocol: OtlpProtocol | None = Field(
        None,
        description="How traces are sent: grpc or http/protobuf. Without it, OTEL_EXPORTER_OTLP_TRACES_PROTOCOL or "
        "OTEL_EXPORTER_OTLP_PROTOCOL, if set, else grpc.",
    )
    trace_sample: Annotated[float, Field(ge=0, le=1)] = Field(
        0.01, description="Share of the calls that are traced, chosen by chance, if their callers do not say."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged, to stderr."
    )

    @field_validator("listen", "http_listen", "ops_listen")
    @classmethod
    def _check_listen(cls, value: str, info: ValidationInfo) -> str:
        host, _, port = value.rpartition(":")
        if not (host and port.isdecimal() and int(port) <= HIGHEST_PORT) and (value or info.field_name == "listen"):
            raise ValueError("must be an address and a port, like 127.0.0.1:50051")
        return value

    @field_validator("otlp_endpoint")
    @classmethod
    def _check_otlp_endpoint(cls, value: str | None) -> str | None:
        if value and (problem := collector_problem(value)):
            raise ValueError(problem)
        return value

    @field_validator("http_cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        return [origin.strip() for origin in value.split(",") if origin.strip()] if isinstance(value, str) else value

    @field_validator("http_cors_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError("must be origins, like https://app.example.com: a scheme and a host, in lower case")
        return value

    @field_validator("tls_certificate")
    @classmethod
    def _check_tls_transport(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("transport") == "native":
            raise ValueError(
                "the native transport has no TLS: use grpcio, or put Envoy in front of it (deploy/envoy/tls.yaml)"
            )
        return value

    @field_validator("tls_key")
    @classmethod
    def _check_tls_key(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if (value is None) != (info.data.get("tls_certificate") is None) and "tls_certificate" in info.data:
            raise ValueError("must be given together with tls_certificate")
        return value

    @field_validator("tls_client_ca")
    @classmethod
    def _check_tls_client_ca(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and "tls_certificate" in info.data and info.data["tls_certificate"] is None:
            raise ValueError("must be given together with tls_certificate and tls_key")
        return value

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: str | None) -> str | None:
        if value is not None:
            check_redis_url(value)
        return value

    @model_validator(mode="after")
    def _check_workers(self) -> "Settings":
        if self.workers > 1 and self.clock == "manual":
            raise ValueError("workers must be 1 with the manual clock: each process would have its own clock")
        return self

    @field_validator("bootstrap_key")
    @classmethod
    def _check_bootstrap_key(cls, value: str | None) -> str | None:
        if value is not None and (value.startswith("sk_") or not value):
            raise ValueError("must be the hash of a key or the path of a file, not a key: others can read the settings")
        if value is not None and value.startswith("sha256:") and not _SHA256.fullmatch(value):
            raise ValueError("must have 64 hexadecimal digits after sha256:")
        return value

    @field_validator("default_package")
    @classmethod
    def _check_default_package(cls, value: str) -> str:
        if value and id_problem(value):
            raise ValueError("must be the id of a package: up to 128 bytes of UTF-8 without control characters")
        return value

    @field_validator("ratelimit_test_domain")
    @classmethod
    def _check_test_domain(cls, value: str, info: ValidationInfo) -> str:
        if value == info.data.get("ratelimit_live_domain"):
            raise ValueError("must differ from ratelimit_live_domain")
        return value

    @property
    def embedded_fsync(self) -> Fsync:
        """The `fsync` of the embedded Valkey: `always` with durability `fsync`, unless set explicitly."""
        return "always" if self.durability == "fsync" and "fsync" not in self.model_fields_set else self.fsync

    @field_validator("ratelimit_feature_key")
    @classmethod
    def _check_feature_key(cls, value: str, info: ValidationInfo) -> str:
        if value == info.data.get("ratelimit_user_key"):
            raise ValueError("must differ from ratelimit_user_key")
        return value

    @field_validator("ratelimit_record_key")
    @classmethod
    def _check_record_key(cls, value: str, info: ValidationInfo) -> str:
        if value in (info.data.get("ratelimit_user_key"), info.data.get("ratelimit_feature_key")):
            raise ValueError("must differ from ratelimit_user_key and ratelimit_feature_key")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Give the TOML file the lowest priority."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @classmethod
    def load(cls, config: Path | None, overrides: dict[str, object]) -> "Settings":
        """Read the settings; `overrides` are those from the command line.

        Raises:
            pydantic.ValidationError: a setting is invalid.
            OSError: the file cannot be read.
            tomllib.TOMLDecodeError: the file is not TOML.
        """
        if config is None:
            return cls(**overrides)  # type: ignore[arg-type]
        with config.open("rb"):
            configured = type("Settings", (cls,), {"model_config": {**cls.model_config, "toml_file": config}})
        return configured(**overrides)  # type: ignore[no-any-return]
