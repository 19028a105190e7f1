"""TLS on the public port: certificates from files, read anew when the files have changed.

gRPC asks before each handshake whether there is another certificate. Connections that stand keep theirs, so a change
drops no call. Files that can't be used, such as half-written ones, change nothing: what was read before goes on.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, cast

import grpc
import structlog

from canuse_server.settings import Settings

# None is one of its answers, which the types of grpc leave out.
_Fetcher = Callable[[], grpc.ServerCertificateConfiguration]

log = structlog.get_logger(__name__)

NO_PASSWORD: Final = ""
"""Given for an encrypted key, which is then refused: OpenSSL would ask for the password on the terminal."""


class TlsError(RuntimeError):
    """The files can't be used; it says which, and why."""


class _State(NamedTuple):
    """What tells whether a file has changed. A link that points elsewhere is another file."""

    device: int
    inode: int
    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files of a server: its certificates, the first one its own, and the key; `client_ca` is who may vouch for
    clients, which need a certificate then."""

    certificate: Path
    key: Path
    client_ca: Path | None

    @classmethod
    def of(cls, settings: Settings) -> "TlsFiles | None":
        """Return the files that the settings name, or None where TLS is not wanted."""
        if settings.tls_certificate is None or settings.tls_key is None:
            return None
        return cls(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)

    def state(self) -> tuple[_State, ...]:
        """Return what changes when a file does; raises OSError where one is missing."""
        paths = (self.certificate, self.key, *([self.client_ca] if self.client_ca else []))
        found = (path.stat() for path in paths)
        return tuple(_State(each.st_dev, each.st_ino, each.st_size, each.st_mtime_ns) for each in found)

    def read(self) -> grpc.ServerCertificateConfiguration:
        """Read the files and check that they fit together.

        Raises:
            TlsError: one can't be read, is not PEM, or the key is not that of the certificate.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate, key = _read("tls_certificate", self.certificate), _read("tls_key", self.key)
        try:
            context.load_cert_chain(self.certificate, self.key, lambda: NO_PASSWORD)
        except (OSError, ValueError) as error:
            wanted = "a certificate in PEM and its key in PEM, not encrypted"
            raise TlsError(f"tls_certificate, tls_key: {self.certificate} and {self.key} are not {wanted}") from error
        client_ca = None
        if self.client_ca is not None:
            client_ca = _read("tls_client_ca", self.client_ca)
            try:
                context.load_verify_locations(cadata=client_ca.decode("ascii", "replace"))
            except (OSError, ValueError) as error:
                raise TlsError(f"tls_client_ca: {self.client_ca} does not contain certificates in PEM") from error
        return grpc.ssl_server_certificate_configuration([(key, certificate)], client_ca)


class Certificates:
    """The certificate of a running server: what was read last that can be used."""

    def __init__(self, files: TlsFiles) -> None:
        """Read the files; raises TlsError where they can't be used."""
        self._files = files
        self._looked_at = _state(files)
        self._first = files.read()
        self._problem = ""

    @property
    def credentials(self) -> grpc.ServerCredentials:
        """Return what a port of gRPC is opened with."""
        return grpc.dynamic_ssl_server_credentials(
            self._first, cast("_Fetcher", self.renewed), require_client_authentication=self._files.client_ca is not None
        )

    @property
    def description(self) -> str:
        """Say for the line at the start what is asked of clients."""
        return "mTLS" if self._files.client_ca else "TLS"

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what is in the files if they have changed and can be used, else None. It never raises: that would end
        the handshake for which gRPC asks."""
        try:
            state = _state(self._files)
            if state == self._looked_at:
                return None
            self._looked_at = state
            configuration = self._files.read()
            if _state(self._files) != state:
                # Changed again while it was read: what was checked may not be what was read. The next one looks again.
                self._looked_at = ()
                return None
        except TlsError as error:
            self._tell(str(error))
            return None
        self._problem = ""
        log.info("the TLS files have changed; new connections use the new certificate")
        return configuration

    def _tell(self, problem: str) -> None:
        """Log a problem once: whoever connects again and again is not to fill the log."""
        if problem != self._problem:
            self._problem = problem
            log.warning("the changed TLS files are invalid; the previous certificate stays in use", cause=problem)


def certificates(settings: Settings) -> Certificates | None:
    """Return the certificate that the settings name; raises TlsError where it can't be used."""
    files = TlsFiles.of(settings)
    return None if files is None else Certificates(files)


def _state(files: TlsFiles) -> tuple[_State, ...]:
    try:
        return files.state()
    except OSError as error:
        raise TlsError(f"{error.filename}: {error.strerror}") from error


def _read(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(f"{setting}: {path}: {error.strerror}") from error
