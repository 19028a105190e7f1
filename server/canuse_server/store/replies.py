"""Commands as bytes, and what a reply that is an error means."""

from typing import Any, Final, cast

import hiredis

from canuse_server.store.errors import StoreError, StoreUnavailableError

REFUSALS: Final = frozenset(
    {
        "LOADING",
        "READONLY",
        "OOM",
        "BUSY",
        "MISCONF",
        "MASTERDOWN",
        "NOREPLICAS",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "UNKILLABLE",
        "NOAUTH",
        "NOPERM",
        "WRONGPASS",
    }
)
"""First words of errors with which a server refuses before it has written anything."""
FORBIDDING: Final = ("NOAUTH", "NOPERM", "WRONGPASS", "unauthenticated")
"""What is in those with which it does not let us in: somebody has to change the settings, there or here."""


REFUSAL_PHRASES: Final = (
    # What a full server says to a new connection,
    "max number of clients",
    # and one that wants a password to a command of more than ten words.
    "unauthenticated",
)


class NoScriptError(StoreError):
    """The server does not know the script: load it and repeat, since nothing was run."""


def pack(command: tuple[str | bytes, ...]) -> bytes:
    """Return a command as it goes over the wire."""
    # hiredis declares a tuple of one element, and takes any number.
    return cast("bytes", hiredis.pack_command(cast("Any", command)))


def check(reply: object) -> object:
    """Return a reply, or raise what it means.

    Raises:
        NoScriptError: the script has to be loaded first.
        StoreUnavailableError: the server refuses to work now, and has written nothing.
        StoreError: any other error; it is a defect of canuse, or of the server's set-up.
    """
    if not isinstance(reply, hiredis.ReplyError):
        return reply
    text = str(reply)
    word = text.partition(" ")[0]
    if word == "NOSCRIPT":
        raise NoScriptError(text)
    if word in REFUSALS or any(phrase in text for phrase in REFUSAL_PHRASES):
        raise StoreUnavailableError(text)
    raise StoreError(text)
