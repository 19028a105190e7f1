"""Everything that can be set: on the command line, as `CANUSE_…` in the environment, or in a TOML file."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
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

DAY_SECONDS = 86_400
HIGHEST_PORT = 65_535
MAX_SECONDS = 3_650 * DAY_SECONDS


class Settings(BaseSettings):
    """The settings of `canuse serve`."""

    model_config = SettingsConfigDict(env_prefix="CANUSE_", extra="forbid", frozen=True)

    listen: str = Field("127.0.0.1:50051", description="Address and port to serve on.")
    data_dir: Path = Field(Path("canuse-data"), description="Where the embedded Valkey keeps its data.")
    redis_url: str | None = Field(
        None,
        description="A Redis 7+ or Valkey 8+ to use instead: redis://, rediss:// or unix://, or several servers by "
        "redis+sentinel:// or redis+cluster://.",
        repr=False,
    )
    transport: Transport = Field(
        "auto",
        description="auto takes native on the loopback, where it is installed, else grpcio; with TLS grpcio. native on "
        "another address is for trusted callers, or behind Envoy.",
    )
    tls_certificate: Path | None = Field(
        None, description="A PEM file: the server's certificate and those between it and the CA. Turns TLS on."
    )
    tls_key: Annotated[Path | None, Field(validate_default=True)] = Field(
        None, description="A PEM file: the key of the certificate, not encrypted."
    )
    tls_client_ca: Path | None = Field(
        None, description="A PEM file: CAs, one of which has to have signed the certificate of each client (mTLS)."
    )
    clock: Clock = Field("system", description="manual lets tests move the time, through canuse.testing.v1.")
    demo: bool = Field(False, description="AdmissionLimit the example catalogue and users.")
    fsync: Fsync = Field(
        "everysec",
        description="When the embedded Valkey brings writes to disk. With durability fsync always, unless it is set.",
    )
    durability: DurabilityName = Field(
        "memory",
        description="What an acknowledged write has reached: the store's memory, its append-only file, or replicas.",
    )
    durability_replicas: Annotated[int, Field(ge=1, le=100)] = Field(
        1, description="How many replicas a write has to reach with replica."
    )
    durability_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        2.0, description="How long a write waits at most until it has got there."
    )
    lanes: Annotated[int, Field(ge=1, le=16)] = Field(1, description="Threads of the native transport's batch lane.")
    workers: Annotated[int, Field(ge=1, le=256)] = Field(1, description="Processes that serve on the one port.")
    store_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        1.0, description="How long a call waits for the store, and for a connection to it."
    )
    grace_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        10.0, description="How long calls under way may take after SIGTERM."
    )
    default_package: str = Field("", description="The package that an unknown user gets when first seen. Empty: none.")
    dedupe_ttl_seconds: Annotated[int, Field(ge=1, le=MAX_SECONDS)] = Field(
        DAY_SECONDS, description="How long an event id is remembered, at least."
    )
    ledger_max_age_seconds: Annotated[int, Field(ge=1, le=MAX_SECONDS)] = Field(
        30 * DAY_SECONDS, description="How long usage events are kept in the ledger."
    )
    past_periods_kept: Annotated[int, Field(ge=0, le=1000)] = Field(
        12, description="How many past periods are kept for each user and feature."
    )
    max_calls_in_flight: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        8192, description="How many calls a process works on or keeps waiting; it refuses those beyond them at once."
    )
    max_waiting_bytes: Annotated[int, Field(ge=1, le=1 << 40)] = Field(
        64 << 20, description="How many bytes the requests and metadata of these calls may have in all."
    )
    last_known_max_age_seconds: Annotated[int, Field(ge=1, le=DAY_SECONDS)] = Field(
        300, description="How old an answer may be that is given again while the store is unavailable."
    )
    last_known_entries: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        100_000, description="How many such answers are remembered of an environment, at half a KiB each."
    )
    ratelimit_live_domain: Annotated[str, Field(min_length=1)] = Field(
        "canuse", description="The domain with which Envoy's rate limit filter asks about live users."
    )
    ratelimit_test_domain: Annotated[str, Field(min_length=1)] = Field(
        "canuse-test", description="The domain with which Envoy's rate limit filter asks about test users."
    )
    ratelimit_user_key: Annotated[str, Field(min_length=1)] = Field(
        "user_id", description="The entry of Envoy's descriptors that has the id of the user."
    )
    ratelimit_feature_key: Annotated[str, Field(min_length=1)] = Field(
        "feature_id", description="The entry of Envoy's descriptors that has the id of the feature."
    )
    ratelimit_record_key: Annotated[str, Field(min_length=1)] = Field(
        "record", description="The entry of Envoy's descriptors that says `fact` of a use that has happened already."
    )
    ratelimit_unknown: Literal["deny", "allow"] = Field(
        "deny", description="What Envoy is told about a user or a feature that is not known."
    )
    reflection: bool = Field(True, description="Tell callers which methods there are, so that grpcurl needs no files.")
    insecure_no_auth: bool = Field(False, description="Demand no API keys, at any address.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged, to stderr.")

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not (host and port.isdecimal() and int(port) <= HIGHEST_PORT):
            raise ValueError("must be an address and a port, like 127.0.0.1:50051")
        return value

    @field_validator("tls_certificate")
    @classmethod
    def _check_tls_transport(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("transport") == "native":
            raise ValueError(
                "the native transport has no TLS: take grpcio, or leave TLS to Envoy before it (deploy/envoy/tls.yaml)"
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
            raise ValueError("workers must be 1 with the manual clock: each process would have its own")
        return self

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
            raise ValueError("must be another domain than ratelimit_live_domain")
        return value

    @property
    def embedded_fsync(self) -> Fsync:
        """When the embedded Valkey brings writes to disk: where each is waited for, once a second would be too rare."""
        return "always" if self.durability == "fsync" and "fsync" not in self.model_fields_set else self.fsync

    @field_validator("ratelimit_feature_key")
    @classmethod
    def _check_feature_key(cls, value: str, info: ValidationInfo) -> str:
        if value == info.data.get("ratelimit_user_key"):
            raise ValueError("must be another entry than ratelimit_user_key")
        return value

    @field_validator("ratelimit_record_key")
    @classmethod
    def _check_record_key(cls, value: str, info: ValidationInfo) -> str:
        if value in (info.data.get("ratelimit_user_key"), info.data.get("ratelimit_feature_key")):
            raise ValueError("must be another entry than ratelimit_user_key and ratelimit_feature_key")
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
        """Put the TOML file last."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @classmethod
    def load(cls, config: Path | None, given: dict[str, object]) -> "Settings":
        """Read the settings; `given` are those of the command line.

        Raises:
            pydantic.ValidationError: a setting is not as it has to be.
            OSError: the file can't be read.
            tomllib.TOMLDecodeError: the file is no TOML.
        """
        if config is None:
            return cls(**given)  # type: ignore[arg-type]
        with config.open("rb"):
            configured = type("Settings", (cls,), {"model_config": {**cls.model_config, "toml_file": config}})
        return configured(**given)  # type: ignore[no-any-return]
