"""What candidates speak: which calls, what has to be there before them, and where they count."""

import ast
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_tools import protoc

from bench import plain
from bench.http2 import LoadError
from bench.methods import (
    CAN_USE,
    CREATE_USAGE_EVENT,
    FEATURE,
    METHODS,
    SHOULD_RATE_LIMIT,
    USE_FEATURE,
    Method,
    rate_limit_request,
)
from bench.processes import START_SECONDS, StartError
from bench.store import Store
from canuse import AlreadyExists, CanuseError, Client, v1
from canuse_server.store.codec import packed as packed_codec
from canuse_server.store.keys import BUCKETS, Keys, bucket_of

PACKAGE: Final = "bench"
TEMPLATE: Final = "bench-template"
LIMIT: Final = 10**12
KEYS: Final = Keys("live")


@dataclass(frozen=True, slots=True)
class Subject:
    """`prepare` makes the users, on a running server and in its store; `used` returns what all of these users have
    used, read from the store."""

    methods: tuple[Method, ...]
    prepare: Callable[[str, Store, Sequence[str]], None]
    used: Callable[[Store, Sequence[str]], int]


def _prepare_canuse(address: str, store: Store, users: Sequence[str]) -> None:
    """Make one user through the API, with a budget that is never used up, and give the others what that one has: a
    user's hash does not depend on the id."""
    entry = v1.PackageFeature(feature_id=FEATURE, limit=LIMIT, reset_period=v1.RESET_PERIOD_MONTH)
    try:
        with Client(address) as client:
            with suppress(AlreadyExists):
                client.create_feature(FEATURE, type=v1.FEATURE_TYPE_CONSUMABLE)
            with suppress(AlreadyExists):
                client.create_package(PACKAGE, [entry])
                client.publish_package(PACKAGE)
            with suppress(AlreadyExists):
                client.create_user(TEMPLATE)
                client.subscribe(TEMPLATE, [PACKAGE])
    except CanuseError as error:
        raise LoadError(str(error)) from error
    [fields] = store.ask([("HGETALL", KEYS.user(TEMPLATE))])
    packed = fields if isinstance(fields, list) else [part for pair in fields.items() for part in pair]
    members: list[list[str]] = [[] for _ in range(BUCKETS)]
    for user in users:
        members[bucket_of(user)].append(user)
    for _ in store.ask(("HSET", KEYS.user(user), *packed) for user in users):
        continue
    for _ in store.ask(("SADD", KEYS.users(bucket), *ids) for bucket, ids in enumerate(members) if ids):
        continue


def _used_canuse(store: Store, users: Sequence[str]) -> int:
    field = packed_codec.FEATURE_PREFIX + FEATURE.encode()
    used = 0
    for user, value in zip(users, store.ask(("HGET", KEYS.user(user), field) for user in users), strict=True):
        if value is None:
            raise LoadError(f"user {user} is not in the store")
        counter = packed_codec.unpack_feature(value)[1]
        used += counter.used if counter else 0
    return used


def _prepare_nothing(_address: str, _store: Store, _users: Sequence[str]) -> None:
    """The users are made when they are first seen, or there are none."""


def _used_strings(store: Store, _users: Sequence[str]) -> int:
    """Return the sum of all strings that are whole numbers: most rate limiters count in such."""
    keys = cast("list[bytes]", list(store.redis.scan_iter(count=10_000, _type="string")))
    values = cast("list[bytes | None]", list(store.ask(("GET", key) for key in keys)))
    return sum(int(value) for value in values if value and value.isdigit())


def _sketch_request(users: Sequence[str]) -> bytes:
    return rate_limit_request({FEATURE: users[0]})


def _used_sketch(store: Store, users: Sequence[str]) -> int:
    replies = store.ask(("HGET", "canuse:live:{b0001}:u:" + user, "c:" + FEATURE) for user in users)
    return sum(int(value or 0) for value in replies)


def _used_plain(store: Store, users: Sequence[str]) -> int:
    return sum(
        int(value or 0)
        for value in store.ask(("GET", plain.KEY.format(user_id=user, feature_id=FEATURE)) for user in users)
    )


CANUSE: Final = Subject(METHODS, _prepare_canuse, _used_canuse)
FOREIGN: Final = Subject(METHODS, _prepare_nothing, _used_strings)
PLAIN: Final = Subject((CAN_USE, CREATE_USAGE_EVENT, USE_FEATURE), _prepare_nothing, _used_plain)
SKETCH: Final = Subject((replace(SHOULD_RATE_LIMIT, message=_sketch_request),), _prepare_nothing, _used_sketch)


def wait_until_serving(address: str) -> None:
    """Wait until a server that has a health service says that it serves; raise StartError where it takes too long."""
    until = time.monotonic() + START_SECONDS
    with grpc.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        while True:
            try:
                if check(health_pb2.HealthCheckRequest(), timeout=10).status == health_pb2.HealthCheckResponse.SERVING:
                    return
            except grpc.RpcError as error:
                if cast("grpc.Call", error).code() == grpc.StatusCode.UNIMPLEMENTED:
                    return
            if time.monotonic() > until:
                raise StartError(f"{address}: it does not say that it serves")
            time.sleep(0.02)


def spoken_at(address: str) -> Subject:
    """Return CANUSE where a server has a catalogue as canuse has, else FOREIGN."""
    with grpc.insecure_channel(address) as channel:
        try:
            v1.CatalogServiceStub(channel).ListFeatures(v1.ListFeaturesRequest(page_size=1), timeout=10)
        except grpc.RpcError as error:
            if cast("grpc.Call", error).code() == grpc.StatusCode.UNIMPLEMENTED:
                return FOREIGN
            raise LoadError(f"{address}: {cast('Any', error).details()}") from error
    return CANUSE


def generate_sketch_stubs(sketch: Path, folder: Path) -> None:
    """Generate the `rls_pb2` that a sketch of a lane imports from the MINIMAL_PROTO in its own text."""
    for statement in ast.parse(sketch.read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "MINIMAL_PROTO":
            (folder / "rls.proto").write_text(ast.literal_eval(statement.value))
            if protoc.main(["protoc", f"-I{folder}", f"--python_out={folder}", "rls.proto"]) == 0:
                return
    raise LoadError(f"{sketch}: no MINIMAL_PROTO that protoc understands")
