"""The first API key of a server: without one, no key could be created from another machine."""

import re
from pathlib import Path
from typing import Final

import structlog

from canuse_server.api.tokens.api_key import digest, new_id, new_secret
from canuse_server.domain.api_keys import LIVE, ApiKey, Scope
from canuse_server.runtime.standard_output import print_line
from canuse_server.store.errors import ConflictError
from canuse_server.store.repositories.api_keys import ApiKeys

HASH: Final = re.compile(r"sha256:([0-9a-fA-F]{64})")
"""The SHA-256 of a key."""
_KEY: Final = re.compile(r"sk_live_[0-9a-f]{64}")
MAX_FILE_BYTES: Final = 1000

log = structlog.get_logger(__name__)


class BootstrapKeyError(Exception):
    """The first key that the settings name cannot be used. The message does not repeat what was read."""


async def create_first_key(keys: ApiKeys, given: str | None = None) -> None:
    """If no key exists, create one with all scopes: the given one, or a new one.

    `given` is the SHA-256 of a key, `sha256:` and 64 hexadecimal digits, or the path of a file with a key or such a
    hash. A new key is printed once, to standard output and no log. If several servers start at the same time, one
    creates the key. Raises StoreError, and BootstrapKeyError if `given` cannot be used.
    """
    read = await keys.read()
    if read.total:
        return
    secret = new_secret(LIVE)
    key = ApiKey(
        id=new_id(),
        name="first",
        environment=LIVE,
        scopes=frozenset(Scope),
        created_at_ms=read.now_ms,
        expires_at_ms=None,
        digest=digest(secret.encode()) if given is None else read_digest(given),
    )
    try:
        await keys.put(read.stamp, key)
    except ConflictError:
        return
    if given is not None:
        log.info("created the first API key from the settings", key_id=key.id)
        return
    # Only its hash is stored.
    print_line(f"canuse created the first API key, shown only once: {secret}")


def read_digest(given: str) -> bytes:
    """Return the digest of the key in the setting, or in the file that it names; BootstrapKeyError if there is none."""
    if found := HASH.fullmatch(given):
        return bytes.fromhex(found[1])
    try:
        with Path(given).open("rb") as file:
            text = file.read(MAX_FILE_BYTES).decode(errors="replace").strip()
    except OSError as error:
        raise BootstrapKeyError(f"bootstrap_key: {given}: {error.strerror}") from error
    if found := HASH.fullmatch(text):
        return bytes.fromhex(found[1])
    if _KEY.fullmatch(text):
        return digest(text.encode())
    raise BootstrapKeyError(
        f"bootstrap_key: {given} must contain one API key, sk_live_ and 64 hexadecimal digits in lower case, or "
        "sha256: and the SHA-256 of one"
    )
