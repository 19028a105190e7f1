"""The model: all of canuse as one plain object, to be told what is done, in order, and to say what has to come of it.

It was written from the rules in words, not from the server. Nothing is worked out ahead or put off: as time passes it
lives through every moment at which something changes.
"""

from typing import Any

from canuse import v1
from model.leases import Leases
from model.observations import MAX, Check, Entitled, Event, Recorded, Refusal, Refused, Step, Usage, Used, outcome
from model.user import Booking, Line, Person, Remembered, gives

Charges = tuple[tuple[str, int], ...]
Metadata = tuple[tuple[str, str], ...]
Batch = tuple[tuple[Any, ...], ...]
"""The arguments of many calls of one kind."""
USING = 0
"""What is done where it is neither added nor set: an amount is asked for, and added if it is given."""


class Model(Leases):
    """Everything. Each method is a call of the API; one that fails raises Refused."""

    def __init__(self, now: int) -> None:
        super().__init__()
        self.now = now
        self.people: dict[str, Person] = {}

    def set_clock(self, now: int) -> None:
        """Let time pass."""
        for person in self.people.values():
            person.pass_time(self.now, now)
        self.now = now

    def can_use(self, user: str, feature: str, delta: int) -> Check:
        """CanUse."""
        known, person = self.feature(feature), self.person(user)
        account = person.account(feature)
        reason, counts = person.refusal(account, known.archived), None
        if known.binary:
            reason = reason or v1.REASON_INCLUDED
        else:
            counts, total = account.counts(self.now), account.used + delta
            reason = reason or account.weigh(total, self.now)
            if gives(reason) and total + account.reserved(self.now) > MAX:
                raise Refused("TOTAL_OUT_OF_RANGE")
        return Check(gives(reason), reason, counts)

    def create_usage_event(
        self, user: str, feature: str, delta: int, action: int, event_id: str, metadata: Metadata
    ) -> Recorded:
        """CreateUsageEvent."""
        booking, replayed = self._book(user, action, ((feature, delta),), event_id, metadata)
        (line,) = booking.lines
        counts = line.counts
        return Recorded(line.recorded, line.reason, counts, line.applied, booking.event_id, replayed)

    def explain(self, user: str, feature: str, delta: int) -> tuple[Check, tuple[Step, ...]]:
        """CanUse, explained."""
        check = self.can_use(user, feature, delta)
        return check, self.steps(self.person(user), self.feature(feature), check, delta)

    def batch_can_use(self, requests: Batch) -> list[Check | Refusal]:
        """BatchCanUse."""
        return [outcome(self.can_use, *request) for request in requests]

    def batch_create_usage_events(self, requests: Batch) -> list[Recorded | Refusal]:
        """BatchCreateUsageEvents."""
        return [outcome(self.create_usage_event, *request) for request in requests]

    def use_feature(self, user: str, feature: str, delta: int, event_id: str, metadata: Metadata) -> Used:
        """UseFeature: the same as UseFeatures with one charge."""
        return self.use_features(user, ((feature, delta),), event_id, metadata)._replace(blocking="")

    def use_features(self, user: str, charges: Charges, event_id: str, metadata: Metadata) -> Used:
        """UseFeatures."""
        booking, replayed = self._book(user, USING, charges, event_id, metadata)
        names = [feature for feature, _ in charges]
        telling = booking.lines[names.index(booking.blocking) if booking.blocking else 0]
        counts = tuple(line.counts for line in booking.lines)
        return Used(not booking.blocking, telling.reason, booking.blocking, counts, booking.event_id, replayed)

    def list_entitlements(self, user: str) -> list[Entitled]:
        """ListEntitlements."""
        person, features = self.person(user), self.features
        found = [person.entitled(name, self.now, features[name].binary, features[name].archived) for name in features]
        return sorted(entitled for entitled in found if entitled is not None)

    def show_usage(self, user: str, feature: str) -> Usage:
        """ShowUsage."""
        self.consumable(feature)
        return self.person(user).usage(feature, self.now)

    def list_usage_events(self, user: str, feature: str, start: int | None, end: int | None) -> list[Event]:
        """ListUsageEvents, all pages of it; an empty feature is all of them."""
        person = self.person(user)
        if feature:
            self.feature(feature)
        if start is not None and end is not None and start > end:
            raise Refused("INVALID_FIELD")
        return [
            event
            for event in reversed(person.events)
            if feature in ("", event.feature)
            if (start is None or event.time >= start) and (end is None or event.time < end)
        ]

    def _book(
        self, user: str, action: int, charges: Charges, event_id: str, metadata: Metadata
    ) -> tuple[Booking, bool]:
        """Record uses, all or none; return what came of it, and whether that was on an earlier call."""
        for feature, _ in charges:
            self.feature(feature)
        for feature, _ in charges:
            self.consumable(feature)
        person, content = self.person(user), (action, charges, metadata)
        known = person.recall(event_id, content)
        if known is not None:
            return known, True
        judged = [self._judge(person, action, feature, delta) for feature, delta in charges]
        refused = [feature for (feature, _), (_, _, recorded) in zip(charges, judged, strict=True) if not recorded]
        blocking = refused[0] if refused and action == USING else ""
        if not blocking:
            for (feature, _), (total, _, recorded) in zip(charges, judged, strict=True):
                if recorded and total + person.account(feature).reserved(self.now) > MAX:
                    raise Refused("TOTAL_OUT_OF_RANGE")
        lines = []
        for (feature, delta), (total, reason, counted) in zip(charges, judged, strict=True):
            account, applied, recorded = person.account(feature), 0, counted and not blocking
            if recorded:
                applied = account.change(total, self.now)
                done = (action or v1.USAGE_ACTION_ADD, event_id, metadata, reason, total, account.budget(self.now))
                person.events.append(Event(self.now, feature, delta, applied, *done))
            lines.append(Line(reason, account.counts(self.now), applied, recorded))
        booking = Booking(blocking, tuple(lines), event_id or (f"@{self.now}" if lines[0].recorded else ""))
        # A fact that was not recorded can be sent again; the answer to a question is kept, yes or no.
        if event_id and (action == USING or any(line.recorded for line in lines)):
            person.remembered[event_id] = Remembered(content, booking, self.now)
        return booking, False

    def _judge(self, person: Person, action: int, feature: str, delta: int) -> tuple[int, int, bool]:
        """Return the total that a charge would make, how the user stands with it, and whether it is recorded."""
        account = person.account(feature)
        total = max(0, delta if action == v1.USAGE_ACTION_SET else account.used + delta)
        if account.terms is None and action != USING:
            return total, v1.REASON_NOT_ENTITLED, False
        reason = person.refusal(account, self.feature(feature).archived)
        reason = reason or account.weigh(total, self.now)
        return total, reason, action != USING or gives(reason)
