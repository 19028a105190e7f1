"""Clients with `batching=True`: calls that are made together leave together, and each is answered as if alone."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any
from unittest.mock import Mock

import grpc
import grpc.aio
import pytest

import canuse
from canuse import AsyncClient, CanuseError, Client, v1
from canuse._sync import batching
from canuse.testing import FakeClient
from canuse.testing.fake.channel import FakeAsyncChannel, FakeChannel, Service
from canuse.testing.fake.refusal import Refusal
from conformance.test_client import (  # noqa: F401 - they run with batching as well
    TestAsyncClient,
    TestEntitlements,
    TestErrors,
)

NOW_MS = 1_900_000_000_000


class Counted(Service):
    """The service in memory. It counts calls, can fail them by name, and can hold the first one."""

    def __init__(self) -> None:
        fake = FakeClient()
        super().__init__(0)
        self.world = fake._service.world
        self.world.now = NOW_MS
        fake._service = self
        fake.package("pro", {"api-calls": "1000000/month", "sso": True})
        fake.user("124", "pro")
        fake.user("poor")
        self.fake = fake
        self.calls: Counter[str] = Counter()
        self.sizes: list[int] = []
        self.failures: dict[str, Callable[[], Exception]] = {}
        self.arrived, self.release = Event(), Event()
        self.release.set()

    def call(self, path: str, request: Any) -> Any:
        """Answer a call."""
        name = path.rpartition("/")[2]
        self.calls[name] += 1
        self.sizes.append(len(getattr(request, "requests", (request,))))
        self.arrived.set()
        self.release.wait()
        if (failure := self.failures.get(name)) is not None:
            raise failure()
        return super().call(path, request)


@pytest.fixture
def service() -> Counted:
    """A service with a user."""
    return Counted()


@pytest.fixture
def client(service: Counted) -> Iterator[Client]:
    """A client of it with batching."""
    with Client(channel=FakeChannel(service), batching=True) as client:
        yield client


@pytest.fixture
async def async_client(service: Counted) -> AsyncIterator[AsyncClient]:
    """A client of it with batching, for asyncio."""
    async with AsyncClient(channel=FakeAsyncChannel(service), batching=True) as client:
        yield client


async def outcome(call: Awaitable[object]) -> object:
    """Return an answer, or what an error says."""
    try:
        return await call
    except CanuseError as error:
        return type(error), error.reason, error.message, error.metadata, error.violations


def calls(client: AsyncClient) -> list[Awaitable[object]]:
    """Return calls with all kinds of outcomes."""
    return [
        client.use_feature("124", "api-calls", 3, event_id="a"),
        client.use_feature("nobody", "api-calls"),
        client.use_feature("124", "nothing"),
        client.use_feature("124", "sso"),
        client.use_feature("124", "api-calls", 4, event_id="a"),
        client.use_feature("124", "api-calls", 3, event_id="a"),
        client.use_feature("poor", "api-calls"),
        client.use_feature("", "api-calls"),
        client.use_feature("124", "api-calls", -1),
        client.can_use("124", "api-calls", 5),
        client.can_use("124", "sso"),
        client.can_use("nobody", "sso"),
        client.can_use("124", "api-calls", 0),
        client.create_usage_event("124", "api-calls", 7, event_id="b"),
        client.create_usage_event("124", "api-calls", action=v1.USAGE_ACTION_SET),
        client.create_usage_event("124", "sso"),
    ]


async def test_each_call_is_answered_as_if_it_were_alone(service: Counted, async_client: AsyncClient) -> None:
    together = await asyncio.gather(*map(outcome, calls(async_client)))
    assert sum(service.calls.values()) == 6
    alone: list[object] = []
    other = Counted()
    async with AsyncClient(channel=FakeAsyncChannel(other)) as plain:
        # The methods of one kind leave in their order; the kinds do not wait for each other.
        alone += [await outcome(call) for call in calls(plain)]
    assert together[:9] == alone[:9]
    assert [type(each) for each in together] == [type(each) for each in alone]
    assert together[11:13] == alone[11:13]
    assert together[14:] == alone[14:]


async def test_the_first_leaves_at_once_and_the_others_of_the_tick_together(
    service: Counted, async_client: AsyncClient
) -> None:
    answers = await asyncio.gather(*(async_client.use_feature("124", "api-calls", delta) for delta in range(1, 31)))
    assert service.sizes == [1, 29]
    assert [answer.consumption and answer.consumption.used for answer in answers] == [
        sum(range(1, number + 1)) for number in range(1, 31)
    ]
    assert await async_client.use_feature("124", "api-calls")
    assert service.sizes == [1, 29, 1]


@pytest.mark.extended
async def test_a_lone_call_waits_for_no_tick_of_the_loop(service: Counted, async_client: AsyncClient) -> None:
    # Two more ticks made it a twentieth slower than without batching.
    method: Any = async_client._stubs.entitlements.UseFeature
    loop = asyncio.get_running_loop()
    ticks: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(method, "_loop", Mock(wraps=loop, call_soon=ticks.append, call_later=ticks.append))
        for _ in range(3):
            assert await async_client.use_feature("124", "api-calls")
    assert service.sizes == [1, 1, 1]
    assert ticks == []


async def test_no_batch_is_larger_than_a_server_accepts(service: Counted, async_client: AsyncClient) -> None:
    answers = await asyncio.gather(*(async_client.can_use("124", "api-calls") for _ in range(2500)))
    assert all(answers)
    assert max(service.sizes) <= 1000
    assert sum(service.sizes) == 2500
    assert len(service.sizes) < 10


@pytest.mark.extended
async def test_many_calls_stay_in_two_batches_of_a_size(service: Counted, async_client: AsyncClient) -> None:
    # Most of them were in one batch once a small one had come back before: 125 and 3, so that client and server took
    # turns instead of working at the same time.
    async def caller() -> None:
        for _ in range(20):
            assert await async_client.can_use("124", "api-calls")

    await asyncio.gather(*(caller() for _ in range(128)))
    assert service.sizes[:2] == [1, 64]
    # On a slow machine the window ends before the other half has come back.
    assert sum(size for size in service.sizes if 32 <= size <= 96) > sum(service.sizes) / 2


@pytest.mark.extended
async def test_what_waits_for_both_halves_leaves_at_the_end_of_the_window(async_client: AsyncClient) -> None:
    method: Any = async_client._stubs.entitlements.UseFeature
    send, held = method._batch, asyncio.Event()

    async def never(_request: Any, **_options: Any) -> Any:
        await held.wait()

    async def not_the_first(request: Any, **options: Any) -> Any:
        return await (never(request) if len(request.requests) == 50 else send(request, **options))

    method._single, method._batch = never, not_the_first
    tasks = [asyncio.ensure_future(async_client.use_feature("124", "api-calls")) for _ in range(100)]
    assert all(await asyncio.gather(*tasks[51:]))
    assert not any(task.done() for task in tasks[:51])
    for task in tasks[:51]:
        task.cancel()


async def test_an_explanation_is_asked_for_alone(service: Counted, async_client: AsyncClient) -> None:
    calls = [async_client.can_use("124", "sso", explain=number == 2) for number in range(4)]
    found = await asyncio.gather(*map(outcome, calls))
    assert (service.calls["CanUse"], service.calls["BatchCanUse"]) == (2, 1)
    assert [isinstance(each, canuse.CanUseAnswer) for each in found] == [True, True, False, True]


@pytest.mark.parametrize(("reason", "alone"), [("SCOPE_MISSING", 5), ("STORE_UNAVAILABLE", 0)])
async def test_a_batch_that_fails_is_made_one_by_one_if_one_call_may_be_the_cause(
    service: Counted, async_client: AsyncClient, reason: str, alone: int
) -> None:
    service.failures["BatchUseFeature"] = lambda: Refusal(reason, "not this one")
    found = await asyncio.gather(*(outcome(async_client.use_feature("124", "api-calls")) for _ in range(6)))
    assert service.calls == {"UseFeature": 1 + alone, "BatchUseFeature": 1}
    failed = [each for each in found if not isinstance(each, canuse.UseFeatureAnswer)]
    assert [each[:2] for each in failed if isinstance(each, tuple)] == [
        (canuse.StoreUnavailable, "STORE_UNAVAILABLE")
    ] * (5 - alone)


async def test_a_caller_that_gives_up_takes_no_other_along(service: Counted, async_client: AsyncClient) -> None:
    tasks = [asyncio.ensure_future(async_client.use_feature("124", "api-calls")) for _ in range(5)]
    await asyncio.sleep(0)
    tasks[2].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(each, asyncio.CancelledError) for each in found] == [False, False, True, False, False]
    assert [bool(each) for each in found if not isinstance(each, BaseException)] == [True] * 4


def test_threads_that_call_during_a_call_leave_together_after_it(service: Counted, client: Client) -> None:
    service.release.clear()
    with ThreadPoolExecutor(30) as pool:
        first = pool.submit(client.use_feature, "124", "api-calls", 1)
        assert service.arrived.wait(30)
        others = [pool.submit(client.use_feature, "124", "api-calls", delta) for delta in range(2, 30)]
        bad = pool.submit(client.use_feature, "nobody", "api-calls")
        method: Any = client._stubs.entitlements.UseFeature
        while len(method._waiting) < 29:
            time.sleep(0.001)
        service.release.set()
        assert first.result().access
        assert all(future.result().access for future in others)
        with pytest.raises(canuse.NotFound, match="nobody"):
            bad.result()
    assert service.sizes == [1, 29]
    used = service.fake.show_usage("124", "api-calls").current
    assert used
    assert used.used == sum(range(1, 30))
    assert client.use_feature("124", "api-calls")


def test_many_threads_lose_no_call(service: Counted, client: Client) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: client.use_feature("124", "api-calls"), range(800)))
    current = service.fake.show_usage("124", "api-calls").current
    assert current
    assert current.used == 800


def test_a_thread_that_is_interrupted_while_it_waits_stops_no_other(service: Counted, client: Client) -> None:
    method: Any = client._stubs.entitlements.UseFeature
    service.release.clear()
    waiting: list[Any] = []

    class Interrupted(Event):
        """A wait that is interrupted, when the call before has ended or while it goes on."""

        def wait(self, timeout: float | None = None) -> bool:
            waiting.append(self)
            if len(waiting) == 1:
                raise KeyboardInterrupt
            if len(waiting) == 2:
                super().wait()
                raise KeyboardInterrupt
            return super().wait(timeout)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "Event", Interrupted)
        with ThreadPoolExecutor(4) as pool:
            first = pool.submit(client.use_feature, "124", "api-calls", 1)
            assert service.arrived.wait(30)
            with pytest.raises(KeyboardInterrupt):
                pool.submit(client.use_feature, "124", "api-calls", 10).result()
            second = pool.submit(client.use_feature, "124", "api-calls", 100)
            while len(method._waiting) < 1:
                time.sleep(0.001)
            third = pool.submit(client.use_feature, "124", "api-calls", 1000)
            while len(method._waiting) < 2:
                time.sleep(0.001)
            service.release.set()
            assert first.result().access
            with pytest.raises(KeyboardInterrupt):
                second.result()
            assert third.result().access
    counts = client.use_feature("124", "api-calls").consumption
    assert counts
    assert counts.used == 1002


def test_a_setting_that_is_no_truth_value_is_refused() -> None:
    with pytest.raises(canuse.BadArgument, match="batching"):
        Client("127.0.0.1:1", batching="yes")  # type: ignore[arg-type]


class TestClosed:
    """Calls that wait in a batch when the client is closed."""

    async def test_all_calls_of_a_closed_client_raise_client_closed(self) -> None:
        server = grpc.aio.server()
        arrived = asyncio.Event()

        async def wait(_request: Any, _context: Any) -> v1.UseFeatureResponse:
            arrived.set()
            await asyncio.sleep(60)
            return v1.UseFeatureResponse()

        handlers: Any = {
            name: grpc.unary_unary_rpc_method_handler(
                wait, request.FromString, lambda message: message.SerializeToString()
            )
            for name, request in (("UseFeature", v1.UseFeatureRequest), ("BatchUseFeature", v1.BatchUseFeatureRequest))
        }
        service = grpc.method_handlers_generic_handler("canuse.v1.EntitlementService", handlers)
        server.add_generic_rpc_handlers((service,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        client = AsyncClient(f"127.0.0.1:{port}", batching=True)
        tasks = [asyncio.ensure_future(client.use_feature("124", "api-calls")) for _ in range(4)]
        await asyncio.wait_for(arrived.wait(), 30)
        await client.close()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in found] == [canuse.ClientClosed] * 4
        await server.stop(0)
