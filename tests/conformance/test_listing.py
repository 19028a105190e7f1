"""Lists: pages of the requested size, every item once and in order, under concurrent additions and removals."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import grpc
import pytest

from canuse import v1
from support.message_clients import Client
from support.resources import consumable, grant, package, unique
from support.wire import Stubs, failure

KINDS = ("features", "packages", "users", "subscriptions", "entitlements", "events", "leases", "grants", "totals")


class Listing(NamedTuple):
    """A list method: how to call it, and how to add items to its list."""

    call: Callable[..., Any]
    request: Callable[..., Any]
    ids: Callable[[Any], list[str]]
    add: Callable[[int], list[str]]

    def pages(self, size: int, between: Callable[[], object] = lambda: None) -> Iterator[list[str]]:
        """Yield the ids of page after page, with an action in between."""
        token = ""
        while True:
            answer = self.call(self.request(page_size=size, page_token=token))
            yield self.ids(answer)
            token = answer.next_page_token
            if not token:
                return
            between()


def new_leases(client: Client, user_id: str, feature_id: str, count: int) -> list[str]:
    """Reserve some amounts; several leases expire in the same millisecond. Return their ids."""
    return [client.reserve(user_id, feature_id, 1).lease_id for _ in range(count)]


def newest_entry_of(client: Client, user_id: str) -> v1.AuditEntry:
    """Return a user's newest entry in the audit log."""
    return next(client.list_audit_entries(user_id=user_id))


@pytest.fixture(params=[*KINDS, pytest.param("entries", marks=pytest.mark.extended)])
def listing(request: pytest.FixtureRequest, client: Client, stubs: Stubs) -> Listing:
    """Each of the lists in turn; those of a user belong to a new user."""
    user_id = client.create_user(unique("user")).id

    def features(count: int) -> list[str]:
        return [client.create_feature(unique("feature"), type=v1.FEATURE_TYPE_CONSUMABLE).id for _ in range(count)]

    def packages(count: int) -> list[str]:
        return [client.create_package(unique("package")).id for _ in range(count)]

    def subscriptions(count: int) -> list[str]:
        add_on = package(client, [], v1.PACKAGE_TYPE_ADD_ON)
        return [client.subscribe(user_id, [add_on])[0].id for _ in range(count)]

    def entitlements(count: int) -> list[str]:
        ids = features(count)
        add_on = package(client, [v1.PackageFeature(feature_id=each) for each in ids], v1.PACKAGE_TYPE_ADD_ON)
        client.subscribe(user_id, [add_on])
        return ids

    def users(count: int) -> list[str]:
        return [client.create_user(unique("user")).id for _ in range(count)]

    def events(count: int) -> list[str]:
        [feature_id] = entitlements(1)
        use = v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id)
        recorded = client.batch_create_usage_events([use] * count)
        return [each.event_id for each in recorded if isinstance(each, v1.CreateUsageEventResponse)]

    def grants(count: int) -> list[str]:
        feature_id = consumable(client)
        return [grant(client, user_id, feature_id, 5) for _ in range(count)]

    def totals(count: int) -> list[str]:
        recorded = [(feature_id, client.create_usage_event(user_id, feature_id)) for feature_id in entitlements(count)]
        return [f"{user_id} {each} {answer.consumption.period_start.ToJsonString()}" for each, answer in recorded]

    def of_user(kind: Callable[..., Any]) -> Callable[..., Any]:
        return lambda **page: kind(user_id=user_id, **page)

    def id_of(item: Any) -> str:
        if request.param == "totals":
            return f"{item.user_id} {item.feature_id} {item.period_start.ToJsonString()}"
        return str(item.feature_id if request.param == "entitlements" else item.id)

    kinds: dict[str, tuple[Callable[..., Any], Callable[..., Any], Callable[[int], list[str]]]] = {
        "features": (stubs.catalog.ListFeatures, v1.ListFeaturesRequest, features),
        "packages": (stubs.catalog.ListPackages, v1.ListPackagesRequest, packages),
        "users": (stubs.users.ListUsers, v1.ListUsersRequest, users),
        "subscriptions": (
            stubs.subscriptions.ListSubscriptions,
            of_user(v1.ListSubscriptionsRequest),
            subscriptions,
        ),
        "entitlements": (stubs.entitlements.ListEntitlements, of_user(v1.ListEntitlementsRequest), entitlements),
        "events": (stubs.usage.ListUsageEvents, of_user(v1.ListUsageEventsRequest), events),
        "leases": (
            stubs.usage.ListLeases,
            of_user(v1.ListLeasesRequest),
            lambda count: new_leases(client, user_id, entitlements(1)[0], count),
        ),
        "grants": (stubs.subscriptions.ListGrants, of_user(v1.ListGrantsRequest), grants),
        "totals": (stubs.usage.ListUsageTotals, v1.ListUsageTotalsRequest, totals),
        "entries": (
            stubs.audit.ListAuditEntries,
            partial(v1.ListAuditEntriesRequest, start_time=newest_entry_of(client, user_id).time),
            lambda count: [newest_entry_of(client, each).id for each in users(count)],
        ),
    }
    call, kind, add = kinds[request.param]
    return Listing(call, kind, lambda answer: [id_of(item) for item in getattr(answer, request.param)], add)


