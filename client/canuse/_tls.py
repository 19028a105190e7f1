"""TLS between a client and the server."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import grpc

from canuse._arguments import bad_argument
from canuse.errors import BadArgument


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files for the TLS of a client. They are read once, when the client is created.

    Attributes:
        ca: The CAs of which one must have signed the server's certificate. Default: those that gRPC contains, or those
            of the file that the environment variable `GRPC_DEFAULT_SSL_ROOTS_FILE_PATH` names.
        certificate: The client's certificate with its intermediate certificates, for a server that requires one (mTLS).
        key: The private key of `certificate`.
    """

    ca: str | PathLike[str] | None = None
    certificate: str | PathLike[str] | None = None
    key: str | PathLike[str] | None = None

    def __post_init__(self) -> None:
        """Refuse a value that is not a path, and a certificate without its key."""
        files: tuple[tuple[str, Any], ...] = (("ca", self.ca), ("certificate", self.certificate), ("key", self.key))
        for name, path in files:
            if path is not None and (not isinstance(path, str | PathLike) or path == "" or "\0" in str(path)):
                raise bad_argument(name, path, "the path of a file")
        if (self.certificate is None) != (self.key is None):
            argument = "certificate" if self.key is None else "key"
            raise BadArgument.of(argument, "`certificate` and `key` must be set together")

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files; OSError if one cannot be read."""
        return self.credentials_maker()()

    def credentials_maker(self) -> Callable[[], grpc.ChannelCredentials]:
        """Read the files, and return what makes the credentials; OSError if a file cannot be read."""
        return partial(grpc.ssl_channel_credentials, _read(self.ca), _read(self.key), _read(self.certificate))


def _read(path: str | PathLike[str] | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()
