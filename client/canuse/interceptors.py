"""gRPC servers whose methods use features: interceptors for threads and for asyncio.

methods = {"/shop.v1.Reports/CreateReport": MethodUse("reports")}
server = grpc.server(pool, interceptors=[EntitlementInterceptor(client, methods, user=signed_in_user)])
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any, Final, Literal

import grpc
import grpc.aio
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from canuse import AccessDenied, AsyncClient, BadArgument, Client, Reason, Use
from canuse.http import NO_ANSWER

__all__ = ["AsyncEntitlementInterceptor", "EntitlementInterceptor", "MethodUse"]

FindUser = Callable[[grpc.HandlerCallDetails], str | None]
"""Returns the id of a call's user, of which it knows the method and the metadata. None: nobody."""
_NOBODY: Final = (grpc.StatusCode.UNAUTHENTICATED, "This method needs a user.")
_UNAVAILABLE: Final = (grpc.StatusCode.UNAVAILABLE, "This service is unavailable at the moment. Please try again.")


@dataclass(frozen=True, slots=True)
class MethodUse:
    """What a call of a method uses."""

    feature_id: str
    """The feature."""
    delta: int = 1
    """The amount of a call, in the feature's units."""
    record: Literal["after", "before", "never"] = "after"
    """When the use is recorded. `after`: units are reserved before the method, and recorded only if it ends with OK.
    `before`: checked and recorded in one call before the method, whatever becomes of it. `never`: only checked."""
    feature_name: str | None = None
    """The name of the feature in the sentence for the end user, such as `API calls`."""


class _Interceptor:
    def __init__(self, methods: Mapping[str, MethodUse], user: FindUser) -> None:
        for name, use in methods.items():
            if not name.startswith("/") or name.count("/") != 2:
                raise BadArgument.of(
                    "methods", f"{name!r} is not a method's path, such as /shop.v1.Reports/CreateReport"
                )
            if use.record not in ("after", "before", "never"):
                raise BadArgument.of("record", f"{use.record!r} is not accepted; expected 'after', 'before' or 'never'")
        self._methods = dict(methods)
        self._user = user


