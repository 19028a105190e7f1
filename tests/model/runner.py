"""Runs the state machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from model.machine import Machine
from support.load import running
from support.processes import Canuse

STEPS: Final = 50
# No event leaves the ledger within an example, and a slow machine is not an unavailable store.
SETTINGS: Final = {"CANUSE_LEDGER_MAX_AGE_SECONDS": str(3650 * 86_400), "CANUSE_STORE_TIMEOUT_SECONDS": "30"}
# Shrinking a failing example takes time, and is left out where only its existence matters.
SHRINK: Final = os.environ.get("MODEL_SHRINK") != "0"


@contextmanager
def running_server(folder: Path, transport: str) -> Iterator[Canuse]:
    """Run a server for the state machine, which moves its clock forwards by thousands of years."""
    folder.mkdir(exist_ok=True)
    with running(Canuse(folder, "--transport", transport, "--clock", "manual", env=SETTINGS)) as canuse:
        yield canuse


def run_examples(canuse: Canuse, number: int, examples: int, machine: type[Machine] = Machine) -> int:
    """Run so many examples, generated from a seed; return how many answers were compared.

    Raises the failure of the first failing example, shrunk.
    """
    kind: type[Machine] = type("TheMachine", (machine,), {"canuse": canuse})
    try:
        run_state_machine_as_test(
            seed(number)(kind),
            settings=settings(
                max_examples=examples,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                phases=(Phase.generate, Phase.shrink) if SHRINK else (Phase.generate,),
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
        return kind.compared
    finally:
        kind.disconnect()
