"""The port of a running server for health and metrics."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

from canuse_server.cli.exit_status import EXIT_ERROR, tell
from canuse_server.cli.output import printable

TIMEOUT_SECONDS: Final = 5.0
"""Maximum time to wait for the connection, and for each part of the answer."""
MAX_BYTES: Final = 64 << 20

Ops = Annotated[
    str, typer.Option("--ops", envvar="CANUSE_OPS", metavar="URL", help="The server's port for health and metrics.")
]
DEFAULT: Final = "http://127.0.0.1:9464"


class NoAnswer(Exception):  # noqa: N818 - it is an answer to the user
    """The port cannot be asked, or its answer is not canuse's; the message says why."""


def get(url: str, path: str) -> tuple[int, str]:
    """Return the status and the text at a path of the port; NoAnswer if there is none."""
    host, port = _address(url)
    # Neither a proxy nor a redirect: a probe asks the process itself.
    connection = HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(MAX_BYTES).decode(errors="replace")
    except (OSError, HTTPException) as error:
        raise NoAnswer(f"no answer from {url}: {str(error) or type(error).__name__}") from error
    finally:
        connection.close()


def _address(url: str) -> tuple[str, int]:
    """Return host and port of a URL; NoAnswer if it is no such URL."""
    with suppress(ValueError):
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme == "http" and parts.hostname and parts.port and not parts.path.strip("/"):
            return parts.hostname, parts.port
    raise NoAnswer(f"--ops: {url!r} is not a URL like {DEFAULT}")


@contextmanager
def reported() -> Iterator[None]:
    """End the command where the port does not answer: one line on standard error, and status 2."""
    try:
        yield
    except NoAnswer as error:
        tell(printable(str(error)))
        raise typer.Exit(EXIT_ERROR) from None
