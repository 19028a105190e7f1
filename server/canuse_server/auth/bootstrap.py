"""The first API key of a deployment that others can reach: without one nobody could ever make any."""

from canuse_server.api.tokens.api_key import digest, new_id, new_secret
from canuse_server.domain.api_keys import LIVE, ApiKey, Scope
from canuse_server.store.errors import ConflictError
from canuse_server.store.repositories.api_keys import ApiKeys


async def make_first_key(keys: ApiKeys) -> None:
    """Where there are no keys make one that may do everything, and print it, this once. Raises StoreError.

    It goes to standard output and to no log. Of several servers that start at once one makes the key.
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
    print(f"canuse created the first API key, shown only once: {secret}", flush=True)  # noqa: T201 - nobody else knows it
