"""The recorder, with a service in memory: what it accepts, sends, keeps and sets aside."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

import canuse
from canuse import Client, v1
from canuse.recorder import AsyncRecorder, RecorderFull, RefusedEvent, SpoolInUse
from canuse.recorder.events import Event
from canuse.recorder.journal import Journal, events_in
from canuse.testing import FakeAsyncClient, FakeClient

MAX_WAIT_SECONDS = 30


@pytest.fixture
def fake() -> FakeClient:
    """A service in memory with a user."""
    fake = FakeClient()
    fake.package("pro", {"api-calls": "1000000/month", "sso": True})
    fake.user("124", "pro")
    return fake


def used(client: Client, user_id: str = "124") -> int:
    """Return the count of a user."""
    current = client.show_usage(user_id, "api-calls").current
    return current.used if current else 0


def test_events_are_counted_and_the_spool_is_empty_after_it(fake: FakeClient, tmp_path: Path) -> None:
    with fake.recorder(tmp_path / "spool") as recorder:
        ids = {recorder.record("124", "api-calls") for _ in range(2500)}
        assert len(ids) == 2500
        assert recorder.record("124", "api-calls", -100, "mine") == "mine"
        assert recorder.flush(MAX_WAIT_SECONDS)
        assert (recorder.depth, recorder.age) == (0, timedelta())
    assert used(fake) == 2400
    assert {event.event_id for event in fake.list_usage_events("124")} == {*ids, "mine"}
    assert [path.name for path in (tmp_path / "spool").glob("incoming-*") if path.stat().st_size] == []


def test_an_event_id_counts_once_and_another_event_with_it_is_refused(fake: FakeClient, tmp_path: Path) -> None:
    fake.set_store_available(False)
    with fake.recorder(tmp_path) as recorder:
        for delta in (2, 2, 3):
            recorder.record("124", "api-calls", delta, "e")
        fake.set_store_available(True)
        assert recorder.flush(MAX_WAIT_SECONDS)
        assert recorder.record("124", "api-calls", 2, "e") == "e"
        assert recorder.flush(MAX_WAIT_SECONDS)
        assert [(event.delta, event.reason) for event in recorder.refused()] == [(3, "EVENT_ID_REUSED")]
    assert used(fake) == 2


def test_what_is_not_sent_stays_for_the_next_recorder(fake: FakeClient, tmp_path: Path) -> None:
    fake.set_store_available(False)
    recorder = fake.recorder(tmp_path)
    for _ in range(10):
        recorder.record("124", "api-calls")
    assert not recorder.flush(0.05)
    assert recorder.depth == 10
    assert timedelta() < recorder.age < timedelta(minutes=1)
    assert recorder.close(0) == 10
    assert recorder.close() == 10
    with pytest.raises(canuse.ClientClosed):
        recorder.record("124", "api-calls")
    fake.set_store_available(True)
    with fake.recorder(tmp_path) as following:
        assert following.flush(MAX_WAIT_SECONDS)
    assert used(fake) == 10


def test_a_store_that_comes_back_gets_everything(fake: FakeClient, tmp_path: Path) -> None:
    with fake.recorder(tmp_path) as recorder:
        for number in range(30):
            fake.set_store_available(number % 3 != 0)
            recorder.record("124", "api-calls")
        fake.set_store_available(True)
        assert recorder.flush(MAX_WAIT_SECONDS)
    assert used(fake) == 30


def test_what_is_refused_for_good_is_set_aside_and_can_be_sent_again(fake: FakeClient, tmp_path: Path) -> None:
    told: list[RefusedEvent] = []

    def note(event: RefusedEvent) -> None:
        told.append(event)
        raise ValueError("a callback that fails must not stop the recorder")

    fake.user("poor")
    with fake.recorder(tmp_path, on_refused=note) as recorder:
        for user_id, feature_id in (("new", "api-calls"), ("124", "sso"), ("poor", "api-calls"), ("124", "api-calls")):
            recorder.record(user_id, feature_id, event_id=f"{user_id}-{feature_id}")
        assert recorder.flush(MAX_WAIT_SECONDS)
        reasons = ["USER_NOT_FOUND", "FEATURE_NOT_CONSUMABLE", "REASON_NOT_ENTITLED"]
        assert [event.reason for event in told] == reasons
        assert recorder.refused() == told
    assert used(fake) == 1
    fake.user("new", "pro")
    with fake.recorder(tmp_path) as recorder:
        assert recorder.retry_refused() == 3
        assert recorder.flush(MAX_WAIT_SECONDS)
        assert [event.reason for event in recorder.refused()] == reasons[1:]
    assert used(fake, "new") == 1


def test_a_full_spool_makes_callers_wait_and_then_refuses(fake: FakeClient, tmp_path: Path) -> None:
    fake.set_store_available(False)
    with fake.recorder(tmp_path, max_events=3, wait_seconds=0) as recorder:
        for _ in range(3):
            recorder.record("124", "api-calls")
        assert recorder.is_full
        with pytest.raises(RecorderFull, match="3 events"):
            recorder.record("124", "api-calls")
        assert recorder.depth == 3
        fake.set_store_available(True)
        assert recorder.flush(MAX_WAIT_SECONDS)
    fake.set_store_available(False)
    with fake.recorder(tmp_path, max_events=1, wait_seconds=MAX_WAIT_SECONDS) as recorder:
        recorder.record("124", "api-calls")
        timer = threading.Timer(0.05, fake.set_store_available, (True,))
        timer.start()
        recorder.record("124", "api-calls")
        timer.join()
        assert recorder.flush(MAX_WAIT_SECONDS)
    assert used(fake) == 5


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("", "f"), "user_id"),
        ((None, "f"), "user_id"),
        (("u" * 129, "f"), "user_id"),
        (("u\n", "f"), "user_id"),
        (("u\ud800", "f"), "user_id"),
        (("u", "ä" * 65), "feature_id"),
        (("u", "f", 0), "delta"),
        (("u", "f", 1.5), "delta"),
        (("u", "f", True), "delta"),
        (("u", "f", 2**53), "delta"),
        (("u", "f", 1, ""), "event_id"),
    ],
)
def test_what_no_server_accepts_is_refused_at_once(
    fake: FakeClient, tmp_path: Path, arguments: tuple[object, ...], field: str
) -> None:
    with fake.recorder(tmp_path) as recorder:
        with pytest.raises(canuse.BadArgument) as caught:
            recorder.record(*arguments)  # type: ignore[arg-type]
        assert [violation.field for violation in caught.value.violations] == [field]
        assert recorder.depth == 0


@pytest.mark.parametrize(
    "settings", [{"max_events": 0}, {"max_events": "9"}, {"wait_seconds": -1}, {"spool": ""}, {"spool": None}]
)
def test_settings_that_make_no_sense_are_refused_by_name(
    fake: FakeClient, tmp_path: Path, settings: dict[str, object]
) -> None:
    with pytest.raises(canuse.BadArgument, match=next(iter(settings))):
        fake.recorder(**{"spool": tmp_path, **settings})  # type: ignore[arg-type]
    fake.recorder(tmp_path).close()


def test_a_spool_has_one_recorder_at_a_time(fake: FakeClient, tmp_path: Path) -> None:
    with fake.recorder(tmp_path):
        with pytest.raises(SpoolInUse, match="a folder of its own"):
            fake.recorder(tmp_path)
        with fake.recorder(tmp_path / "other") as other:
            other.record("124", "api-calls")
    fake.recorder(tmp_path).close()
    assert used(fake) == 1


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_is_told_that_the_recorder_is_not_its_own(fake: FakeClient, tmp_path: Path) -> None:
    def status_of(work: Callable[[], object]) -> int:
        if (pid := os.fork()) == 0:
            try:
                work()
            except RuntimeError as error:
                os._exit(7 if "parent process" in str(error) else 8)
            finally:
                os._exit(9)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    with fake.recorder(tmp_path) as recorder:
        assert status_of(lambda: recorder.record("124", "api-calls")) == 7
        assert status_of(recorder.close) == 9
        recorder.record("124", "api-calls")
        assert recorder.flush(MAX_WAIT_SECONDS)
    assert used(fake) == 1


def test_threads_share_a_recorder(fake: FakeClient, tmp_path: Path) -> None:
    with fake.recorder(tmp_path) as recorder:
        threads = [
            threading.Thread(target=lambda: [recorder.record("124", "api-calls") for _ in range(300)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert recorder.flush(MAX_WAIT_SECONDS)
    assert used(fake) == 1200


def test_a_journal_that_was_cut_off_loses_only_its_last_line(tmp_path: Path) -> None:
    events = [Event("124", "api-calls", number, f"e{number}", 1) for number in (1, 2)]
    journal = Journal(tmp_path, fsync=True)
    for event in events:
        journal.append(event.line())
    journal.rotate()
    [path] = journal.finished()
    assert list(events_in(path)) == events
    path.write_bytes(path.read_bytes()[:-1])
    assert list(events_in(path)) == events[:1]
    journal.close()


FULL_DISK = """
import resource, sys
from pathlib import Path
from canuse.recorder.events import Event
from canuse.recorder.journal import Journal
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
journal = Journal(Path(sys.argv[1]), fsync=False)
accepted = 0
try:
    while True:
        journal.append(Event("124", "api-calls", 1, f"e{accepted}", 1).line())
        accepted += 1
