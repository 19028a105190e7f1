"""TLS for the commands that ask a running server: options that all of them have, given to them in one place."""

import functools
from collections.abc import Callable
from contextvars import ContextVar
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, Final, get_type_hints

import typer

import canuse

# Their variables in the environment are not called CANUSE_TLS_…: those are the server's own settings.
Tls = Annotated[bool, typer.Option("--tls", envvar="CANUSE_CLIENT_TLS", help="Speak TLS. The next three imply it.")]
Ca = Annotated[
    Path | None,
    typer.Option("--tls-ca", envvar="CANUSE_CLIENT_TLS_CA", help="The server's CA, PEM. Default: public CAs."),
]
Certificate = Annotated[
    Path | None,
    typer.Option("--tls-certificate", envvar="CANUSE_CLIENT_TLS_CERTIFICATE", help="The client's certificate, PEM."),
]
Key = Annotated[Path | None, typer.Option("--tls-key", envvar="CANUSE_CLIENT_TLS_KEY", help="Its key, PEM.")]

OPTIONS: Final = (
    Parameter("tls", Parameter.KEYWORD_ONLY, annotation=Tls, default=False),
    Parameter("tls_ca", Parameter.KEYWORD_ONLY, annotation=Ca, default=None),
    Parameter("tls_certificate", Parameter.KEYWORD_ONLY, annotation=Certificate, default=None),
    Parameter("tls_key", Parameter.KEYWORD_ONLY, annotation=Key, default=None),
)

_given: ContextVar[dict[str, Any]] = ContextVar("_given")


def give_options(app: typer.Typer) -> None:
    """Give the options of TLS to all commands that ask a server, those of groups too."""
    for command in app.registered_commands:
        if command.callback is not None and "server" in signature(command.callback).parameters:
            command.callback = _with_options(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            give_options(group.typer_instance)


def _with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command with the options, which are kept for `tls_wanted` while it runs."""

    @functools.wraps(command)
    def run(**arguments: Any) -> Any:
        token = _given.set({option.name: arguments.pop(option.name) for option in OPTIONS})
        try:
            return command(**arguments)
        finally:
            _given.reset(token)

    # What Typer reads the options from.
    old = signature(command)
    run.__signature__ = old.replace(parameters=[*old.parameters.values(), *OPTIONS])  # type: ignore[attr-defined]
    added = {option.name: option.annotation for option in OPTIONS}
    run.__annotations__ = get_type_hints(command, include_extras=True) | added
    return run


def tls_wanted() -> canuse.Tls | bool:
    """Return what the options of the command that runs say; BadArgument where they do not go together."""
    given = _given.get()
    ca, certificate, key = (given[name] for name in ("tls_ca", "tls_certificate", "tls_key"))
    if ca is certificate is key is None:
        return bool(given["tls"])
    return canuse.Tls(ca, certificate, key)


def option_of(path: object) -> str:
    """Return the option that names a file, to put before it; empty where none does."""
    names = (option.name for option in OPTIONS if str(_given.get()[option.name]) == str(path))
    return "".join(f"--{name.replace('_', '-')}: " for name in names)
