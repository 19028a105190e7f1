"""Calls a second of the Python clients on one core: the bare stub, `AsyncClient`, and `AsyncClient(batching=True)`.

    python -m bench.batching [--seconds 2] [--callers 1 128]

The callers have one core, and the server that it starts, with its store, the others. The candidates take turns. With
one caller it prints the time of a call, otherwise calls per second, each relative to the bare stub; then the processor
time of the callers' process, and how busy their core was: where it was idle, the server was the limit.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import grpc.aio

import canuse
from canuse import v1
from canuse.testing import CanuseServer

ROUNDS: Final = 5
IDS: Final = ("124", "api-calls")
Call = Callable[[], Awaitable[object]]


class Cost(NamedTuple):
    """What one call takes, in seconds."""

    elapsed: float
    """Of all callers together."""
    processor: float


async def cost(call: Call, callers: int, seconds: float) -> Cost:
    """Measure for a time what a call takes if some callers each make one after the other."""
    count, end = 0, time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal count
        while time.perf_counter() < end:
            if not await call():
                raise SystemExit("a call was refused")
            count += 1

    started_at, processor_before = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(callers)))
    elapsed, processor = time.perf_counter() - started_at, time.process_time() - processor_before
    return Cost(elapsed / count, processor / count)


async def compare(candidates: Mapping[str, Call], callers: int, seconds: float) -> None:
    """Measure candidates, the first of which is what the others are compared with, and print."""
    found: dict[str, list[Cost]] = {name: [] for name in candidates}
    for _ in range(ROUNDS):
        for name, call in candidates.items():
            found[name].append(await cost(call, callers, seconds / ROUNDS))
    medians = {name: Cost(*map(median, zip(*costs, strict=True))) for name, costs in found.items()}
    standard = next(iter(medians.values()))
    for name, (elapsed, processor) in medians.items():
        if callers == 1:
            shown, times = f"{1e6 * elapsed:8.1f} us a call", elapsed / standard.elapsed
        else:
            shown, times = f"{1 / elapsed:8.0f} calls a second", standard.elapsed / elapsed
        used = f"{1e6 * processor:6.1f} us of a core, {min(1, processor / elapsed):4.0%} busy"
        print(f"{callers:4} callers  {name:42}{shown}  {times:5.2f} times  {used}", flush=True)


async def measure(address: str, callers: list[int], seconds: float) -> None:
    """Measure uses and checks and print."""
    use = v1.UseFeatureRequest(user_id=IDS[0], feature_id=IDS[1])
    check = v1.CanUseRequest(user_id=IDS[0], feature_id=IDS[1])
    async with (
        grpc.aio.insecure_channel(address, canuse.channel_options()) as channel,
        canuse.AsyncClient(address, retry=False) as plain,
        canuse.AsyncClient(address, retry=False, batching=True) as batching,
        canuse.AsyncClient(address, batching=True) as retrying,
    ):
        stub = v1.EntitlementServiceStub(channel)

        async def bare_use() -> bool:
            return (await stub.UseFeature(use, timeout=5)).access

        async def bare_check() -> bool:
            return (await stub.CanUse(check, timeout=5)).access

        uses: dict[str, Call] = {
            "use, bare stub": bare_use,
            "use, AsyncClient": lambda: plain.use_feature(*IDS),
            "use, AsyncClient(batching=True)": lambda: batching.use_feature(*IDS),
            "use, the same with retries and event ids": lambda: retrying.use_feature(*IDS),
        }
        checks: dict[str, Call] = {
            "check, bare stub": bare_check,
            "check, AsyncClient": lambda: plain.can_use(*IDS),
            "check, AsyncClient(batching=True)": lambda: batching.can_use(*IDS),
        }
        for number in callers:
            for candidates in (uses, checks):
                await compare(candidates, number, seconds)


def pin(cores: set[int]) -> None:
    """Leave these cores to all threads of this process: gRPC has started some already."""
    with suppress(AttributeError, OSError):
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)


def main() -> None:
    """Measure with a server of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each candidate")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 128], help="numbers of concurrent callers")
    options = parser.parse_args()
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}
    own = {max(cores)}
    pin(cores - own or cores)
    with CanuseServer() as server:
        pin(own)
        server.package("pro", {"api-calls": "unlimited"})
        server.user("124", "pro")
        asyncio.run(measure(server.address, options.callers, options.seconds))


if __name__ == "__main__":
    main()
