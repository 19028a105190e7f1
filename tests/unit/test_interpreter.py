import gc
import sys
from collections.abc import Iterator

import pytest

from canuse_server.app import interpreter


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    thresholds, seconds = gc.get_threshold(), sys.getswitchinterval()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    sys.setswitchinterval(seconds)


def test_the_lane_waits_less_for_the_event_loop() -> None:
    usual = sys.getswitchinterval()
    interpreter.tune("grpcio")
    assert (gc.get_threshold(), sys.getswitchinterval()) == (interpreter.GC_THRESHOLDS_GRPCIO, usual)
    interpreter.tune("native")
    assert gc.get_threshold() == interpreter.GC_THRESHOLDS
    assert sys.getswitchinterval() == pytest.approx(interpreter.SWITCH_SECONDS, rel=0.1)
    assert gc.get_freeze_count() > 0
