"""The APIs of candidates: their methods, the preparation of their users, and the location of their counters."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench import bare_lane, event_ids, plain
from bench.http2 import PREFIX_BYTES, SHOWN_BYTES, LoadError
from bench.methods import (
    BATCH_WITH_EVENT_IDS,
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
from canuse_server.store.codec import user_values
from canuse_server.store.keys import BUCKETS, Keys, bucket_of

PACKAGE: Final = "bench"
TEMPLATE: Final = "bench-template"
LIMIT: Final = 10**12
KEYS: Final = Keys("live")
IDS_AT_ONCE: Final = 1000
TIMEOUT_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Api:
    """An API. `prepare` creates the users on a running server, each with a number of stored event ids; `used` reads the
    total usage of users from the store."""

    methods: tuple[Method, ...]
    prepare: Callable[[str, Store, Sequence[str], int], None]
    used: Callable[[Store, Sequence[str]], int]


def _prepare_canuse(address: str, store: Store, users: Sequence[str], kept_ids: int) -> None:
    """Create one user through the API, with an inexhaustible budget, and copy its hash, which does not depend on the
    id, to the other users."""
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
    [fields] = store.execute([("HGETALL", KEYS.user(TEMPLATE))])
    packed = fields if isinstance(fields, list) else [part for pair in fields.items() for part in pair]
    members: list[list[str]] = [[] for _ in range(BUCKETS)]
    for user in users:
        members[bucket_of(user)].append(user)
    for _ in store.execute(("HSET", KEYS.user(user), *packed) for user in users):
        continue
    for _ in store.execute(("SADD", KEYS.users(bucket), *ids) for bucket, ids in enumerate(members) if ids):
        continue
    _keep_event_ids(address, users, kept_ids)


def _keep_event_ids(address: str, users: Sequence[str], count: int) -> None:
    """Record `count` uses of each user, each with its own event id."""
    pairs = [user for user in users for _ in range(count)]
    with grpc.insecure_channel(address) as channel:
        record: Any = channel.unary_unary(BATCH_WITH_EVENT_IDS.path)
        for first in range(0, len(pairs), IDS_AT_ONCE):
            method = BATCH_WITH_EVENT_IDS.with_batch(len(pairs[first : first + IDS_AT_ONCE]))
            [message] = method.messages(pairs[first : first + IDS_AT_ONCE])
            try:
                answer = record(event_ids.with_new_ids(message), timeout=TIMEOUT_SECONDS)
            except grpc.RpcError as error:
                raise LoadError(f"event ids: {cast('Any', error).details()}") from error
            if not method.check(bytes(PREFIX_BYTES) + answer):
                raise LoadError(f"event ids: an answer that is not a yes: {answer[:SHOWN_BYTES].hex()}")


def _used_canuse(store: Store, users: Sequence[str]) -> int:
    field = user_values.FEATURE_PREFIX + FEATURE.encode()
    used = 0
    for user, value in zip(users, store.execute(("HGET", KEYS.user(user), field) for user in users), strict=True):
        if value is None:
            raise LoadError(f"user {user} is not in the store")
        counter = user_values.unpack_feature(value)[1]
        used += counter.used if counter else 0
    return used


def _prepare_nothing(_address: str, _store: Store, _users: Sequence[str], _kept_ids: int) -> None:
    """Do nothing: the candidate creates users on their first call, or has none."""


def _used_strings(store: Store, _users: Sequence[str]) -> int:
    """Return the sum of all strings that are whole numbers: most rate limiters count in them."""
    keys = cast("list[bytes]", list(store.redis.scan_iter(count=10_000, _type="string")))
    values = cast("list[bytes | None]", list(store.execute(("GET", key) for key in keys)))
    return sum(int(value) for value in values if value and value.isdigit())


def _bare_lane_request(users: Sequence[str]) -> bytes:
    return rate_limit_request({FEATURE: users[0]})


def _used_bare_lane(store: Store, users: Sequence[str]) -> int:
    field = bare_lane.COUNTER + FEATURE
    return sum(int(value or 0) for value in store.execute(("HGET", bare_lane.KEY + user, field) for user in users))


def _used_plain(store: Store, users: Sequence[str]) -> int:
    keys = [plain.KEY.format(user_id=user, feature_id=FEATURE) for user in users]
    return sum(int(value or 0) for value in store.execute(("GET", key) for key in keys))


CANUSE: Final = Api(METHODS, _prepare_canuse, _used_canuse)
FOREIGN: Final = Api(METHODS, _prepare_nothing, _used_strings)
PLAIN: Final = Api((CAN_USE, CREATE_USAGE_EVENT, USE_FEATURE), _prepare_nothing, _used_plain)
BARE_LANE: Final = Api((replace(SHOULD_RATE_LIMIT, request=_bare_lane_request),), _prepare_nothing, _used_bare_lane)


def wait_until_serving(address: str) -> None:
    """Wait until a server with a health service reports SERVING; raise StartError if that takes too long."""
    deadline = time.monotonic() + START_SECONDS
    with grpc.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        while True:
            try:
                if check(health_pb2.HealthCheckRequest(), timeout=10).status == health_pb2.HealthCheckResponse.SERVING:
                    return
            except grpc.RpcError as error:
                if cast("grpc.Call", error).code() == grpc.StatusCode.UNIMPLEMENTED:
                    return
            if time.monotonic() > deadline:
                raise StartError(f"{address}: it does not say that it serves")
            time.sleep(0.02)


def api_at(address: str) -> Api:
    """Return CANUSE if a server has canuse's catalogue service, else FOREIGN."""
    with grpc.insecure_channel(address) as channel:
        try:
            v1.CatalogServiceStub(channel).ListFeatures(v1.ListFeaturesRequest(page_size=1), timeout=10)
        except grpc.RpcError as error:
            if cast("grpc.Call", error).code() == grpc.StatusCode.UNIMPLEMENTED:
                return FOREIGN
            raise LoadError(f"{address}: {cast('Any', error).details()}") from error
    return CANUSE
