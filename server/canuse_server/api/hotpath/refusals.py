"""The errors of calls that a script refused."""

from typing import Final, TypeAlias

from canuse_server.api.errors import (
    ApiError,
    event_id_reused,
    lease_not_found,
    lease_period_ended,
    total_out_of_range,
)
from canuse_server.api.hotpath.method import Plan
from canuse_server.store.repositories.leases import LeaseMissingError, LeasePeriodEndedError
from canuse_server.store.repositories.usage_commands import EventIdReusedError, RecordOutOfRangeError

Refusal: TypeAlias = EventIdReusedError | RecordOutOfRangeError | LeaseMissingError | LeasePeriodEndedError
REFUSALS: Final = (EventIdReusedError, RecordOutOfRangeError, LeaseMissingError, LeasePeriodEndedError)
"""Raised when the reply of a script is parsed. The script has written nothing."""


def refusal_error(plan: Plan, refusal: Refusal) -> ApiError:
    """Return the error for a call whose script refused it."""
    match refusal:
        case EventIdReusedError():
            return event_id_reused(plan.user_id, plan.event_id)
        case RecordOutOfRangeError():
            return total_out_of_range(plan.user_id, [feature.id for feature in plan.features])
        case LeaseMissingError():
            return lease_not_found(plan.lease_id)
        case LeasePeriodEndedError():
            return lease_period_ended(plan.lease_id)
