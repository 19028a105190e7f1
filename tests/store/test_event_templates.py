"""The lane plans a request that differs from others only in its event id as if it were the first one."""

from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from canuse import v1
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError
from canuse_server.api.hotpath.method import HotMethod
from canuse_server.api.hotpath.record import CreateUsageEvent, UseFeature
from canuse_server.domain.model import Feature, FeatureType
from canuse_server.store.redis.replies import pack
from canuse_server.transport.native.event_templates import find_event_id
from canuse_server.transport.native.request_cache import RequestCache
from support.requests import unknown

FEATURE: Final = "api-calls"
METHODS: Final[list[tuple[HotMethod, Any]]] = [
    (UseFeature(), v1.UseFeatureRequest),
    (CreateUsageEvent(), v1.CreateUsageEventRequest),
]
EVENT_IDS: Final = ("e", "order-1", "0123456789abcdef" * 2, "x" * 128, "é", "a\nb", "日本", "\x7f")


def ttl(seconds: int) -> dict[str, Any]:
    """Return the field for how long an event id is kept."""
    return {"event_id_ttl": {"seconds": seconds}}


fields = st.one_of(
    *(st.just({"event_id": event_id}) for event_id in EVENT_IDS),
    st.sampled_from(({"user_id": "124"}, {"user_id": "9"}, {"feature_id": FEATURE}, {"delta": 3}, {"delta": 1 << 40})),
    st.sampled_from((ttl(600), ttl(-1), ttl(0), {"metadata": {"a": "\x2a\x01e"}})),
)
few_fields = st.lists(fields, max_size=2)
event_ids = st.lists(st.sampled_from((*EVENT_IDS, "f", "g", "h")), min_size=3, max_size=12)


@pytest.mark.parametrize(("method", "kind"), METHODS)
@given(before=few_fields, after=few_fields, strange=st.booleans(), event_ids=event_ids)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_request_gets_the_same_plan_whatever_was_cached_before(
    env: Environment,
    method: HotMethod,
    kind: Any,
    before: list[dict[str, Any]],
    after: list[dict[str, Any]],
    strange: bool,
    event_ids: list[str],
) -> None:
    env.cache.features[FEATURE] = Feature(FEATURE, FeatureType.CONSUMABLE, 1)
    cache = RequestCache(env)
    for event_id in event_ids:
        # Fields may come in any order, and more than once: then the last one is valid.
        parts = ({"user_id": "124", "feature_id": FEATURE}, *before, {"event_id": event_id}, *after)
        sent = b"".join(kind(**part).SerializeToString() for part in parts) + (unknown(8) if strange else b"")
        try:
            plan = method.plan(sent, env)
        except ApiError as error:
            with pytest.raises(ApiError) as refused:
                cache.request(1, method, sent)
            assert refused.value.status() == error.status()
            continue
        request = cache.request(1, method, sent)
        assert request.packed == pack(plan.command.command)
        assert request.plan._replace(command=plan.command, repeatable=plan.repeatable) == plan


@pytest.mark.parametrize(("method", "kind"), METHODS)
async def test_a_request_that_differs_only_in_its_event_id_is_not_parsed_again(
    env: Environment, method: HotMethod, kind: Any
) -> None:
    env.cache.features[FEATURE] = Feature(FEATURE, FeatureType.CONSUMABLE, 1)
    cache = RequestCache(env)
    sent = [kind(user_id="124", feature_id=FEATURE, event_id=f"event-{n}").SerializeToString() for n in range(3)]
    first, second, third = (cache.request(1, method, each) for each in sent)
    assert (first.cached, second.cached, third.cached, len(cache)) == (False, True, False, 1)
    assert third.plan.features is second.plan.features
    assert [each.plan.event_id for each in (first, second, third)] == ["event-0", "event-1", "event-2"]


@given(st.binary(max_size=40))
@settings(max_examples=300, deadline=None)
def test_in_any_bytes_an_event_id_is_found_at_valid_offsets_or_not_at_all(sent: bytes) -> None:
    tag = UseFeature.event_tag
    found = find_event_id(sent, tag)
    assert found is None or (sent[found.field_at] == tag and found.id_at < found.end <= len(sent))
