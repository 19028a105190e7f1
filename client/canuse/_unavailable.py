"""What a client answers to a check if the service does not: as its caller or the feature says. No I/O."""

import threading
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

import grpc

from canuse import v1
from canuse._arguments import bad_argument
from canuse.answers import CanUseAnswer, Consumption, CreateUsageEventAnswer, UseFeatureAnswer
from canuse.enums import Reason
from canuse.errors import (
    CanuseError,
    ClientClosed,
    DeadlineExceeded,
    Overloaded,
    Unavailable,
    as_batch_item,
)

Fallback: TypeAlias = Literal["deny", "allow", "last_known", "raise"]

NOTHING: Final[Mapping[str, Fallback]] = MappingProxyType({})
MAX_AGE_SECONDS: Final = 300.0
"""Maximum age of a last known answer, as on the server by default."""
MAX_ENTRIES: Final = 10_000
"""Maximum number of last known answers; the oldest are evicted first."""
RETRY_SECONDS: Final = 0.5
"""How long a check that has another answer is repeated. While nothing answers, the following ones are not repeated."""
_FALLBACKS: Final = get_args(Fallback)
_BY_NUMBER: Final[Mapping[v1.OnUnavailable.ValueType, Fallback]] = {
    v1.ON_UNAVAILABLE_DENY: "deny",
    v1.ON_UNAVAILABLE_ALLOW: "allow",
    v1.ON_UNAVAILABLE_LAST_KNOWN: "last_known",
}
_NUMBERS: Final[Mapping[Fallback, v1.OnUnavailable.ValueType]] = {word: number for number, word in _BY_NUMBER.items()}
_COUNTED: Final = frozenset(
    {
        Reason.REASON_WITHIN_BUDGET,
        Reason.REASON_UNLIMITED,
        Reason.REASON_OVERAGE,
        Reason.REASON_BUDGET_EXCEEDED,
    }
)
"""The reasons that depend on the amount."""


class _Known(NamedTuple):
    access: bool
    reason: Reason
    consumption: Consumption | None
    noted_at: float

    def allows(self, delta: int) -> bool:
        counts = self.consumption
        if counts is None or self.reason not in _COUNTED:
            return self.access
        return counts.remaining is None or counts.overage_enabled or counts.remaining >= delta


def is_no_answer(error: CanuseError) -> bool:
    """Whether a failure leaves the question open: the service was not reached, or could not answer in time."""
    if isinstance(error, Overloaded):
        return error.reason == "OVERLOADED"
    is_cut_off = error.code is grpc.StatusCode.CANCELLED and not isinstance(error, ClientClosed)
    return is_cut_off or isinstance(error, Unavailable | DeadlineExceeded)


