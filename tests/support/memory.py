"""The memory of a server and its store over time."""

import subprocess
import time
from dataclasses import dataclass, field
from statistics import linear_regression

from redis import Redis

from support.processes import Canuse

MIB = 1 << 20


def resident_bytes(canuse: Canuse) -> int:
    """Return the resident memory of a server, without its embedded store."""
    output = subprocess.run(["ps", "-o", "rss=", "-p", str(canuse.pid)], capture_output=True, check=True, text=True)
    return int(output.stdout) * 1024


@dataclass
class MemorySamples:
    """Samples of the memory that a server and its store use."""

    canuse: Canuse
    redis: Redis
    times: list[float] = field(default_factory=list)
    server: list[int] = field(default_factory=list)
    store: list[int] = field(default_factory=list)

    def take(self) -> None:
        """Take one sample."""
        self.times.append(time.monotonic())
        self.server.append(resident_bytes(self.canuse))
        self.store.append(self.redis.info("memory")["used_memory"])

    def growth(self, samples: list[int]) -> float:
        """Return by how many bytes the regression line of samples rises from the first to the last one."""
        return linear_regression(self.times, samples).slope * (self.times[-1] - self.times[0])

    def figures(self) -> str:
        """Return first and last values and growths for people."""
        parts = []
        for name, samples in (("server", self.server), ("store", self.store)):
            first, last, growth = (size / MIB for size in (samples[0], samples[-1], self.growth(samples)))
            parts.append(f"{name} {first:.1f} -> {last:.1f} MiB, growth {growth:+.2f} MiB")
        return ", ".join(parts)
