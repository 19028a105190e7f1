"""A process that uses small budgets of many users by leases, and counts in a file what it was allowed to use.

    competing.py ADDRESS FEATURE FILE USERS SECONDS SEED KIND TTL

The file has a number of 8 bytes for each user. KIND is `sync`, `threads` or `async`. It closes its client at the end.
"""

import asyncio
import random
import struct
import sys
import threading
import time
from mmap import mmap
from typing import Any

import canuse

address, feature_id, path, users, seconds, seed, kind, ttl = sys.argv[1:]
user_ids = [f"user-{number}" for number in range(int(users))]
chance = random.Random(int(seed))
lease = canuse.Lease(
    max_share=chance.choice([0.1, 0.3, 0.6]),
    ahead_seconds=chance.choice([0.2, 1, 2]),
    ttl_seconds=float(ttl),
    report_seconds=chance.choice([0.1, 0.5, 1]),
    idle_seconds=chance.choice([0.2, 1, 5]),
)
end = time.monotonic() + float(seconds)


class Counted:
    """Units that were allowed, in a file that survives the process."""

    def __init__(self) -> None:
        self.file = open(path, "r+b")  # noqa: SIM115
        self.map = mmap(self.file.fileno(), 0)
        self.lock = threading.Lock()
        self.allowed = dict.fromkeys(user_ids, 0)
        self.local = 0

    def note(self, user_id: str, delta: int, answer: canuse.UseFeatureAnswer) -> None:
        """Count an answer."""
        if answer:
            with self.lock:
                self.allowed[user_id] += delta
                self.local += answer.local
                struct.pack_into("<q", self.map, 8 * user_ids.index(user_id), self.allowed[user_id])


def turns(chance: random.Random) -> Any:
    """Yield the user and the amount of each use: bursts of one user, with pauses between."""
    while time.monotonic() < end:
        user_id = chance.choice(user_ids)
        for _ in range(chance.choice([1, 5, 30])):
            yield user_id, chance.choice([1, 1, 1, 2, 5])
        yield None


def use(client: canuse.Client, counted: Counted, chance: random.Random) -> None:
    for turn in turns(chance):
        if turn is None:
            time.sleep(chance.random() * 0.004)
        else:
            user_id, delta = turn
            try:
                counted.note(user_id, delta, client.use_feature(user_id, feature_id, delta))
            except canuse.CanuseError as error:
                sys.stdout.write(f"{error!r}\n")


async def use_in_task(client: canuse.AsyncClient, counted: Counted, chance: random.Random) -> None:
    for turn in turns(chance):
        if turn is None:
            await asyncio.sleep(chance.random() * 0.004)
        else:
            user_id, delta = turn
            try:
                counted.note(user_id, delta, await client.use_feature(user_id, feature_id, delta))
            except canuse.CanuseError as error:
                sys.stdout.write(f"{error!r}\n")


async def main_async(counted: Counted) -> None:
    async with canuse.AsyncClient(address, timeout_seconds=30, leases={feature_id: lease}) as client:
        chances = [random.Random(chance.random()) for _ in range(4)]
        await asyncio.gather(*(use_in_task(client, counted, each) for each in chances))


def main(counted: Counted, number: int) -> None:
    with canuse.Client(address, timeout_seconds=30, leases={feature_id: lease}) as client:
        chances = [random.Random(chance.random()) for _ in range(number)]
        threads = [threading.Thread(target=use, args=(client, counted, each)) for each in chances]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


counted = Counted()
if kind == "async":
    asyncio.run(main_async(counted))
else:
    main(counted, 3 if kind == "threads" else 1)
sys.stdout.write(f"local {counted.local}\n")
