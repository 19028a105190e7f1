"""A change is made and the reply to it is lost, each of the API's methods in turn; then the call is made again.

The reply is lost between store and server, or between server and caller. What has an event id has one effect, and the
repetition gets the very answer that was lost. The other methods have one effect, too; `retry_cases.py` says what each
repetition is answered with; but for CreateApiKey and Subscribe without an event id, where callers have to look first.

Guards, each of them a break of `make mutants`: an answer is kept under its event id (`dedupe_store` in `settle.lua` and
`reserve.lua`); what was sent and not answered is OUTCOME_UNKNOWN (`lane.py`, `connection.py`); and the lane does not
make a write again by itself.
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
from chaos.retry_cases import CASES, DONE, REPLAYED, SAME
from chaos.scenario import Catalogue, Ground, catalogue, ground
from support.chaos import Rounds, Tell
from support.load import OWN_CONNECTION, wait_until
from support.message_clients import Client
from support.processes import GIVE_UP_SOON, Canuse, RedisServer
from support.relay import Relay
from support.tools import VALKEY_SERVER

pytestmark = pytest.mark.chaos

SHORT, LONG = 2, 100
OF_THE_MOMENT = {"replayed", "event_id", "lease_id", "expires_at", "period_start", "id", "user_id", "started_at"}
"""Fields in which the answers to two calls that do the same differ, or that say that one repeats the other."""

Result = list[Any]
"""The answers of a call, or the errors that it came to: one, or for a batch one for each item."""


class Set(NamedTuple):
    """A server with a relay on either side."""

    canuse: Canuse
    behind: Relay
    """Between the server and the store."""
    before: Relay
    """Between callers and the server."""
    store: Redis
    api_key: str

    def client(self) -> Client:
        """Open a client that is not disturbed."""
        return Client(self.canuse.address, timeout_seconds=30, api_key=self.api_key)

    def changes(self) -> int:
        """Return how many scripts have run in the store: each change is one."""
        stats = cast("dict[str, dict[str, int]]", self.store.info("commandstats"))
        return stats.get("cmdstat_evalsha", {}).get("calls", 0)


@asynccontextmanager
async def on_a_set(folder: Path, transport: str) -> AsyncIterator[Set]:
    store = await asyncio.to_thread(RedisServer(VALKEY_SERVER, folder / "store").start)
    try:
        async with Relay.to(store.port) as behind:
            canuse = Canuse(folder, "--transport", transport, "--redis-url", behind.url, env=GIVE_UP_SOON)
            await asyncio.to_thread(canuse.start)
            try:
                async with Relay.to(int(canuse.address.rpartition(":")[2])) as before:
                    with Redis(port=store.port) as redis:
                        yield Set(canuse, behind, before, redis, await asyncio.to_thread(first_key, canuse.address))
            finally:
                await asyncio.to_thread(canuse.stop)
    finally:
        store.stop()
    assert "no known reason" not in canuse.log


def first_key(address: str) -> str:
    """Make the first API key: from then on each call needs it."""
    scopes = ("entitlements:read", "usage:write", "catalog:read", "catalog:write", "keys:admin")
    with Client(address) as client:
        return client.create_api_key("chaos", scopes, environment=v1.ENVIRONMENT_LIVE).secret


def call(on: Set, method: Method, request: Message) -> Result:
    """Make a call that is not disturbed on its way to the server."""
    with grpc.insecure_channel(on.canuse.address, OWN_CONNECTION) as channel:
        return result(channel, method, request, on.api_key)


def result(channel: grpc.Channel, method: Method, request: Message, api_key: str) -> Result:
    try:
        answer = method.call(channel, request, api_key)
    except grpc.RpcError as error:
        return [from_rpc_error(error)]
    if isinstance(answer, v1.BatchCreateUsageEventsResponse):
        return [from_status(item.status) if item.HasField("status") else item.response for item in answer.results]
    return [answer]


async def lose_it_behind(on: Set, method: Method, request: Message) -> None:
    """Have the store make a change, of which the server does not hear."""
    lost = on.behind.lost_replies
    on.behind.lose_the_reply_to(b"EVALSHA")
    errors = await asyncio.to_thread(call, on, method, request)
    assert on.behind.lost_replies == lost + 1
    assert all(isinstance(error, OutcomeUnknown) for error in errors), errors


async def lose_it_before(on: Set, method: Method, request: Message) -> None:
    """Have the store make a change, of which the caller does not hear."""
    with grpc.insecure_channel(f"127.0.0.1:{on.before.port}", OWN_CONNECTION) as channel:
        await asyncio.to_thread(METHODS["ListUsers"].call, channel, v1.ListUsersRequest(page_size=1), on.api_key)
        before = on.changes()
        on.before.hold_replies()
        calling = asyncio.create_task(asyncio.to_thread(result, channel, method, request, on.api_key))
        await wait_until(lambda: on.changes() > before or calling.done())
        on.before.cut()
        on.before.release()
        (error,) = await calling
    assert isinstance(error, Unavailable), error
    assert not error.reason


def same_but_for_the_moment(one: Message, other: Message) -> bool:
    """Whether two answers say the same of users who did the same."""
    copies = []
    for answer in (one, other):
        copy = type(answer)()
        copy.CopyFrom(answer)
        parts: list[Any] = [copy, getattr(copy, "consumption", None), *getattr(copy, "consumptions", ())]
        parts += getattr(copy, "subscriptions", ())
        for part in filter(None, parts):
            for name in OF_THE_MOMENT.intersection(part.DESCRIPTOR.fields_by_name):
                part.ClearField(name)
        copies.append(copy)
    return bool(copies[0] == copies[1])


def repeat(on: Set, name: str, method: Method, request: Message, untouched: Message) -> list[str]:
    """Make a call again, twice; return what is wrong. The same call on other ground comes to nothing worse."""
    wanted = CASES[name].repeated
    again, once_more, undisturbed = (call(on, method, each) for each in (request, request, untouched))
    wrong = []
    if any(isinstance(answer, CanuseError) for answer in undisturbed):
        wrong.append(f"without any fault it came to {undisturbed}")
    errors = [answer for answer in (*again, *once_more) if isinstance(answer, CanuseError)]
    if wanted in (REPLAYED, SAME) and not errors and again != once_more:
        wrong.append(f"{again} became {once_more}")
    if wanted == REPLAYED and not errors:
        if not all(answer.replayed for answer in again):
            wrong.append(f"it was not known any more: {again}")
        if not all(map(same_but_for_the_moment, again, undisturbed)):
            wrong.append(f"{again} is not {undisturbed}")
    if wanted == DONE and not errors and not again[0].done:
        wrong.append(f"it did not end: {again}")
    if wanted.isupper():
        if {error.reason for error in errors} != {wanted} or len(errors) < 2:
            wrong.append(f"{again} is not {wanted}")
    elif errors:
        wrong.append(f"it failed: {errors}")
    return [f"{name}: {text}" for text in wrong]


LOSE: dict[str, Callable[[Set, Method, Message], Awaitable[None]]] = {
    "store": lose_it_behind,
    "caller": lose_it_before,
}


def test_there_is_a_case_for_each_method_that_changes_something() -> None:
    assert {name.partition(",")[0] for name in CASES} == {name for name, method in METHODS.items() if method.writes}


@pytest.mark.parametrize("where", LOSE)
async def test_a_call_that_is_repeated_because_its_answer_was_lost_has_one_effect_and_the_same_answer(
    where: str, transport: str, tmp_path: Path, rounds: Rounds, tell: Tell
) -> None:
    times = calls = 0
    wrong: list[str] = []
    async with on_a_set(tmp_path, transport) as on:
        shared = await asyncio.to_thread(shared_catalogue, on)
        for chance in rounds(SHORT, LONG):
            for name in chance.sample(list(CASES), len(CASES)):
                wrong += await lose_and_repeat(on, shared, where, name)
                calls += 1
            times += 1
    tell(
        "reply-lost", transport=transport, to=where, methods=len(CASES), times=times, calls=calls,
        lost=on.behind.lost_replies if where == "store" else calls, wrong=len(wrong),
    )  # fmt: skip
    assert not wrong, "\n".join(wrong)


def shared_catalogue(on: Set) -> Catalogue:
    """Make a catalogue for the calls that do not change it."""
    with on.client() as client:
        return catalogue(client)


async def lose_and_repeat(on: Set, shared: Catalogue, where: str, name: str) -> list[str]:
    """Make one call whose answer is lost, repeat it, and look at the effect; return what is wrong."""
    case, method = CASES[name], METHODS[name.partition(",")[0]]

    def prepare() -> tuple[Ground, Message, Message]:
        own = method.path.startswith("/canuse.v1.CatalogService/")
        ours, others = (ground(client, catalogue(client) if own else shared) for _ in range(2))
        return ours, case.request(ours), case.request(others)

    with on.client() as client:
        ours, request, untouched = await asyncio.to_thread(prepare)
        await LOSE[where](on, method, request)
        wrong = await asyncio.to_thread(repeat, on, name, method, request, untouched)
        seen, expected = await asyncio.to_thread(lambda: (case.look(ours), case.expected(ours)))
    if seen != expected:
        wrong.append(f"{name}: {seen} is there, and not {expected}")
    return wrong
