"""Many users of one package with two versions, and what the store holds of each of them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from canuse import AsyncClient, Client, v1
from canuse_server.store import layout
from support.inside import Inside
from support.load import in_groups
from support.world import consumable, unique

AT_A_TIME: Final = 32
CHANGES_BEFORE: Final = 2
"""Each user is created and subscribed."""


@dataclass(frozen=True)
class Crowd:
    """Users who subscribed to version 1 of a package, and have used its feature once. Version 2 is published."""

    package_id: str
    feature_id: str
    user_ids: Sequence[str]

    def versions(self, store: Inside) -> set[int]:
        """Return the versions that the users are on, by what the store holds."""
        return {
            layout.unpack_subscription("", value).package_version
            for user_id in self.user_ids
            for field, value in store.user(user_id).items()
            if field.startswith(layout.SUBSCRIPTION_PREFIX)
        }

    def changes(self, store: Inside) -> list[int]:
        """Return how often each user has changed since they subscribed; uses are no changes."""
        metas = (layout.Meta.unpack(store.user(user_id)[layout.META_FIELD]) for user_id in self.user_ids)
        return [meta.revision - CHANGES_BEFORE for meta in metas]

    async def used(self, client: AsyncClient) -> list[int]:
        """Return what each user has used."""
        answers = await in_groups(AT_A_TIME, (client.can_use(user_id, self.feature_id) for user_id in self.user_ids))
        return [answer.consumption.used for answer in answers]


async def crowd(address: str, size: int) -> Crowd:
    """Make a crowd: 100 a month in version 1, 200 a day in version 2."""
    feature_id, package_id = await asyncio.to_thread(_publish, address)
    made = Crowd(package_id, feature_id, [unique("user") for _ in range(size)])
    async with AsyncClient(address, timeout_seconds=60) as client:

        async def one(user_id: str) -> None:
            await client.create_user(user_id)
            await client.subscribe(user_id, [package_id])
            await client.create_usage_event(user_id, feature_id)

        await in_groups(AT_A_TIME, map(one, made.user_ids))
        await client.publish_package(package_id)
    return made


def _publish(address: str) -> tuple[str, str]:
    """Publish the first version, and draft the second."""
    package_id = unique("package")
    with Client(address) as client:
        feature_id = consumable(client)
        first = v1.PackageFeature(feature_id=feature_id, limit=100, reset_period=v1.RESET_PERIOD_MONTH)
        client.create_package(package_id, [first])
        client.publish_package(package_id)
        second = v1.PackageFeature(feature_id=feature_id, limit=200, reset_period=v1.RESET_PERIOD_DAY)
        client.update_package(package_id, features=[second])
    return feature_id, package_id
