"""The canuse service."""

import os
import sys


def missing_package(error: ModuleNotFoundError) -> str:
    """Return the name of the package that an extra would install; raises the error if the module is one of ours."""
    package = (error.name or "").partition(".")[0]
    if package in ("", "canuse", "canuse_server"):
        raise error
    return package


def main() -> None:
    """Run the command `canuse`."""
    # gRPC writes lines about handshakes and ports to standard error, beside the command's one line that says what is
    # wrong. It reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from canuse_server.runtime import interrupts  # noqa: PLC0415

        interrupts.end_at_once()
        # Imported here, so that a missing extra is a sentence and not a traceback.
        from canuse_server.cli.exit_status import run  # noqa: PLC0415
        from canuse_server.cli.main import app  # noqa: PLC0415
    except ModuleNotFoundError as error:
        package = missing_package(error)
        sys.exit(
            f"the command canuse needs the package {package}: pip install 'canuse[cli]' to call a server, "
            "pip install 'canuse[server]' to run one"
        )
    except KeyboardInterrupt:
        sys.exit(130)
    run(app)
