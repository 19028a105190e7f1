"""An observer hears of each call once it has ended, on every transport: metrics and traces are made from that."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx
import pytest
from grpc import StatusCode, aio

from canuse import v1
from canuse_server.api.dispatch import EndedCall
from support.in_process import served_in_process
from support.load import wait_until
from support.processes import RedisServer, free_port
from support.relay import Relay
from support.resources import unique

PREFIX = "/canuse.v1."
EMPTY_STREAM: dict[str, Any] = {
    "content": b"\x00\x00\x00\x00\x02{}",
    "headers": {"content-type": "application/connect+json"},
}
"""An empty request of a method that answers with a stream."""


class Recorder:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, StatusCode]] = []
        self.calls: list[EndedCall] = []

    def call_ended(self, call: EndedCall) -> None:
        """See Observer."""
        assert 0 <= call.seconds < 60
        self.heard.append((call.path.removeprefix(PREFIX), call.status))
        self.calls.append(call)


@asynccontextmanager
async def observed(transport: str, url: str, **more: str) -> AsyncIterator[tuple[Recorder, aio.Channel]]:
    """Serve in this process with an observer, and with more settings."""
    recorder = Recorder()
    async with (
        served_in_process(transport, url, observer=recorder, **more) as ready,
        aio.insecure_channel(ready.address) as channel,
    ):
        yield recorder, channel


async def status_of(channel: aio.Channel, path: str, payload: bytes, **options: Any) -> StatusCode:
    """Make a call; return how it ended for its caller."""
    method: Any = channel.unary_unary(PREFIX + path)
    try:
        await method(payload, **options)
    except grpc.RpcError as error:
        return error.code()
    return StatusCode.OK


async def somebody(channel: aio.Channel) -> v1.CanUseRequest:
    """Make a user with a feature; return the question whether they may use it."""
    user_id, feature_id, package_id = unique("user"), unique("calls"), unique("starter")
    feature = v1.Feature(id=feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)
    package = v1.Package(id=package_id, features=[v1.PackageFeature(feature_id=feature_id, limit=5)])
    for path, request in (
        ("CatalogService/CreateFeature", v1.CreateFeatureRequest(feature=feature)),
        ("CatalogService/CreatePackage", v1.CreatePackageRequest(package=package)),
        ("CatalogService/PublishPackage", v1.PublishPackageRequest(package_id=package_id)),
        ("UserService/CreateUser", v1.CreateUserRequest(user=v1.User(id=user_id))),
        ("SubscriptionService/Subscribe", v1.SubscribeRequest(user_id=user_id, package_ids=[package_id])),
    ):
        assert await status_of(channel, path, request.SerializeToString()) is StatusCode.OK
    return v1.CanUseRequest(user_id=user_id, feature_id=feature_id)


async def test_each_call_is_heard_of_once_with_its_status(transport: str, redis: RedisServer) -> None:
    async with observed(transport, redis.url) as (recorder, channel):
        known = (await somebody(channel)).SerializeToString()
        recorder.heard.clear()
        calls: list[tuple[str, bytes, dict[str, Any]]] = [
            ("EntitlementService/CanUse", known, {}),
            ("EntitlementService/CanUse", b"\xff", {}),
            ("EntitlementService/CanUse", known, {"metadata": (("x", "y" * 20_000),)}),
            ("EntitlementService/UseFeature", known, {}),
            ("EntitlementService/UseFeature", known, {"metadata": (("canuse-durability", "paper"),)}),
            ("EntitlementService/BatchCanUse", b"", {}),
            ("UserService/ListUsers", b"", {}),
            ("UserService/GetUser", v1.GetUserRequest(user_id=unique("nobody")).SerializeToString(), {}),
        ]
        statuses = [(path, await status_of(channel, path, payload, **options)) for path, payload, options in calls]
        assert [status for _, status in statuses] == [
            StatusCode.OK,
            StatusCode.INVALID_ARGUMENT,
            StatusCode.INVALID_ARGUMENT,
            StatusCode.OK,
            StatusCode.INVALID_ARGUMENT,
            StatusCode.INVALID_ARGUMENT,
            StatusCode.OK,
            StatusCode.NOT_FOUND,
        ]
        assert recorder.heard == statuses
        migrate: Any = channel.unary_stream(f"{PREFIX}CatalogService/MigrateSubscriptions")
        assert await migrate(b"").code() is StatusCode.INVALID_ARGUMENT
        assert recorder.heard[len(statuses) :] == [("CatalogService/MigrateSubscriptions", StatusCode.INVALID_ARGUMENT)]


async def test_a_call_lies_within_the_time_that_its_caller_waits(transport: str, redis: RedisServer) -> None:
    """The batch lane counted the time that it had waited for the call, up to a quarter of a second."""
    async with observed(transport, redis.url) as (recorder, channel):
        known = (await somebody(channel)).SerializeToString()
        for path in ("EntitlementService/CanUse", "EntitlementService/BatchCanUse", "UserService/ListUsers"):
            recorder.calls.clear()
            await asyncio.sleep(0.1)
            began_at = time.monotonic()
            await status_of(channel, path, known if path.endswith("/CanUse") else b"")
            answered_at = time.monotonic()
            await wait_until(lambda: bool(recorder.calls))
            [call] = recorder.calls
            assert began_at <= call.started_at <= call.ended_at <= answered_at


@pytest.mark.parametrize(
    "path", ["EntitlementService/CanUse", "EntitlementService/BatchCanUse", "UsageService/ShowUsage"]
)
async def test_a_call_that_its_caller_cancels_is_heard_of_once(transport: str, redis: RedisServer, path: str) -> None:
    async with Relay.to(redis.port) as relay, observed(transport, relay.url) as (recorder, channel):
        known = await somebody(channel)
        recorder.heard.clear()
        relay.hold_replies()
        request_seen = relay.request_with(known.user_id.encode())
        requests = {
            "CanUse": known,
            "BatchCanUse": v1.BatchCanUseRequest(requests=[known]),
            "ShowUsage": v1.ShowUsageRequest(user_id=known.user_id, feature_id=known.feature_id),
        }
        method: Any = channel.unary_unary(PREFIX + path)
        call = method(requests[path.rpartition("/")[2]].SerializeToString())
        await asyncio.wait_for(request_seen.wait(), 20)
        call.cancel()
        is_in_lane = transport == "native" and path.endswith("/CanUse")
        if not is_in_lane:
            await wait_until(lambda: bool(recorder.heard))
            assert recorder.heard == [(path, StatusCode.CANCELLED)]
        relay.release()
        # A lane hears of what was cancelled once the store has answered, and answers then: either is the end of it.
        await wait_until(lambda: bool(recorder.heard))
        await status_of(channel, path, b"\xff")
        assert [heard for heard, _ in recorder.heard] == [path, path]


async def test_each_call_over_http_is_heard_of_once_with_its_status(redis: RedisServer) -> None:
    port = free_port()
    async with (
        observed("grpcio", redis.url, http_listen=f"127.0.0.1:{port}") as (recorder, channel),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
    ):
        known = await somebody(channel)
        ids = {"userId": known.user_id, "featureId": known.feature_id}
        recorder.heard.clear()
        as_text = {"content": "{", "headers": {"content-type": "text/plain"}}
        check, wrong = "EntitlementService/CanUse", StatusCode.INVALID_ARGUMENT
        calls: list[tuple[str, dict[str, Any], StatusCode]] = [
            (check, {"json": ids}, StatusCode.OK),
            ("EntitlementService/UseFeature", {"json": ids}, StatusCode.OK),
            (check, {"json": {"userId": 1}}, wrong),
            (check, as_text, wrong),
            (check, {"json": ids, "headers": {"x": "y" * 20_000}}, wrong),
            (check, {"json": ids, "headers": {"connect-timeout-ms": "0"}}, StatusCode.DEADLINE_EXCEEDED),
            ("UserService/GetUser", {"json": {"userId": unique("nobody")}}, StatusCode.NOT_FOUND),
            ("CatalogService/MigrateSubscriptions", {"json": {}}, wrong),
            ("CatalogService/MigrateSubscriptions", EMPTY_STREAM, wrong),
        ]
        for path, sent, _ in calls:
            await http.post(PREFIX + path, **sent)
        assert recorder.heard == [(path, status) for path, _, status in calls]
