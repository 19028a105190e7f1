"""Answers that were decided locally. Their attributes are only worked out when they are read."""

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from canuse import v1
from canuse._lazy import assign, new
from canuse.answers import CanUseAnswer, UseFeatureAnswer
from canuse.enums import OnUnavailable, Reason


class Word(NamedTuple):
    """The last word of the service about a user and a feature."""

    feature_id: str
    reason: Reason
    consumption: v1.Consumption
    held: int
    """Units that the client's own lease had reserved then. To its callers they are available."""

    def consumption_after(self, used: int) -> v1.Consumption:
        """Return the counts after further units were used of the lease."""
        counts = v1.Consumption()
        counts.CopyFrom(self.consumption)
        counts.used += used
        counts.reserved = max(0, counts.reserved - self.held)
        if counts.HasField("remaining"):
            counts.remaining = max(0, counts.remaining + self.held - used)
        return counts


class LocalUseFeatureAnswer(UseFeatureAnswer):
    """A yes to a use that was decided locally. It prints and pickles as what it is for its caller."""

    __slots__ = ("_basis",)

    _CONVERTERS: ClassVar = {
        **UseFeatureAnswer._CONVERTERS,  # noqa: SLF001 - of its base
        "access": lambda _: True,
        "local": lambda _: True,
    }

    def __bool__(self) -> bool:
        """Return True: only a yes is decided locally."""
        return True

    if not TYPE_CHECKING:  # As in its base.

        def __getattr__(self, name: str) -> Any:
            """Make the message when one of its fields is first read."""
            if name == "feature_id":
                value = self._basis[0].feature_id
            elif name == "message":
                word, used = self._basis
                value = v1.UseFeatureResponse(access=True, reason=word.reason, consumption=word.consumption_after(used))
            else:
                return super().__getattr__(name)
            assign(self, name, value)
            return value

    def __reduce__(self) -> tuple[type[UseFeatureAnswer], tuple[Any, ...]]:
        """Pickle and copy it as an answer that has all its fields."""
        return UseFeatureAnswer, tuple(getattr(self, each.name) for each in fields(self))

    def __repr__(self) -> str:
        """Return what any other answer would."""
        kind, values = self.__reduce__()
        return repr(kind(*values))


_set_basis: Final = LocalUseFeatureAnswer._basis.__set__  # type: ignore[attr-defined]  # noqa: SLF001


def use_answer(word: Word, used: int) -> UseFeatureAnswer:
    """Return the answer to a use; `used` are the units used since the word, with this use."""
    answer: UseFeatureAnswer = new(LocalUseFeatureAnswer)
    _set_basis(answer, (word, used))
    return answer


def check_answer(word: Word, used: int, on_unavailable: OnUnavailable) -> CanUseAnswer:
    """Return the answer to a check that was decided by a lease."""
    message = v1.CanUseResponse(
        access=True,
        reason=v1.Reason.ValueType(word.reason),
        consumption=word.consumption_after(used),
        source=v1.SOURCE_STORE,
        on_unavailable=v1.OnUnavailable.ValueType(on_unavailable),
    )
    return replace(CanUseAnswer.from_message(message, word.feature_id), local=True)
