"""The identity of a caller."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of an API key. None stands for an anonymous caller, if no key is required."""

    key_id: str
    environment: str
    """The environment of the key."""
