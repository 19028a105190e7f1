"""Who makes a call."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of an API key. A caller without one, where none is required, is None: anonymous."""

    key_id: str
    environment: str
    """The environment that the key belongs to."""
