"""A generated user token, as the clients return it."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class UserToken:
    """A token with which a web page or an app reads what one user may use. `repr` leaves the token out."""

    token: str = field(repr=False)
    """The token to send with calls: `Client(…, api_key=token)`."""
    expires_at: datetime
    """When it expires, in UTC."""
