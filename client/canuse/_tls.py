"""TLS between a client and the server."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import grpc

from canuse._arguments import bad_argument
from canuse.errors import BadArgument


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM with which a client speaks TLS. They are read once, when the client is made.

    Attributes:
        ca: The CAs of which one has to vouch for the server. By default those that gRPC brings, or that the environment
            variable `GRPC_DEFAULT_SSL_ROOTS_FILE_PATH` names.
        certificate: The client's own certificate, for a server that asks for one (mTLS), and those between it and the
            CA.
        key: The key of `certificate`.
    """

    ca: str | PathLike[str] | None = None
    certificate: str | PathLike[str] | None = None
    key: str | PathLike[str] | None = None

    def __post_init__(self) -> None:
        """Refuse what names no file, and a certificate without its key."""
        files: tuple[tuple[str, Any], ...] = (("ca", self.ca), ("certificate", self.certificate), ("key", self.key))
        for name, path in files:
            if path is not None and (not isinstance(path, str | PathLike) or path == "" or "\0" in str(path)):
                raise bad_argument(name, path, "the path of a file")
        if (self.certificate is None) != (self.key is None):
            raise BadArgument.of("certificate" if self.key is None else "key", "`certificate` and `key` go together")

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files; raises OSError where one can't be read."""
        return grpc.ssl_channel_credentials(_read(self.ca), _read(self.key), _read(self.certificate))


def _read(path: str | PathLike[str] | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()
