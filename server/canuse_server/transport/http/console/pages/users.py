"""The list of users, and the search for one."""

from typing import Final

from canuse.v1 import user_service_pb2 as pb
from canuse_server.transport.http.console.visit import View, Visit

PAGE_SIZE: Final = 50


async def read(visit: Visit) -> View:
    """Show those that match."""
    filters = {name: visit.query(name).strip() for name in ("id_prefix", "email", "billing_id")}
    request = pb.ListUsersRequest(page_size=PAGE_SIZE, page_token=visit.query("page_token"), **filters)
    answer = await visit.call("UserService/ListUsers", request, pb.ListUsersResponse)
    values = {"users": answer.users, "next_page_token": answer.next_page_token, "filters": filters}
    return View("users.html", values)
