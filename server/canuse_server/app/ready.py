"""What a server prints when it is ready."""

from typing import NamedTuple


class Ready(NamedTuple):
    """A server that is ready: its address and its main settings."""

    address: str
    transport: str
    store: str
    clock: str
    access: str
    workers: int
    http: str | None = None
    """The HTTP port's URL."""
    ops: str | None = None
    """The URL of the port for health and metrics."""

    def __str__(self) -> str:
        workers = f", workers {self.workers}" if self.workers > 1 else ""
        details = f"transport {self.transport}, store {self.store}, clock {self.clock}, access {self.access}{workers}"
        http = f", HTTP on {self.http}" if self.http else ""
        ops = f", metrics on {self.ops}/metrics" if self.ops else ""
        return f"canuse ready on {self.address} ({details}){http}{ops}"
