"""The real Envoy with the configurations in deploy/envoy, in front of an application and in front of canuse."""

import json
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from support.certificates import Pair
from support.processes import START_SECONDS, STOP_SECONDS, free_port
from support.tools import ROOT, tool

CONFIGURATIONS = ROOT / "deploy" / "envoy"


class Application:
    """The application behind Envoy: an HTTP server that accepts everything and notes the paths requested.

    `bodies` has the JSON of its answers by path; other answers are empty.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.bodies: dict[str, bytes] = {}
        requests, bodies = self.requests, self.bodies

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                requests.append(self.path)
                body = bodies.get(self.path, b"")
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                """Log nothing: stderr is for failures."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever)

    def start(self) -> "Application":
        """Serve in a thread."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass(frozen=True)
class Answer:
    """What a caller of Envoy gets. `limits` has the headers `x-ratelimit-…` by the rest of their names."""

    status: int
    limits: dict[str, str]


def configure(folder: Path, name: str, changes: Mapping[str, str]) -> Path:
    """Write a file of deploy/envoy to a folder with some texts replaced, each of which occurs once; return its path."""
    text = (CONFIGURATIONS / name).read_text(encoding="utf-8")
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


class EnvoyProcess:
    """A running Envoy."""

    def __init__(self, folder: Path, name: str, canuse: str, changes: Mapping[str, str]) -> None:
        self._folder = folder
        self._admin_port = free_port()
        ports = {
            "port_value: 9901": f"port_value: {self._admin_port}",
            "port_value: 50051": f"port_value: {canuse.rpartition(':')[2]}",
        }
        self._configuration = configure(folder, name, {**changes, **ports})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it and wait until it accepts requests."""
        command = [tool("envoy"), "-c", str(self._configuration), "--concurrency", "1", "--disable-hot-restart"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*command, "--log-level", "warning"], stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            assert time.monotonic() < deadline, self._log.read_text()
            assert self._process.poll() is None, self._log.read_text()
            time.sleep(0.02)
        return self

    @property
    def _log(self) -> Path:
        return self._folder / "envoy.log"

    def _is_ready(self) -> bool:
        try:
            return self._ask(self._admin_port, "/ready", {})[0] == 200
        except OSError:
            return False

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    def counts(self, prefix: str) -> dict[str, int]:
        """Return Envoy's own counters whose names have a prefix, by the rest of their names."""
        _, _, body = self._ask(self._admin_port, "/stats?format=json", {})
        stats = {stat["name"]: stat["value"] for stat in json.loads(body)["stats"] if "name" in stat}
        return {name.removeprefix(prefix): value for name, value in stats.items() if name.startswith(prefix)}

    @staticmethod
    def _ask(port: int, path: str, headers: Mapping[str, str | bytes]) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        finally:
            connection.close()

    def stop(self) -> None:
        """End it."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(STOP_SECONDS)


class Envoy(EnvoyProcess):
    """Envoy in front of an application.

    `failure_mode_deny`: whether requests are refused while canuse does not answer. `api_key`: sent to canuse. `others`:
    further replacements in the configuration called `name`.
    """

    def __init__(
        self,
        folder: Path,
        canuse: str,
        application: Application,
        *,
        failure_mode_deny: bool = True,
        api_key: str | None = None,
        name: str = "ratelimit.yaml",
        others: Mapping[str, str] | None = None,
    ) -> None:
        self._port = free_port()
        changes = {
            "port_value: 8080": f"port_value: {self._port}",
            "port_value: 8000": f"port_value: {application.port}",
            "failure_mode_deny: true": f"failure_mode_deny: {str(failure_mode_deny).lower()}",
            # However slow the machine: the tests are about what is answered, not about speed.
            "timeout: 0.25s": f"timeout: {START_SECONDS}s",
        }
        if api_key is not None:
            changes |= {"# initial_metadata: ": "initial_metadata: ", "sk_live_0123456789abcdef": api_key}
        super().__init__(folder, name, canuse, {**changes, **(others or {})})

    def get(self, path: str, user_id: str | bytes | None, **others: str | bytes) -> Answer:
        """Make a request, as a user or anonymously, with further headers if given."""
        sent = {name.replace("_", "-"): value for name, value in others.items()}
        if user_id is not None:
            sent["x-user-id"] = user_id
        status, headers, _ = self._ask(self._port, path, sent)
        prefix = "x-ratelimit-"
        limits = {name.removeprefix(prefix): value for name, value in headers.items() if name.startswith(prefix)}
        return Answer(status, limits)


class TlsEnvoy(EnvoyProcess):
    """Envoy in front of canuse, with the certificate in `server`. With `client_ca` clients need a certificate of it."""

    def __init__(self, folder: Path, canuse: str, server: Pair, client_ca: Path | None = None) -> None:
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        files = {
            "/etc/envoy/certificates/server.pem": str(server.certificate),
            "/etc/envoy/certificates/server-key.pem": str(server.key),
            "{ path: /etc/envoy/certificates }": f"{{ path: {server.certificate.parent} }}",
        }
        certificate = configure(folder, "tls-certificate.yaml", files)
        changes = {
            "address: 0.0.0.0, port_value: 8443": f"address: 127.0.0.1, port_value: {port}",
            "path: /etc/envoy/tls-certificate.yaml": f"path: {certificate}",
            # So that tests can wait for it.
            "idle_timeout: 10s": "idle_timeout: 1s",
        }
        if client_ca:
            changes |= {
                "# validation_context: ": "validation_context: ",
                "# require_client_certificate: ": "require_client_certificate: ",
                "/etc/envoy/client-ca.pem": str(client_ca),
            }
        super().__init__(folder, "tls.yaml", canuse, changes)
