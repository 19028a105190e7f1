"""A lane's cache of requests is bounded in bytes, and keeps nothing large."""

import itertools
import tracemalloc

from canuse import v1
from canuse_server.api.environment import Environment
from canuse_server.api.hotpath.can_use import CanUse
from canuse_server.api.hotpath.method import HotMethod
from canuse_server.api.hotpath.record import CreateUsageEvent, UseFeature
from canuse_server.api.ratelimit.method import ShouldRateLimit
from canuse_server.domain.model import Feature, FeatureType
from canuse_server.transport.native.request_cache import (
    MAX_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_REQUESTS,
    MAX_TEMPLATES,
    RequestCache,
)
from canuse_server.transport.native.request_cache import Request as Remembered
from support.rate_limits import Request, descriptor
from support.requests import unknown

FEATURE = "f" * 128
HOT: dict[str, HotMethod] = {
    "CanUse": CanUse(),
    "CreateUsageEvent": CreateUsageEvent(),
    "UseFeature": UseFeature(),
    "ShouldRateLimit": ShouldRateLimit(),
}


def cache_with_feature(env: Environment) -> RequestCache:
    """Return the cache of an environment with one feature."""
    env.cache.features[FEATURE] = Feature(FEATURE, FeatureType.CONSUMABLE, 1)
    return RequestCache(env)


def payload(name: str, user_id: str) -> bytes:
    """Return the smallest request of a method."""
    if name == "ShouldRateLimit":
        return Request(domain="canuse", descriptors=[descriptor(user_id, FEATURE)]).SerializeToString()
    return v1.CanUseRequest(user_id=user_id, feature_id=FEATURE).SerializeToString()


def request_several_times(cache: RequestCache, name: str, sent: bytes, times: int = 2) -> Remembered:
    """Send the same request several times; return the last result."""
    return [cache.request(list(HOT).index(name), HOT[name], bytes(bytearray(sent))) for _ in range(times)][-1]


async def test_a_usual_request_is_cached_from_the_second_time_on(env: Environment) -> None:
    cache = cache_with_feature(env)
    for name in HOT:
        sent = payload(name, "u" * 128)
        assert not request_several_times(cache, name, sent, 1).cached
        request = request_several_times(cache, name, sent, 1)
        assert request.cached
        assert request_several_times(cache, name, sent, 1) is request
    assert len(cache) == len(HOT)


async def test_a_request_with_a_large_unknown_field_is_not_cached(env: Environment) -> None:
    """150 requests of 4 MiB, each sent twice, took 600 MiB for good."""
    cache = cache_with_feature(env)
    for name in HOT:
        sent = payload(name, "u")
        assert request_several_times(cache, name, sent + unknown(MAX_PAYLOAD_BYTES - len(sent))).cached
        assert not request_several_times(cache, name, sent + unknown(MAX_PAYLOAD_BYTES + 1 - len(sent)), 3).cached


async def test_requests_take_no_more_bytes_than_they_may_and_are_counted_for_what_they_take(env: Environment) -> None:
    cache = cache_with_feature(env)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(MAX_REQUESTS):
            sent = payload("CanUse", f"{number:0128}")
            request_several_times(cache, "CanUse", sent + unknown(MAX_PAYLOAD_BYTES - len(sent)))
            assert cache.held_bytes <= MAX_BYTES
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 0 < len(cache) < MAX_REQUESTS - 1000
    assert taken < cache.held_bytes + MAX_REQUESTS * 200


async def test_templates_are_counted_for_what_they_take(env: Environment) -> None:
    cache, events, feature_id = cache_with_feature(env), itertools.count(), "f" * 127
    env.cache.features[feature_id] = Feature(feature_id, FeatureType.CONSUMABLE, 1)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(MAX_TEMPLATES):
            for _ in range(3):
                user_id, event_id = f"{next(events):0127}", f"event-{next(events):09}"
                # Each amount needs a template of its own.
                request = v1.UseFeatureRequest(
                    user_id=user_id, feature_id=feature_id, event_id=event_id, delta=number + 1
                )
                request_several_times(cache, "UseFeature", request.SerializeToString(), 1)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert (len(cache), cache.template_count) == (0, MAX_TEMPLATES)
    assert taken < cache.held_bytes + MAX_REQUESTS * 200
    held = cache.held_bytes
    for number in range(2):
        request = v1.UseFeatureRequest(user_id=f"{number:0127}", feature_id=feature_id, delta=MAX_TEMPLATES + 1)
        request_several_times(cache, "UseFeature", request.SerializeToString(), 1)
    assert (cache.template_count, cache.held_bytes < held // MAX_TEMPLATES * 2) == (1, True)


async def test_the_cache_holds_its_maximum_of_requests_though_their_ids_are_long(env: Environment) -> None:
    cache = cache_with_feature(env)
    for number in range(MAX_REQUESTS):
        request_several_times(cache, "CanUse", payload("CanUse", f"{number:0128}"))
    assert len(cache) == MAX_REQUESTS


async def test_a_changed_feature_leaves_the_number_of_cached_bytes_as_it_was(env: Environment) -> None:
    cache = cache_with_feature(env)
    request_several_times(cache, "CanUse", payload("CanUse", "u"))
    held = cache.held_bytes
    for _ in range(5):
        env.cache.features[FEATURE] = Feature(FEATURE, FeatureType.CONSUMABLE, 1, name="renamed")
        request_several_times(cache, "CanUse", payload("CanUse", "u"))
    assert (len(cache), cache.held_bytes) == (1, held)


async def test_a_large_reply_is_answered_and_not_kept(env: Environment) -> None:
    cache = cache_with_feature(env)
    request = request_several_times(cache, "CanUse", payload("CanUse", "u"))
    small = [b"\0" * 12, None, None, None, None]
    # A grant takes 32 bytes.
    large = [b"\0" * 12, None, None, bytes(32 * 100), None]
    cache.respond(request, small, 1)
    assert request.reply is small
    cache.respond(request, large, 1)
    assert request.reply is small
