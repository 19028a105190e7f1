"""Two admins change the same thing: the one who comes second is told, and overwrites nothing without knowing it."""

from collections.abc import Callable
from typing import Any

import pytest

from canuse import v1
from support.authenticated_server import AuthenticatedServer
from support.console import Parsed, Visitor
from support.console_forms import Sent, done, fields
from support.message_clients import Client
from support.migrations import create_subscriber, of, publish, versions
from support.resources import binary, consumable, package, unique

Visitors = Callable[[str], Visitor]


@pytest.fixture
def other(server: AuthenticatedServer, visitors: Visitors) -> Visitor:
    """Another admin."""
    return visitors(server.admin)


def test_the_second_of_two_edits_of_a_draft_is_refused_and_shows_what_was_changed(
    visitor: Visitor, other: Visitor, client: Client
) -> None:
    first, second, third = consumable(client), consumable(client), binary(client)
    package_id = unique("package")
    client.create_package(package_id, [of(first, 10), of(second, 20)], name="Draft")
    mine, theirs = Sent(visitor, "/package/edit", id=package_id), Sent(other, "/package/edit", id=package_id)
    done(theirs.send(**{"limit.0": "11", "feature.1": "", "feature.2": third}), "package-changed")
    refused = mine.send(name="Mine", **{"limit.1": "2,000"})
    text = Parsed(refused.text).text
    assert (refused.status_code, "changed by somebody else" in text) == (409, True)
    # What it was, what it is, and what this form would make of it.
    assert f"{first} 10, a month 11, a month 10, a month" in text
    assert f"{second} 20, a month none 2000, a month" in text
    assert f"{third} none unlimited, in total none" in text
    assert "Name Draft" not in text
    stored = client.get_package(package_id)
    assert (stored.name, [each.feature_id for each in stored.features]) == ("Draft", [first, third])
    # What has been typed stays. Sent once more, it replaces what the page has shown.
    kept = fields(refused.text)
    assert (kept["name"], kept["limit.1"]) == ("Mine", "2,000")
    mine.fields = kept
    done(mine.send(), "package-changed")
    stored = client.get_package(package_id)
    assert (stored.name, [each.limit for each in stored.features]) == ("Mine", [10, 2000])
    # The same form once more: a third admin has changed it meanwhile.
    client.update_package(package_id, name="Third")
    assert mine.send().status_code == 409
    assert client.get_package(package_id).name == "Third"


def test_more_rows_and_errors_do_not_make_a_form_newer_than_it_is(
    visitor: Visitor, other: Visitor, client: Client
) -> None:
    package_id, counted = unique("package"), consumable(client)
    client.create_package(package_id, [of(counted, 1)])
    mine = Sent(visitor, "/package/edit", id=package_id)
    # As many features that it has no rows for them all.
    added = [of(consumable(client), number) for number in range(8)]
    client.update_package(package_id, features=[of(counted, 1), *added])
    more = mine._visitor.http.post(
        "/console/package/edit", params={"id": package_id}, data={**mine.fields, "more": "1", "overage.0": ""}
    )
    assert more.status_code == 200
    mine.fields = fields(more.text)
    refused = mine.send()
    assert refused.status_code == 409
    assert f"{added[-1].feature_id} none 7, a month" in Parsed(refused.text).text
    assert len(client.get_package(package_id).features) == 9
    for seen in ("", "[]", '{"Name": 1}', "{", "[" * 50_000):
        assert Sent(visitor, "/package/edit", id=package_id).send(name="Other", seen=seen).status_code == 409


@pytest.mark.parametrize("kind", ["feature", "user", "published"])
def test_the_second_of_two_edits_of_anything_else_is_refused_too(
    visitor: Visitor, other: Visitor, client: Client, kind: str
) -> None:
    if kind == "user":
        client.create_user(item := unique("user"), metadata={"b": "2", "a": "1"})
    elif kind == "feature":
        item = consumable(client)
    else:
        client.create_package(item := unique("package"))
        client.publish_package(item)
    path = f"/{'package' if kind == 'published' else kind}/edit"
    mine, theirs = Sent(visitor, path, id=item), Sent(other, path, id=item)
    code = f"{path.split('/')[1]}-changed"
    typed = {"name": "Theirs", "metadata": "z=26\r\n b = 2"}
    for _ in range(2):  # Sent twice, it overwrites nothing.
        done(theirs.send(**typed), code)
    refused = mine.send(name="Mine")
    assert refused.status_code == 409
    text = Parsed(refused.text).text
    assert "Theirs Mine" in text
    assert ("Version 1, published 2, draft" in text) is (kind == "published")
    get: Callable[[str], Any] = {
        "user": client.get_user,
        "feature": client.get_feature,
        "published": client.get_package,
    }[kind]
    assert get(item).name == "Theirs"
    mine.fields = fields(refused.text)
    done(mine.send(), code)
    assert (get(item).name, dict(get(item).metadata)) == ("Mine", {"a": "1", "b": "2"} if kind == "user" else {})


def test_publishing_publishes_what_its_page_has_shown(visitor: Visitor, client: Client) -> None:
    package_id, counted = unique("package"), consumable(client)
    client.create_package(package_id, [of(counted, 10)])
    form = Sent(visitor, "/package/publish", id=package_id)
    client.update_package(package_id, features=[of(counted, 1)])
    refused = form.send()
    assert (refused.status_code, client.get_package(package_id).published_version) == (409, 0)
    assert f"{counted} 10 a month 1 a month" in Parsed(refused.text).text
    form.fields = fields(refused.text)
    for _ in range(2):
        done(form.send(), "published")
    assert client.get_package(package_id, version=1).features[0].limit == 1
    # Sent again after somebody has made the next version, it does not publish that.
    client.update_package(package_id, name="Next")
    assert form.send().status_code == 409
    assert client.get_package(package_id).status == v1.PACKAGE_STATUS_DRAFT


def test_subscriptions_are_moved_to_the_version_that_the_page_has_shown(visitor: Visitor, client: Client) -> None:
    counted = consumable(client)
    package_id = package(client, [of(counted, 10)])
    user_id = create_subscriber(client, package_id)
    publish(client, package_id, of(counted, 20))
    form = Sent(visitor, "/package/migrate", id=package_id)
    publish(client, package_id, of(counted, 1))
    assert form.send().status_code == 303
    assert versions(client, user_id) == [2]
