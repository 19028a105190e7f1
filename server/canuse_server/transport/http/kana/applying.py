"""Changing the catalogue after reading it, so that nobody else's change in between is lost."""

from collections.abc import Awaitable, Callable
from typing import Final

from canuse import v1
from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.transport.http.kana.calls import Calls

APPLY: Final = "CatalogService/ApplyCatalog"
ATTEMPTS: Final = 5


async def apply(calls: Calls, build: Callable[[], Awaitable[v1.ApplyCatalogRequest]]) -> v1.ApplyCatalogResponse:
    """Apply the document that `build` makes of the catalogue as it is; build it anew if that has changed meanwhile."""
    attempt = 0
    while True:
        # Without content it changes nothing, and tells the state that is read next.
        state = await calls(APPLY, v1.ApplyCatalogRequest(), v1.ApplyCatalogResponse)
        request = await build()
        request.etag = state.etag
        try:
            return await calls(APPLY, request, v1.ApplyCatalogResponse)
        except ApiError as error:
            attempt += 1
            if error.reason is not ErrorReason.CATALOG_CHANGED or attempt == ATTEMPTS:
                raise
