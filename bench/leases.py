"""Uses a second of one caller on one core, with and without leases: `Client` and `AsyncClient`.

    python -m bench.leases [--seconds 2]

It starts a server, and measures the candidates in turns. A use counts from the call to the test of its answer. At the
end the server's count must be exactly the number of uses.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from statistics import median

import canuse
from canuse.testing import CanuseServer

ROUNDS = 5
AT_ONCE = 100
"""Uses between two looks at the clock."""
LEASES = {"api-calls": canuse.Lease()}


def used_per_second(use: Callable[[], object], seconds: float) -> tuple[float, int]:
    """Return how many uses are decided in a second, and how many there were."""
    count, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        for _ in range(AT_ONCE):
            if not use():
                raise SystemExit("a use was refused")
        count += AT_ONCE
    return count / (time.perf_counter() - start), count


async def used_per_second_async(use: Callable[[], Awaitable[object]], seconds: float) -> tuple[float, int]:
    """Return the same for a coroutine."""
    count, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        for _ in range(AT_ONCE):
            if not await use():
                raise SystemExit("a use was refused")
        count += AT_ONCE
    return count / (time.perf_counter() - start), count


async def measure(address: str, seconds: float) -> int:
    """Measure and print; return how many uses there were."""
    total = 0
    rates: dict[str, list[float]] = {}
    with canuse.Client(address) as plain, canuse.Client(address, leases=LEASES) as leased:
        async with (
            canuse.AsyncClient(address) as plain_async,
            canuse.AsyncClient(address, leases=LEASES) as leased_async,
        ):
            clients = {"Client": plain, "Client(leases=…)": leased}
            asynchronous = {"AsyncClient": plain_async, "AsyncClient(leases=…)": leased_async}
            for _ in range(ROUNDS):
                for name, client in clients.items():
                    use = client.use_feature
                    rate, count = used_per_second(lambda use=use: use("124", "api-calls"), seconds / ROUNDS)  # type: ignore[misc]
                    rates.setdefault(name, []).append(rate)
                    total += count
                for name, each in asynchronous.items():
                    call = each.use_feature
                    rate, count = await used_per_second_async(
                        lambda call=call: call("124", "api-calls"),  # type: ignore[misc]
                        seconds / ROUNDS,
                    )
                    rates.setdefault(name, []).append(rate)
                    total += count
    for name, found in rates.items():
        print(f"{name:24}{median(found):12,.0f} uses a second")
    return total


def main() -> None:
    """Measure with a server of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each candidate")
    seconds = parser.parse_args().seconds
    with CanuseServer() as server:
        server.package("pro", {"api-calls": "1000000000000/month"})
        server.user("124", "pro")
        # The server keeps all cores; the caller has one.
        with suppress(AttributeError, OSError):
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        total = asyncio.run(measure(server.address, seconds))
        current = server.client.show_usage("124", "api-calls").current
        if current is None or current.used != total:
            raise SystemExit(f"{total} uses were counted as {current}")


if __name__ == "__main__":
    main()