class EntitlementInterceptor(_Interceptor, grpc.ServerInterceptor):
    """Lets calls of a `grpc.server` pass only if their user may use the method's feature.

    A no has the status RESOURCE_EXHAUSTED if a budget is used up, otherwise PERMISSION_DENIED, with the sentence for
    the end user, and as details the reason and after what time it will be a yes. Without a user the status is
    UNAUTHENTICATED; without an answer of canuse it is UNAVAILABLE.
    """

    def __init__(self, client: Client, methods: Mapping[str, MethodUse], *, user: FindUser) -> None:
        """Create the interceptor.

        Args:
            client: The client.
            methods: What each method uses, by its path. Others are let through.
            user: Returns the id of a call's user, or None. It must not trust metadata that anybody may send.

        Raises:
            BadArgument: A path is none, or `record` of a method is not known.
        """
        super().__init__(methods, user)
        self._client = client

    def intercept_service(self, continuation: Callable[..., Any], handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the method's handler, with a check before it."""
        handler, use = continuation(handler_call_details), self._methods.get(handler_call_details.method)
        if handler is None or use is None:
            return handler
        behaviour, make = _parts(handler)

        def call(request: Any, context: Any) -> Any:
            with self._guarded(use, handler_call_details, context):
                return behaviour(request, context)

        def stream(request: Any, context: Any) -> Iterator[Any]:
            with self._guarded(use, handler_call_details, context):
                yield from behaviour(request, context)

        return make(stream if handler.response_streaming else call)

    @contextmanager
    def _guarded(self, method: MethodUse, details: grpc.HandlerCallDetails, context: Any) -> Iterator[None]:
        user_id = self._user(details)
        if user_id is None:
            context.abort(*_NOBODY)
            return
        use: Use | None = None
        with ExitStack() as stack:
            try:
                if method.record == "after":
                    block = self._client.using(
                        user_id, method.feature_id, method.delta, feature_name=method.feature_name
                    )
                    use = stack.enter_context(block)
                else:
                    ask = self._client.use_feature if method.record == "before" else self._client.can_use
                    ask(user_id, method.feature_id, method.delta).raise_if_denied(method.feature_name)
            except AccessDenied as denied:
                code, message, trailing = _refusal(denied)
                context.set_trailing_metadata(trailing)
                context.abort(code, message)
            except NO_ANSWER:
                context.abort(*_UNAVAILABLE)
            yield
            if use is not None and _has_failed(context):
                use.delta = 0


class AsyncEntitlementInterceptor(_Interceptor, grpc.aio.ServerInterceptor):
    """The same for a `grpc.aio.server`, whose methods must be `async`."""

    def __init__(self, client: AsyncClient, methods: Mapping[str, MethodUse], *, user: FindUser) -> None:
        """Create the interceptor, as `EntitlementInterceptor`."""
        super().__init__(methods, user)
        self._client = client

    async def intercept_service(
        self, continuation: Callable[..., Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Return the method's handler, with a check before it."""
        handler, use = await continuation(handler_call_details), self._methods.get(handler_call_details.method)
        if handler is None or use is None:
            return handler
        behaviour, make = _parts(handler)

        async def call(request: Any, context: Any) -> Any:
            async with self._guarded(use, handler_call_details, context):
                return await behaviour(request, context)

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            async with self._guarded(use, handler_call_details, context), aclosing(behaviour(request, context)) as sent:
                async for response in sent:
                    yield response

        if isasyncgenfunction(behaviour):
            return make(stream)
        if not iscoroutinefunction(behaviour):
            raise BadArgument.of("methods", f"{handler_call_details.method} is not `async`")
        return make(call)

    @asynccontextmanager
    async def _guarded(self, method: MethodUse, details: grpc.HandlerCallDetails, context: Any) -> AsyncIterator[None]:
        user_id = self._user(details)
        if user_id is None:
            await context.abort(*_NOBODY)
            return
        use: Use | None = None
        async with AsyncExitStack() as stack:
            try:
                if method.record == "after":
                    block = self._client.using(
                        user_id, method.feature_id, method.delta, feature_name=method.feature_name
                    )
                    use = await stack.enter_async_context(block)
                elif method.record == "before":
                    answer = await self._client.use_feature(user_id, method.feature_id, method.delta)
                    answer.raise_if_denied(method.feature_name)
                else:
                    checked = await self._client.can_use(user_id, method.feature_id, method.delta)
                    checked.raise_if_denied(method.feature_name)
            except AccessDenied as denied:
                await context.abort(*_refusal(denied))
            except NO_ANSWER:
                await context.abort(*_UNAVAILABLE)
            yield
            if use is not None and _has_failed(context):
                use.delta = 0


def _parts(handler: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return what a handler calls, and a function that makes such a handler for something else."""
    kind = "_".join("stream" if each else "unary" for each in (handler.request_streaming, handler.response_streaming))
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    return getattr(handler, kind), lambda call: make(call, handler.request_deserializer, handler.response_serializer)


def _has_failed(context: Any) -> bool:
    """Whether a method that has returned set a status other than OK."""
    return context.code() not in (None, 0, grpc.StatusCode.OK)


def _refusal(denied: AccessDenied) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
    """Return the status, the message and the trailing metadata of a no."""
    reason: Reason = getattr(denied.answer, "reason", Reason.REASON_UNSPECIFIED)
    exceeded = reason == Reason.REASON_BUDGET_EXCEEDED
    code = grpc.StatusCode.RESOURCE_EXHAUSTED if exceeded else grpc.StatusCode.PERMISSION_DENIED
    status = Status(code=code.value[0], message=str(denied))
    metadata = {"feature_id": getattr(denied.answer, "feature_id", "")}
    status.details.add().Pack(ErrorInfo(reason=reason.name, domain="canuse", metadata=metadata))
    retry_after = getattr(denied.answer, "retry_after", None)
    if retry_after is not None:
        retry = RetryInfo()
        retry.retry_delay.FromTimedelta(retry_after)
        status.details.add().Pack(retry)
    return code, status.message, (("grpc-status-details-bin", status.SerializeToString()),)
