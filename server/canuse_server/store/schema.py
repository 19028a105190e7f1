"""What canuse needs of a store before it starts: a server that is new enough, and data in a layout that it knows."""

from typing import Final, cast

from canuse_server.store.client import Store
from canuse_server.store.errors import SchemaError
from canuse_server.store.keys import SCHEMA

VERSION: Final = "3"
OLDEST_REDIS: Final = 7
OLDEST_VALKEY: Final = 8


async def check_version(store: Store) -> None:
    """Refuse a server that is too old.

    Raises:
        SchemaError: it is older than Redis 7 or Valkey 8.
    """
    for info in await store.infos():
        # Valkey says a redis_version, too, for clients that know Redis only.
        name, oldest = ("valkey", OLDEST_VALKEY) if "valkey_version" in info else ("redis", OLDEST_REDIS)
        version = info[f"{name}_version"]
        if int(version.partition(".")[0]) < oldest:
            needed = f"Redis {OLDEST_REDIS} or Valkey {OLDEST_VALKEY}"
            raise SchemaError(f"the store is {name} {version}; canuse needs {needed}")


async def check_schema(store: Store) -> None:
    """Put our version on an empty store; compare it with what an older or newer canuse left.

    Raises:
        SchemaError: the data has a layout that this canuse does not know.
    """
    _, found = (await store.call(("SET", SCHEMA, VERSION, "NX"), ("GET", SCHEMA)))[0]
    version = cast("bytes", found).decode(errors="replace")
    if version != VERSION:
        raise SchemaError(f"the store holds data of schema {version!r}; this canuse knows schema {VERSION!r} only")
