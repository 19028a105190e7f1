"""Enum members of the domain as the API shows them.

What only a newer version of canuse knows is a plain number: the API shows it as UNSPECIFIED, which is 0 everywhere.
"""

from enum import IntEnum
from typing import Final

UNSPECIFIED: Final = 0


def shown(value: IntEnum | int) -> int:
    """Return the number that the API shows."""
    return int(value) if isinstance(value, IntEnum) else UNSPECIFIED


def name_of(value: IntEnum | int) -> str:
    """Return the name that people are told."""
    return value.name if isinstance(value, IntEnum) else f"{value}, which this version of canuse does not know"
