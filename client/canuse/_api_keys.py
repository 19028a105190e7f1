"""A created API key, as the clients return it."""

from dataclasses import dataclass, field

from canuse import v1


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A created API key with its secret, which is never shown again. `repr` leaves the secret out."""

    api_key: v1.ApiKey
    """The key as stored."""
    secret: str = field(repr=False)
    """The secret to send with calls: `Client(…, api_key=secret)`."""
