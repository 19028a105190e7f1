"""The API keys, and what there is to know of user tokens."""

from typing import Final

from canuse.v1 import api_key_service_pb2 as pb
from canuse_server.transport.http.console.visit import View, Visit

PAGE_SIZE: Final = 50


async def read(visit: Visit) -> View:
    """Show them."""
    request = pb.ListApiKeysRequest(page_size=PAGE_SIZE, page_token=visit.query("page_token"))
    answer = await visit.call("ApiKeyService/ListApiKeys", request, pb.ListApiKeysResponse)
    return View("keys.html", {"keys": answer.api_keys, "next_page_token": answer.next_page_token})
