"""Who visits the console: the holder of an API key who has logged in, or anybody where no key is required.

A cookie has a random id; the store has its digest and the id of the API key. Whether that key still exists, and what it
permits, is asked again at each request.
"""

import hmac
import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from canuse_server.api.errors import ApiError
from canuse_server.api.tokens.api_key import KeyId
from canuse_server.auth.authorizer import Caller
from canuse_server.store.repositories.console_sessions import LIFETIME_SECONDS, ConsoleSessions
from canuse_server.transport.http.console.addresses import HOME
from canuse_server.transport.http.host import Host

COOKIE: Final = "canuse_console"
_SESSION: Final = "s."
_VISIT: Final = "v."
"""What the id of a visitor begins with who has not logged in. It is in no store; forms are bound to it."""
_ID_BYTES: Final = 32
_MAX_ID: Final = 64


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who makes a request."""

    id: str
    """The value of the cookie."""
    is_new: bool = False
    """Whether the browser has no such cookie yet."""
    caller: Caller | None = None
    """None: they have to log in first."""
    credentials: KeyId | None = None
    """Those of their calls; None for those who have not logged in."""

    @property
    def form_token(self) -> str:
        """What each of their forms contains: pages of other sites do not know it."""
        return hmac.digest(self.id.encode(), b"canuse console form", "sha256").hex()

    def sign(self, text: str) -> str:
        """Return what shows that a text in an address is from one of their own pages."""
        return hmac.digest(self.id.encode(), b"canuse console address " + text.encode(), "sha256").hex()

    def has_sent(self, token: str) -> bool:
        """Whether a form is one of theirs."""
        return not self.is_new and hmac.compare_digest(self.form_token.encode(), token.encode())


class Sessions:
    """The sessions of a server."""

    def __init__(self, host: Host) -> None:
        self._stored = ConsoleSessions(host.store)
        self._authorizer = host.authorizer
        self._secure = host.secure

    async def visitor(self, request: Request) -> Visitor:
        """Return who makes a request. Raises StoreError."""
        sent = request.cookies.get(COOKIE, "")
        if not (sent.startswith((_SESSION, _VISIT)) and len(sent) <= _MAX_ID):
            return Visitor(_new_id(_VISIT), is_new=True, caller=self._anybody())
        if sent.startswith(_SESSION):
            key_id = await self._stored.key_id(_digest(sent))
            if key_id is not None:
                try:
                    return Visitor(sent, False, self._authorizer.holder(KeyId(key_id.encode())), KeyId(key_id.encode()))
                except ApiError:  # The key was revoked or has expired, and so has the session.
                    pass
        return Visitor(sent, caller=self._anybody())

    def _anybody(self) -> Caller | None:
        """Return the caller without a key, if none is required."""
        return self._authorizer.identify(None)

    async def log_in(self, secret: str, before: Visitor) -> Visitor:
        """Begin a session of the holder of an API key, and end the one before.

        Raises:
            ApiError: nobody can log in with this.
            StoreError: the store is unavailable.
        """
        caller = self._authorizer.holder(b"Bearer " + secret.encode())
        key_id = caller.principal.key_id if caller.principal else ""
        # Always a new id: one that was known before must not become that of a session.
        session_id = _new_id(_SESSION)
        await self.log_out(before)
        await self._stored.begin(_digest(session_id), key_id)
        return Visitor(session_id, caller=caller, credentials=KeyId(key_id.encode()))

    async def log_out(self, visitor: Visitor) -> None:
        """End a session. Raises StoreError."""
        if visitor.id.startswith(_SESSION):
            await self._stored.end(_digest(visitor.id))

    async def claim(self, visitor: Visitor, form: str) -> bool:
        """Return whether a visitor sends a form for the first time. Raises StoreError."""
        return await self._stored.claim(_digest(f"{visitor.id} {form}"))

    def set_cookie(self, answer: Response, visitor: Visitor) -> None:
        """Let the browser send the visitor's id from now on.

        Lax: whoever opens a page's address from a mail or a chat is still logged in there. What changes something is
        sent by POST, which other sites' pages then send without the cookie.
        """
        seconds = LIFETIME_SECONDS if visitor.id.startswith(_SESSION) else None
        answer.set_cookie(*(COOKIE, visitor.id, seconds), path=HOME, secure=self._secure, httponly=True, samesite="lax")

    def delete_cookie(self, answer: Response) -> None:
        """Let the browser forget the visitor."""
        answer.delete_cookie(COOKIE, path=HOME, secure=self._secure, httponly=True, samesite="lax")


def _new_id(prefix: str) -> str:
    return prefix + secrets.token_urlsafe(_ID_BYTES)


def _digest(session_id: str) -> str:
    return sha256(session_id.encode()).hexdigest()
