"""The steps of an explanation: each contains a sentence and the same content as fields."""

from typing import Final, cast

from google.protobuf.duration_pb2 import Duration

from canuse.v1 import catalog_service_pb2 as catalog
from canuse.v1 import entitlement_service_pb2 as pb
from canuse.v1 import explanation_pb2 as explanation
from canuse.v1 import subscription_service_pb2 as subscriptions
from canuse.v1.explanation_pb2 import ExplanationStep
from canuse_server.api.convert import optional_timestamp, timestamp
from canuse_server.api.enums import name_of, shown
from canuse_server.api.tokens import subscription as subscription_tokens
from canuse_server.domain.decision import FeatureState
from canuse_server.domain.grants import GrantBalance
from canuse_server.domain.model import (
    Feature,
    FeatureType,
    Grant,
    OnUnavailable,
    PackageFeature,
    Reason,
    ResetPeriod,
    Subscription,
)
from canuse_server.domain.subscriptions import counts_at, status_at
from canuse_server.store.repositories.users.state import UserState

_KINDS: Final[dict[int, str]] = {
    FeatureType.BINARY: "binary: it is on or off",
    FeatureType.CONSUMABLE: "consumable: its use is counted",
}
_UNKNOWN_PERIOD: Final = "in a period that this version of canuse does not know"
_PER_PERIOD: Final[dict[int, str]] = {
    ResetPeriod.NEVER: "in total",
    ResetPeriod.HOUR: "an hour",
    ResetPeriod.DAY: "a day",
    ResetPeriod.WEEK: "a week",
    ResetPeriod.MONTH: "a month",
    ResetPeriod.YEAR: "a year",
}


def user(user_id: str, *, disabled: bool) -> ExplanationStep:
    """Return the step about the user."""
    status = "disabled, so the answer is no" if disabled else "enabled"
    return ExplanationStep(text=f"User {user_id!r} is {status}.", user=explanation.UserStep(disabled=disabled))


def feature(item: Feature) -> ExplanationStep:
    """Return the step about the feature: its type and whether it is archived."""
    kind = _KINDS.get(item.type, "of a type that this version of canuse does not know")
    status = ". It is archived, so the answer is no" if item.archived else ""
    return ExplanationStep(
        text=f"Feature {item.id!r} is {kind}{status}.",
        feature=explanation.FeatureStep(
            type=cast("catalog.FeatureType.ValueType", shown(item.type)), archived=item.archived
        ),
    )


def subscription(state: UserState, item: Subscription, *, lists_feature: bool) -> ExplanationStep:
    """Return the step about a subscription: its status, and whether its package lists the feature."""
    status, counts = status_at(item, state.now_ms), counts_at(item, state.now_ms)
    subscription_id = subscription_tokens.encode(state.user_id, item.token)
    starts = f", starts at {_time(item.started_at_ms)}" if item.started_at_ms > state.now_ms else ""
    effect = f"{starts} and {'counts' if counts else 'does not count'}"
    lists = "lists" if lists_feature else "does not list"
    return ExplanationStep(
        text=f"Subscription {subscription_id!r} to version {item.package_version} of package {item.package_id!r}"
        f" is {name_of(status)}{effect}; the package {lists} the feature.",
        subscription=explanation.SubscriptionStep(
            subscription_id=subscription_id,
            package_id=item.package_id,
            package_version=item.package_version,
            status=cast("subscriptions.SubscriptionStatus.ValueType", shown(status)),
            counts=counts,
            lists_feature=lists_feature,
        ),
    )


def package_entry(
    state: UserState, item: Subscription, entry: PackageFeature, of: Feature, *, holds: bool
) -> ExplanationStep:
    """Return the step about a package's entry for the feature; `holds`: it applies to the user."""
    if of.type == FeatureType.BINARY:
        gives = "enables the feature"
    else:
        overage = ", with overage" if entry.overage_enabled else ""
        gives = f"gives {_amount(entry.limit, of)} {_PER_PERIOD.get(entry.reset_period, _UNKNOWN_PERIOD)}{overage}"
    if holds:
        verdict = "this entry applies"
    elif counts_at(item, state.now_ms):
        verdict = "another active entry takes precedence"
    else:
        verdict = "its subscription does not count"
    return ExplanationStep(
        text=f"Package {item.package_id!r} {gives}; {verdict}.",
        package_entry=explanation.PackageEntryStep(
            subscription_id=subscription_tokens.encode(state.user_id, item.token),
            limit=entry.limit,
            reset_period=cast("catalog.ResetPeriod.ValueType", shown(entry.reset_period)),
            overage_enabled=entry.overage_enabled,
            holds=holds,
        ),
    )


