"""Commands as bytes, and what a reply that is an error means."""

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
"""First words of errors with which a server refuses before it has written anything."""
FORBIDDING: Final = ("NOAUTH", "NOPERM", "WRONGPASS", "unauthenticated")
"""What is in those with which it does not let us in: somebody has to change the settings, there or here."""


REDIRECTS: Final = frozenset({"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY"})
"""First words of errors of a server that may not be the right one, or not now."""
REFUSAL_PHRASES: Final = (
    # What a full server says to a new connection,
    "max number of clients",
    # and one that wants a password to a command of more than ten words.
    "unauthenticated",
)


class RedirectError(StoreUnavailableError):
    """The server did not run the command; another one may, or this one later."""


class ReadOnlyError(RedirectError):
    """The server is a replica, perhaps of a master that took over from it."""


class MovedError(RedirectError):
    """Another node of the Cluster has the slot, from now on."""

    def __init__(self, text: str, slot: int, host: str, port: int) -> None:
        super().__init__(text)
        self.slot = slot
        self.host = host
        self.port = port


class AskError(MovedError):
    """Another node of the Cluster is about to get the slot, and has the key already: it has to be asked this once."""


class NotNowError(RedirectError):
    """The Cluster is moving the keys, or looking for a new master."""


class NoScriptError(StoreError):
    """The server does not know the script: load it and repeat, since nothing was run."""


class NotMadeError(StoreError):
    """The server did not run the command, and can by now: make it again."""


def pack(command: tuple[str | bytes, ...]) -> bytes:
    """Return a command as it goes over the wire."""
    # hiredis declares a tuple of one element, and takes any number.
    return cast("bytes", hiredis.pack_command(cast("Any", command)))


def is_redirect(reply: object) -> bool:
    """Whether a server says that it did not run the command, and that another one may, or this one later."""
    return isinstance(reply, hiredis.ReplyError) and str(reply).partition(" ")[0] in REDIRECTS


def reply_bytes(reply: object) -> int:
    """Return how many bytes there are in a reply, or in the fields that it lists."""
    if isinstance(reply, list):
        return sum(map(len, filter(None, reply)))
    return len(reply) if isinstance(reply, bytes) else 0


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
    if word in ("MOVED", "ASK"):
        raise _moved(text)
    if word == "READONLY":
        raise ReadOnlyError(text)
    if word in ("TRYAGAIN", "CLUSTERDOWN"):
        raise NotNowError(text)
    if word in REFUSAL_CODES or any(phrase in text for phrase in REFUSAL_PHRASES):
        raise StoreUnavailableError(text)
    raise StoreError(text)


def _moved(text: str) -> MovedError:
    """Read `MOVED 3999 127.0.0.1:6381`; the host may be missing, which means the one that said it."""
    word, slot, address = text.split(" ")[:3]
    host, _, port = address.rpartition(":")
    return (AskError if word == "ASK" else MovedError)(text, int(slot), host.strip("[]"), int(port))
