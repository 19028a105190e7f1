"""TLS on the public port, with certificates that are reloaded when their files change.

gRPC asks for a new certificate before each handshake. Existing connections keep theirs, so a change drops no call.
While the files are invalid, for example half-written, the previous certificate stays in use.
"""

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, cast

import grpc
import structlog

from canuse_server.settings import Settings

# It may also return None, which the types of grpc omit.
_Fetcher = Callable[[], grpc.ServerCertificateConfiguration]

log = structlog.get_logger(__name__)

NO_PASSWORD: Final = ""
"""The password for encrypted keys, so that they are refused; without one OpenSSL asks on the terminal."""

SETTLE_SECONDS: Final = 0.1
"""How long a handshake that finds a new certificate waits before gRPC uses it; see `Certificates.fetch`."""


class TlsError(RuntimeError):
    """The TLS files are invalid; the message names the file and the problem."""


class _State(NamedTuple):
    """The state of a file, to detect changes, also of the target of a symbolic link."""

    device: int
    inode: int
    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The TLS files of a server: `certificate` with the intermediate certificates, `key`, and `client_ca` with the CAs
    of client certificates. With `client_ca`, clients must present a certificate."""

    certificate: Path
    key: Path
    client_ca: Path | None

    @classmethod
    def of(cls, settings: Settings) -> "TlsFiles | None":
        """Return the files from the settings, or None if TLS is off."""
        if settings.tls_certificate is None or settings.tls_key is None:
            return None
        return cls(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)

    def state(self) -> tuple[_State, ...]:
        """Return the state of the files; raise OSError if one is missing."""
        paths = (self.certificate, self.key, *([self.client_ca] if self.client_ca else []))
        stats = (path.stat() for path in paths)
        return tuple(_State(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats)

    def read(self) -> grpc.ServerCertificateConfiguration:
        """Read the files and check that they match.

        Raises:
            TlsError: a file cannot be read or is not PEM, or the key does not belong to the certificate.
        """
        certificate, key = _read("tls_certificate", self.certificate), _read("tls_key", self.key)
        client_ca = None if self.client_ca is None else _read("tls_client_ca", self.client_ca)
        self.context()
        return grpc.ssl_server_certificate_configuration([(key, certificate)], client_ca)

    def context(self) -> ssl.SSLContext:
        """Read the files for a port that is not one of gRPC; raises TlsError as `read` does, or OSError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key, lambda: NO_PASSWORD)
        except (OSError, ValueError) as error:
            expected = "a certificate in PEM and its key in PEM, not encrypted"
            raise TlsError(f"tls_certificate, tls_key: {self.certificate} and {self.key} are not {expected}") from error
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except (OSError, ValueError) as error:
                raise TlsError(f"tls_client_ca: {self.client_ca} does not contain certificates in PEM") from error
            context.verify_mode = ssl.CERT_REQUIRED
        context.set_alpn_protocols(["http/1.1"])
        return context


class Certificates:
    """The current certificate of a running server: the last valid one that was read."""

    def __init__(self, files: TlsFiles) -> None:
        """Read the files; raise TlsError if they are invalid."""
        self._files = files
        self._checked_state = _state(files)
        self._initial = files.read()
        self._problem = ""

    @property
    def credentials(self) -> grpc.ServerCredentials:
        """The credentials for a port of gRPC."""
        return grpc.dynamic_ssl_server_credentials(
            self._initial,
            cast("_Fetcher", self.fetch),
            require_client_authentication=self._files.client_ca is not None,
        )

    @property
    def description(self) -> str:
        """The name of the protocol in the line printed at startup."""
        return "mTLS" if self._files.client_ca else "TLS"

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the new certificate to gRPC, which calls this before each handshake, if there is one.

        gRPC frees the previous certificate at once, without regard to handshakes in other threads that have asked
        before, and are about to use it: connections broke, or the process crashed (grpc/grpc#36693). While this waits,
        they take hold of it, and further handshakes wait.
        """
        if (configuration := self.reload_if_changed()) is not None:
            time.sleep(SETTLE_SECONDS)
        return configuration

    def reload_if_changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the new certificate if the files have changed and are valid, else None.

        It never raises: an exception would fail the handshake for which gRPC calls it.
        """
        try:
            state = _state(self._files)
            if state == self._checked_state:
                return None
            self._checked_state = state
            configuration = self._files.read()
            if _state(self._files) != state:
                # Changed while it was read, so what was read may not be what was checked. The next handshake retries.
                self._checked_state = ()
                return None
        except TlsError as error:
            self._log_problem(str(error))
            return None
        self._problem = ""
        log.info("the TLS files have changed; new connections use the new certificate")
        return configuration

    def _log_problem(self, problem: str) -> None:
        """Log a problem once, so that repeated connections do not fill the log."""
        if problem != self._problem:
            self._problem = problem
            log.warning("the changed TLS files are invalid; the previous certificate stays in use", cause=problem)


def certificates(settings: Settings) -> Certificates | None:
    """Return the certificates from the settings, or None if TLS is off; raise TlsError if they are invalid."""
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
