"""The store and its environments, as the settings want them."""

from contextlib import AsyncExitStack
from urllib.parse import quote

from canuse_server.api.environment import Environments
from canuse_server.api.last_known import LastKnown
from canuse_server.api.ratelimit.config import RateLimitRules
from canuse_server.app.demo import load_demo
from canuse_server.domain.durability import LEVELS
from canuse_server.settings import Settings
from canuse_server.store.embedded.supervisor import EmbeddedValkey
from canuse_server.store.redis.address import StoreAddress
from canuse_server.store.redis.cluster import store_at
from canuse_server.store.redis.durability import Promise
from canuse_server.store.repositories.audit.writing import AuditWriter
from canuse_server.store.repositories.manual_clock import ManualClock
from canuse_server.store.repositories.usage_commands import Retention
from canuse_server.store.trimming.trimmer import Pace, Trimmer


def environments_of(settings: Settings, endpoint: StoreAddress, stack: AsyncExitStack) -> Environments:
    store = store_at(endpoint, settings.store_timeout_seconds, promise_of(settings))
    stack.push_async_callback(store.close)
    domains = (settings.ratelimit_live_domain, settings.ratelimit_test_domain)
    return Environments.of(
        store,
        _retention(settings),
        settings.default_package,
        _rate_limits(settings, *domains),
        _rate_limits(settings, *reversed(domains)),
        lambda: LastKnown(settings.last_known_max_age_seconds, settings.last_known_entries),
    )


def trimmer_of(settings: Settings, environments: Environments) -> Trimmer:
    """Return what trims the store in the background."""
    live = environments.live
    return Trimmer(live.store, live.retention, Pace(settings.trim_interval_seconds, settings.trim_share))


def manual_clock(environments: Environments) -> ManualClock:
    """Return the clock that only calls move."""
    store = environments.live.store
    return ManualClock(store, AuditWriter(store, environments.live.retention.audit_max_age_ms))


async def prepare(settings: Settings, environments: Environments, clock: ManualClock | None) -> None:
    """Prepare a checked store for the first call."""
    if clock is not None:
        await clock.start()
    if settings.demo:
        await load_demo(environments.live)


async def open_store(settings: Settings, stack: AsyncExitStack) -> tuple[StoreAddress, str]:
    if settings.redis_url is not None:
        endpoint = StoreAddress.from_url(settings.redis_url)
        return endpoint, endpoint.address
    valkey = EmbeddedValkey(settings.data_dir, fsync=settings.embedded_fsync)
    await valkey.start()
    stack.push_async_callback(valkey.stop)
    endpoint = StoreAddress.from_url(f"unix://{quote(str(valkey.socket_path))}")
    return endpoint, f"embedded Valkey in {settings.data_dir}"


def promise_of(settings: Settings) -> Promise:
    """Return what a write must reach before it is acknowledged."""
    level = LEVELS[settings.durability]
    return Promise(level, settings.durability_replicas, settings.durability_timeout_seconds)


def _retention(settings: Settings) -> Retention:
    return Retention(
        dedupe_ttl_ms=settings.dedupe_ttl_seconds * 1000,
        ledger_max_age_ms=settings.ledger_max_age_seconds * 1000,
        past_periods_max_age_days=settings.past_periods_max_age_days,
        audit_max_age_days=settings.audit_max_age_days,
    )


def _rate_limits(settings: Settings, domain: str, other_domain: str) -> RateLimitRules:
    return RateLimitRules(
        domain=domain,
        other_domain=other_domain,
        user_key=settings.ratelimit_user_key,
        feature_key=settings.ratelimit_feature_key,
        record_key=settings.ratelimit_record_key,
        deny_unknown=settings.ratelimit_unknown == "deny",
    )
