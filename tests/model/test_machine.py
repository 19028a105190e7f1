"""Whatever is done, in whatever order: the server answers as the model does."""

from typing import Final

import pytest

from model.run import run

SEED: Final = 4
"""Which examples are made: the same ones each time, so that a change is what makes the difference."""
EXAMPLES: Final = [("native", 250), ("grpcio", 25)]


@pytest.mark.parametrize(("address", "examples"), EXAMPLES, indirect=["address"], ids=["native", "grpcio"])
def test_a_server_answers_as_the_model_does(address: str, examples: int) -> None:
    run(address, SEED, examples)