def grant(item: Grant, balance: GrantBalance, of: Feature, now_ms: int) -> ExplanationStep:
    """Return the step about a grant: its amount and its remainder."""
    is_open = balance.is_open(now_ms)
    remaining = balance.left if is_open else 0
    gives = ", which enables the feature," if of.type == FeatureType.BINARY else f" of {_amount(item.amount, of)}"
    if is_open:
        status = "is active" if remaining is None else f"has {remaining} left"
    elif balance.has_ended(now_ms):
        cause = "was revoked" if item.revoked_at_ms == balance.end_ms else "expired"
        status = f"is no longer active: it {cause} at {_time(balance.end_ms or 0)}"
    else:
        status = f"is not active yet: it takes effect at {_time(item.effective_at_ms)}"
    return ExplanationStep(
        text=f"Grant {item.id!r}{gives} {status}.",
        grant=explanation.GrantStep(
            grant_id=item.id,
            amount=item.amount,
            left=remaining,
            open=is_open,
            effective_at=timestamp(item.effective_at_ms),
            ends_at=optional_timestamp(balance.end_ms),
        ),
    )


def counter(feature_state: FeatureState, of: Feature) -> ExplanationStep:
    """Return the step about the current period: the used and reserved amounts, and the budget."""
    (period, used, drawn), budget, reserved = feature_state.current(), feature_state.budget(), feature_state.reserved()
    end = "on" if period.end_ms is None else f"to {_time(period.end_ms)}"
    counted = _amount(used, of) if budget is None else f"{used} of {_amount(budget, of)}"
    unlimited = " without a limit" if budget is None else ""
    granted = f", {drawn} of them from grants" if drawn else ""
    leased = f", and leases reserve {reserved}" if reserved else ""
    when = f"In the current period, from {_time(period.start_ms)} {end}"
    return ExplanationStep(
        text=f"{when}, the user has used {counted}{unlimited}{granted}{leased}.",
        counter=explanation.CounterStep(
            period_start=timestamp(period.start_ms),
            period_end=optional_timestamp(period.end_ms),
            used=used,
            drawn_from_grants=drawn,
            budget=budget,
            reserved=reserved,
        ),
    )


def store_unavailable(item: Feature, age_seconds: float | None) -> ExplanationStep:
    """Return the step about the unavailable store; `age_seconds` is the age of the last known reply, or None."""
    age = None
    if age_seconds is not None:
        age = Duration()
        age.FromMilliseconds(int(age_seconds * 1000))
        effect = f"the state cached {age_seconds:.1f} seconds ago is used"
    elif item.on_unavailable is OnUnavailable.LAST_KNOWN:
        effect = "the last known state would be used, but none is cached or it has expired"
    else:
        effect = "every user gets the same answer"
    return ExplanationStep(
        text=f"The store is unavailable. The feature's on_unavailable is {name_of(item.on_unavailable)}: {effect}.",
        store_unavailable=explanation.StoreUnavailableStep(
            on_unavailable=cast("catalog.OnUnavailable.ValueType", shown(item.on_unavailable)), age=age
        ),
    )


def decision(response: pb.CanUseResponse, of: Feature, delta: int, now_ms: int = 0) -> ExplanationStep:
    """Return the step about the decision and its reason, and the time at which a no becomes a yes if that is known."""
    counts, requested = response.consumption, _amount(delta, of)
    reserved = f", {counts.reserved} reserved" if counts.reserved else ""
    total = f"{counts.used} used{reserved} and {delta} more make {counts.used + counts.reserved + delta}"
    because = {
        Reason.INCLUDED: "the feature is enabled for the user",
        Reason.WITHIN_BUDGET: f"{total}, within the budget of {counts.budget}",
        Reason.UNLIMITED: f"the feature has no limit, so {requested} can be used",
        Reason.OVERAGE: f"{total}, above the budget of {counts.budget}, but overage is allowed",
        Reason.NOT_ENTITLED: "no subscription or grant of the user gives the feature",
        Reason.BUDGET_EXCEEDED: f"{total}, above the budget of {counts.budget}",
        Reason.SUBSCRIPTION_INACTIVE: "no subscription or grant that gives the feature is active now",
        Reason.FEATURE_ARCHIVED: "the feature is archived",
        Reason.USER_DISABLED: "the user is disabled",
        Reason.STORE_UNAVAILABLE: "the feature's on_unavailable decides while the store is unavailable",
    }[Reason(response.reason)]
    retry_after = response.retry_after if response.HasField("retry_after") else None
    then = f"; it will be yes at {_time(now_ms + retry_after.ToMilliseconds())}" if retry_after else ""
    return ExplanationStep(
        text=f"The answer is {'yes' if response.access else 'no'}: {because}{then}.",
        decision=explanation.DecisionStep(
            delta=delta, access=response.access, reason=response.reason, retry_after=retry_after
        ),
    )


def _amount(units: int | None, of: Feature) -> str:
    """Return an amount with the feature's unit."""
    singular, plural = of.unit_label or "unit", of.unit_label_plural or of.unit_label or "units"
    return f"{'unlimited' if units is None else units} {singular if units == 1 else plural}"


def _time(time_ms: int) -> str:
    return timestamp(time_ms).ToJsonString()
