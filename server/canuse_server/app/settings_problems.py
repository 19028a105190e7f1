"""What is wrong with settings: which one, where it was given, and what is accepted."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from canuse_server.settings import Settings

PREFIX: Final = "CANUSE_"
OF_COMMANDS: Final = frozenset(
    f"{PREFIX}{name}"
    for name in (
        "CONFIG",
        "DEBUG",
        "SERVER",
        "API_KEY",
        "CLIENT_TLS",
        "CLIENT_TLS_CA",
        "CLIENT_TLS_CERTIFICATE",
        "CLIENT_TLS_KEY",
    )
)
"""Variables that are options of the command and no settings of the server."""
_OF_KUBERNETES: Final = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT$|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?$")
"""What Kubernetes sets for each service, also for one whose name begins with canuse."""
_SHOULD: Final = re.compile(r"^(Input|String|Value) should ")
_SHOWN: Final = 40


class Unknown(NamedTuple):
    """A variable that is no setting, and the one that may have been meant."""

    name: str
    closest: str | None


def problems(error: ValidationError, config: Path | None, given: Mapping[str, object], env: Mapping[str, str]) -> str:
    """Return all that is wrong in one line; `given` are the settings of the command line."""
    return "; ".join(_problem(part, config, given, env) for part in error.errors())


def unknown_variables(env: Mapping[str, str]) -> Iterator[Unknown]:
    """Yield the variables that look like settings and are none: a misspelt one changes nothing."""
    for name in sorted(env):
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in OF_COMMANDS or _OF_KUBERNETES.search(upper):
            continue
        setting = upper.removeprefix(PREFIX).lower()
        if setting not in Settings.model_fields:
            closest = _closest(setting)
            yield Unknown(name, closest and f"{PREFIX}{closest.upper()}")


def _problem(part: Any, config: Path | None, given: Mapping[str, object], env: Mapping[str, str]) -> str:
    name = ".".join(map(str, part["loc"]))
    if part["type"] == "extra_forbidden":
        closest = _closest(name)
        meant = f"; did you mean {closest}?" if closest else ""
        return f"{config}: {name}: unknown setting{meant}"
    text = _SHOULD.sub("must ", part["msg"].removeprefix("Value error, "))
    if not name:
        return text
    source = _source(name, config, given, env)
    # It may hold a password.
    secret = name in Settings.model_fields and not Settings.model_fields[name].repr
    if source is None or part["input"] is None:
        return f"{name}: {text}"
    return f"{name}: {text}; {'another value' if secret else _shown(part['input'])} was given {source}"


def _source(name: str, config: Path | None, given: Mapping[str, object], env: Mapping[str, str]) -> str | None:
    """Return where a setting was given."""
    if name in given:
        return f"with --{name.replace('_', '-')}"
    variable = f"{PREFIX}{name}".upper()
    if found := next((each for each in env if each.upper() == variable), None):
        return f"in {found}"
    return f"in {config}" if config else None


def _closest(name: str) -> str | None:
    return next(iter(get_close_matches(name, Settings.model_fields, n=1)), None)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