def test_a_page_has_50_items_by_default_and_up_to_1000(listing: Listing) -> None:
    added = listing.add(53)
    first = listing.call(listing.request())
    assert len(listing.ids(first)) == 50
    rest = listing.call(listing.request(page_token=first.next_page_token))
    assert len(set(listing.ids(first) + listing.ids(rest))) == len(listing.ids(first)) + len(listing.ids(rest))
    whole = [each for page in listing.pages(1000) for each in page]
    assert set(added) <= set(whole)
    assert whole[:50] == listing.ids(first)
    assert len(whole) == len(set(whole))


def test_every_page_but_the_last_is_full_and_all_page_sizes_list_the_same(listing: Listing, stubs: Stubs) -> None:
    added = listing.add(12)
    whole = [each for page in listing.pages(1000) for each in page]
    assert set(added) <= set(whole)
    # Other tests of the server may have left more than a page can have.
    for size in (min(len(whole), 1000), min(len(whole) - 1, 999), len(whole) // 3, 7):
        pages = list(listing.pages(size))
        assert [each for page in pages for each in page] == whole
        if listing.call is stubs.usage.ListUsageTotals:
            assert all(len(page) <= size for page in pages)  # A page reads a bounded number of users.
        else:
            assert {len(page) for page in pages[:-1]} <= {size}
            assert 1 <= len(pages[-1]) <= size


def test_a_list_that_grows_while_it_is_read_has_everything_that_was_there_once(listing: Listing) -> None:
    before = set(listing.add(8))
    size = max(3, len([each for page in listing.pages(1000) for each in page]) // 6)
    found = [each for page in listing.pages(size, lambda: listing.add(2)) for each in page]
    assert before <= set(found)
    assert len(found) == len(set(found))


@pytest.mark.parametrize("size", [-1, 1001, -(2**31), 2**31 - 1])
def test_a_page_size_below_0_or_above_1000_is_refused(listing: Listing, size: int) -> None:
    refused = failure(listing.call, listing.request(page_size=size))
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["page_size"])
    assert f"{size} was sent" in refused.violations["page_size"]
    assert "1 to 1000" in refused.violations["page_size"]


def token(value: object) -> str:
    """Return a forged page token."""
    return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


TOKENS = {
    "a letter": "a",
    "punctuation": "!?",
    "beyond ASCII": "ü",
    "no text": urlsafe_b64encode(b"\xff\xfe").decode(),
    "an object": token({"a": 1, "b": 2}),
    "too short": token([1]),
    "other types": token(["a", "b"]),
    "half a character": token([0, "\ud800"]),
    "before the first": token([-5000, "a"]),
    "deep": urlsafe_b64encode(b"[" * 100_000).decode(),
    "long": "A" * 100_000,
}


def test_a_page_token_that_no_answer_held_is_refused(listing: Listing) -> None:
    listing.add(1)
    for name, sent in TOKENS.items():
        refused = failure(listing.call, listing.request(page_token=sent))
        assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["page_token"]), name
        assert sent[:20] in refused.violations["page_token"]


def test_features_and_packages_are_listed_by_id(client: Client) -> None:
    prefix = unique("z")
    ids = [f"{prefix}{end}" for end in ("", "-", "A", "a", "aa", "b", "~", "é", "\u200d", "ﬀ", "👨")]
    for each in reversed(ids):
        client.create_feature(each, type=v1.FEATURE_TYPE_BINARY)
        client.create_package(each)
    for listed in (client.list_features(page_size=1000), client.list_packages(page_size=1000)):
        found = [each.id for each in listed]
        assert [each for each in found if each.startswith(prefix)] == ids
        assert found == sorted(found)


def test_subscriptions_are_listed_oldest_first_and_ended_ones_too(client: Client) -> None:
    user_id, add_on = client.create_user(unique("user")).id, package(client, [], v1.PACKAGE_TYPE_ADD_ON)
    start = datetime(2024, 5, 1, tzinfo=UTC)
    subscriptions = {
        day: client.subscribe(user_id, [add_on], started_at=start + timedelta(days=day))[0] for day in (3, 0, 5, 1)
    }
    subscriptions[7] = client.subscribe(user_id, [add_on])[0]
    client.cancel_subscription(subscriptions[0].id)
    for size in (1, 2, 1000):
        listed = [each.id for each in client.list_subscriptions(user_id, page_size=size)]
        assert listed == [subscriptions[day].id for day in sorted(subscriptions)]


def test_users_that_are_erased_while_the_list_is_read_take_no_others_with_them(client: Client) -> None:
    kept, erased = ({client.create_user(unique(kind)).id for _ in range(6)} for kind in ("stays", "goes"))
    size = max(1, len(list(client.list_users(page_size=1000))) // 4)
    found = []
    for user in client.list_users(page_size=size):
        found.append(user.id)
        if user.id in erased:
            client.delete_user(user.id)
    assert kept | erased <= set(found)
    assert len(found) == len(set(found))


def test_a_user_without_anything_has_one_empty_page(stubs: Stubs, client: Client) -> None:
    user_id = client.create_user(unique("user")).id
    assert not stubs.subscriptions.ListSubscriptions(v1.ListSubscriptionsRequest(user_id=user_id)).ListFields()
    assert not stubs.entitlements.ListEntitlements(v1.ListEntitlementsRequest(user_id=user_id)).ListFields()
    assert not stubs.usage.ListUsageEvents(v1.ListUsageEventsRequest(user_id=user_id)).ListFields()
