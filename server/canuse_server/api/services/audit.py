"""AuditService: who changed what."""

from functools import cache
from typing import Final

from canuse.v1 import api_key_service_pb2
from canuse.v1 import audit_service_pb2 as pb
from canuse_server.api.context import CallContext
from canuse_server.api.convert import timestamp
from canuse_server.api.environment import Environment
from canuse_server.api.methods import method_at
from canuse_server.api.scopes import SCOPES
from canuse_server.api.services.usage_events import time_range
from canuse_server.api.tokens import page as page_tokens
from canuse_server.api.tokens import subscription as subscription_tokens
from canuse_server.api.validation import Violations, page_size, shown
from canuse_server.domain.api_keys import LIVE, TEST, may_manage
from canuse_server.store.codec.audit_pb2 import AuditEntry
from canuse_server.store.repositories.audit.log import AuditPlace, AuditQuery, Located
from canuse_server.store.repositories.audit.writing import DEFAULT_PACKAGE

_ENVIRONMENTS: Final = {LIVE: api_key_service_pb2.ENVIRONMENT_LIVE, TEST: api_key_service_pb2.ENVIRONMENT_TEST}


class AuditServicer:
    """AuditService."""

    async def list_audit_entries(
        self, request: pb.ListAuditEntriesRequest, context: CallContext
    ) -> pb.ListAuditEntriesResponse:
        """List the entries of the caller's environment, newest first."""
        env, size, after = context.env, page_size(request.page_size), _place(request)
        query = _query(request, env, after)
        if query.before is not None and query.before <= (query.since_ms, 0, 0):
            return pb.ListAuditEntriesResponse()  # The time range is empty.
        page = await env.audit.page(query, size)
        entries, token = await page_tokens.fill(
            request, page.entries, lambda found: _message(env, found), lambda found: (_id(found.place), 0)
        )
        if not token and page.before is not None:
            token = page_tokens.encode(request, _id(page.before))
        return pb.ListAuditEntriesResponse(entries=entries, next_page_token=token)


def _place(request: pb.ListAuditEntriesRequest) -> AuditPlace | None:
    """Return the place before which the page starts, or None to start at the newest entry."""
    group, last = page_tokens.decode(request)
    if not request.page_token:
        return None
    try:
        place = AuditPlace(*map(int, last.split("-")))
        if group == 0 and _id(place) == last and min(place) >= 0:
            return place
    except (ValueError, TypeError):
        pass
    raise page_tokens.unknown(request.page_token)


def _query(request: pb.ListAuditEntriesRequest, env: Environment, after: AuditPlace | None) -> AuditQuery:
    """Check a request; return its query."""
    violations = Violations()
    if request.user_id:
        violations.id("user_id", request.user_id)
    if request.caller_key_id:
        violations.id("caller_key_id", request.caller_key_id)
    method = _methods().get(request.method, "")
    if request.method and not method:
        accepted = "must be a method that changes something other than usage, like UpdateUser"
        violations.add("method", f"{accepted}; {shown(request.method)} was sent")
    since_ms, until_ms = time_range(violations, request)
    until = None if until_ms is None else AuditPlace(until_ms, 0, 0)
    before = min((place for place in (after, until) if place is not None), default=None)

    def matches(entry: AuditEntry) -> bool:
        return (
            request.user_id in ("", entry.user_id)
            and method in ("", entry.method)
            and request.caller_key_id in ("", entry.caller_key_id)
            # The clock belongs to both environments.
            and (not entry.api_key_id or may_manage(env.environment, entry.environment))
        )

    return AuditQuery(since_ms, before, request.user_id, matches)


@cache
def _methods() -> dict[str, str]:
    """Return the stored names of the methods whose changes have entries, by their names with and without service."""
    found: dict[str, str] = {}
    for path in SCOPES:
        if method_at(path).audited:
            full = path.removeprefix("/")
            found |= dict.fromkeys((full, full.rpartition("/")[2]), full.removeprefix(DEFAULT_PACKAGE))
    return found


def _id(place: AuditPlace) -> str:
    return f"{place.time_ms}-{place.serial}-{place.stream}"


def _message(env: Environment, found: Located) -> pb.AuditEntry:
    place, entry = found
    prefix = "" if "." in entry.method else DEFAULT_PACKAGE
    return pb.AuditEntry(
        id=_id(place),
        time=timestamp(place.time_ms),
        method=prefix + entry.method,
        caller_key_id=entry.caller_key_id,
        request_id=entry.request_id,
        environment=_ENVIRONMENTS[entry.environment or env.environment],
        user_id=entry.user_id,
        user_created=entry.user_created,
        fields=entry.fields,
        subscription_ids=[subscription_tokens.encode(entry.user_id, token) for token in entry.subscription_tokens],
        grant_ids=entry.grant_ids,
        feature_ids=entry.feature_ids,
        package_ids=entry.package_ids,
        api_key_id=entry.api_key_id,
    )
