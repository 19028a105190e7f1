"""TLS on the HTTP port: the same files as on the gRPC port, read anew when they have changed."""

import ssl

from canuse_server.transport.tls import Certificates, TlsError, TlsFiles


class HttpCertificates:
    """The certificate of the port. Each handshake asks whether there is another one, as those of gRPC do."""

    def __init__(self, files: TlsFiles) -> None:
        """Read the files; raises TlsError where they can't be used."""
        self._files = files
        self._certificates = Certificates(files)
        self.context = files.context()
        """The one to open the port with."""
        self._current = self.context
        self.context.sni_callback = self._before_handshake

    def _before_handshake(self, connection: ssl.SSLObject, name: str, context: ssl.SSLContext) -> None:
        if self._certificates.reload_if_changed() is not None:
            try:
                self._current = self._files.context()
            except (TlsError, OSError):
                return  # Changed again meanwhile: the next handshake looks once more.
        connection.context = self._current
