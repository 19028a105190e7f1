"""For any sequence of calls the server answers as the model does."""

from pathlib import Path
from typing import Final

import pytest

from model.runner import run_examples, running_server

SEED: Final = 4
"""The seed of the examples: the same each time, so that a failure is due to a change of canuse."""
FEW: Final = 40
EXAMPLES: Final = {"native": 250, "grpcio": 25}


@pytest.mark.extended
@pytest.mark.parametrize("transport", EXAMPLES)
def test_a_server_answers_as_the_model_does(transport: str, tmp_path: Path) -> None:
    with running_server(tmp_path, transport) as canuse:
        assert run_examples(canuse, SEED, EXAMPLES[transport]) > 0


def test_a_server_answers_as_the_model_does_in_a_few_examples(tmp_path: Path) -> None:
    with running_server(tmp_path, "native") as canuse:
        assert run_examples(canuse, SEED, FEW) > 0
