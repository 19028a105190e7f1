"""The state of the call that a task answers, for code that is not told about the call: the store and the event loop.

This is the one context variable of a call. Tasks that work for the same call share its state.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from canuse_server.domain.durability import Durability
from canuse_server.runtime.deadline import StoreDeadline

if TYPE_CHECKING:
    from canuse_server.runtime.fairness import YieldBudget


class CallState:
    """How long a call may wait for the store, and how durable its writes have to be."""

    __slots__ = ("confirmed", "durability", "store_deadline", "yield_budget")

    def __init__(
        self, store_deadline: StoreDeadline | None = None, durability: Durability | None = Durability.MEMORY
    ) -> None:
        self.store_deadline = store_deadline
        self.durability = durability
        """What the caller requires beyond what the server promises. None: neither is waited for, see `unconfirmed`."""
        self.confirmed = False
        """Whether the store has confirmed the writes of this call already."""
        self.yield_budget: YieldBudget | None = None
        """The breaks that the call shares with other calls that do much work; None: it takes none."""


_CURRENT: Final[ContextVar[CallState | None]] = ContextVar("call_state", default=None)


def begin_call(state: CallState) -> None:
    """Make a state that of the call that this task answers, and of the tasks that it starts from now on."""
    _CURRENT.set(state)


def current_call() -> CallState:
    """Return the state of the call that this task answers; outside of calls, one that nothing shares."""
    return _CURRENT.get() or CallState()


def current_store_deadline(seconds: float) -> StoreDeadline:
    """Return the store deadline of the call that this task answers; outside of calls, one for a single round trip."""
    return current_call().store_deadline or StoreDeadline(seconds, sliding=True)


def note_work() -> None:
    """Note that the current call has its reply and is working on it: it does not wait for the store."""
    if (deadline := current_call().store_deadline) is not None:
        deadline.note_reply()


@contextmanager
def unconfirmed() -> Iterator[None]:
    """Let writes return once they are in the store's memory, whatever is promised: housekeeping, which counts nothing.

    A check that needs it must not wait. A write that needs it has itself confirmed, and with it all that came before.
    """
    call = current_call()
    state = CallState(call.store_deadline, None)
    state.yield_budget = call.yield_budget
    token = _CURRENT.set(state)
    try:
        yield
    finally:
        _CURRENT.reset(token)
