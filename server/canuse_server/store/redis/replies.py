"""Encoding of commands, and the errors that error replies stand for."""

from typing import Any, Final, cast

import hiredis

from canuse_server.store.errors import StoreError, StoreUnavailableError

REFUSAL_CODES: Final = frozenset(
    {
        "LOADING",
        "OOM",
        "BUSY",
        "MISCONF",
        "MASTERDOWN",
        "NOREPLICAS",
        "UNKILLABLE",
        "NOAUTH",
        "NOPERM",
        "WRONGPASS",
    }
)
"""First words of errors with which a server refuses a command before it writes anything."""
RIGHT_MISSING_IN_SCRIPT: Final = ("can't run this command", "ACL failure")
"""Parts of the error of a script that runs a command for which the user on the store has no right."""
ACCESS_ERRORS: Final = ("NOAUTH", "NOPERM", "WRONGPASS", "unauthenticated", *RIGHT_MISSING_IN_SCRIPT)
"""Parts of errors about missing permissions: the settings of the server or of canuse have to be changed."""
REDIRECTS: Final = frozenset({"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY"})
"""First words of errors that ask to send the command to another server, or later."""
REFUSAL_PHRASES: Final = (
    # The reply of a server to a connection above its limit,
    "max number of clients",
    # and that of a server with a password to a long command before AUTH.
    "unauthenticated",
)


class RedirectError(StoreUnavailableError):
    """The server did not run the command. Another server may run it, or this one later."""


class ReadOnlyError(RedirectError):
    """The server is a replica, possibly a former master."""


class MovedError(RedirectError):
    """Another node of the Cluster owns the slot now."""

    def __init__(self, text: str, slot: int, host: str, port: int) -> None:
        super().__init__(text)
        self.slot = slot
        self.host = host
        self.port = port


class AskError(MovedError):
    """Another node of the Cluster is importing the slot and has the key. Only this command goes there."""


class TryLaterError(RedirectError):
    """The Cluster is moving the keys, or electing a new master."""


class NoScriptError(StoreError):
    """The server does not know the script. Nothing was run; load the script and repeat."""


class NotMadeError(StoreError):
    """The server did not run the command, but now can. Send it again."""


def pack(command: tuple[str | bytes, ...]) -> bytes:
    """Return a command in the wire format."""
    # hiredis declares a tuple of one element, and accepts any number.
    return cast("bytes", hiredis.pack_command(cast("Any", command)))


def is_redirect(reply: object) -> bool:
    """Whether a reply says that the server did not run the command, but another one may, or this one later."""
    return isinstance(reply, hiredis.ReplyError) and str(reply).partition(" ")[0] in REDIRECTS


def reply_bytes(reply: object) -> int:
    """Return the number of bytes in a reply, or in the fields of a list."""
    if isinstance(reply, list):
        return sum(map(len, filter(None, reply)))
    return len(reply) if isinstance(reply, bytes) else 0


def check(reply: object) -> object:
    """Return a reply, or raise the error that it stands for.

    Raises:
        NoScriptError: the script has to be loaded first.
        NotMadeError: the command has keys of several slots, and the server is a node of a Cluster.
        StoreUnavailableError: the server refuses the command, and has written nothing.
        StoreError: another error, which is a bug in canuse or in the setup of the server.
    """
    if not isinstance(reply, hiredis.ReplyError):
        return reply
    text = str(reply)
    word = text.partition(" ")[0]
    if word == "NOSCRIPT":
        raise NoScriptError(text)
    if word in ("MOVED", "ASK"):
        raise _moved(text)
    if word == "READONLY":
        raise ReadOnlyError(text)
    if word == "CROSSSLOT":
        raise NotMadeError(text)
    if word in ("TRYAGAIN", "CLUSTERDOWN"):
        raise TryLaterError(text)
    if word in REFUSAL_CODES or any(phrase in text for phrase in REFUSAL_PHRASES):
        raise StoreUnavailableError(text)
    raise StoreError(text)


def _moved(text: str) -> MovedError:
    """Read `MOVED 3999 127.0.0.1:6381`. An empty host means the server that sent the reply."""
    word, slot, address = text.split(" ")[:3]
    host, _, port = address.rpartition(":")
    return (AskError if word == "ASK" else MovedError)(text, int(slot), host.strip("[]"), int(port))
