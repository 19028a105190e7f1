"""Conversion of the domain's enum members for the API.

A value that only a newer version of canuse knows is a plain number; the API shows it as UNSPECIFIED, which is 0 in
every enum.
"""

from enum import IntEnum
from typing import Final

UNSPECIFIED: Final = 0


def shown(value: IntEnum | int) -> int:
    """Return the value in the API's enum."""
    return int(value) if isinstance(value, IntEnum) else UNSPECIFIED


def name_of(value: IntEnum | int) -> str:
    """Return the name for messages."""
    return value.name if isinstance(value, IntEnum) else f"{value}, which this version of canuse does not know"
