"""The command `canuse`."""

import json
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from canuse import service_config
from canuse_server import missing_package
from canuse_server.cli import commands
from canuse_server.cli.exit_status import EPILOG, EXIT_NO, OutputError, tell
from canuse_server.cli.output import print_json

app = typer.Typer(
    help="canuse answers one question for every other service: may this user use this feature now?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    epilog=EPILOG,
)
commands.register(app)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"canuse {metadata.version('canuse')}")
        raise typer.Exit


@app.callback()
def main(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options before a command."""


@app.command("service-config")
def print_service_config(
    *,
    retry_uses: Annotated[
        bool, typer.Option("--retry-uses", help="Also retry calls that record uses: each must have an event id.")
    ] = False,
) -> None:
    """Print the gRPC service config, in JSON: which calls a gRPC client in any language retries, and how."""
    print_json(json.loads(service_config(retry_uses=retry_uses)))


@app.command()
def serve(
    listen: Annotated[str | None, typer.Option(help="Address and port.")] = None,
    http_listen: Annotated[str | None, typer.Option(help="Address and port of HTTP; empty: off.")] = None,
    ops_listen: Annotated[str | None, typer.Option(help="Address and port of health and metrics; empty: off.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Directory for the data of the embedded Valkey.")] = None,
    redis_url: Annotated[str | None, typer.Option(help="URL of a Redis 7+ or Valkey 8+ to use instead.")] = None,
    transport: Annotated[str | None, typer.Option(help="auto, native or grpcio.")] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM file with the certificate for TLS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file with its private key.")] = None,
    tls_client_ca: Annotated[Path | None, typer.Option(help="PEM file with the CAs of client certificates.")] = None,
    workers: Annotated[int | None, typer.Option(help="Number of server processes.")] = None,
    clock: Annotated[str | None, typer.Option(help="system, or manual for tests.")] = None,
    insecure_no_auth: Annotated[
        bool | None, typer.Option("--insecure-no-auth", help="Do not require API keys, on any address.")
    ] = None,
    durability: Annotated[str | None, typer.Option(help="What a write must reach: memory, fsync or replica.")] = None,
    demo: Annotated[bool | None, typer.Option("--demo", help="Load the example catalogue and users.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings.", envvar="CANUSE_CONFIG")] = None,
) -> None:
    """Serve the API until SIGTERM or Ctrl-C. Every setting can also be given as CANUSE_… or in the file."""
    options = {
        "listen": listen,
        "http_listen": http_listen,
        "ops_listen": ops_listen,
        "data_dir": data_dir,
        "redis_url": redis_url,
        "transport": transport,
        "tls_certificate": tls_certificate,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
        "workers": workers,
        "clock": clock,
        "insecure_no_auth": insecure_no_auth,
        "durability": durability,
        "demo": demo,
    }
    # Imported here, since it takes a second and is not installed with the extra `cli`.
    try:
        import structlog  # noqa: PLC0415

        from canuse_server.app.run import run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        tell(f"serve needs the package {missing_package(error)}: pip install 'canuse[server]'")
        raise typer.Exit(EXIT_NO) from None

    try:
        problem = run(config, {name: value for name, value in options.items() if value is not None})
    except OutputError:
        raise
    except Exception:
        # The command's one-line message has no traceback; the log of a server needs it.
        structlog.get_logger(__name__).critical("the server ended by an unexpected error", exc_info=True)
        raise
    if problem:
        tell(problem)
        raise typer.Exit(EXIT_NO)
