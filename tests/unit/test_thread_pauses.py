"""Work that takes long in a thread pauses while others are called; the steps of large JSON are such work."""

import json
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from canuse import v1
from canuse_server.api.errors import ApiError
from canuse_server.runtime import thread_pauses
from canuse_server.runtime.thread_pauses import CALLS, PAUSE_SECONDS, QUIET_SECONDS, WORK_SECONDS, pause_if_due
from canuse_server.transport.http import json_in_steps, json_object
from canuse_server.transport.http.connect import json_codec
from canuse_server.transport.http.connect.json_codec import STEP, JsonCodec

MANY = 2000


class Clock:
    """A clock that goes on by itself with each look at it, and by sleeping."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.tick = 0.0
        self.pauses: list[tuple[int, float]] = []
        """The thread and the length of each pause."""

    def monotonic(self) -> float:
        """Return the time."""
        self.now += self.tick
        return self.now

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        self.pauses.append((threading.get_ident(), seconds))
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(thread_pauses, "time", clock)
    monkeypatch.setattr(CALLS, "last_at", -math.inf)
    return clock


@pytest.fixture
def worker() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, initializer=thread_pauses.enable) as worker:
        yield worker


def work(steps: int) -> int:
    """Return the thread that has worked."""
    for _ in range(steps):
        pause_if_due()
    return threading.get_ident()


def test_a_thread_pauses_while_others_are_called(clock: Clock, worker: ThreadPoolExecutor) -> None:
    clock.tick = WORK_SECONDS / 4
    worker.submit(work, 100).result()
    assert clock.pauses == []
    CALLS.last_at = clock.now
    assert worker.submit(work, 20).result() == clock.pauses[0][0]
    assert [seconds for _, seconds in clock.pauses] == [PAUSE_SECONDS] * len(clock.pauses)
    assert 3 <= len(clock.pauses) <= 6
    clock.now += QUIET_SECONDS
    worker.submit(work, 100).result()
    assert len(clock.pauses) <= 6


def test_the_event_loop_and_the_lane_do_not_pause(clock: Clock) -> None:
    clock.tick = WORK_SECONDS
    CALLS.last_at = clock.now
    work(20)
    with ThreadPoolExecutor(1) as other:
        other.submit(work, 20).result()
    assert clock.pauses == []


def refuse(text: str) -> None:
    raise ValueError(text)


def loads(value: Any) -> object:
    """Read the JSON of a value."""
    return json_in_steps.loads(json.dumps(value) + " " * json_in_steps.LARGE, dict, refuse)


def twice() -> None:
    """Read an object that has its last field twice."""
    fields = ",".join(f'"{number:x}": 0' for number in range(MANY))
    with pytest.raises(ApiError, match="sent twice"):
        json_object.read_object(f'{{{fields}, "0": 1}}'.encode(), "an object")


def too_many() -> None:
    """Read an object with too many values."""
    with pytest.raises(ApiError, match="more than"):
        json_object.read_object(b'{"a": [' + b"1," * 100_000 + b"1]}", "an object", 50_000)


CODEC = JsonCodec(v1.BatchCanUseRequest.DESCRIPTOR, v1.BatchCanUseResponse.DESCRIPTOR)
REQUEST = v1.BatchCanUseRequest(requests=[v1.CanUseRequest(user_id=f"u{n}", feature_id="f") for n in range(1000)])
REQUEST_JSON = json.dumps({"requests": [{"userId": each.user_id, "featureId": "f"} for each in REQUEST.requests]})
ANSWER = v1.BatchCanUseResponse(results=[v1.BatchCanUseResult(response=v1.CanUseResponse(access=True))] * 1000)


def read() -> bytes:
    """Read a batch."""
    return CODEC.decode(REQUEST_JSON.encode())


def write() -> bytes:
    """Write the answer to a batch."""
    return CODEC.encode(ANSWER.SerializeToString())


@pytest.mark.parametrize(
    ("module", "function", "steps"),
    [
        (json_in_steps, lambda: loads(["a"] * MANY), MANY),
        (json_in_steps, lambda: loads([1] * MANY), MANY),
        (json_in_steps, lambda: loads([1.5] * MANY), MANY),
        (json_in_steps, lambda: loads([[]] * MANY), MANY),
        (json_in_steps, lambda: loads([{}] * MANY), MANY),
        (json_in_steps, lambda: json_in_steps.dumps(["a"] * MANY, large=True), MANY // 100),
        (json_in_steps, lambda: json_in_steps.check_plain(["a"] * MANY), MANY // 100),
        (json_object, twice, MANY // 1000 + 1),
        (json_object, too_many, 100),
        (json_codec, read, 3 * 1000 + 1000 // STEP),
        (json_codec, write, 1000),
    ],
    ids=["texts", "numbers", "fractions", "lists", "objects", "dumps", "plain", "twice", "too-many", "read", "write"],
)
def test_large_json_is_worked_on_in_steps(
    monkeypatch: pytest.MonkeyPatch, module: object, function: Callable[[], object], steps: int
) -> None:
    taken = 0

    def note() -> None:
        nonlocal taken
        taken += 1

    monkeypatch.setattr(module, "pause_if_due", note)
    function()
    assert taken >= steps


def test_messages_are_read_and_written_in_steps_as_at_once() -> None:
    assert v1.BatchCanUseRequest.FromString(read()) == REQUEST
    written = json.loads(write())
    assert written == {"results": [{"response": {"access": True, **written["results"][0]["response"]}}] * 1000}
