"""CanUse with `explain`: the same response, with the steps that lead to it.

All steps are computed from one read of the user, and the decision by the same rule as in every check.
"""

from collections.abc import Iterable

from canuse.v1 import entitlement_service_pb2 as pb
from canuse.v1.explanation_pb2 import Explanation, ExplanationStep
from canuse_server.api.environment import Environment
from canuse_server.api.failures import log_store_failure
from canuse_server.api.hotpath import explanation_steps as steps
from canuse_server.api.hotpath.can_use import CanUse, recall, response_message, response_message_without_store
from canuse_server.api.hotpath.method import Plan
from canuse_server.api.users.state import feature_state_of, read_with_grants
from canuse_server.domain.decision import FeatureState
from canuse_server.domain.entitlements import holding_subscription, winning_subscription
from canuse_server.domain.model import Feature, Grant
from canuse_server.domain.subscriptions import Packages, has_ended
from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError
from canuse_server.store.repositories.users.state import UserState


async def explain(plan: Plan, env: Environment) -> bytes:
    """Return the response to a check with its explanation, also while the store is unavailable.

    Raises:
        ApiError: as the check without an explanation.
    """
    try:
        return (await _explain(plan, env)).SerializeToString()
    except (StoreUnavailableError, OutcomeUnknownError) as error:
        log_store_failure(CanUse.path, error)
        return _explain_without_store(plan).SerializeToString()


async def _explain(plan: Plan, env: Environment) -> pb.CanUseResponse:
    feature = plan.features[0]
    state, grants = await read_with_grants(env, plan.user_id)
    await env.cache.load_packages((item.package_id, item.package_version) for item in state.subscriptions)
    feature_state = feature_state_of(state, feature.id, archived=feature.archived)
    response = response_message(plan, feature_state)
    response.explanation.CopyFrom(
        Explanation(
            steps=[
                steps.user(state.user_id, disabled=state.meta.disabled),
                steps.feature(feature),
                *_subscriptions(state, env.cache.packages, feature),
                *_grants(feature_state, grants.get(feature.id, ()), feature),
                *_counts(feature_state, feature),
                steps.decision(response, feature, plan.delta, feature_state.now_ms),
            ]
        )
    )
    return response


def _explain_without_store(plan: Plan) -> pb.CanUseResponse:
    feature, known = plan.features[0], recall(plan)
    response = response_message_without_store(plan, known)
    age_seconds = None if known is None else known.age_seconds
    response.explanation.CopyFrom(
        Explanation(
            steps=[
                steps.feature(feature),
                steps.store_unavailable(feature, age_seconds),
                steps.decision(response, feature, plan.delta),
            ]
        )
    )
    return response


def _subscriptions(state: UserState, packages: Packages, feature: Feature) -> Iterable[ExplanationStep]:
    """Yield the subscriptions, oldest first, each followed by its package's entry for the feature, if there is one.

    Ended subscriptions are omitted, except the one whose periods still count the uses.
    """
    winner = winning_subscription(state.subscriptions, packages, feature.id, state.now_ms)
    holding = holding_subscription(state.subscriptions, packages, feature.id, state.now_ms)
    for item in state.subscriptions:
        if has_ended(item, state.now_ms) and item != holding:
            continue
        entries = packages[item.package_id, item.package_version].features
        entry = next((entry for entry in entries if entry.feature_id == feature.id), None)
        yield steps.subscription(state, item, lists_feature=entry is not None)
        if entry is not None:
            yield steps.package_entry(state, item, entry, feature, holds=item == winner)


def _grants(feature_state: FeatureState, grants: Iterable[Grant], feature: Feature) -> Iterable[ExplanationStep]:
    """Yield the grants of the feature, in the order in which uses draw from them."""
    for grant, balance in zip(grants, feature_state.grants, strict=True):
        yield steps.grant(grant, balance, feature, feature_state.now_ms)


def _counts(feature_state: FeatureState, feature: Feature) -> Iterable[ExplanationStep]:
    """Yield the counts, if the feature is consumable."""
    if feature_state.entitlement is not None and feature_state.entitlement.consumable:
        yield steps.counter(feature_state, feature)
