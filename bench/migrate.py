"""What moving all subscriptions to another version of their package does to checks: `python -m bench.migrate`.

Checks are made without a pause before, during and after the move, by h2load on a core of its own. The rounds go there
and back between two versions, so that each moves every subscription, and each figure is the median of all rounds. At
the end each user has to be on the version moved to last, with the use that was counted before the first move.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple

from bench import load, subject
from canuse import AsyncClient, Client, v1

PACKAGE = "migrating"
FEATURES = ("migrating-a", "migrating-b", "migrating-c")
LIMITS = (100, 200)
"""The limit of each feature in version 1 and in version 2."""
CALLERS = 64
"""How many users are made at a time."""


class Checks(NamedTuple):
    """How checks did. Times in microseconds."""

    requests_per_second: float
    mean: float
    p50: float
    p99: float


class Round(NamedTuple):
    """One move of all subscriptions, and the checks around it."""

    before: Checks
    during: Checks
    after: Checks
    seconds: float


def measure(transport: str, options: argparse.Namespace) -> list[Round]:
    """Make the users, then move their subscriptions there and back."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    server_core, load_core = (cores[0], cores[1]) if len(cores) > 1 else (None, None)
    with subject.canuse(transport, server_core, CANUSE_DEFAULT_PACKAGE=PACKAGE) as address:
        _publish(address)
        started = time.monotonic()
        asyncio.run(_subscribe(address, options.users))
        print(f"{transport}: made {options.users} users in {time.monotonic() - started:.0f} s", file=sys.stderr)

        def check(over: Callable[[], bool]) -> Checks:
            return _check(address, options, load_core, over)

        rounds = [_round(address, options, 2 - number % 2, check) for number in range(1, options.rounds + 1)]
        asyncio.run(_verify(address, options.users, LIMITS[(options.rounds + 1) % 2]))
        return rounds


def _publish(address: str) -> None:
    with Client(address) as client:
        for feature_id in FEATURES:
            client.create_feature(feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)
        client.create_package(PACKAGE)
        for limit in LIMITS:
            entries = [
                v1.PackageFeature(feature_id=feature_id, limit=limit, reset_period=v1.RESET_PERIOD_MONTH)
                for feature_id in FEATURES
            ]
            client.update_package(PACKAGE, features=entries)
            client.publish_package(PACKAGE)


async def _subscribe(address: str, users: int) -> None:
    """Make users by using a feature: each gets the default package when first seen, and one use counted."""
    numbers = iter(range(users))
    async with AsyncClient(address, timeout_seconds=60) as client:

        async def caller() -> None:
            for number in numbers:
                if not (await client.use_feature(_user(number), FEATURES[0])).access:
                    raise RuntimeError(f"{_user(number)} was refused")

        await asyncio.gather(*(caller() for _ in range(CALLERS)))


def _user(number: int) -> str:
    return f"user-{number:07}"


def _round(
    address: str, options: argparse.Namespace, to_version: int, check: Callable[[Callable[[], bool]], Checks]
) -> Round:
    def for_a_while() -> Callable[[], bool]:
        end = time.monotonic() + options.seconds
        return lambda: time.monotonic() > end

    before = check(for_a_while())
    with ThreadPoolExecutor(1) as pool:
        moving = pool.submit(_move, address, to_version, options.users)
        during = check(moving.done)
        seconds = moving.result()
    return Round(before, during, check(for_a_while()), seconds)


def _move(address: str, to_version: int, users: int) -> float:
    """Move all subscriptions; return how long that took in seconds."""
    started = time.monotonic()
    with Client(address) as client:
        *_, last = client.migrate_subscriptions(PACKAGE, to_version=to_version)
    if last.migrated != users:
        raise RuntimeError(f"{last.migrated} of {users} subscriptions were moved")
    return time.monotonic() - started


def _check(address: str, options: argparse.Namespace, core: int | None, over: Callable[[], bool]) -> Checks:
    """Check in bursts until it is over; a burst that goes on after that is left out, unless it is the only one."""
    payload = subject.REQUESTS["CanUse"].SerializeToString()
    bursts: list[load.Load] = []
    while True:
        burst = load.run(
            address, subject.SERVICE + "CanUse", payload, options.burst, options.in_flight, core, each=True
        )
        if not over() or not bursts:
            bursts.append(burst)
        if over():
            break
    times = sorted(chain.from_iterable(burst.microseconds for burst in bursts))
    return Checks(
        requests_per_second=len(times) / sum(burst.succeeded / burst.requests_per_second for burst in bursts),
        mean=statistics.fmean(times),
        p50=times[len(times) // 2],
        p99=times[len(times) * 99 // 100],
    )


async def _verify(address: str, users: int, limit: int) -> None:
    numbers = iter(range(users))
    async with AsyncClient(address, timeout_seconds=60) as client:

        async def caller() -> None:
            for number in numbers:
                counts = (await client.can_use(_user(number), FEATURES[0])).consumption
                if (counts.used, counts.budget) != (1, limit):
                    raise RuntimeError(f"{_user(number)} has used {counts.used} of {counts.budget}")

        await asyncio.gather(*(caller() for _ in range(CALLERS)))


def _median(checks: list[Checks]) -> Checks:
    return Checks(*(statistics.median(column) for column in zip(*checks, strict=True)))


def main() -> None:
    """Read the options, measure, print a table."""
    parser = argparse.ArgumentParser(prog="bench.migrate", description=__doc__.partition("\n")[0])
    parser.add_argument("--users", type=int, default=100_000, help="how many have a subscription (100000)")
    parser.add_argument("--rounds", type=int, default=2, help="how often all of them move (2)")
    parser.add_argument("--seconds", type=float, default=10, help="how long is measured before and after (10)")
    parser.add_argument("--in-flight", type=int, default=32, help="checks at a time (32)")
    parser.add_argument("--burst", type=int, default=5_000, help="checks that h2load makes in one go (5000)")
    parser.add_argument("--transports", nargs="+", choices=("native", "grpcio"), default=["native", "grpcio"])
    options = parser.parse_args()
    print(f"{'transport':10} {'checks':8} {'req/s':>8} {'mean us':>8} {'p50 us':>8} {'p99 us':>8}")
    moved = []
    for transport in options.transports:
        try:
            rounds = measure(transport, options)
        except (load.LoadError, RuntimeError) as error:
            sys.exit(f"bench: {error}")
        for name in ("before", "during", "after"):
            checks = _median([getattr(done, name) for done in rounds])
            figures = " ".join(f"{figure:8.0f}" for figure in checks)
            print(f"{transport:10} {name:8} {figures}", flush=True)
        seconds = statistics.median(done.seconds for done in rounds)
        moved.append(f"{transport}: {options.users} moved in {seconds:.1f} s, {options.users / seconds:.0f} a second")
    print(*moved, sep="\n")


if __name__ == "__main__":
    main()
