"""How often chaos scripts repeat their rounds, and how they report their figures."""

from functools import partial

import pytest

from support.chaos import Report, Rounds, line, rounds


@pytest.fixture(params=["native", "grpcio"])
def transport(request: pytest.FixtureRequest) -> str:
    """Each transport."""
    return str(request.param)


@pytest.fixture(name="rounds")
def rounds_in_time(soak_seconds: float) -> Rounds:
    """Number of rounds: `rounds(short, long)` yields the random numbers of each round."""
    return partial(rounds, soak_seconds)


@pytest.fixture
def report(record_property: Report) -> Report:
    """Report the figures of a script in a line, which is also part of the summary of the test run."""

    def say(script: str, **figures: object) -> None:
        text = line(script, figures)
        print(f"\n{text}", flush=True)
        record_property("chaos", text)

    return say
