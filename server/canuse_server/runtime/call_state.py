"""The state of the current call, for code that does not get the call as an argument: the store and `fairness.py`.

It is the only context variable of a call. All tasks of a call share its state.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from canuse_server.domain.durability import Durability
from canuse_server.runtime.deadline import StoreDeadline

if TYPE_CHECKING:
    from canuse_server.runtime.fairness import YieldBudget
    from canuse_server.runtime.round_trips import RoundTrips

ChangeLog = Callable[[dict[str, Any]], None]
"""Writes a line about a change."""


class Author(NamedTuple):
    """Who makes the changes of a call, for the audit log."""

    method: str
    """`package.Service/Method`."""
    key_id: str
    """The id of the caller's API key; empty: an anonymous caller."""
    environment: str
    request_id: str
    """Empty: the call has none."""
    log: ChangeLog | None = None
    """Logs the changes that were made. None: they are not logged."""


class CallState:
    """The store deadline of a call, the durability that its writes require, and the author of its changes."""

    __slots__ = ("author", "confirmed", "durability", "round_trips", "store_deadline", "yield_budget")

    def __init__(
        self,
        store_deadline: StoreDeadline | None = None,
        durability: Durability | None = Durability.MEMORY,
        round_trips: "RoundTrips | None" = None,
        author: Author | None = None,
    ) -> None:
        self.store_deadline = store_deadline
        self.durability = durability
        """The level that the caller requires beyond the server's promise. None: wait for neither, see `unconfirmed`."""
        self.author = author
        """None: the changes have no entries in the audit log."""
        self.confirmed = False
        """Whether the store has already confirmed the writes of this call."""
        self.yield_budget: YieldBudget | None = None
        """The budget that the call shares with other long calls. None: the call does not yield."""
        self.round_trips = round_trips
        """Where round trips to the store are noted, if the call is traced."""


_CURRENT: Final[ContextVar[CallState | None]] = ContextVar("call_state", default=None)


def begin_call(state: CallState) -> None:
    """Set the call state of this task and of the tasks that it starts from now on."""
    _CURRENT.set(state)


def current_call() -> CallState:
    """Return the state of the current call; outside of calls, a new one."""
    return _CURRENT.get() or CallState()


def current_store_deadline(seconds: float) -> StoreDeadline:
    """Return the store deadline of the current call; outside of calls, one for a single round trip."""
    return current_call().store_deadline or StoreDeadline(seconds, sliding=True)


def note_work() -> None:
    """Extend the store deadline of the current call: it is busy and does not wait for the store."""
    if (deadline := current_call().store_deadline) is not None:
        deadline.note_work()


@contextmanager
def unconfirmed() -> Iterator[None]:
    """Let writes return once they are in the store's memory, whatever the server promises.

    For maintenance, which records no usage: a check that triggers it must not wait, and a write that triggers it waits
    for its own confirmation, which covers all earlier writes. It has no author.
    """
    call = current_call()
    state = CallState(call.store_deadline, None, call.round_trips)
    state.yield_budget = call.yield_budget
    token = _CURRENT.set(state)
    try:
        yield
    finally:
        _CURRENT.reset(token)
