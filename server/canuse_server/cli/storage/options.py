"""The options of commands that use the store itself."""

import functools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from canuse_server import missing_package
from canuse_server.cli.connection import with_options_of
from canuse_server.cli.exit_status import EXIT_ERROR, tell

_P = ParamSpec("_P")

# Without `envvar`: the settings read these variables, and the option has precedence.
RedisUrl = Annotated[str | None, typer.Option("--redis-url", help="The store's URL, as for serve.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Directory of an embedded Valkey; a server may be using it.")
]
Config = Annotated[Path | None, typer.Option(help="The server's TOML file with settings.", envvar="CANUSE_CONFIG")]
Progress = Annotated[
    bool | None,
    typer.Option("--progress/--no-progress", help="Show the progress on standard error.", show_default="on a terminal"),
]


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Where the store is. What is not given is taken from the settings of the server, with their defaults."""

    redis_url: RedisUrl = field(default=None, repr=False)
    data_dir: DataDir = None
    config: Config = None

    def run(
        self,
        job: Callable[[Any, Any], Awaitable[None]],
        *,
        create: bool = False,
        timeout_seconds: float | None = None,
    ) -> None:
        """Run a job on the store; an error ends the command with one line and status 2.

        `create`: the data directory may be missing. `timeout_seconds` limits one answer of the store, by default to
        what large answers need. The arguments of the job are a Store and the Settings.
        """
        from canuse_server.cli.storage.opening import run_on_store  # noqa: PLC0415 - takes a second

        where = (self.redis_url, self.data_dir, self.config)
        if problem := run_on_store(*where, job, create=create, timeout_seconds=timeout_seconds):
            tell(problem)
            raise typer.Exit(EXIT_ERROR)


@contextmanager
def needs_server_packages() -> Iterator[None]:
    """Name the extra of a package that the block imports and that is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        tell(f"this command needs the package {missing_package(error)}: pip install 'canuse[server]'")
        raise typer.Exit(EXIT_ERROR) from None


def with_store(command: Callable[Concatenate[StoreOptions, _P], None]) -> Callable[..., None]:
    """Give a command the options of `StoreOptions`, and pass it them as its first argument."""

    @functools.wraps(command)
    def run(options: StoreOptions, /, *positional: _P.args, **named: _P.kwargs) -> None:
        with needs_server_packages():
            command(options, *positional, **named)

    return with_options_of(StoreOptions, run)
