"""Short helpers for tests of migrations."""

from typing import Any

from canuse import v1
from support.message_clients import Client
from support.resources import unique

MONTH = v1.RESET_PERIOD_MONTH


def of(
    feature_id: str, limit: int | None, period: v1.ResetPeriod.ValueType = MONTH, *, overage: bool = False
) -> v1.PackageFeature:
    """Return the entry of a consumable feature in a package."""
    return v1.PackageFeature(feature_id=feature_id, limit=limit, reset_period=period, overage_enabled=overage)


def publish(client: Client, package_id: str, *entries: v1.PackageFeature) -> int:
    """Publish the next version of a package; return its number."""
    client.update_package(package_id, features=entries, metadata={"made": unique()})
    return client.publish_package(package_id).version


def create_subscriber(client: Client, *package_ids: str, **start: Any) -> str:
    """Create a user who subscribes to packages; return the id."""
    user_id = client.create_user(unique("user")).id
    client.subscribe(user_id, package_ids, **start)
    return user_id


def migrate(client: Client, package_id: str, **options: Any) -> v1.MigrateSubscriptionsResponse:
    """Migrate the subscriptions of a package; return the last message, with the user ids of all messages."""
    messages = list(client.migrate_subscriptions(package_id, **options))
    assert [message.done for message in messages] == [False] * (len(messages) - 1) + [True]
    ids = sorted(user_id for message in messages for user_id in message.shrinking_user_ids)
    last = messages[-1]
    assert len(set(ids)) == last.shrinking_users
    last.shrinking_user_ids[:] = ids
    return last


def versions(client: Client, user_id: str) -> list[int]:
    """Return the versions that a user's subscriptions are on, oldest first."""
    return [subscription.package_version for subscription in client.list_subscriptions(user_id)]
