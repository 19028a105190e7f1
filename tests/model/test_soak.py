"""The state machine, run for as long as the soak lasts."""

from pathlib import Path
from typing import Final

import pytest

from model.runner import run_examples, running_server
from support.soak import soak

EXAMPLES: Final = 50
"""Number of examples per round. Each round has its own server, so that its clock does not reach its end."""


@pytest.mark.soak
def test_a_server_goes_on_answering_as_the_model_does(soak_seconds: float, tmp_path: Path) -> None:
    def play(seed: int) -> int:
        with running_server(tmp_path / str(seed), "native") as canuse:
            return run_examples(canuse, seed, EXAMPLES)

    soak(soak_seconds, play)
