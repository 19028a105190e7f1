"""What the clients give back for an API key that has been made."""

from dataclasses import dataclass, field

from canuse import v1


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """An API key that has been made, with its secret, which nobody can ask for again. `repr` leaves it out."""

    api_key: v1.ApiKey
    """The key as it is kept."""
    secret: str = field(repr=False)
    """What to send: `Client(…, api_key=secret)`."""
