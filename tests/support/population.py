"""Many users of one package with two versions, and what the store holds of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from canuse import v1
from canuse_server.store.codec import user_values
from support.load import in_groups
from support.message_clients import AsyncClient, Client
from support.processes import Canuse
from support.resources import consumable, unique
from support.store_inspection import StoreInspector
from support.stores import store_of

AT_A_TIME: Final = 32
CHANGES_BEFORE: Final = 2
"""Each user is created and subscribed."""


@dataclass(frozen=True)
class Population:
    """Users subscribed to version 1 of a package who have used its feature once. Version 2 is published."""

    package_id: str
    feature_id: str
    user_ids: Sequence[str]

    def versions(self, store: StoreInspector) -> set[int]:
        """Return the versions that the users are on, according to the store."""
        return {
            user_values.unpack_subscription("", value).package_version
            for user_id in self.user_ids
            for field, value in store.user(user_id).items()
            if field.startswith(user_values.SUBSCRIPTION_PREFIX)
        }

    def changes(self, store: StoreInspector) -> list[int]:
        """Return how often each user has changed since they subscribed; uses do not count as changes."""
        metas = (user_values.Meta.unpack(store.user(user_id)[user_values.META_FIELD]) for user_id in self.user_ids)
        return [meta.revision - CHANGES_BEFORE for meta in metas]

    async def used(self, client: AsyncClient) -> list[int]:
        """Return what each user has used."""
        answers = await in_groups(AT_A_TIME, (client.can_use(user_id, self.feature_id) for user_id in self.user_ids))
        return [answer.consumption.used for answer in answers]


def create_population(server: Canuse, size: int) -> Population:
    """Create a population: 100 a month in version 1, 200 a day in version 2."""
    package_id = unique("package")
    first, *others = user_ids = [unique("user") for _ in range(size)]
    with Client(server.address) as client:
        feature_id = consumable(client)
        a_month = v1.PackageFeature(feature_id=feature_id, limit=100, reset_period=v1.RESET_PERIOD_MONTH)
        client.create_package(package_id, [a_month])
        client.publish_package(package_id)
        client.create_user(first)
        client.subscribe(first, [package_id])
        client.create_usage_event(first, feature_id)
        redis = store_of(server)
        StoreInspector(redis).copy_user(first, others)
        redis.close()
        a_day = v1.PackageFeature(feature_id=feature_id, limit=200, reset_period=v1.RESET_PERIOD_DAY)
        client.update_package(package_id, features=[a_day])
        client.publish_package(package_id)
    return Population(package_id, feature_id, user_ids)
