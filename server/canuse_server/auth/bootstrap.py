"""The first API key of a server that other machines can reach: without one, no key could be created."""

from canuse_server.api.tokens.api_key import digest, new_id, new_secret
from canuse_server.domain.api_keys import LIVE, ApiKey, Scope
from canuse_server.store.errors import ConflictError
from canuse_server.store.repositories.api_keys import ApiKeys


async def create_first_key(keys: ApiKeys) -> None:
    """If no key exists, create one with all scopes and print it once, to standard output and no log. Raises StoreError.

    If several servers start at the same time, one creates the key.
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
        digest=digest(secret.encode()),
    )
    try:
        await keys.put(read.stamp, key)
    except ConflictError:
        return
    print(f"canuse created the first API key, shown only once: {secret}", flush=True)  # noqa: T201 - only its hash is stored
