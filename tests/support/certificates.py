"""Real certificates created for a test: a CA, and certificates for servers and clients."""

import os
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

import trustme

from canuse import Tls
from support.processes import START_SECONDS


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in files."""

    certificate: Path
    key: Path


class Authority:
    """A CA for one test, with files in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA()
        self.path = folder / "ca.pem"
        replace_file(self.path, self._authority.cert_pem.bytes())

    def server(self, name: str = "server") -> Pair:
        """Sign a certificate for the loopback; one with the same name replaces the files."""
        return self._pair(name, "127.0.0.1", "localhost")

    def client(self, name: str = "client") -> Pair:
        """Sign a certificate for a client."""
        return self._pair(name, f"{name}@example.org")

    def _pair(self, name: str, *identities: str) -> Pair:
        signed = self._authority.issue_cert(*identities)
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}-key.pem")
        # The key first: whoever reads in between gets a certificate and a key that do not match, and must cope with it.
        replace_file(pair.key, signed.private_key_pem.bytes())
        replace_file(pair.certificate, b"".join(part.bytes() for part in signed.cert_chain_pems))
        return pair

    def trusted(self, client: Pair | None = None) -> Tls:
        """Return the TLS settings of a client that trusts this CA."""
        return Tls(self.path) if client is None else Tls(self.path, client.certificate, client.key)


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file atomically, as tools that renew certificates do."""
    other = path.with_suffix(".new")
    other.write_bytes(content)
    os.replace(other, path)


def served_certificate(address: str) -> bytes:
    """Connect and return the certificate that the server presents."""
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            plain = socket.create_connection((host, int(port)), START_SECONDS)
            with plain, context.wrap_socket(plain) as secured:
                certificate = secured.getpeercert(binary_form=True)
            assert certificate is not None
            return certificate
        except (ssl.SSLEOFError, ConnectionError):
            # A connection may end before a call is made on it; clients connect again.
            if time.monotonic() >= until:
                raise


def first_certificate(path: Path) -> bytes:
    """Return the first certificate of a file, in the form that `served_certificate` returns."""
    end = "-----END CERTIFICATE-----\n"
    return ssl.PEM_cert_to_DER_cert(path.read_text().partition(end)[0] + end)
