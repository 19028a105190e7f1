"""MigrateSubscriptions: the users for whom access shrinks, in a dry run as in the real one."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import pytest

from canuse import v1
from support.message_clients import Client
from support.migrations import create_subscriber, migrate, of, publish
from support.resources import Clock, binary, consumable, package, subscriber

pytestmark = pytest.mark.extended

ADD_ON = v1.PACKAGE_TYPE_ADD_ON
DAY, NEVER = v1.RESET_PERIOD_DAY, v1.RESET_PERIOD_NEVER
SWITCH: Final = v1.PackageFeature(feature_id="switch")
Entries = Sequence[v1.PackageFeature]
CHANGES: Final[dict[str, tuple[Entries, Entries, bool]]] = {
    "a lower limit": ([of("calls", 5)], [of("calls", 4)], True),
    "a higher limit": ([of("calls", 5)], [of("calls", 6)], False),
    "the same": ([of("calls", 5)], [of("calls", 5)], False),
    "unlimited, then limited": ([of("calls", None)], [of("calls", 2**53 - 1)], True),
    "limited, then unlimited": ([of("calls", 5)], [of("calls", None)], False),
    "unlimited as before": ([of("calls", None)], [of("calls", None, DAY)], False),
    "gone": ([of("calls", 5), SWITCH], [SWITCH], True),
    "gone, and nothing was there of it": ([of("calls", 0)], [], False),
    "new": ([], [of("calls", 5), SWITCH], False),
    "a switch that is gone": ([of("calls", 5), SWITCH], [of("calls", 5)], True),
    "a switch that stays": ([SWITCH], [SWITCH], False),
    "no overage any more": ([of("calls", 5, overage=True)], [of("calls", 9)], True),
    "overage from now on": ([of("calls", 5)], [of("calls", 5, overage=True)], False),
    "overage, then unlimited": ([of("calls", 5, overage=True)], [of("calls", None)], False),
    "a lower limit before overage": ([of("calls", 5, overage=True)], [of("calls", 4, overage=True)], True),
    "the same in another period": ([of("calls", 5, DAY)], [of("calls", 5, NEVER)], False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_access_shrinks_where_some_feature_gives_less(client: Client, name: str) -> None:
    old, new, less = CHANGES[name]
    ids = {"calls": consumable(client), "switch": binary(client)}

    def with_ids(entries: Entries) -> list[v1.PackageFeature]:
        copies = [v1.PackageFeature.FromString(entry.SerializeToString()) for entry in entries]
        for entry in copies:
            entry.feature_id = ids[entry.feature_id]
        return copies

    package_id = package(client, with_ids(old))
    user_id = create_subscriber(client, package_id)
    publish(client, package_id, *with_ids(new))
    for dry_run in (True, False):
        done = migrate(client, package_id, dry_run=dry_run)
        assert (done.migrated, list(done.shrinking_user_ids)) == (1, [user_id] * less)


def test_access_does_not_shrink_where_another_package_gives_as_much_or_there_was_none(client: Client) -> None:
    feature_id = consumable(client)
    package_id, add_on = package(client, [of(feature_id, 5)]), package(client, [of(feature_id, 5)], ADD_ON)
    with_more, unpaid, alone = (
        create_subscriber(client, package_id, add_on),
        create_subscriber(client, package_id),
        create_subscriber(client, package_id),
    )
    [subscription] = client.list_subscriptions(unpaid)
    client.update_subscription(subscription.id, status=v1.SUBSCRIPTION_STATUS_UNPAID)
    publish(client, package_id, of(feature_id, 4))
    done = migrate(client, package_id)
    assert (done.migrated, list(done.shrinking_user_ids)) == (3, [alone])
    assert client.can_use(with_more, feature_id).consumption.budget == 5


def test_a_grant_does_not_make_up_for_what_packages_give_no_more(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    [subscription] = client.list_subscriptions(user_id)
    client.create_grant(user_id, "g", feature_id, amount=100)
    publish(client, subscription.package_id)
    assert list(migrate(client, subscription.package_id).shrinking_user_ids) == [user_id]
    assert client.can_use(user_id, feature_id).consumption.budget == 100


def test_access_that_shrinks_is_compared_with_the_present_one_and_not_with_a_stale_one(
    clocked: Client, clock: Clock
) -> None:
    feature_id, trial_end = consumable(clocked), clock.now() + timedelta(days=1)
    package_id, add_on = package(clocked, [of(feature_id, 5)]), package(clocked, [of(feature_id, 9)], ADD_ON)
    user_id = create_subscriber(clocked, package_id)
    clocked.subscribe(user_id, [add_on], trial_end=trial_end)
    publish(clocked, package_id, of(feature_id, 6))
    # The add-on's 9 have ended, and no call has renewed the user since.
    clock.set(trial_end)
    assert migrate(clocked, package_id).shrinking_users == 0
    assert clocked.can_use(user_id, feature_id).consumption.budget == 6
