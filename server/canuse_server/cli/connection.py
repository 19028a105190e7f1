"""The options of commands that call a running server, and their client."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Concatenate, Final, ParamSpec, TypeVar, cast

import typer

import canuse
from canuse import _environment
from canuse_server.cli.exit_status import EXIT_ERROR, tell
from canuse_server.cli.output import printable

_P = ParamSpec("_P")
_T = TypeVar("_T")

Server = Annotated[
    str, typer.Option("--server", envvar=_environment.SERVER, help="The server's address, host:port or unix:/path.")
]
ApiKey = Annotated[str | None, typer.Option("--api-key", envvar=_environment.API_KEY, help="The API key to send.")]
UseTls = Annotated[bool, typer.Option("--tls", envvar=_environment.TLS, help="Use TLS. The next three imply it.")]
TlsCa = Annotated[
    Path | None,
    typer.Option("--tls-ca", envvar=_environment.TLS_CA, help="The server's CA, PEM. Default: public CAs."),
]
TlsCertificate = Annotated[
    Path | None,
    typer.Option("--tls-certificate", envvar=_environment.TLS_CERTIFICATE, help="The client's certificate, PEM."),
]
TlsKey = Annotated[Path | None, typer.Option("--tls-key", envvar=_environment.TLS_KEY, help="Its key, PEM.")]

_OPTION_BY_ARGUMENT: Final = {
    "target": "--server",
    "api_key": "--api-key",
    "ca": "--tls-ca",
    "certificate": "--tls-certificate",
    "key": "--tls-key",
}
"""The options by the names of the client's arguments."""


_RETRY: Final = canuse.Retry(max_seconds=1)
"""People who wait for a command learn soon that nobody answers."""


class Refused(Exception):  # noqa: N818 - it is an answer to the user
    """Options that cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A running server and how to call it. The fields are options of each command `with_connection`."""

    server: Server = "127.0.0.1:50051"
    api_key: ApiKey = field(default=None, repr=False)
    tls: UseTls = False
    tls_ca: TlsCa = None
    tls_certificate: TlsCertificate = None
    tls_key: TlsKey = None

    @contextmanager
    def client(self) -> Iterator[canuse.Client]:
        """Yield a client; a call that fails ends the command with one line on standard error and status 2."""
        try:
            with self.open() as client:
                yield client
        except (canuse.CanuseError, Refused) as error:
            tell(printable(self._in_one_line(error)))
            raise typer.Exit(EXIT_ERROR) from None

    def open(self) -> canuse.Client:
        """Return a client; CanuseError or Refused if an option cannot be used."""
        if self.api_key == "":
            raise Refused("--api-key: must not be empty; omit the option to send no key")
        try:
            # The command has read the environment: what it did not find there, the client does not look for again.
            return canuse.Client(self.server, api_key=self.api_key or "", tls=self._tls(), retry=_RETRY)
        except canuse.CanuseError:
            raise
        except OSError as error:
            raise Refused(f"{self._option_of(error.filename)}{error.filename}: {error.strerror}") from error
        except ValueError as error:
            raise Refused(str(error)) from error

    @property
    def uses_tls(self) -> bool:
        """Whether calls are encrypted."""
        return bool(self.tls or self.tls_ca or self.tls_certificate or self.tls_key)

    def _tls(self) -> canuse.Tls | bool:
        """Return the TLS settings; BadArgument if they cannot be combined."""
        if self.tls_ca is self.tls_certificate is self.tls_key is None:
            return self.tls
        return canuse.Tls(self.tls_ca, self.tls_certificate, self.tls_key)

    def _option_of(self, path: object) -> str:
        """Return the option that names a file, to put before it; empty if none does."""
        files = {"--tls-ca": self.tls_ca, "--tls-certificate": self.tls_certificate, "--tls-key": self.tls_key}
        return "".join(f"{option}: " for option, file in files.items() if str(file) == str(path))

    def _in_one_line(self, error: canuse.CanuseError | Refused) -> str:
        """Return the message of an error, with the command's options in place of the client's arguments."""
        message = " ".join(str(error).split())
        if isinstance(error, canuse.BadArgument):
            names = {violation.field for violation in error.violations}
            for name in names & _OPTION_BY_ARGUMENT.keys():
                message = message.replace(f"{name}:", f"{_OPTION_BY_ARGUMENT[name]}:", 1)
        elif isinstance(error, canuse.Unavailable) and not error.reason:
            return f"no answer from {self.server}: {message}"
        return message


def with_connection(command: Callable[Concatenate[Connection, _P], None]) -> Callable[..., None]:
    """Give a command the options of `Connection`, and pass it the connection as its first argument."""
    return with_options_of(Connection, command)


def with_options_of(kind: type[_T], command: Callable[Concatenate[_T, _P], None]) -> Callable[..., None]:
    """Give a command the fields of a data class as options, and pass it an instance as its first argument."""
    options = fields(cast("Any", kind))

    @functools.wraps(command)
    def run(**arguments: Any) -> None:
        first = kind(**{option.name: arguments.pop(option.name) for option in options})
        command(first, **arguments)  # type: ignore[call-arg]  # Typer passes everything by name

    # Typer reads the options of a command from its signature.
    _, *parameters = signature(command).parameters.values()
    parameters += [
        Parameter(option.name, Parameter.KEYWORD_ONLY, annotation=option.type, default=option.default)
        for option in options
    ]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return run
