"""The identity of a caller."""

from dataclasses import dataclass, field
from enum import Enum, auto


class CredentialKind(Enum):
    """What a caller sends as its credentials."""

    SECRET_KEY = auto()
    PUBLISHABLE_KEY = auto()
    USER_TOKEN = auto()


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of an API key or a user token. None stands for an anonymous caller, if no key is required."""

    key_id: str
    """The id of the API key; empty for a user token."""
    environment: str
    """The environment of the key or token."""
    kind: CredentialKind = CredentialKind.SECRET_KEY
    user_id: str = ""
    """The user of the token, the only one that its calls may name; empty for an API key."""
    token_generation: bytes = field(default=b"", repr=False)
    """The generation of the user's tokens to which the token belongs."""
