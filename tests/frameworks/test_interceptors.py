"""gRPC servers, for threads and for asyncio, with a real server of canuse."""

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

import canuse
from canuse.interceptors import AsyncEntitlementInterceptor, EntitlementInterceptor, MethodUse
from canuse.testing import CanuseServer

KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
METHODS = {
    **{f"/shop/{kind}": MethodUse("reports") for kind in KINDS},
    "/shop/before": MethodUse("reports", record="before"),
    "/shop/never": MethodUse("reports", 2, record="never", feature_name="Reports"),
    "/shop/sso": MethodUse("sso"),
}
USER = (("user", "124"),)


def user_of(details: grpc.HandlerCallDetails) -> str | None:
    """Return the user that a call names."""
    return next((str(value) for key, value in details.invocation_metadata if key == "user"), None)


def work(request: bytes, context: Any) -> bytes:
    """Fail as the request says, or return what it is."""
    if request == b"error":
        raise RuntimeError
    if request == b"status":
        context.set_code(grpc.StatusCode.NOT_FOUND)
    return request


def for_threads() -> dict[str, Any]:
    """Return the methods of a server for threads."""

    def unary_stream(request: bytes, context: Any) -> Iterator[bytes]:
        yield work(request, context)

    def stream_unary(requests: Iterator[bytes], context: Any) -> bytes:
        return work(next(requests), context)

    def stream_stream(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        for request in requests:
            yield work(request, context)

    return {
        **dict.fromkeys(("unary_unary", "before", "never", "sso", "free"), grpc.unary_unary_rpc_method_handler(work)),
        "unary_stream": grpc.unary_stream_rpc_method_handler(unary_stream),
        "stream_unary": grpc.stream_unary_rpc_method_handler(stream_unary),
        "stream_stream": grpc.stream_stream_rpc_method_handler(stream_stream),
    }


def for_asyncio() -> dict[str, Any]:
    """Return the methods of a server for asyncio."""

    async def unary_unary(request: bytes, context: Any) -> bytes:
        return work(request, context)

    async def unary_stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield work(request, context)

    async def stream_unary(requests: AsyncIterator[bytes], context: Any) -> bytes:
        return work(await anext(requests), context)

    async def stream_stream(requests: AsyncIterator[bytes], context: Any) -> None:
        async for request in requests:
            await context.write(work(request, context))

    one: Any = grpc.unary_unary_rpc_method_handler(unary_unary)
    return {
        **dict.fromkeys(("unary_unary", "before", "never", "sso", "free"), one),
        "unary_stream": grpc.unary_stream_rpc_method_handler(unary_stream),
        "stream_unary": grpc.stream_unary_rpc_method_handler(stream_unary),
        "stream_stream": grpc.stream_stream_rpc_method_handler(stream_stream),
    }


@pytest.fixture
def reports(canuse_server: CanuseServer) -> CanuseServer:
    """A server with a user who may make two reports a month, and has no single sign-on."""
    canuse_server.feature("sso", binary=True)
    canuse_server.package("pro", {"reports": "2/month"})
    canuse_server.user("124", "pro")
    return canuse_server


@pytest_asyncio.fixture(params=["threads", "asyncio"])
async def shop(request: pytest.FixtureRequest, reports: CanuseServer) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server with an interceptor."""
    async with AsyncExitStack() as stack:
        server: Any
        if request.param == "threads":
            client = stack.enter_context(canuse.Client(reports.address))
            pool = stack.enter_context(ThreadPoolExecutor(4))
            server = grpc.server(pool, interceptors=[EntitlementInterceptor(client, METHODS, user=user_of)])
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop", for_threads()),))
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            stack.callback(lambda: server.stop(None).wait())
        else:
            asynchronous = await stack.enter_async_context(canuse.AsyncClient(reports.address))
            interceptor = AsyncEntitlementInterceptor(asynchronous, METHODS, user=user_of)
            server = grpc.aio.server(interceptors=[interceptor])
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop", for_asyncio()),))
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            stack.push_async_callback(server.stop, None)
        yield await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))


async def status_of(shop: grpc.aio.Channel, method: str, request: bytes, metadata: Any = USER) -> grpc.StatusCode:
    """Call a method, of whatever kind, and return the status."""
    kind = method if method in KINDS else "unary_unary"
    argument = iter([request]) if kind.startswith("stream") else request
    call = getattr(shop, kind)(f"/shop/{method}")(argument, metadata=metadata, timeout=30)
    if kind.endswith("stream"):
        try:
            assert [response async for response in call] == [request]
        except grpc.aio.AioRpcError as error:
            return error.code()
    code: grpc.StatusCode = await call.code()
    return code


def used(server: CanuseServer) -> tuple[int, int]:
    """Return what the user used and has reserved."""
    current = server.client.show_usage("124", "reports").current
    assert current is not None
    return current.used, current.reserved


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_counts_only_if_it_succeeds(kind: str, shop: grpc.aio.Channel, reports: CanuseServer) -> None:
    codes = [await status_of(shop, kind, each) for each in (b"error", b"status", b"done", b"done", b"done")]
    assert [code.name for code in codes] == ["UNKNOWN", "NOT_FOUND", "OK", "OK", "RESOURCE_EXHAUSTED"]
    assert used(reports) == (2, 0)


async def test_a_use_can_be_recorded_before_the_method_or_never(shop: grpc.aio.Channel, reports: CanuseServer) -> None:
    assert await status_of(shop, "never", b"done") is grpc.StatusCode.OK
    assert used(reports) == (0, 0)
    assert await status_of(shop, "before", b"error") is grpc.StatusCode.UNKNOWN
    assert used(reports) == (1, 0)


async def test_a_no_says_why_and_when_to_come_back(shop: grpc.aio.Channel, reports: CanuseServer) -> None:
    reports.client.use_feature("124", "reports")
    calls: Any = shop.unary_unary
    call = calls("/shop/never")(b"done", metadata=USER)
    assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(await call.details()).startswith("You have 1 Reports left, which is not enough.")
    trailing = dict(await call.trailing_metadata() or ())
    status = Status.FromString(trailing["grpc-status-details-bin"])
    info, retry = ErrorInfo(), RetryInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.metadata["feature_id"]) == ("REASON_BUDGET_EXCEEDED", "reports")
    assert status.details[1].Unpack(retry)
    assert retry.retry_delay.seconds > 0


async def test_other_statuses(shop: grpc.aio.Channel) -> None:
    assert await status_of(shop, "sso", b"done") is grpc.StatusCode.PERMISSION_DENIED
    assert await status_of(shop, "unary_unary", b"done", ()) is grpc.StatusCode.UNAUTHENTICATED
    assert await status_of(shop, "free", b"done", ()) is grpc.StatusCode.OK
    assert await status_of(shop, "unknown", b"done") is grpc.StatusCode.UNIMPLEMENTED


def test_what_is_not_accepted_is_named() -> None:
    with canuse.Client() as client:
        with pytest.raises(canuse.BadArgument, match="'Create' is not a method's path"):
            EntitlementInterceptor(client, {"Create": MethodUse("reports")}, user=user_of)
        with pytest.raises(canuse.BadArgument, match="record: 'perhaps' is not accepted"):
            EntitlementInterceptor(client, {"/a/b": MethodUse("x", record="perhaps")}, user=user_of)  # type: ignore[arg-type]
