"""The store of a running server, accessed directly."""

from pathlib import Path
from typing import Any, cast

from redis import Redis
from redis.cluster import RedisCluster
from redis.sentinel import Sentinel

from canuse_server.store.redis.address import StoreAddress
from support.processes import Canuse


def _valkey(canuse: Canuse) -> tuple[str, str]:
    """Return the process id and the socket of the embedded Valkey that was started last, from its lock file."""
    pid, socket_path = (Path(canuse.env["CANUSE_DATA_DIR"]) / "valkey.lock").read_text().splitlines()[:2]
    return pid, socket_path


def valkey_pid(canuse: Canuse) -> int:
    """Return the process id of the embedded Valkey, which changes when canuse restarts it."""
    return int(_valkey(canuse)[0])


def valkey_socket(canuse: Canuse) -> str:
    """Return the path of the socket of the embedded Valkey."""
    return _valkey(canuse)[1]


def store_of(canuse: Canuse) -> Redis:
    """Return a client of the store, embedded or not; the caller closes it."""
    if canuse.inspection_url:
        return Redis.from_url(canuse.inspection_url)
    if "--redis-url" in canuse.options:
        endpoint = StoreAddress.from_url(canuse.options[canuse.options.index("--redis-url") + 1])
        if endpoint.seeds:
            # It has the same methods.
            host, port = endpoint.seeds[0]
            return cast("Redis", RedisCluster(host=host, port=port))
        if endpoint.sentinels is not None:
            client_class: Any = Sentinel
            return cast("Redis", client_class(endpoint.sentinels.addresses).master_for(endpoint.sentinels.master))
        return Redis.from_url(endpoint.url)
    return Redis(unix_socket_path=valkey_socket(canuse))
