"""The canuse service."""

import sys


def main() -> None:
    """Run the command `canuse`."""
    try:
        from canuse_server import cli, cli_exit  # noqa: PLC0415 - only here can a missing extra be told in words
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("canuse", "canuse_server"):
            raise
        sys.exit(f"the command canuse needs the package {error.name}: pip install 'canuse[server]'")
    except KeyboardInterrupt:
        sys.exit(130)
    cli_exit.run(cli.app)
