"""The lane plans a request that differs from others only in its ids as if it were the first one."""

from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from canuse import v1
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError
from canuse_server.api.hotpath.can_use import CanUse
from canuse_server.api.hotpath.method import RETRYABLE, HotMethod
from canuse_server.api.hotpath.record import CreateUsageEvent, UseFeature, UseFeatures
from canuse_server.api.hotpath.request_ids import cut, find_event_id
from canuse_server.domain.model import Feature, FeatureType
from canuse_server.store.redis.replies import pack
from canuse_server.transport.native.request_cache import RequestCache
from support.requests import unknown

FEATURE: Final = "api-calls"
METHODS: Final[list[tuple[HotMethod, Any]]] = [
    (UseFeature(), v1.UseFeatureRequest),
    (CreateUsageEvent(), v1.CreateUsageEventRequest),
    (UseFeatures(), v1.UseFeaturesRequest),
    (CanUse(), v1.CanUseRequest),
]
IDENTIFIED: Final = METHODS[:2]
EVENT_IDS: Final = ("e", "order-1", "0123456789abcdef" * 2, "x" * 128, "é", "a\nb", "日本", "\x7f")


def ttl(seconds: int) -> dict[str, Any]:
    """Return the field for how long an event id is kept."""
    return {"event_id_ttl": {"seconds": seconds}}


USER_IDS: Final = (
    "u",
    "v",
    "w",
    "a\r",
    "124",
    "125",
    FEATURE,
    "api-cellx",
    "b" * 127,
    "c" * 127,
    "b" * 128,
    "ü",
    "é",
    "",
)
fields = st.one_of(
    *(st.just({"event_id": event_id}) for event_id in EVENT_IDS),
    st.sampled_from(({"user_id": "124"}, {"user_id": "9"}, {"feature_id": FEATURE}, {"delta": 3}, {"delta": 1 << 40})),
    st.sampled_from((ttl(600), ttl(-1), ttl(0), {"metadata": {"a": "\x2a\x01e"}})),
    st.sampled_from(({"charges": [{"feature_id": FEATURE}]}, {"metadata": {"u": "u", "canuse:live:{b0001}:": "124"}})),
)
few_fields = st.lists(fields, max_size=2)
ids = st.lists(
    st.tuples(st.sampled_from(USER_IDS), st.sampled_from(("", *EVENT_IDS, "f", "g", "h"))), min_size=3, max_size=12
)


@pytest.mark.extended
@pytest.mark.parametrize(("method", "kind"), METHODS)
@given(before=few_fields, after=few_fields, strange=st.booleans(), ids=ids)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_request_gets_the_same_plan_whatever_was_cached_before(
    env: Environment,
    method: HotMethod,
    kind: Any,
    before: list[dict[str, Any]],
    after: list[dict[str, Any]],
    strange: bool,
    ids: list[tuple[str, str]],
) -> None:
    env.cache.features[FEATURE] = Feature(FEATURE, FeatureType.CONSUMABLE, 1)
    cache = RequestCache(env)
    known = set(kind.DESCRIPTOR.fields_by_name)
    for user_id, event_id in ids:
        # Fields may come in any order, and more than once: then the last one is valid.
        parts = ({"user_id": user_id}, *before, {"feature_id": FEATURE}, {"charges": [{"feature_id": FEATURE}]})
        all_parts = ({name: part[name] for name in part.keys() & known} for part in (*parts, ids_of(event_id), *after))
        sent = b"".join(kind(**part).SerializeToString() for part in all_parts) + (unknown(8) if strange else b"")
        try:
            plan = method.plan(sent, env)
        except RETRYABLE as error:
            with pytest.raises(type(error)):
                cache.request(1, method, sent)
            continue
        except ApiError as error:
            with pytest.raises(ApiError) as refused:
                cache.request(1, method, sent)
            assert refused.value.status() == error.status()
            continue
        request = cache.request(1, method, sent)
        assert request.packed == pack(plan.command.command)
        assert request.plan._replace(command=plan.command, cacheable=plan.cacheable) == plan


def ids_of(event_id: str) -> dict[str, Any]:
    """Return the field for an event id."""
    return {"event_id": event_id}


class Counting:
    """A method that counts how often it plans."""

    def __init__(self, method: HotMethod) -> None:
        self._method = method
        self.plans = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._method, name)

    def plan(self, payload: bytes, env: Environment) -> Any:
        """See HotMethod."""
        self.plans += 1
        return self._method.plan(payload, env)


