"""Runs the state machine."""

from typing import Final

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from model.machine import Machine
from model.real import Real

STEPS: Final = 50


def run(address: str, number: int, examples: int, *, shrink: bool = True) -> None:
    """Run so many examples, which ones a number says; raise what the first one that fails comes to, made short."""
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    real = Real(address)
    try:
        kind = type("Machine", (Machine,), {"real": real, "unspoilt": []})
        run_state_machine_as_test(
            seed(number)(kind),
            settings=settings(
                max_examples=examples,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                phases=phases,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        real.close()