except OSError:
    print(accepted)
"""


@pytest.mark.extended
def test_an_event_for_which_the_disk_has_no_room_is_not_accepted_in_part(tmp_path: Path) -> None:
    completed = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path], capture_output=True, text=True, check=True)
    [path] = tmp_path.glob("incoming-*")
    assert 0 < int(completed.stdout) == len(list(events_in(path)))
    assert path.read_bytes().endswith(b"\n")


class TestAsync:
    """The same for asyncio."""

    async def test_tasks_record_and_the_loop_sends(self, fake: FakeClient, tmp_path: Path) -> None:
        client = FakeAsyncClient(fake)
        async with client.recorder(tmp_path) as recorder:
            assert isinstance(recorder, AsyncRecorder)
            ids = await asyncio.gather(*(recorder.record("124", "api-calls") for _ in range(1500)))
            assert len(set(ids)) == 1500
            await recorder.record("nobody", "api-calls")
            assert await recorder.flush(MAX_WAIT_SECONDS)
            assert [event.reason for event in recorder.refused()] == ["USER_NOT_FOUND"]
            assert (recorder.depth, recorder.age) == (0, timedelta())
        assert used(fake) == 1500

    async def test_a_full_spool_lets_the_loop_run(self, fake: FakeClient, tmp_path: Path) -> None:
        client = FakeAsyncClient(fake)
        fake.set_store_available(False)
        async with client.recorder(tmp_path, max_events=2, wait_seconds=MAX_WAIT_SECONDS) as recorder:
            waiting = [asyncio.create_task(recorder.record("124", "api-calls")) for _ in range(5)]
            await asyncio.sleep(0.05)
            assert recorder.is_full
            assert sum(task.done() for task in waiting) == 2
            fake.set_store_available(True)
            await asyncio.gather(*waiting)
            assert recorder.retry_refused() == 0
            assert await recorder.flush(MAX_WAIT_SECONDS)
        assert used(fake) == 5


def test_the_answers_of_batches_decide_which_events_go(fake: FakeClient, tmp_path: Path) -> None:
    """An event whose outcome is unknown is sent again with its id, while those beside it are not."""
    real, calls = fake.batch_create_usage_events, list[int]()

    def unsure(requests: list[v1.CreateUsageEventRequest]) -> list[object]:
        answers: list[object] = list(real(requests))
        calls.append(len(answers))
        if len(calls) == 1:
            answers[1] = canuse.OutcomeUnknown("recorded, but nobody knows")
        return answers

    fake.batch_create_usage_events = unsure  # type: ignore[method-assign,assignment]
    fake.set_store_available(False)
    with fake.recorder(tmp_path) as recorder:
        for _ in range(3):
            recorder.record("124", "api-calls")
        fake.set_store_available(True)
        assert recorder.flush(MAX_WAIT_SECONDS)
    assert calls == [3, 1]
    assert used(fake) == 3
