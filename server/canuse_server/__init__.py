"""The canuse service."""

import os
import sys


def main() -> None:
    """Run the command `canuse`."""
    # gRPC writes lines of its own to standard error, of handshakes and of ports, beside the one that tells what is
    # wrong. It reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        # Only here can a missing extra be told in words.
        from canuse_server.cli.exit_status import run  # noqa: PLC0415
        from canuse_server.cli.main import app  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("canuse", "canuse_server"):
            raise
        sys.exit(f"the command canuse needs the package {error.name}: pip install 'canuse[server]'")
    except KeyboardInterrupt:
        sys.exit(130)
    run(app)