class Fallbacks:
    """The answers of one client to checks that got none. Threads may share it."""

    def __init__(self, by_feature: Any, default: Any) -> None:
        """BadArgument unless both are as `Client` documents them."""
        accepted = "'deny', 'allow', 'last_known' or 'raise'"
        if not isinstance(by_feature, Mapping):
            raise bad_argument("unavailable", by_feature, f"a mapping of feature ids to {accepted}")
        for feature_id, word in by_feature.items():
            if word not in _FALLBACKS:
                raise bad_argument(f"unavailable[{feature_id!r}]", word, accepted)
        if default is not None and default not in _FALLBACKS:
            raise bad_argument("unavailable_default", default, f"{accepted} or None")
        self._by_feature: dict[str, Fallback] = dict(by_feature)
        self._default: Fallback | None = default
        self._heard: dict[str, Fallback] = {}
        self._known: dict[tuple[str, str], _Known] = {}
        self._lock = threading.Lock()
        self._is_reached = True
        self._may_keep_counts = "last_known" in (default, *self._by_feature.values())
        """Whether the counts of any feature are noted."""

    def of(self, feature_id: str) -> Fallback:
        """Return what applies to a feature."""
        if (word := self._by_feature.get(feature_id)) is not None:
            return word
        if self._default is not None:
            return self._default
        return self._heard.get(feature_id, "raise")

    def retry_seconds(self, *feature_ids: str) -> float | None:
        """Return how long a check of features is repeated. None: until its deadline."""
        for feature_id in feature_ids:
            if self.of(feature_id) == "raise":
                return None
        return self.patience_seconds()

    def patience_seconds(self) -> float:
        """Return how long a call is repeated that can do without its answer."""
        return RETRY_SECONDS if self._is_reached else 0.0

    def missed(self) -> None:
        """Note that a call got no answer."""
        self._is_reached = False

    def note(self, user_id: str, answer: CanUseAnswer) -> None:
        """Note what an answer says for the time without answers."""
        self._is_reached = True
        # Of the message: the answer would convert each field for good.
        feature_id, message = answer.feature_id, answer.message
        word = _BY_NUMBER.get(message.on_unavailable, "deny")
        if self._heard.get(feature_id) != word:
            if len(self._heard) >= MAX_ENTRIES:
                self._heard.clear()
            self._heard[feature_id] = word
            self._may_keep_counts |= self.of(feature_id) == "last_known"
        if message.source == v1.SOURCE_STORE:
            self.note_counts(user_id, feature_id, answer)

    def note_counts(
        self, user_id: str, feature_id: str, answer: CanUseAnswer | UseFeatureAnswer | CreateUsageEventAnswer
    ) -> None:
        """Note the state after a call, if it may be used as the last known one."""
        self._is_reached = True
        if not self._may_keep_counts or self.of(feature_id) != "last_known":
            return
        known = _Known(bool(answer), answer.reason, answer.consumption, time.monotonic())
        with self._lock:
            self._known.pop((user_id, feature_id), None)
            self._known[user_id, feature_id] = known
            if len(self._known) > MAX_ENTRIES:
                del self._known[next(iter(self._known))]

    def answer(self, user_id: str, feature_id: str, delta: int, error: CanuseError) -> CanUseAnswer:
        """Return the answer in place of one from the service; raise the error if there is none."""
        word = self.of(feature_id)
        if word == "raise" or not is_no_answer(error):
            raise error
        self.missed()
        known = self._recall(user_id, feature_id) if word == "last_known" else None
        access = word == "allow" if known is None else known.allows(delta)
        consumption = None if known is None else known.consumption
        message = v1.CanUseResponse(
            access=access,
            reason=v1.REASON_STORE_UNAVAILABLE,
            consumption=None if consumption is None else consumption.message,
            source=v1.SOURCE_FALLBACK if known is None else v1.SOURCE_LAST_KNOWN,
            on_unavailable=_NUMBERS[word],
        )
        return CanUseAnswer.from_message(message, feature_id, error)

    def _recall(self, user_id: str, feature_id: str) -> _Known | None:
        known = self._known.get((user_id, feature_id))
        return known if known and time.monotonic() - known.noted_at <= MAX_AGE_SECONDS else None

    def batch(self, requests: Sequence[v1.CanUseRequest], error: CanuseError) -> list[CanUseAnswer | CanuseError]:
        """Return the answers to a batch that got none; raise the error if there are none."""
        if not is_no_answer(error) or all(self.of(each.feature_id) == "raise" for each in requests):
            raise error
        return self.settled(requests, [as_batch_item(error) for _ in requests])

    def settled(
        self, requests: Sequence[v1.CanUseRequest], answers: Sequence[CanUseAnswer | CanuseError]
    ) -> list[CanUseAnswer | CanuseError]:
        """Return the answers to a batch, with others in place of failures, and note those of the service."""
        return [self._item(request, answer) for request, answer in zip(requests, answers, strict=True)]

    def _item(self, request: v1.CanUseRequest, answer: CanUseAnswer | CanuseError) -> CanUseAnswer | CanuseError:
        if isinstance(answer, CanUseAnswer):
            self.note(request.user_id, answer)
            return answer
        if self.of(request.feature_id) == "raise" or not is_no_answer(answer):
            return answer
        delta = request.delta if request.HasField("delta") else 1
        return self.answer(request.user_id, request.feature_id, delta, answer)
