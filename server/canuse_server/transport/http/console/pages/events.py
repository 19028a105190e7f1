"""A user's usage events: a list, and a chart by day."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Final

from canuse.v1 import usage_service_pb2 as pb
from canuse_server.api.errors import invalid
from canuse_server.transport.http.console.visit import View, Visit

PAGE_SIZE: Final = 50
CHART_EVENTS: Final = 1000
"""Maximum number of events in a chart: the newest ones."""
MAX_READS: Final = 5
"""How often the ledger is read for one list: a part of it may have no event of the user."""
MAX_DAYS: Final = 31


async def read(visit: Visit) -> View:
    """Show them."""
    user_id, feature_id = visit.query("id"), visit.query("feature").strip()
    request = pb.ListUsageEventsRequest(
        user_id=user_id, feature_id=feature_id, page_size=PAGE_SIZE, page_token=visit.query("page_token")
    )
    if visit.query("from"):
        request.start_time.FromDatetime(read_day("from", visit.query("from")))
    if visit.query("to"):
        request.end_time.FromDatetime(read_day("to", visit.query("to"), days=1))
    events, token = await _some(visit, request, PAGE_SIZE, shown_call=True)
    values = {
        "user_id": user_id,
        "feature_id": feature_id,
        "from_day": visit.query("from"),
        "to_day": visit.query("to"),
        "events": events,
        "next_page_token": token,
        "days": [],
        "is_cut": False,
    }
    if not visit.query("page_token"):
        request.page_size = CHART_EVENTS
        newest, rest = await _some(visit, request, CHART_EVENTS)
        values |= {"days": by_day(newest, in_units=bool(feature_id)), "is_cut": bool(rest)}
    return View("events.html", values)


async def _some(
    visit: Visit, request: pb.ListUsageEventsRequest, wanted: int, *, shown_call: bool = False
) -> tuple[list[pb.UsageEvent], str]:
    """Return the first events, and the token of the rest. The ledger is read a bounded number of times."""
    found: list[pb.UsageEvent] = []
    sent = pb.ListUsageEventsRequest()
    sent.CopyFrom(request)
    for attempt in range(MAX_READS):
        answer = await visit.call(
            "UsageService/ListUsageEvents", sent, pb.ListUsageEventsResponse, shown=shown_call and attempt == 0
        )
        found += answer.events
        if not answer.next_page_token or len(found) >= wanted:
            return found, answer.next_page_token
        sent = pb.ListUsageEventsRequest()
        sent.CopyFrom(request)
        sent.page_token, sent.page_size = answer.next_page_token, wanted - len(found)
    return found, sent.page_token


def by_day(events: list[pb.UsageEvent], *, in_units: bool) -> list[tuple[str, str, int, int]]:
    """Return the rows of a chart of the last days with events: units of one feature, or the number of events."""
    days: Counter[datetime] = Counter()
    for event in events:
        at = event.time.ToDatetime(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        days[at] += event.applied_delta if in_units else 1
    if not days:
        return []
    last = max(days)
    first = max(min(days), last - timedelta(days=MAX_DAYS - 1))
    all_days = [first + timedelta(days=day) for day in range((last - first).days + 1)]
    what = "units" if in_units else "events"
    return [(f"{day.day} {day:%b}", f"{day.day} {day:%b %Y}: {days[day]:,} {what}", days[day], 0) for day in all_days]


def read_day(field: str, text: str, *, days: int = 0) -> datetime:
    """Return the beginning of a day that somebody has typed, in UTC, or some days later; raise ApiError."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=days)
    except (ValueError, OverflowError):
        raise invalid([(field, f"must be a date like 2026-01-31; {text[:40]!r} was sent")]) from None
