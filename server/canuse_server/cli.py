"""The command `canuse`."""

import asyncio
import signal
import sys
import tomllib
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError

from canuse_server import app as service
from canuse_server import cli_client
from canuse_server.observe import logs
from canuse_server.settings import Settings
from canuse_server.store.embedded import DataDirInUse, EmbeddedStartError
from canuse_server.store.errors import StoreError

app = typer.Typer(
    help="canuse answers one question for every other service: may this user use this feature now?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
cli_client.register(app)

START_ERRORS = (service.ListenError, DataDirInUse, EmbeddedStartError, StoreError, OSError)


@app.command()
def serve(
    listen: Annotated[str | None, typer.Option(help="Address and port.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the embedded Valkey keeps its data.")] = None,
    redis_url: Annotated[str | None, typer.Option(help="A Redis 7+ or Valkey 8+ to use instead.")] = None,
    transport: Annotated[str | None, typer.Option(help="auto, native or grpcio.")] = None,
    clock: Annotated[str | None, typer.Option(help="system, or manual for tests.")] = None,
    demo: Annotated[bool | None, typer.Option("--demo", help="Load the example catalogue.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings.", envvar="CANUSE_CONFIG")] = None,
) -> None:
    """Serve the API until SIGTERM or Ctrl-C. Every setting can also be given as CANUSE_… or in the file."""
    options = {
        "listen": listen,
        "data_dir": data_dir,
        "redis_url": redis_url,
        "transport": transport,
        "clock": clock,
        "demo": demo,
    }
    try:
        settings = Settings.load(config, {name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        _exit("; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors()))
    except (OSError, tomllib.TOMLDecodeError) as error:
        _exit(f"{config}: {error}")
    logs.configure(settings.log_level)
    try:
        asyncio.run(_serve(settings))
    except START_ERRORS as error:
        _exit(str(error))


async def _serve(settings: Settings) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await service.serve(settings, lambda line: print(line, flush=True), stop)  # noqa: T201 - the line that says so


def _exit(text: str) -> NoReturn:
    sys.exit(f"canuse: {text}")
