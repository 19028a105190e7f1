"""The audit log: who changed what."""

from typing import Final

from canuse.v1 import audit_service_pb2 as pb
from canuse_server.transport.http.console.addresses import address
from canuse_server.transport.http.console.pages.events import read_day
from canuse_server.transport.http.console.visit import View, Visit

PAGE_SIZE: Final = 50
MAX_READS: Final = 5
"""How often a part of the log is read until there is an entry that matches."""


async def read(visit: Visit) -> View:
    """Show what matches, newest first."""
    filters = {name: visit.query(name).strip() for name in ("user", "method", "key", "from", "to")}
    request = pb.ListAuditEntriesRequest(
        page_size=PAGE_SIZE,
        page_token=visit.query("page_token"),
        user_id=filters["user"],
        method=filters["method"],
        caller_key_id=filters["key"],
    )
    if filters["from"]:
        request.start_time.FromDatetime(read_day("from", filters["from"]))
    if filters["to"]:
        request.end_time.FromDatetime(read_day("to", filters["to"], days=1))
    answer = await visit.call("AuditService/ListAuditEntries", request, pb.ListAuditEntriesResponse)
    for _ in range(MAX_READS - 1):
        if answer.entries or not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
        answer = await visit.call("AuditService/ListAuditEntries", request, pb.ListAuditEntriesResponse, shown=False)
    values = {"filters": filters, "entries": answer.entries, "next_page_token": answer.next_page_token}
    return View("audit.html", {**values, "changed": changed})


def changed(entry: pb.AuditEntry) -> list[tuple[str, str, str]]:
    """Return what changed besides the user: its kind, its id, and the address of its page, if it has one."""
    found = [("subscription", each, "") for each in entry.subscription_ids]
    found += [("grant", each, "") for each in entry.grant_ids]
    found += [("feature", each, address("/feature", id=each)) for each in entry.feature_ids]
    found += [("package", each, address("/package", id=each)) for each in entry.package_ids]
    return [*found, ("key", entry.api_key_id, "")] if entry.api_key_id else found
