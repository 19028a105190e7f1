"""Recording a use, and taking one back."""

from typing import Final

from canuse.v1 import catalog_service_pb2 as catalog
from canuse.v1 import entitlement_service_pb2 as pb
from canuse.v1 import usage_service_pb2 as usage
from canuse_server.api.errors import ApiError, ErrorReason, invalid
from canuse_server.transport.http.console import shown
from canuse_server.transport.http.console.actions.action import Action
from canuse_server.transport.http.console.actions.choices import choice, features
from canuse_server.transport.http.console.actions.form import Field, Form
from canuse_server.transport.http.console.actions.subscriptions import find_user
from canuse_server.transport.http.console.addresses import address
from canuse_server.transport.http.console.forms import read_amount
from canuse_server.transport.http.console.visit import Redirect, Visit
from canuse_server.transport.http.console.words import reason_words

CONFLICT: Final = 409
TAKES_BACK: Final = "takes_back"
"""The metadata of an event that takes another one back: the id of that one."""
_FEATURE_ERRORS: Final = (
    ErrorReason.FEATURE_NOT_FOUND,
    ErrorReason.FEATURE_NOT_CONSUMABLE,
    ErrorReason.FEATURE_ARCHIVED,
)
_HOW: Final = (
    ("use", "Only if the user may use that much"),
    ("record", "In any case, also beyond the budget"),
    ("set", "Set the total of this period to the amount"),
)


async def _record_form(visit: Visit) -> Form:
    user_id, feature_id = visit.query("id"), visit.query("feature")
    await find_user(visit)
    feature = Field("feature", "Feature", "feature_id", value=feature_id, required=True, reasons=_FEATURE_ERRORS)
    return Form(
        title="Record a use",
        subject=user_id,
        says=["The amount counts against the user's budget in the current period, as if the user had used it now."],
        fields=[
            choice(feature, await features(visit, catalog.FEATURE_TYPE_CONSUMABLE)),
            Field(
                *("amount", "Amount", "delta", "number", "1"),
                hint="A negative amount gives units back. Take back an event from the list of events.",
                required=True,
                reasons=(ErrorReason.TOTAL_OUT_OF_RANGE,),
            ),
            Field("how", "Record it", kind="select", value="use", options=_HOW),
        ],
        button="Record",
        back=address("/user", id=user_id),
    )


async def _record(visit: Visit, form: Form) -> Redirect | None:
    how, feature_id, amount = form.text("how"), form.text("feature"), form.amount("amount")
    # Units that are given back are recorded in any case.
    if how == "use" and (amount is None or amount >= 0):
        use = pb.UseFeatureRequest(user_id=form.subject, feature_id=feature_id, delta=amount, event_id=form.event_id)
        used = await visit.call("EntitlementService/UseFeature", use, pb.UseFeatureResponse)
        is_recorded, reason = used.access, used.reason
    else:
        request = pb.CreateUsageEventRequest(
            user_id=form.subject, feature_id=feature_id, delta=amount, event_id=form.event_id
        )
        request.action = pb.USAGE_ACTION_SET if how == "set" else pb.USAGE_ACTION_ADD
        answer = await visit.call("EntitlementService/CreateUsageEvent", request, pb.CreateUsageEventResponse)
        is_recorded, reason = answer.recorded, answer.reason
    if is_recorded:
        return Redirect(address("/user", id=form.subject, done="recorded"))
    form.problem, form.status = f"Nothing was recorded: {reason_words(reason).lower()}.", CONFLICT
    form.renew()  # The no belongs to the idempotency key.
    return None


async def _event(visit: Visit) -> usage.UsageEvent:
    """Return the event that is to be taken back, from the ledger."""
    user_id, event_id = visit.query("id"), visit.query("event")
    moment_ms = read_amount("event", event_id.partition("-")[0])
    request = usage.ListUsageEventsRequest(user_id=user_id, feature_id=visit.query("feature"), page_size=1000)
    request.start_time.FromMilliseconds(max(moment_ms, 0))
    request.end_time.FromMilliseconds(max(moment_ms, 0) + 1)
    while True:
        answer = await visit.call(
            "UsageService/ListUsageEvents", request, usage.ListUsageEventsResponse, shown=not request.page_token
        )
        for event in answer.events:
            if event.id == event_id and event.applied_delta > 0:
                return event
        if not answer.next_page_token:
            raise invalid([("event", "must be the id of an event in the ledger that added to the use")])
        request.page_token = answer.next_page_token


async def _take_back_form(visit: Visit) -> Form:
    event = await _event(visit)
    return Form(
        title="Take back a use",
        subject=visit.query("id"),
        says=[
            f"{event.applied_delta:,} of {event.feature_id} were recorded {shown.date_time(event.time)} UTC"
            + (f" as event {event.event_id}." if event.event_id else "."),
            "They are taken off the total of the current period, which does not become negative.",
            "The event stays in the ledger, and an event with a negative amount follows it.",
        ],
        fields=[
            Field(
                *("amount", "Amount to take back", "delta", "number", str(event.applied_delta)),
                hint=f"1 to {event.applied_delta:,}",
                required=True,
            )
        ],
        button="Take back",
        back=address("/user/events", id=visit.query("id")),
        values={"event": event},
    )


async def _take_back(visit: Visit, form: Form) -> Redirect | None:
    event = form.values["event"]
    assert isinstance(event, usage.UsageEvent)
    amount = form.amount("amount")
    if amount is None or not 1 <= amount <= event.applied_delta:
        raise invalid([("delta", f"must be 1 to {event.applied_delta:,}; {form.text('amount')[:40]!r} was sent")])
    # The key belongs to the event, and not to the form: an event is taken back once.
    request = pb.CreateUsageEventRequest(
        user_id=form.subject, feature_id=event.feature_id, delta=-amount, event_id=f"console-take-back-{event.id}"
    )
    request.metadata[TAKES_BACK] = event.id
    try:
        answer = await visit.call("EntitlementService/CreateUsageEvent", request, pb.CreateUsageEventResponse)
    except ApiError as error:
        if error.reason is not ErrorReason.EVENT_ID_REUSED:
            raise
        form.problem, form.status = "Nothing was changed: a part of this event is already taken back.", CONFLICT
        return None
    if answer.recorded:
        return Redirect(address("/user/events", id=form.subject, done="taken-back"))
    form.problem, form.status = f"Nothing was recorded: {reason_words(answer.reason).lower()}.", CONFLICT
    return None


RECORD: Final = Action(("EntitlementService/UseFeature", "EntitlementService/CreateUsageEvent"), _record_form, _record)
TAKE_BACK: Final = Action(
    ("EntitlementService/CreateUsageEvent", "UsageService/ListUsageEvents"), _take_back_form, _take_back
)
