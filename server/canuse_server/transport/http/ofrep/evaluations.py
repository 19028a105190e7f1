"""The two evaluations: of one flag, and of all flags of a user with an ETag."""

import base64
import hashlib
import time
from abc import ABC, abstractmethod
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from canuse.v1 import entitlement_service_pb2 as pb
from canuse_server.api.admission import AdmissionLimit
from canuse_server.api.context import CallContext
from canuse_server.api.dispatch import Dispatcher
from canuse_server.api.errors import ApiError
from canuse_server.runtime.thread_pauses import pause_if_due
from canuse_server.transport.http.calls import DEFAULT_TIMEOUT_SECONDS, convert, metadata
from canuse_server.transport.http.json_in_steps import COMPACT, LARGE, dumps
from canuse_server.transport.http.ofrep.context import read_targeting_key
from canuse_server.transport.http.ofrep.errors import ErrorCode, failure, failure_response
from canuse_server.transport.http.ofrep.flags import flag

CAN_USE: Final = "/canuse.v1.EntitlementService/CanUse"
LIST_ENTITLEMENTS_PATH: Final = "/canuse.v1.EntitlementService/ListEntitlements"
PAGE_SIZE: Final = 1000
ETAG_BYTES: Final = 16


class Evaluation(ABC):
    """A request of the protocol, as an ASGI application: the method that it asks is called as any caller would."""

    method_path: str

    def __init__(self, dispatcher: Dispatcher, reading: AdmissionLimit) -> None:
        self._dispatcher = dispatcher
        self._reading = reading

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        request = Request(scope, receive)
        key = request.path_params.get("key")
        if request.method != "POST":
            text = f"flags are evaluated with POST, not {request.method}"
            answer: Response = failure_response(ErrorCode.GENERAL, text, 405, {"allow": "POST"}, key)
        else:
            try:
                answer = await self._evaluate(request)
            except ApiError as error:
                answer = failure(error, key)
        await answer(scope, receive, send)

    async def _evaluate(self, request: Request) -> Response:
        context = self._dispatcher.open(self.method_path, metadata(request))
        context.env = context.env.without_default_package()
        context.deadline = context.arrived_at + DEFAULT_TIMEOUT_SECONDS
        with self._dispatcher.reading(context):
            user_id = await read_targeting_key(request, self._reading)
        return await self._answer(request, context, user_id)

    @abstractmethod
    async def _answer(self, request: Request, context: CallContext, user_id: str) -> Response:
        """Answer a request about a user."""

    async def _call(self, context: CallContext, request: pb.CanUseRequest | pb.ListEntitlementsRequest) -> bytes:
        left = context.deadline - time.monotonic()
        return await self._dispatcher.unary(context, request.SerializeToString(), left)


class OneFlag(Evaluation):
    """Evaluates the flag that the path names."""

    method_path = CAN_USE

    async def _answer(self, request: Request, context: CallContext, user_id: str) -> Response:
        key: str = request.path_params["key"]
        answer = await self._call(context, pb.CanUseRequest(user_id=user_id, feature_id=key))
        return JSONResponse(flag(key, pb.CanUseResponse.FromString(answer)))


class AllFlags(Evaluation):
    """Evaluates all features that are not archived, and those of the user that are."""

    method_path = LIST_ENTITLEMENTS_PATH

    async def _answer(self, request: Request, context: CallContext, user_id: str) -> Response:
        page = pb.ListEntitlementsRequest(user_id=user_id, page_size=PAGE_SIZE, include_locked=True)
        pages: list[bytes] = []
        more = True
        while more:
            flags, page.page_token = await convert(_flags, await self._call(context, page))
            if flags:
                pages.append(flags)
            more = page.page_token != ""
        body = b'{"flags":[%b]}' % b",".join(pages)
        etag = await convert(_etag, body)
        if etag in _known(request):
            return Response(status_code=304, headers={"etag": etag})
        return Response(body, media_type="application/json", headers={"etag": etag})


def _flags(answer: bytes) -> tuple[bytes, str]:
    """Return the flags on a page of entitlements in JSON, separated by commas, and the token of the next page."""
    page = pb.ListEntitlementsResponse.FromString(answer)
    flags = []
    for each in page.entitlements:
        flags.append(flag(each.feature_id, each))
        pause_if_due()
    text = dumps(flags, large=len(answer) >= LARGE, separators=COMPACT)
    return text[1:-1].encode(), page.next_page_token


def _etag(body: bytes) -> str:
    """Return the ETag of an answer. It depends on nothing but what is shown."""
    digest = hashlib.blake2b(body, digest_size=ETAG_BYTES).digest()
    return f'"{base64.urlsafe_b64encode(digest).decode().rstrip("=")}"'


def _known(request: Request) -> set[str]:
    """Return the ETags of the answers that a caller has."""
    listed = ",".join(request.headers.getlist("if-none-match")).split(",")
    # A proxy that compresses answers makes their ETags weak.
    return {etag.strip().removeprefix("W/") for etag in listed}
