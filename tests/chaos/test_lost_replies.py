"""Each method that writes is called, its reply is lost, and the call is repeated.

The reply is lost between store and server, or between server and caller. A call with an event id has one effect, and
its repetition gets the lost answer. The other methods have one effect, too; `retry_cases.py` says how each repetition
is answered. Exceptions are CreateApiKey and Subscribe without an event id, where callers must look first. The audit
log has one entry of each effect.

Guards, each of them a break of `make mutants`: an answer is kept under its event id (`event_store` in `settle.lua` and
`reserve.lua`); what was sent and not answered is OUTCOME_UNKNOWN (`lane.py`, `connection.py`); and the lane does not
retry a write by itself.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import grpc
import pytest
from google.protobuf.message import Message
from redis import Redis

from canuse import v1
from canuse.errors import CanuseError, OutcomeUnknown, Unavailable, from_rpc_error, from_status
from chaos.methods import METHODS, Method
from chaos.retry_cases import CASES, DONE, REPLAYED, SAME, UNCHANGED
from chaos.scenario import Catalogue, Scenario, create_catalogue, create_scenario
from support.audited_changes import EXPECTED, ONE_MORE_EACH_TIME, newest
from support.authenticated_server import SCOPES
from support.chaos import Report, Rounds
from support.load import OWN_CONNECTION, wait_until
from support.message_clients import Client
from support.processes import SHORT_STORE_TIMEOUT, Canuse, RedisServer
from support.relay import Relay
from support.tools import VALKEY_SERVER

pytestmark = pytest.mark.chaos

SHORT, LONG = 2, 100
VOLATILE_FIELDS = {
    "replayed",
    "event_id",
    "lease_id",
    "expires_at",
    "period_start",
    "id",
    "user_id",
    "started_at",
    "cancel_at",
    "token",
}
"""Fields in which the answers to two equal calls differ, or that mark an answer as repeated."""

Result = list[Any]
"""The answer or the error of a call; for a batch one per item."""


class RelayedServer(NamedTuple):
    """A server with a relay on either side."""

    canuse: Canuse
    store_relay: Relay
    """Between the server and the store."""
    caller_relay: Relay
    """Between callers and the server."""
    store: Redis
    api_key: str

    def client(self) -> Client:
        """Open a client that bypasses the relay."""
        return Client(self.canuse.address, timeout_seconds=30, api_key=self.api_key)

    def changes(self) -> int:
        """Return how many scripts have run in the store: each change is one."""
        stats = cast("dict[str, dict[str, int]]", self.store.info("commandstats"))
        return stats.get("cmdstat_evalsha", {}).get("calls", 0)


@asynccontextmanager
async def relayed_server(folder: Path, transport: str) -> AsyncIterator[RelayedServer]:
    store = await asyncio.to_thread(RedisServer(VALKEY_SERVER, folder / "store").start)
    try:
        async with Relay.to(store.port) as store_relay:
            canuse = Canuse(folder, "--transport", transport, "--redis-url", store_relay.url, env=SHORT_STORE_TIMEOUT)
            await asyncio.to_thread(canuse.start)
            try:
                async with Relay.to(int(canuse.address.rpartition(":")[2])) as caller_relay:
                    api_key = await asyncio.to_thread(first_key, canuse.address)
                    with Redis(port=store.port) as redis:
                        yield RelayedServer(canuse, store_relay, caller_relay, redis, api_key)
            finally:
                await asyncio.to_thread(canuse.stop)
    finally:
        store.stop()
    assert not canuse.failed_unexpectedly()


def first_key(address: str) -> str:
    """Create the first API key: from then on every call needs it."""
    with Client(address) as client:
        return client.create_api_key("chaos", SCOPES, environment=v1.ENVIRONMENT_LIVE).secret


def call(relayed: RelayedServer, method: Method, request: Message) -> Result:
    """Make a call that bypasses the relay in front of the server."""
    with grpc.insecure_channel(relayed.canuse.address, OWN_CONNECTION) as channel:
        return result(channel, method, request, relayed.api_key)


def result(channel: grpc.Channel, method: Method, request: Message, api_key: str) -> Result:
    try:
        answer = method.call(channel, request, api_key)
    except grpc.RpcError as error:
        return [from_rpc_error(error)]
    if isinstance(answer, v1.BatchCreateUsageEventsResponse | v1.BatchUseFeatureResponse):
        return [from_status(item.status) if item.HasField("status") else item.response for item in answer.results]
    return [answer]


async def lose_store_reply(relayed: RelayedServer, method: Method, request: Message) -> None:
    """Make a call whose reply is lost between store and server."""
    lost = relayed.store_relay.lost_replies
    relayed.store_relay.drop_reply_to(b"EVALSHA")
    errors = await asyncio.to_thread(call, relayed, method, request)
    assert relayed.store_relay.lost_replies == lost + 1
    assert all(isinstance(error, OutcomeUnknown) for error in errors), errors


async def lose_server_reply(relayed: RelayedServer, method: Method, request: Message) -> None:
    """Make a call whose answer is lost between server and caller."""
    with grpc.insecure_channel(f"127.0.0.1:{relayed.caller_relay.port}", OWN_CONNECTION) as channel:
        await asyncio.to_thread(METHODS["ListUsers"].call, channel, v1.ListUsersRequest(page_size=1), relayed.api_key)
        before = relayed.changes()
        relayed.caller_relay.hold_replies()
        calling = asyncio.create_task(asyncio.to_thread(result, channel, method, request, relayed.api_key))
        await wait_until(lambda: relayed.changes() > before or calling.done())
        relayed.caller_relay.cut()
        relayed.caller_relay.release()
        (error,) = await calling
    assert isinstance(error, Unavailable), error
    assert not error.reason


def equal_except_volatile(one: Message, other: Message) -> bool:
    """Whether two answers for equal users are equal."""
    copies = []
    for answer in (one, other):
        copy = type(answer)()
        copy.CopyFrom(answer)
        parts: list[Any] = [copy, getattr(copy, "consumption", None), *getattr(copy, "consumptions", ())]
        parts += [getattr(copy, "subscription", None), *getattr(copy, "subscriptions", ())]
        parts += getattr(copy, "replaced", ())
        for part in filter(None, parts):
            for name in VOLATILE_FIELDS.intersection(part.DESCRIPTOR.fields_by_name):
                part.ClearField(name)
        copies.append(copy)
    return bool(copies[0] == copies[1])


def repeat_call(
    relayed: RelayedServer, name: str, method: Method, request: Message, undisturbed_request: Message
) -> list[str]:
    """Repeat a call twice; return what is wrong. The same call in an undisturbed scenario is the yardstick."""
    expected_repeat = CASES[name].repeated
    again, once_more, undisturbed = (call(relayed, method, each) for each in (request, request, undisturbed_request))
    wrong = []
    if any(isinstance(answer, CanuseError) for answer in undisturbed):
        wrong.append(f"without any fault it came to {undisturbed}")
    errors = [answer for answer in (*again, *once_more) if isinstance(answer, CanuseError)]
    if expected_repeat in (REPLAYED, SAME) and not errors and again != once_more:
        wrong.append(f"{again} became {once_more}")
    if expected_repeat == REPLAYED and not errors:
        if not all(answer.replayed for answer in again):
            wrong.append(f"it was not known any more: {again}")
        if not all(map(equal_except_volatile, again, undisturbed)):
            wrong.append(f"{again} is not {undisturbed}")
    if expected_repeat == UNCHANGED and not errors and (again[0].changes or again[0].etag != once_more[0].etag):
        wrong.append(f"it changed something once more: {again}")
    if expected_repeat == DONE and not errors and not again[0].done:
        wrong.append(f"it did not end: {again}")
    if expected_repeat.isupper():
        if {error.reason for error in errors} != {expected_repeat} or len(errors) < 2:
            wrong.append(f"{again} is not {expected_repeat}")
    elif errors:
        wrong.append(f"it failed: {errors}")
    return [f"{name}: {text}" for text in wrong]


LOSE_REPLY: dict[str, Callable[[RelayedServer, Method, Message], Awaitable[None]]] = {
    "store": lose_store_reply,
    "caller": lose_server_reply,
}


def test_there_is_a_case_for_each_method_that_changes_something() -> None:
    assert {name.partition(",")[0] for name in CASES} == {name for name, method in METHODS.items() if method.writes}


@pytest.mark.parametrize("where", LOSE_REPLY)
async def test_a_call_that_is_repeated_because_its_answer_was_lost_has_one_effect_and_the_same_answer(
    where: str, transport: str, tmp_path: Path, rounds: Rounds, report: Report
) -> None:
    times = calls = 0
    wrong: list[str] = []
    async with relayed_server(tmp_path, transport) as relayed:
        shared = await asyncio.to_thread(shared_catalogue, relayed)
        for rng in rounds(SHORT, LONG):
            for name in rng.sample(list(CASES), len(CASES)):
                wrong += await lose_and_repeat(relayed, shared, where, name)
                calls += 1
            times += 1
    report(
        "reply-lost", transport=transport, to=where, methods=len(CASES), times=times, calls=calls,
        lost=relayed.store_relay.lost_replies if where == "store" else calls, wrong=len(wrong),
    )  # fmt: skip
    assert not wrong, "\n".join(wrong)


def shared_catalogue(relayed: RelayedServer) -> Catalogue:
    """Create a catalogue for the calls that do not change it."""
    with relayed.client() as client:
        return create_catalogue(client)


def expected_entries(name: str) -> int:
    """Return how many entries the audit log has of a call that was made three times, and of an undisturbed one."""
    if name not in EXPECTED:
        return 0
    calls = 3 if name in ONE_MORE_EACH_TIME else 0 if name == "RevokeUserTokens" else 1
    return calls + (name != "RevokeUserTokens")


async def lose_and_repeat(relayed: RelayedServer, shared: Catalogue, where: str, name: str) -> list[str]:
    """Make a call whose answer is lost, repeat it, and check the effect; return what is wrong."""
    case, method = CASES[name], METHODS[name.partition(",")[0]]

    def prepare() -> tuple[Scenario, Message, Message]:
        own = method.path.startswith("/canuse.v1.CatalogService/")
        scenario, others = (create_scenario(client, create_catalogue(client) if own else shared) for _ in range(2))
        return scenario, case.request(scenario), case.request(others)

    with relayed.client() as client:
        scenario, request, undisturbed_request = await asyncio.to_thread(prepare)
        known = {entry.id for entry in await asyncio.to_thread(newest, client)}
        await LOSE_REPLY[where](relayed, method, request)
        wrong = await asyncio.to_thread(repeat_call, relayed, name, method, request, undisturbed_request)
        added = sum(entry.id not in known for entry in await asyncio.to_thread(newest, client))
        if added != (entries := expected_entries(name)):
            wrong.append(f"{name}: the audit log has {added} more entries, and not {entries}")
        seen, expected = await asyncio.to_thread(lambda: (case.look(scenario), case.expected(scenario)))
    if seen != expected:
        wrong.append(f"{name}: {seen} is there, and not {expected}")
    return wrong
