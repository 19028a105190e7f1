"""A real server for tests: a process on an embedded Valkey, with a manual clock, that `reset` empties."""

import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from threading import Timer, current_thread, main_thread
from typing import Any, Final, Self, cast

import grpc

from canuse._arguments import timestamp
from canuse._channel import channel_options
from canuse.client import Client
from canuse.errors import from_rpc_error
from canuse.testing import v1
from canuse.testing.definitions import Definitions

START_SECONDS: Final = 60
STOP_SECONDS: Final = 30
_LOG_BYTES: Final = 4000


class ServerNotStarted(RuntimeError):  # noqa: N818 - it says what happened
    """The server did not start; the message has the end of its output."""


class CanuseServer(Definitions):
    """A canuse server as a process of its own, for tests. It needs `pip install 'canuse[server]'`.

        with CanuseServer() as server:
            server.package("pro", {"api-calls": "100/month"})
            server.user("124", "pro")
            assert server.client.can_use("124", "api-calls")

    Calls need no API key until a test creates one. Its clock stands still until it is moved. The data is in a temporary
    folder and is deleted with it.
    """

    def __init__(self, settings: Mapping[str, object] | None = None) -> None:
        """Prepare a server.

        Args:
            settings: Settings of the server by name, as docs/settings.md lists them: `{"default_package": "free"}`.
        """
        self.address = ""
        """Where it serves gRPC, such as 127.0.0.1:41233."""
        self.http_url = ""
        """Where it serves HTTP, if the setting `http_listen` (such as 127.0.0.1:0) says so. Empty: it does not."""
        self._settings = dict(settings or {})
        self._folder: Path | None = None
        self._process: subprocess.Popen[str] | None = None
        self._channel: grpc.Channel | None = None
        self._stack = ExitStack()

    def start(self) -> Self:
        """Start it and wait until it is ready. Raises ServerNotStarted."""
        atexit.register(self.stop)
        self._stack.callback(atexit.unregister, self.stop)
        self._start()
        self._channel = grpc.insecure_channel(self.address, channel_options())
        self._stack.callback(self._channel.close)
        return self

    def stop(self) -> None:
        """Stop it and delete its data. Does nothing if it does not run."""
        self._stop()
        self._stack.close()
        self.address, self._channel = "", None

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()

    @property
    def client(self) -> Client:
        """A client of the server. It may be closed: the next one is another."""
        return Client(channel=self._open_channel)

    @property
    def now(self) -> datetime:
        """The time of the server's clock."""
        return _datetime(self._call(v1.ClockServiceStub(self._open_channel).GetTime, v1.GetTimeRequest()).time)

    def set_time(self, time: datetime) -> datetime:
        """Move the clock forward to a time with a time zone, and return it. InvalidArgument if it is in the past."""
        request = v1.SetTimeRequest(time=timestamp("time", time))
        return _datetime(self._call(v1.ClockServiceStub(self._open_channel).SetTime, request).time)

    def reset(self, time: datetime | None = None) -> None:
        """Delete everything, and set the clock, also back. Default: the present.

        After a test that created API keys, it starts the server again, which takes longer.
        """
        request = v1.ResetStoreRequest(time=None if time is None else timestamp("time", time))
        try:
            v1.StoreServiceStub(self._open_channel).ResetStore(request, timeout=START_SECONDS)
        except grpc.RpcError as error:
            if cast("Any", error).code() is not grpc.StatusCode.UNAUTHENTICATED:
                raise from_rpc_error(error) from error
            self._stop()
            self._start()
            self._call(v1.StoreServiceStub(self._open_channel).ResetStore, request)

    def set_store_available(self, available: bool) -> None:
        """Make the store unavailable, as if it did not answer, or available again. Its data stays."""
        request = v1.SetStoreAvailabilityRequest(available=available)
        self._call(v1.StoreServiceStub(self._open_channel).SetStoreAvailability, request)

    @property
    def log(self) -> str:
        """What the server has written to standard error."""
        path = self._folder and self._folder / "canuse.log"
        return path.read_text(errors="replace") if path and path.exists() else ""

    @property
    def _open_channel(self) -> grpc.Channel:
        if self._channel is None:
            raise RuntimeError("the server does not run: start it, or use it in a with block")
        return self._channel

    def _call(self, method: Any, request: object) -> Any:
        try:
            # The channel may still be connecting, to a server that was started again.
            return method(request, timeout=START_SECONDS, wait_for_ready=True)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def _start(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="canuse-test-"))
        self.http_url = ""
        env = {name: value for name, value in os.environ.items() if not name.startswith("CANUSE_")}
        # A server that is started again keeps its address.
        standard = {"listen": self.address or "127.0.0.1:0", "http_listen": "", "ops_listen": "", "clock": "manual"}
        settings = {**standard, **self._settings, "data_dir": self._folder / "data"}
        env |= {f"CANUSE_{name.upper()}": _text(value) for name, value in settings.items()}
        with (self._folder / "canuse.log").open("w") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                _command(), stdout=subprocess.PIPE, stderr=log, text=True, env=env
            )
        timer = Timer(START_SECONDS, self._process.kill)
        timer.start()
        try:
            self._wait_until_ready(self._process)
        finally:
            timer.cancel()

    def _wait_until_ready(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if found := re.match(r"canuse ready on (\S+) ", line):
                self.address = found[1]
                http = re.search(r", HTTP on ([^\s,]+)", line)
                self.http_url = http[1] if http else ""
                return
        output = ("".join(lines) + self.log)[-_LOG_BYTES:]
        self._stop()
        raise ServerNotStarted(f"the server did not start (it needs pip install 'canuse[server]'):\n{output}")

    def _stop(self) -> None:
        process, folder = self._process, self._folder
        self._process = self._folder = None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _command() -> list[str]:
    """Return the command that serves until this process ends, even by `kill -9` where the system can tell it."""
    serve = [sys.executable, "-m", "canuse_server", "serve"]
    package = find_spec("canuse_server")
    # The system's signal comes when the thread that started the server ends.
    if sys.platform != "linux" or package is None or current_thread() is not main_thread():
        return serve
    child = Path(str(package.origin)).parent / "runtime" / "child.py"
    return [sys.executable, "-I", "-S", str(child), str(os.getpid()), *serve]


def _text(value: object) -> str:
    """Return the value of a setting as an environment variable has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _datetime(message: Any) -> datetime:
    return cast("datetime", message.ToDatetime(tzinfo=UTC))
