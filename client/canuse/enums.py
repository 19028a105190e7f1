"""The enums in answers: integers, as in `canuse.v1`, that print as the names of the API."""

from enum import IntEnum
from typing import Self

from canuse import v1


class _Named(IntEnum):
    """An enum of the API. An unknown value, from a newer server, is kept, with its number as its name."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_, member._value_ = str(value), value
        return member

    def __eq__(self, other: object) -> bool:
        """Compare as a number. Defined for type checkers: values of `canuse.v1` can be equal."""
        return int(self) == other

    __hash__ = int.__hash__

    def __reduce_ex__(self, protocol: object) -> tuple[type[Self], tuple[int]]:
        """Pickle the number: Python before 3.11.4 pickles the name, which an unknown value does not have."""
        return type(self), (int(self),)

    def __repr__(self) -> str:
        """Return the name in the API."""
        return self.name

    def __str__(self) -> str:
        """Return the name in the API."""
        return self.name

    def __format__(self, spec: str) -> str:
        """Format the name, for f-strings."""
        return format(self.name, spec)


class Reason(_Named):
    """Why access was granted or denied, as `canuse.v1.Reason` documents it; equal to its values."""

    REASON_UNSPECIFIED = v1.REASON_UNSPECIFIED
    REASON_INCLUDED = v1.REASON_INCLUDED
    REASON_WITHIN_BUDGET = v1.REASON_WITHIN_BUDGET
    REASON_UNLIMITED = v1.REASON_UNLIMITED
    REASON_OVERAGE = v1.REASON_OVERAGE
    REASON_NOT_ENTITLED = v1.REASON_NOT_ENTITLED
    REASON_BUDGET_EXCEEDED = v1.REASON_BUDGET_EXCEEDED
    REASON_SUBSCRIPTION_INACTIVE = v1.REASON_SUBSCRIPTION_INACTIVE
    REASON_FEATURE_ARCHIVED = v1.REASON_FEATURE_ARCHIVED
    REASON_USER_DISABLED = v1.REASON_USER_DISABLED
    REASON_STORE_UNAVAILABLE = v1.REASON_STORE_UNAVAILABLE


class Source(_Named):
    """What an answer is based on, as `canuse.v1.Source` documents it; equal to its values."""

    SOURCE_UNSPECIFIED = v1.SOURCE_UNSPECIFIED
    SOURCE_STORE = v1.SOURCE_STORE
    SOURCE_LAST_KNOWN = v1.SOURCE_LAST_KNOWN
    SOURCE_FALLBACK = v1.SOURCE_FALLBACK


class OnUnavailable(_Named):
    """The answer while the store is unavailable, as `canuse.v1.OnUnavailable` documents it; equal to its values."""

    ON_UNAVAILABLE_UNSPECIFIED = v1.ON_UNAVAILABLE_UNSPECIFIED
    ON_UNAVAILABLE_DENY = v1.ON_UNAVAILABLE_DENY
    ON_UNAVAILABLE_ALLOW = v1.ON_UNAVAILABLE_ALLOW
    ON_UNAVAILABLE_LAST_KNOWN = v1.ON_UNAVAILABLE_LAST_KNOWN
