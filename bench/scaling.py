"""A prediction of how canuse scales, from the CPU time of a decision that `make bench` measures.

    python -m bench.scaling

It simulates a closed queueing network: callers that wait for each answer before the next call, workers that process one
decision at a time, with a fixed time before and after the store, and shards of the store that serve in the order of
arrival. A decision goes to a random worker and a random shard.
"""

import argparse
import heapq
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

DECISIONS = 60_000
WARM_UP = 10_000
CALLERS_PER_CORE = 64


@dataclass(frozen=True)
class Costs:
    """Microseconds of a decision on a worker's core, on a shard's core, and on the network to the store and back."""

    worker: float
    shard: float
    network: float


@dataclass(frozen=True)
class Prediction:
    """The predicted throughput of a deployment. `ceiling` is that of its bottleneck at full utilization."""

    per_second: float
    ceiling: float
    worker_load: float
    shard_load: float


def simulate(costs: Costs, workers: int, shards: int, seed: int = 1) -> Prediction:
    """Simulate decisions on workers and shards; return the throughput and the loads."""
    chance = random.Random(seed)
    queues: list[deque[tuple[int, int, int]]] = [deque() for _ in range(workers + shards)]
    busy = [False] * (workers + shards)
    serial = count()
    events: list[tuple[float, int, int, tuple[int, int, int]]] = []
    half, one_way = costs.worker / 2, costs.network / 2
    done, now, started = 0, 0.0, 0.0

    def arrive(time: float, place: int, call: tuple[int, int, int]) -> None:
        heapq.heappush(events, (time, next(serial), place, call))

    def begin(time: float, place: int) -> None:
        call = queues[place].popleft()
        busy[place] = True
        heapq.heappush(events, (time + (half if place < workers else costs.shard), next(serial), ~place, call))

    # A call is (step, worker, shard). Steps: 0 to the worker, 1 to the shard, 2 back to the worker.
    for _ in range(CALLERS_PER_CORE * (workers + shards)):
        worker = chance.randrange(workers)
        arrive(chance.random() * costs.worker, worker, (0, worker, workers + chance.randrange(shards)))
    while done < DECISIONS:
        now, _, place, call = heapq.heappop(events)
        if place >= 0:
            queues[place].append(call)
            if not busy[place]:
                begin(now, place)
            continue
        place = ~place
        busy[place] = False
        if queues[place]:
            begin(now, place)
        step, worker, shard = call
        if step == 0:
            arrive(now + one_way, shard, (1, worker, shard))
        elif step == 1:
            arrive(now + one_way, worker, (2, worker, shard))
        else:
            done += 1
            if done == WARM_UP:
                started = now
            worker = chance.randrange(workers)
            arrive(now, worker, (0, worker, workers + chance.randrange(shards)))
    per_second = (DECISIONS - WARM_UP) / (now - started) * 1e6
    ceiling = min(workers / costs.worker, shards / costs.shard) * 1e6
    return Prediction(
        per_second, ceiling, per_second * costs.worker / 1e6 / workers, per_second * costs.shard / 1e6 / shards
    )


def rows(costs: Costs, workers: list[int], shards: list[int]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"{'workers':>7} {'shards':>6} {'decisions/s':>12} {'ceiling':>12} {'worker load':>12} {'shard load':>11}"
    for shard_count in shards:
        for worker_count in workers:
            prediction = simulate(costs, worker_count, shard_count)
            yield (
                f"{worker_count:7} {shard_count:6} {prediction.per_second:12,.0f} {prediction.ceiling:12,.0f}"
                f" {prediction.worker_load:12.0%} {prediction.shard_load:11.0%}"
            )


def main() -> None:
    """Run the simulation."""
    parser = argparse.ArgumentParser(prog="bench.scaling", description="Predict how canuse scales.")
    parser.add_argument("--worker", type=float, default=25.0, help="microseconds of a decision on a worker's core")
    parser.add_argument("--shard", type=float, default=15.0, help="microseconds of a decision on a shard's core")
    parser.add_argument("--network", type=float, default=200.0, help="microseconds to the store and back")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 4, 16])
    options = parser.parse_args()
    for line in rows(Costs(options.worker, options.shard, options.network), options.workers, options.shards):
        print(line)


if __name__ == "__main__":
    main()
