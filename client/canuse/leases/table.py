"""The accounts of a client, and its cached answers: what it decides without a call. No I/O."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Lock
from typing import Final

from canuse.answers import CanUseAnswer, ReserveAnswer, UseFeatureAnswer
from canuse.enums import OnUnavailable, Reason
from canuse.leases.account import Account
from canuse.leases.answers import check_answer, use_answer
from canuse.leases.settings import MAX_AMOUNT, Lease
from canuse.leases.sizing import Candidate, available

Key = tuple[str, str]
_CACHED: Final = frozenset({Reason.REASON_INCLUDED, Reason.REASON_UNLIMITED})


class Table:
    """What a client decides by itself. Threads may share it."""

    def __init__(
        self, leases: Mapping[str, Lease], now: Callable[[], float], wake: Callable[[Account], object]
    ) -> None:
        """Call `wake` with accounts whose calls are to be made."""
        self._leases = leases
        self._now = now
        self._wake = wake
        self.lock = Lock()
        """Held while accounts, candidates or cached answers are added or removed."""
        self.accounts: dict[Key, Account] = {}
        self._candidates: dict[Key, Candidate] = {}
        self._answers: dict[Key, tuple[CanUseAnswer, float]] = {}
        self._heard: dict[str, tuple[OnUnavailable, float]] = {}
        """By feature, what it does while the store is unavailable, and until when this is taken for true."""
        self.is_open = True
        """Whether leases are taken."""

    def use(self, user_id: str, feature_id: str, delta: int) -> UseFeatureAnswer | None:
        """Use units without a call; None if the server has to decide, or to refuse the arguments."""
        try:
            account = self.accounts.get((user_id, feature_id))
        except TypeError:  # An id that cannot be hashed.
            return None
        if account is None or type(delta) is not int or delta < 1 or (taken := account.take(delta)) is None:
            return None
        if account.left < account.low:
            self.queue(account)
        return use_answer(*taken)

    def check(self, user_id: str, feature_id: str, delta: int) -> CanUseAnswer | None:
        """Check without a call; None if the server has to decide, or to refuse the arguments."""
        if type(delta) is not int or not 0 < delta <= MAX_AMOUNT:
            return None
        try:
            account = self.accounts.get((user_id, feature_id))
            cached = self._answers.get((user_id, feature_id))
        except TypeError:
            return None
        now = self._now()
        heard = self._heard.get(feature_id)
        if account is not None and heard is not None and now < heard[1] and (found := account.has(delta)) is not None:
            return check_answer(*found, heard[0])
        return cached[0] if cached is not None and now < cached[1] else None

    def note_use(self, user_id: str, feature_id: str, delta: int, answer: UseFeatureAnswer, asked_at: float) -> None:
        """Note what the server decided, which may make a lease worthwhile."""
        lease = self._leases.get(feature_id)
        if lease is None or not answer.access or answer.replayed:
            return
        key = (user_id, feature_id)
        account = self.accounts.get(key)
        if account is not None:
            if account.decided_elsewhere(delta):
                self.queue(account)
            return
        left = available(answer.reason, answer.message.consumption)
        with self.lock:
            candidate = self._candidates.get(key)
            if candidate is None:
                _make_room(self._candidates, lease.max_users)
                candidate = self._candidates[key] = Candidate(asked_at)
            wanted = candidate.size_after(delta, self._now(), lease, left)
            if not wanted or not self.is_open or key in self.accounts:
                return
            del self._candidates[key]
            account = self.accounts[key] = Account(user_id, feature_id, lease, wanted, self._now)
        self.queue(account)
        self._evict(feature_id, lease.max_users, account)

    def note_check(self, user_id: str, answer: CanUseAnswer, asked_at: float) -> None:
        """Note what the server decided, for the time in which it is repeated."""
        lease = self._leases.get(answer.feature_id)
        if lease is None or answer.failure is not None or answer.explanation is not None:
            return
        stale_at = asked_at + lease.max_stale_seconds
        self._heard[answer.feature_id] = (answer.on_unavailable, stale_at)
        key = (user_id, answer.feature_id)
        with self.lock:
            self._answers.pop(key, None)
            if answer.access and answer.reason in _CACHED and self.is_open:
                _make_room(self._answers, lease.max_users)
                self._answers[key] = (replace(answer, local=True), stale_at)

    def lent(
        self, user_id: str, feature_id: str, delta: int, answer: UseFeatureAnswer | CanUseAnswer | ReserveAnswer
    ) -> Account | None:
        """Return the account to give back after a no: its units are missing for a yes, or its uses in the counts."""
        if answer or answer.reason != Reason.REASON_BUDGET_EXCEEDED or answer.consumption is None:
            return None
        account = self.accounts.get((user_id, feature_id))
        if account is None:
            return None
        held = account.left + account.on_the_way()
        is_missing = held > 0 and (answer.consumption.remaining or 0) + held >= delta
        return account if is_missing or account.unreported else None

    def remove(self, account: Account) -> None:
        """Forget an account for which nothing is left to do."""
        with self.lock:
            if self.accounts.get((account.user_id, account.feature_id)) is account:
                del self.accounts[account.user_id, account.feature_id]

    def stop(self) -> list[Account]:
        """Take no more leases, and use nothing more of those that there are; return the accounts."""
        with self.lock:
            self.is_open = False
            self._answers.clear()
            accounts = list(self.accounts.values())
        for account in accounts:
            account.stop()
        return accounts

    def queue(self, account: Account) -> None:
        """Let the calls of an account be made, unless it waits for that already."""
        if not account.queued:
            account.queued = True
            self._wake(account)

    def _evict(self, feature_id: str, max_users: int, added: Account) -> None:
        """Let the least recently used lease of a feature be given back if there are too many."""
        with self.lock:
            others = [each for each in self.accounts.values() if each.feature_id == feature_id and not each.stopped]
        if len(others) > max_users:
            oldest = min((each for each in others if each is not added), key=lambda each: each.used_at, default=added)
            oldest.stop()
            self.queue(oldest)


def _make_room(entries: "dict[Key, Candidate] | dict[Key, tuple[CanUseAnswer, float]]", limit: int) -> None:
    """Remove the entry that was added first if there are as many as there may be."""
    if len(entries) >= limit:
        del entries[next(iter(entries))]