@pytest.mark.parametrize("metadata", [{}, {"a": "b", "c": "d"}])
@pytest.mark.parametrize(("method", "kind"), IDENTIFIED)
async def test_requests_that_differ_only_in_their_ids_are_not_planned_again(
    env: Environment, method: HotMethod, kind: Any, metadata: dict[str, str]
) -> None:
    env.cache.features[FEATURE] = Feature(FEATURE, FeatureType.CONSUMABLE, 1)
    cache, counting = RequestCache(env), Counting(method)
    for event_id in ("", "event-{}"):
        for number in range(10):
            user_id, sent_id = f"user-{number}", event_id.format(number)
            request = kind(user_id=user_id, feature_id=FEATURE, event_id=sent_id, metadata=metadata)
            planned = cache.request(1, counting, request.SerializeToString())
            assert (planned.plan.user_id, planned.plan.event_id, planned.cached) == (user_id, sent_id, False)
    # The first, the second, and that with other ids for the template, each with an event id and without one.
    assert (counting.plans, cache.template_count, len(cache)) == (6, 2, 0)


async def test_a_template_is_not_used_for_a_feature_that_has_changed(env: Environment) -> None:
    cache, counting = RequestCache(env), Counting(UseFeature())
    for archived in (False, True):
        env.cache.features[FEATURE] = Feature(FEATURE, FeatureType.CONSUMABLE, 1, archived=archived)
        for number in range(4):
            sent = v1.UseFeatureRequest(user_id=f"{archived:d}-{number}", feature_id=FEATURE).SerializeToString()
            request = cache.request(1, counting, sent)
            assert request.packed == pack(UseFeature().plan(sent, env).command.command)
            assert request.plan.features[0].archived is archived
    assert cache.template_count == 1


@pytest.mark.parametrize("name", [b"user-%d", b"event-%d"])
async def test_an_id_that_is_no_text_is_refused_although_there_is_a_template(env: Environment, name: bytes) -> None:
    env.cache.features[FEATURE] = Feature(FEATURE, FeatureType.CONSUMABLE, 1)
    cache, method = RequestCache(env), UseFeature()
    for number in range(4):
        request = v1.UseFeatureRequest(user_id=f"user-{number}", feature_id=FEATURE, event_id=f"event-{number}")
        sent = request.SerializeToString()
        assert cache.request(1, method, sent).plan.user_id == request.user_id
        with pytest.raises(ApiError, match="wire format"):
            cache.request(1, method, sent.replace(name % number, b"\xff" * len(name % number)))
    assert cache.template_count == 1


async def test_text_that_looks_like_a_key_is_not_replaced(env: Environment) -> None:
    """A template is made from the plan for a user whose id is a repeated character."""
    env.cache.features[FEATURE] = Feature(FEATURE, FeatureType.CONSUMABLE, 1)
    cache, method = RequestCache(env), UseFeature()
    texts = {f"key-{byte}": env.keys.prefix(bytes((byte,)) * 6).decode() for byte in range(33, 127)}
    for text in texts.values():
        for number in range(4):
            request = v1.UseFeatureRequest(user_id=f"user-{number}", feature_id=FEATURE, metadata={"key": text})
            sent = request.SerializeToString()
            assert cache.request(1, method, sent).packed == pack(method.plan(sent, env).command.command)


@given(st.binary(max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_cut_into_their_parts_or_not_at_all(sent: bytes) -> None:
    method = UseFeature()
    for payload in (sent, bytes((method.user_tag, 1)) + sent):
        parts = cut(1, method, payload)
        if parts is not None:
            (_, user_length, event_length, rest), user_id, event_id = parts
            assert payload[2 : 2 + user_length] == user_id
            ids_bytes = 2 + user_length + (2 + event_length if event_id else 0)
            assert (len(user_id), len(event_id), len(payload)) == (user_length, event_length, ids_bytes + len(rest))


@given(st.binary(max_size=40))
@settings(max_examples=300, deadline=None)
def test_in_any_bytes_an_event_id_is_found_at_valid_offsets_or_not_at_all(sent: bytes) -> None:
    tag = UseFeature.event_tag
    found = find_event_id(sent, tag)
    if found is not None:
        field_at, id_at, end = found
        assert sent[field_at] == tag
        assert id_at < end <= len(sent)


async def test_an_unknown_field_whose_tag_has_two_bytes_is_not_taken_for_an_event_id(env: Environment) -> None:
    """The content of field 16 was read as fields: a use of 128 without an event id became one of 1 with one."""
    env.cache.features[FEATURE] = Feature(FEATURE, FeatureType.CONSUMABLE, 1)
    cache, method = RequestCache(env), UseFeature()
    feature = v1.UseFeatureRequest(feature_id=FEATURE).SerializeToString()
    event, use_of_128, field_16 = bytes((method.event_tag, 1)) + b"e", b"\x18\x80\x01", b"\x82\x01\x03"
    users = [v1.UseFeatureRequest(user_id=f"user-{number}").SerializeToString() for number in range(4)]
    for user in users[:3]:
        cache.request(1, method, user + event + feature + field_16 + use_of_128)
    sent = users[3] + feature + field_16 + event + use_of_128
    plan = method.plan(sent, env)
    assert (plan.delta, plan.event_id) == (128, "")
    assert cache.request(1, method, sent).packed == pack(plan.command.command)
