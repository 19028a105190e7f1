"""What an end user is told when the answer is no."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final, Self

from canuse.enums import Reason
from canuse.errors import AccessDenied

if TYPE_CHECKING:
    from canuse.answers import Consumption


class Decision(ABC):
    """An answer that is a yes or a no."""

    __slots__ = ()

    @abstractmethod
    def __bool__(self) -> bool:
        """Whether it is a yes."""

    def raise_if_denied(self, feature_name: str | None = None) -> Self:
        """Return the answer if it is a yes; otherwise raise AccessDenied, whose text can be shown to the end user.

        Args:
            feature_name: The name of the feature in that text, best in the plural: `API calls`. Default: the feature's
                id with spaces, `api calls`.
        """
        if self:
            return self
        raise self._denied(feature_name)

    def _denied(self, feature_name: str | None) -> AccessDenied:
        """Return the error for a no."""
        feature_id, reason, consumption = self._grounds()
        name = feature_name or feature_id.replace("-", " ").replace("_", " ") or "this feature"
        return AccessDenied(sentence(name, reason, consumption), self)

    @abstractmethod
    def _grounds(self) -> "tuple[str, Reason, Consumption | None]":
        """Return the feature, the reason, and the counts, if they are known."""


def sentence(name: str, reason: Reason, consumption: "Consumption | None") -> str:
    """Return what to tell an end user about a no."""
    if reason == Reason.REASON_BUDGET_EXCEEDED:
        return _budget_exceeded(name, consumption)
    return _SENTENCES.get(reason, "You cannot use {name} at the moment.").format(name=name)


def _budget_exceeded(name: str, consumption: "Consumption | None") -> str:
    if consumption is None or consumption.budget is None:
        return f"You have used all your {name} for now."
    if consumption.budget == 0:
        return f"Your plan includes no {name}."
    if consumption.remaining:
        said = f"You have {consumption.remaining} {name} left, which is not enough."
    elif consumption.used < consumption.budget:
        return f"Your last {name} are in use right now. Please try again in a moment."
    else:
        said = f"You have used all {consumption.budget} {name}."
    return said + (f" You get more on {_shown(consumption.resets_at)}." if consumption.resets_at else "")


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d} at {moment:%H:%M} UTC"


_SENTENCES: Final[Mapping[Reason, str]] = {
    Reason.REASON_NOT_ENTITLED: "Your plan does not include {name}.",
    Reason.REASON_SUBSCRIPTION_INACTIVE: "Your subscription with {name} is not active.",
    Reason.REASON_FEATURE_ARCHIVED: "The feature {name} is no longer available.",
    Reason.REASON_USER_DISABLED: "Your account is disabled.",
    Reason.REASON_STORE_UNAVAILABLE: "We cannot check {name} right now. Please try again in a moment.",
}
