"""Loading the settings. Messages for invalid ones: the setting, its source, and the accepted values."""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from canuse_server.runtime.validation_text import what_is_accepted
from canuse_server.settings import Settings

PREFIX: Final = "CANUSE_"
COMMAND_VARIABLES: Final = frozenset(
    f"{PREFIX}{name}"
    for name in (
        "CONFIG",
        "DEBUG",
        "SERVER",
        "OPS",
        "API_KEY",
        "CLIENT_TLS",
        "CLIENT_TLS_CA",
        "CLIENT_TLS_CERTIFICATE",
        "CLIENT_TLS_KEY",
    )
)
"""Variables of the command's own options, which are not settings of the server."""
_KUBERNETES_VARIABLE: Final = re.compile(
    r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT$|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?$"
)
"""Variables that Kubernetes sets for each service, so also for one whose name begins with canuse."""
_MAX_SHOWN_CHARACTERS: Final = 40


class UnknownVariable(NamedTuple):
    """A variable that is not a setting, and the most similar one that is."""

    name: str
    closest: str | None


class SettingsError(ValueError):
    """Settings are invalid; the message has all problems, in one line."""


def load_settings(config: Path | None, overrides: dict[str, object]) -> Settings:
    """Return the settings; `overrides` are those from the command line. Raises SettingsError."""
    try:
        return Settings.load(config, overrides)
    except ValidationError as error:
        found = "; ".join(_problem(part, config, overrides, os.environ) for part in error.errors())
        raise SettingsError(found) from error
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{config}: {error}") from error


def unknown_variables(env: Mapping[str, str]) -> Iterator[UnknownVariable]:
    """Yield variables that look like settings but are not: a misspelt one has no effect."""
    for name in sorted(env):
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in COMMAND_VARIABLES or _KUBERNETES_VARIABLE.search(upper):
            continue
        setting = upper.removeprefix(PREFIX).lower()
        if setting not in Settings.model_fields:
            closest = _closest(setting)
            yield UnknownVariable(name, closest and f"{PREFIX}{closest.upper()}")


def _problem(part: Any, config: Path | None, overrides: Mapping[str, object], env: Mapping[str, str]) -> str:
    name = ".".join(map(str, part["loc"]))
    if part["type"] == "extra_forbidden":
        closest = _closest(name)
        hint = f"; did you mean {closest}?" if closest else ""
        return f"{config}: {name}: unknown setting{hint}"
    text = what_is_accepted(part)
    if not name:
        return text
    source = _source(name, config, overrides, env)
    # It may contain a password.
    secret = name in Settings.model_fields and not Settings.model_fields[name].repr
    if source is None or part["input"] is None:
        return f"{name}: {text}"
    return f"{name}: {text}; {'another value' if secret else _shown(part['input'])} was given {source}"


def _source(name: str, config: Path | None, overrides: Mapping[str, object], env: Mapping[str, str]) -> str | None:
    """Return the source of a setting: option, variable or file."""
    if name in overrides:
        return f"with --{name.replace('_', '-')}"
    variable = f"{PREFIX}{name}".upper()
    if actual := next((key for key in env if key.upper() == variable), None):
        return f"in {actual}"
    return f"in {config}" if config else None


def _closest(name: str) -> str | None:
    return next(iter(get_close_matches(name, Settings.model_fields, n=1)), None)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[:_MAX_SHOWN_CHARACTERS]}…"
