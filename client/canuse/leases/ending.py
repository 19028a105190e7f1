"""What happens to leases when the process ends, is told to end, or forks."""

import _thread
import atexit
import logging
import multiprocessing
import multiprocessing.util
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from canuse.leases.clock import clock

if TYPE_CHECKING:
    from canuse.leases.worker import Worker

EXIT_SECONDS: Final = 5.0
"""How long the end of the process waits for leases to be settled."""
FORK_SECONDS: Final = 1.0
"""How long a fork waits for calls of leases in flight."""

log = logging.getLogger("canuse.leases")
_workers: dict[int, "Worker"] = {}
"""Those that are not closed, by `id`."""
_held: list["Worker"] = []
"""Those whose calls a fork holds up."""


class _Sigterm:
    """The handling of SIGTERM, from the first client with leases that the main thread makes."""

    def __init__(self) -> None:
        self.before: Any = None
        """The handler that was there. None: ours is not installed."""
        self.settling = self.settled = False

    def install(self) -> None:
        """Handle SIGTERM, and then do what was done before. Only the main thread can."""
        # Once: a handler that has replaced ours since then may call ours.
        if self.before is not None or threading.current_thread() is not threading.main_thread():
            return
        before = signal.getsignal(signal.SIGTERM)
        if before is None or before is signal.SIG_IGN:
            return  # Not a handler of Python, or the process does not end.
        try:
            signal.signal(signal.SIGTERM, self.handle)
        except ValueError:  # A subinterpreter.
            return
        self.before = before

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal. It interrupts the main thread anywhere, so it must not wait for a lock."""
        workers = list(_workers.values())
        is_nothing_held = not any(worker.table.accounts for worker in workers)
        if callable(self.before):
            for worker in workers:
                _started(worker.give_all_back)
            self.before(number, frame)
        elif self.settled or is_nothing_held or not (self.settling or _started(self._settle, number)):
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        else:
            self.settling = True

    def _settle(self, number: int) -> None:
        """Settle everything, and let the main thread, which goes on meanwhile, end by the signal."""
        try:
            settle_all()
        finally:
            self.settled = True
            signal.pthread_kill(threading.main_thread().ident or 0, number)


def _started(function: Callable[..., object], *arguments: object) -> bool:
    """Start a thread, in a handler of a signal; return whether that was still possible."""
    try:
        _thread.start_new_thread(function, arguments)
    except RuntimeError:  # The interpreter ends.
        return False
    return True


_sigterm: Final = _Sigterm()


def register(worker: "Worker", *, sigterm: bool) -> None:
    """Settle the leases of a client when the process ends, unless it is closed before."""
    _workers[id(worker)] = worker
    # Last registered, first called: what the client needs may be ended there, too.
    atexit.unregister(settle_all)
    atexit.register(settle_all)
    if multiprocessing.parent_process() is not None:
        _settle_with_multiprocessing()
    if sigterm:
        _sigterm.install()


def _settle_with_multiprocessing(_: object = None) -> None:
    """Settle at the end of a process of `multiprocessing`: a forked one does not call the functions of `atexit`."""
    multiprocessing.util.Finalize(None, settle_all, exitpriority=0)


def forget(worker: "Worker") -> None:
    """Leave a client alone that is closed."""
    _workers.pop(id(worker), None)


def settle_all() -> None:
    """Settle the leases of all clients, within a time."""
    deadline = clock() + EXIT_SECONDS
    for worker in list(_workers.values()):
        try:
            for use in worker.close(max(0.0, deadline - clock())):
                worker.lose(use, "the service did not answer before the end of the process")
        except Exception:
            log.exception("leases could not be settled")


def _before_fork() -> None:
    """Let no call be in flight: gRPC would not survive the fork."""
    _held.extend(worker for worker in list(_workers.values()) if worker.calling.acquire(timeout=FORK_SECONDS))


def _after_in_parent() -> None:
    while _held:
        _held.pop().calling.release()


def _after_in_child() -> None:
    _held.clear()
    _sigterm.settling = _sigterm.settled = False
    for worker in list(_workers.values()):
        worker.after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
multiprocessing.util.register_after_fork(_sigterm, _settle_with_multiprocessing)
