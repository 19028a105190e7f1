"""The users and the catalog that calls are made for, and the reads that show their effect."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from canuse import NotFound, v1
from support.message_clients import Client
from support.resources import consumable, package, unique

LIMIT: Final = 1000


@dataclass(frozen=True)
class Scenario:
    """A user on a package with two features, packages without subscribers, and a newcomer without subscriptions."""

    client: Client
    user_id: str
    newcomer_id: str
    first: str
    second: str
    base_id: str
    addon_id: str
    other_base_id: str
    subscription_id: str
    new_id: str
    """An id that is not in use yet."""

    def counts(self) -> tuple[int, ...]:
        """Return what the user has used and reserved of each feature, and the number of events."""
        usage = [self.client.show_usage(self.user_id, feature).current for feature in (self.first, self.second)]
        events = len(list(self.client.list_usage_events(self.user_id)))
        return (*(each.used for each in usage), *(each.reserved for each in usage), events)

    def budget(self) -> int:
        """Return the user's budget for the first feature."""
        return self.client.show_usage(self.user_id, self.first).current.budget

    def subscriptions(self, user_id: str) -> list[tuple[str, int]]:
        """Return the packages of a user's subscriptions, with their versions."""
        return [(item.package_id, item.package_version) for item in self.client.list_subscriptions(user_id)]

    def package(self, package_id: str) -> tuple[str, int, int]:
        """Return the status of a package, its version and its published version."""
        found = self.client.get_package(package_id)
        return v1.PackageStatus.Name(found.status), found.version, found.published_version

    def keys(self) -> int:
        """Return how many API keys are named after the new id."""
        return sum(key.name == self.new_id for key in self.client.list_api_keys(page_size=1000))

    def gone(self, user_id: str) -> bool:
        """Whether the user does not exist."""
        try:
            self.client.get_user(user_id)
        except NotFound:
            return True
        return False


class Catalogue(NamedTuple):
    """Two features, a package that lists them, an add-on, and a package that lists them with twice the amount."""

    first: str
    second: str
    base_id: str
    addon_id: str
    other_base_id: str


def create_catalogue(client: Client) -> Catalogue:
    """Create a catalogue."""
    first, second = consumable(client), consumable(client)
    base_id, other_base_id = (
        package(
            client,
            [
                v1.PackageFeature(feature_id=item, limit=limit, reset_period=v1.RESET_PERIOD_NEVER)
                for item in (first, second)
            ],
        )
        for limit in (LIMIT, 2 * LIMIT)
    )
    return Catalogue(first, second, base_id, package(client, [], v1.PACKAGE_TYPE_ADD_ON), other_base_id)


def create_scenario(client: Client, catalogue: Catalogue) -> Scenario:
    """Create users on a catalogue."""
    user_id, newcomer_id = (client.create_user(unique("user")).id for _ in range(2))
    (subscription,) = client.subscribe(user_id, [catalogue.base_id])
    return Scenario(client, user_id, newcomer_id, *catalogue, subscription.id, unique("new"))
