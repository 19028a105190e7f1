"""How chaos scripts are scaled, and how they tell what came of them."""

from functools import partial

import pytest

from support.chaos import Report, Rounds, line, rounds


@pytest.fixture(params=["native", "grpcio"])
def transport(request: pytest.FixtureRequest) -> str:
    """Each transport."""
    return str(request.param)


@pytest.fixture(name="rounds")
def rounds_in_time(soak_seconds: float) -> Rounds:
    """How often: `rounds(short, long)` yields what chance each round has."""
    return partial(rounds, soak_seconds)


@pytest.fixture
def report(record_property: Report) -> Report:
    """Tell the figures of a script in a line, which stands in the summary of the tests, too."""

    def say(script: str, **figures: object) -> None:
        text = line(script, figures)
        print(f"\n{text}", flush=True)
        record_property("chaos", text)

    return say
