import time

from canuse_server.runtime.call_state import CallState, begin_call, note_work
from canuse_server.runtime.deadline import StoreDeadline


async def test_work_gives_a_call_no_more_time_for_a_store_that_has_not_answered_it() -> None:
    """A batch that was handed over just before its deadline waited for a silent store once more."""
    deadline = StoreDeadline(10, sliding=True, since=time.monotonic() - 9)
    begin_call(CallState(deadline))
    first = deadline.expires_at
    note_work()
    assert deadline.expires_at == first
    deadline.note_reply(time.monotonic() - 5)
    assert deadline.expires_at > first
    after_reply = deadline.expires_at
    note_work()
    assert deadline.expires_at >= after_reply + 4


def test_a_deadline_that_does_not_slide_stays_where_it_is() -> None:
    deadline = StoreDeadline(10, sliding=False)
    first = deadline.expires_at
    deadline.note_reply()
    deadline.note_work()
    assert deadline.expires_at == first
