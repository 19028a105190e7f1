"""Blocks and functions that use a feature: checked before, recorded once after, and only if they succeed."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from canuse import (
    AccessDenied,
    AsyncClient,
    BadArgument,
    CanUseAnswer,
    Client,
    Consumption,
    NotFound,
    ReserveAnswer,
    v1,
)
from support.message_clients import Client as Setup
from support.processes import Canuse
from support.resources import subscriber, unique

pytestmark = pytest.mark.extended


@pytest.fixture
def callers(server: Canuse) -> Iterator[Client]:
    """A client with its default settings."""
    with Client(server.address) as client:
        yield client


@pytest.fixture
async def asynchronous(server: Canuse) -> AsyncIterator[AsyncClient]:
    """A client for asyncio with its default settings."""
    async with AsyncClient(server.address) as client:
        yield client


@pytest.fixture
def setup(server: Canuse) -> Iterator[Setup]:
    """A client for what the tests need."""
    with Setup(server.address) as client:
        yield client


def counts(client: Client, user_id: str, feature_id: str) -> tuple[int, int]:
    """Return what is used and what is reserved."""
    consumption = client.can_use(user_id, feature_id).consumption
    assert isinstance(consumption, Consumption)
    return consumption.used, consumption.reserved


class Failed(Exception):  # noqa: N818 - it is no error of canuse
    """What a block raises."""


def test_a_block_reserves_and_records_when_it_succeeds(setup: Setup, callers: Client) -> None:
    user_id, feature_id = subscriber(setup, 10)
    with callers.using(user_id, feature_id, 3) as use:
        assert isinstance(use.answer, ReserveAnswer)
        assert counts(callers, user_id, feature_id) == (0, 3)
    assert counts(callers, user_id, feature_id) == (3, 0)
    [event] = callers.list_usage_events(user_id)
    assert (event.event_id, event.delta) == (use.event_id, 3)


def test_a_block_that_fails_records_nothing_and_gives_its_units_back(setup: Setup, callers: Client) -> None:
    user_id, feature_id = subscriber(setup, 10)
    with pytest.raises(Failed), callers.using(user_id, feature_id, 3):
        raise Failed
    assert counts(callers, user_id, feature_id) == (0, 0)


def test_a_block_may_record_another_amount_or_nothing(setup: Setup, callers: Client) -> None:
    user_id, feature_id = subscriber(setup, 10)
    with callers.using(user_id, feature_id, 3) as use:
        use.delta = 5
    with callers.using(user_id, feature_id, 3) as use:
        use.delta = 0
    assert counts(callers, user_id, feature_id) == (5, 0)


def test_without_access_the_block_does_not_run_and_the_error_can_be_shown(setup: Setup, callers: Client) -> None:
    user_id, feature_id = subscriber(setup, 10)
    with pytest.raises(AccessDenied) as caught, callers.using(user_id, feature_id, 11, feature_name="messages"):
        raise Failed
    assert str(caught.value).startswith("You have 10 messages left, which is not enough. You get more on 20")
    assert user_id not in str(caught.value)
    assert counts(callers, user_id, feature_id) == (0, 0)
    with pytest.raises(NotFound), callers.using(unique("user"), feature_id):
        raise Failed


def test_blocks_that_run_at_once_stay_within_the_budget(setup: Setup, callers: Client) -> None:
    # A check before and an event after let all of them pass.
    user_id, feature_id = subscriber(setup, 5)
    ready = threading.Barrier(12, timeout=30)

    def work() -> bool:
        try:
            with callers.using(user_id, feature_id):
                ready.wait()
        except AccessDenied:
            ready.wait()
            return False
        return True

    with ThreadPoolExecutor(12) as threads:
        passed = [done.result() for done in [threads.submit(work) for _ in range(12)]]
    assert sum(passed) == 5
    assert counts(callers, user_id, feature_id) == (5, 0)


def test_a_use_is_recorded_also_if_its_lease_is_gone(setup: Setup, callers: Client) -> None:
    user_id, feature_id = subscriber(setup, 5)
    with callers.using(user_id, feature_id, 2) as use:
        assert isinstance(use.answer, ReserveAnswer)
        # As if it had expired long ago.
        callers.settle(use.answer.lease_id, 0)
        assert counts(callers, user_id, feature_id) == (0, 0)
    assert counts(callers, user_id, feature_id) == (2, 0)


def test_a_binary_feature_is_only_checked(setup: Setup, callers: Client) -> None:
    feature_id = setup.create_feature(unique("feature"), type=v1.FEATURE_TYPE_BINARY).id
    user_id, _ = subscriber(setup, 5)
    with pytest.raises(AccessDenied, match="Your plan does not include single sign-on"):  # noqa: SIM117
        with callers.using(user_id, feature_id, feature_name="single sign-on"):
            raise Failed
    setup.create_package(package_id := unique("package"), [v1.PackageFeature(feature_id=feature_id)])
    setup.publish_package(package_id)
    setup.change_package(user_id, package_id)
    with callers.using(user_id, feature_id) as use:
        assert isinstance(use.answer, CanUseAnswer)


async def test_blocks_of_the_asynchronous_client_do_the_same(setup: Setup, asynchronous: AsyncClient) -> None:
    user_id, feature_id = subscriber(setup, 5)
    passed, denied = 0, 0

    async def work() -> None:
        nonlocal passed, denied
        try:
            async with asynchronous.using(user_id, feature_id):
                await asyncio.sleep(0.05)
            passed += 1
        except AccessDenied:
            denied += 1

    await asyncio.gather(*[work() for _ in range(8)])
    assert (passed, denied) == (5, 3)
    consumption = (await asynchronous.can_use(user_id, feature_id)).consumption
    assert consumption
    assert (consumption.used, consumption.reserved) == (5, 0)


async def test_a_cancelled_block_gives_its_units_back(setup: Setup, asynchronous: AsyncClient) -> None:
    user_id, feature_id = subscriber(setup, 5)
    started = asyncio.Event()

    async def work() -> None:
        async with asynchronous.using(user_id, feature_id, 5):
            started.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    consumption = (await asynchronous.can_use(user_id, feature_id)).consumption
    assert consumption
    assert (consumption.used, consumption.reserved) == (0, 0)


class TestLimited:
    """Decorated functions."""

    def test_a_function_is_called_for_the_user_that_an_argument_names(self, setup: Setup, callers: Client) -> None:
        user_id, feature_id = subscriber(setup, 2)

        @callers.limited(feature_id, user="user_id")
        def search(words: str, user_id: str = user_id) -> str:
            """Search."""
            return words.upper()

        assert search("a") == "A"
        assert search("b", user_id) == "B"
        with pytest.raises(AccessDenied):
            search("c")
        assert (search.__name__, search.__doc__) == ("search", "Search.")
        assert counts(callers, user_id, feature_id) == (2, 0)

    def test_a_function_that_fails_records_nothing(self, setup: Setup, callers: Client) -> None:
        user_id, feature_id = subscriber(setup, 2)

        @callers.limited(feature_id, 2, user=lambda request: request["user"])
        def fail(request: dict[str, str]) -> None:
            raise Failed

        with pytest.raises(Failed):
            fail({"user": user_id})
        assert counts(callers, user_id, feature_id) == (0, 0)

    async def test_coroutine_functions_are_decorated_by_both_clients(
        self, setup: Setup, callers: Client, asynchronous: AsyncClient
    ) -> None:
        user_id, feature_id = subscriber(setup, 2)
        ids = {"user": user_id}

        @callers.limited(feature_id, user="user")
        async def one(**named: str) -> str:
            return named["user"]

        @asynchronous.limited(feature_id, user="user")
        async def other(user: str) -> str:
            return user

        assert await one(**ids) == await other(**ids) == user_id
        for function in (one, other):
            with pytest.raises(AccessDenied):
                await function(**ids)
        consumption = (await asynchronous.can_use(user_id, feature_id)).consumption
        assert consumption
        assert consumption.used == 2

    def test_what_cannot_be_decorated_is_refused_at_once(self, callers: Client) -> None:
        def generator(user_id: str) -> Iterator[str]:
            yield user_id

        def function(words: str) -> str:
            return words

        cases: list[tuple[Any, Any, str]] = [
            (generator, "user_id", "generator is a generator"),
            (function, "user_id", "has no argument 'user_id'; its arguments: words"),
            (function, 5, "user: 5 of type int"),
        ]
        for decorated, user, message in cases:
            with pytest.raises(BadArgument, match=message):
                callers.limited("f", user=user)(decorated)
        with pytest.raises(BadArgument, match="is not `async`: use a canuse"):
            AsyncClient().limited("f", user="words")(function)  # type: ignore[arg-type]
