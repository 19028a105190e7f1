"""The errors of calls that a script refused."""

from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

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

_REFUSALS: Final = (EventIdReusedError, RecordOutOfRangeError, LeaseMissingError, LeasePeriodEndedError)
"""Raised when the reply of a script is parsed. The script has written nothing."""
_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")


def read_reply(plan: Plan, read: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
    """Read the reply to a plan's command by a function of the store; raise ApiError if the script refused the call."""
    try:
        return read(*arguments)
    except _REFUSALS as refusal:
        raise _error(plan, refusal) from None


def _error(plan: Plan, refusal: Exception) -> ApiError:
    match refusal:
        case EventIdReusedError():
            return event_id_reused(plan.user_id, plan.event_id)
        case RecordOutOfRangeError():
            return total_out_of_range(plan.user_id, [feature.id for feature in plan.features])
        case LeaseMissingError():
            return lease_not_found(plan.lease_id)
        case _:
            return lease_period_ended(plan.lease_id)
