"""When something that is refused now will be allowed, found by letting time pass for a copy of the user."""

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from canuse import v1
from model.account import Account
from model.observations import MAX, IfKnown

if TYPE_CHECKING:
    from model.user import User


class Wanted(NamedTuple):
    """An amount of a feature; at least `least` of it will do."""

    feature: str
    least: int
    amount: int
    binary: bool
    archived: bool


def retry_after(user: "User", wanted: Sequence[Wanted], now: int) -> IfKnown:
    """Return after what time all of it will be allowed if only time passes."""
    later = replace(
        user,
        subscriptions=deepcopy(user.subscriptions),
        accounts=deepcopy(user.accounts),
        events=[],
        remembered={},
    )
    accounts = [later.account(one.feature) for one in wanted]
    known = {date for account in accounts for date in dates_of(later, account) if date > now}
    dates, moment = set(known), now
    while dates:
        date = min(dates)
        later.pass_time(moment, date)
        moment = date
        if all(allows(later, one, moment) for one in wanted):
            return IfKnown(moment - now, must=must_know(user, wanted, now, moment))
        if moment in known:
            # The terms that apply from then on have a first period, too.
            dates |= {account.terms.end for account in accounts if account.terms and account.terms.end}
        dates = {date for date in dates if date > moment}
    return IfKnown(None)


def dates_of(user: "User", account: Account) -> set[int]:
    """Return the moments at which time may change what is allowed of a feature."""
    return set(
        present(
            [
                *(date for subscription in user.subscriptions for date in subscription.dates()),
                *(date for grant in account.grants for date in grant.dates()),
                *(lease.expires for lease in account.leases),
                account.terms.end if account.terms else None,
            ]
        )
    )


def allows(user: "User", wanted: Wanted, now: int) -> bool:
    """Whether it is allowed now."""
    account = user.account(wanted.feature)
    if user.refusal(account, wanted.archived) is not None:
        return False
    if wanted.binary:
        return True
    if account.reason_for(account.used + wanted.amount, now) == v1.REASON_BUDGET_EXCEEDED:
        return account.reason_for(account.used + wanted.least, now) != v1.REASON_BUDGET_EXCEEDED
    return account.used + account.reserved(now) + wanted.amount <= MAX


def must_know(user: "User", wanted: Sequence[Wanted], now: int, moment: int) -> bool:
    """Whether a server has to know the moment: where only the end of the period matters."""
    if len(wanted) > 1:
        return False
    account = user.account(wanted[0].feature)
    changes = present(
        date
        for subscription in user.subscriptions
        if any(entry.feature == account.feature for entry in subscription.entries)
        for date in subscription.dates()
    )
    return (
        account.terms is not None
        and account.terms.end == moment
        and account.terms.active
        and not account.grants
        and not account.reserved(now)
        and not any(now < date <= moment for date in changes)
    )


def present(dates: Iterable[int | None]) -> list[int]:
    """Return the dates that there are."""
    return [date for date in dates if date is not None]
