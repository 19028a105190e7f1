"""Clients with `batching=True` on a running server: each call is answered as if it had been made alone."""

import asyncio
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import pytest

from canuse import AsyncClient, CanuseError, Client, v1
from support.resources import unique

pytestmark = pytest.mark.extended


class Server(Protocol):
    """A running server."""

    @property
    def address(self) -> str:
        """Its address."""


async def outcome(call: Awaitable[object]) -> object:
    """Return the type of an answer, or what an error says."""
    try:
        return type(await call)
    except CanuseError as error:
        return type(error), error.code, error.reason, error.message, error.metadata, error.violations


def calls(client: AsyncClient, user_id: str, feature_id: str) -> list[Awaitable[object]]:
    """Return calls of each batched method that succeed and fail."""
    return [
        call
        for user, feature, delta in (
            (user_id, feature_id, 1),
            (user_id, feature_id, -5),
            (user_id, feature_id, 2**60),
            ("nobody", feature_id, 1),
            (user_id, "nothing", 1),
            ("", "", 0),
            ("u" * 200, feature_id, 1),
        )
        for call in (
            client.can_use(user, feature, delta),
            client.use_feature(user, feature, delta, event_id="e" * (1 + delta % 200)),
            client.create_usage_event(user, feature, delta),
        )
    ]


async def test_answers_and_errors_are_those_of_single_calls(server: Server) -> None:
    feature_id, user_id = unique("feature"), unique("user")
    async with AsyncClient(server.address) as plain, AsyncClient(server.address, batching=True) as batching:
        await plain.create_feature(feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)
        await plain.create_package(feature_id, [v1.PackageFeature(feature_id=feature_id)])
        await plain.publish_package(feature_id)
        await plain.create_user(user_id)
        await plain.subscribe(user_id, [feature_id])
        together = await asyncio.gather(*map(outcome, calls(batching, user_id, feature_id)))
        alone = [await outcome(call) for call in calls(plain, user_id, feature_id)]
        assert together == alone
        answers = await asyncio.gather(*(batching.use_feature(user_id, feature_id) for _ in range(300)))
        assert all(answers)
        with Client(server.address, batching=True) as threads, ThreadPoolExecutor(8) as pool:
            used = await asyncio.to_thread(
                lambda: list(pool.map(lambda _: threads.use_feature(user_id, feature_id), range(100)))
            )
        assert all(used)
        shown = await plain.show_usage(user_id, feature_id)
        # Of the calls above, a use and an event each time.
        assert shown.current
        assert shown.current.used >= 400
        assert len({answer.consumption and answer.consumption.used for answer in (*answers, *used)}) == 400
