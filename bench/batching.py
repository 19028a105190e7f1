"""Calls a second of the Python clients on one core: the bare stub, `AsyncClient`, and `AsyncClient(batching=True)`.

    python -m bench.batching [--seconds 2] [--callers 1 128]

It starts a server on the other cores, and measures the candidates in turns. With one caller it prints the time of a
call, otherwise calls per second, each relative to the bare stub.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from statistics import median

import grpc.aio

import canuse
from canuse import v1
from canuse.testing import CanuseServer

ROUNDS = 5
Call = Callable[[], Awaitable[object]]


async def calls_per_second(call: Call, callers: int, seconds: float) -> float:
    """Return how many calls some callers make in a second, each one after the other."""
    count, end = 0, time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal count
        while time.perf_counter() < end:
            if not await call():
                raise SystemExit("a call was refused")
            count += 1

    started_at = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return count / (time.perf_counter() - started_at)


async def measure(address: str, callers: list[int], seconds: float) -> None:
    """Measure and print."""
    request = v1.UseFeatureRequest(user_id="124", feature_id="api-calls")
    async with (
        grpc.aio.insecure_channel(address, canuse.channel_options()) as channel,
        canuse.AsyncClient(address, retry=False) as plain,
        canuse.AsyncClient(address, retry=False, batching=True) as batching,
    ):
        stub = v1.EntitlementServiceStub(channel)

        async def bare() -> bool:
            return (await stub.UseFeature(request, timeout=5)).access

        candidates: dict[str, Call] = {
            "bare stub": bare,
            "AsyncClient": lambda: plain.use_feature("124", "api-calls"),
            "AsyncClient(batching=True)": lambda: batching.use_feature("124", "api-calls"),
        }
        for number in callers:
            rates: dict[str, list[float]] = {name: [] for name in candidates}
            for _ in range(ROUNDS):
                for name, call in candidates.items():
                    rates[name].append(await calls_per_second(call, number, seconds / ROUNDS))
            for name, found in rates.items():
                rate = median(found)
                shown = f"{1e6 / rate:8.1f} us a call" if number == 1 else f"{rate:8.0f} calls a second"
                print(f"{number:4} callers  {name:28}{shown}  {rate / median(rates['bare stub']):5.2f} times")


def main() -> None:
    """Measure with a server of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each candidate")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 128], help="numbers of concurrent callers")
    options = parser.parse_args()
    with CanuseServer() as server:
        server.package("pro", {"api-calls": "unlimited"})
        server.user("124", "pro")
        # The server keeps all cores; the callers have one.
        with suppress(AttributeError, OSError):
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        asyncio.run(measure(server.address, options.callers, options.seconds))


if __name__ == "__main__":
    main()
