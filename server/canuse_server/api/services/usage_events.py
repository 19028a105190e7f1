"""ListUsageEvents: the recorded events, from the ledger."""

from google.protobuf.timestamp_pb2 import Timestamp

from canuse.v1 import usage_service_pb2 as pb
from canuse.v1.audit_service_pb2 import ListAuditEntriesRequest
from canuse_server.api.context import CallContext
from canuse_server.api.convert import timestamp
from canuse_server.api.errors import feature_not_found
from canuse_server.api.tokens import page as page_tokens
from canuse_server.api.users.changes import create_default_user
from canuse_server.api.validation import Violations, page_size
from canuse_server.store.codec.ledger_pb2 import LedgerEntry
from canuse_server.store.repositories.ledger import Place


class UsageEventMethods:
    """The method of UsageService for the ledger."""

    async def list_usage_events(
        self, request: pb.ListUsageEventsRequest, context: CallContext
    ) -> pb.ListUsageEventsResponse:
        """List the usage events of a user, newest first."""
        size, before = page_size(request.page_size), _place(request)
        user_id, feature_id = request.user_id, request.feature_id
        since_ms, until = _span(request)
        if (await context.env.users.describe([user_id]))[0] is None:
            await create_default_user(context.env, user_id)
        if feature_id and await context.env.cache.find_feature(feature_id) is None:
            raise feature_not_found(feature_id)
        before = min((place for place in (before, until) if place is not None), default=None)
        if before is not None and before <= (since_ms, 0):
            return pb.ListUsageEventsResponse()  # The time range is empty.
        page = await context.env.ledger.page(
            user_id, since_ms, before, size, lambda entry: feature_id in ("", entry.feature_id)
        )
        events, token = await page_tokens.fill(request, page.events, _message, lambda event: (str(event[0]), 0))
        if not token and page.before is not None:
            token = page_tokens.encode(request, str(page.before))
        return pb.ListUsageEventsResponse(events=events, next_page_token=token)


def _place(request: pb.ListUsageEventsRequest) -> Place | None:
    """Return the place before which the page starts, or None to start at the newest event."""
    group, last = page_tokens.decode(request)
    if not request.page_token:
        return None
    try:
        if group == 0:
            return Place.parse(last)
    except ValueError:
        pass
    raise page_tokens.unknown(request.page_token)


def _span(request: pb.ListUsageEventsRequest) -> tuple[int, Place | None]:
    """Check a request; return its start in milliseconds, and the place of its end or None."""
    violations = Violations()
    violations.id("user_id", request.user_id)
    if request.feature_id:
        violations.id("feature_id", request.feature_id)
    since_ms, until_ms = time_range(violations, request)
    return since_ms, None if until_ms is None else Place(until_ms, 0)


def time_range(
    violations: Violations, request: pb.ListUsageEventsRequest | pb.ListUsageTotalsRequest | ListAuditEntriesRequest
) -> tuple[int, int | None]:
    """Return the start and the end of the range of a request in milliseconds; raise the violations, if any."""
    start, end = request.start_time, request.end_time
    since_ms = _at_or_after(start, violations.time_ms("start_time", start))
    until_ms = _at_or_after(end, violations.time_ms("end_time", end)) if request.HasField("end_time") else None
    violations.check()
    if until_ms is not None and (start.seconds, start.nanos) > (end.seconds, end.nanos):
        text = f"must not be after end_time, {end.ToJsonString()}; {start.ToJsonString()} was sent"
        violations.add("start_time", text)
        violations.check()
    return since_ms, until_ms


def _at_or_after(moment: Timestamp, floor_ms: int) -> int:
    """Return a time rounded up to a whole millisecond, as the times of events are."""
    return floor_ms + bool(moment.nanos % 1_000_000)


def _message(event: tuple[Place, LedgerEntry]) -> pb.UsageEvent:
    place, entry = event
    budget = None if entry.budget < 0 else entry.budget
    return pb.UsageEvent(
        id=str(place),
        time=timestamp(place.time_ms),
        feature_id=entry.feature_id,
        delta=entry.delta,
        applied_delta=entry.applied_delta,
        action=entry.action,
        event_id=entry.event_id,
        metadata=entry.metadata,
        reason=entry.reason,
        used=entry.used,
        budget=budget,
        remaining=None if budget is None else max(0, budget - entry.used),
    )
