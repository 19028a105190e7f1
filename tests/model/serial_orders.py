"""The serial orders in which concurrent calls may have been made, and the states they lead to."""

from collections.abc import Callable, Sequence
from copy import deepcopy

from model.model import Model

Step = Callable[[Model], object]


def serial_outcomes(model: Model, threads: Sequence[Sequence[Step]]) -> list[Model]:
    """Return the states of a model after each serial order, without duplicates; a thread's steps keep their order."""
    layer: dict[tuple[int, ...], list[Model]] = {(0,) * len(threads): [model]}
    for _ in range(sum(map(len, threads))):
        following: dict[tuple[int, ...], list[Model]] = {}
        for progress, models in layer.items():
            for number, thread in enumerate(threads):
                done = progress[number]
                if done == len(thread):
                    continue
                place = (*progress[:number], done + 1, *progress[number + 1 :])
                found = following.setdefault(place, [])
                for after in (_after(before, thread[done]) for before in models):
                    if all(after.users != other.users for other in found):
                        found.append(after)
        layer = following
    return next(iter(layer.values()))


def _after(model: Model, step: Step) -> Model:
    copy = deepcopy(model)
    step(copy)
    return copy
