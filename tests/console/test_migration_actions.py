"""Moving subscriptions in the console: counted before, in steps that go on after a reload, and by nobody's link."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from canuse_server.transport.http.console.actions.catalog.migration import Progress
from canuse_server.transport.http.console.sessions import Visitor as Session
from support.authenticated_server import SCOPES, AuthenticatedServer
from support.console import Parsed, Visitor
from support.console_forms import Sent, audited
from support.message_clients import Client
from support.migrations import create_subscriber, of, publish, versions
from support.resources import consumable, package, unique

Visitors = Callable[[str], Visitor]
USERS = 1200
"""More than a migration moves before its first message."""


def query_of(address: str) -> dict[str, str]:
    """Return the query of an address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def proof(visitor: Visitor, progress: Progress) -> str:
    """Return what an address of the visitor's own pages has."""
    return Session(visitor.http.cookies["canuse_console"]).sign(progress.text)


def test_subscriptions_are_counted_named_and_moved(visitor: Visitor, client: Client, admin_key: str) -> None:
    feature_id = consumable(client)
    package_id = package(client, [of(feature_id, 10)])
    users = [create_subscriber(client, package_id) for _ in range(3)]
    publish(client, package_id, of(feature_id, 5))
    form = Sent(visitor, "/package/migrate", id=package_id)
    for part in ("would be moved 3", "get less than before 3", *users):
        assert part in form.text
    assert [versions(client, user_id) for user_id in users] == [[1]] * 3
    answer = form.send()
    assert answer.status_code == 303
    address = answer.headers["location"]
    for _ in range(2):  # A reload shows the same.
        page = Parsed(visitor.http.get(address).text)
        assert "3 subscriptions moved to version 2" in page.text
        assert "All subscriptions are moved." in page.text
        assert "data-go-on" not in {name for _, attributes in page.elements for name in attributes}
    assert [versions(client, user_id) for user_id in users] == [[2]] * 3
    assert query_of(form.send().headers["location"]).get("migrated") is None
    entries = audited(client, "MigrateSubscriptions", users[0])
    assert [each.caller_key_id for each in entries] == [admin_key]
    back = Sent(visitor, "/package/migrate", id=package_id, **{"from": "2", "to": "1"})
    assert "would be moved 3" in back.text
    assert back.send().status_code == 303
    assert versions(client, users[0]) == [1]


def test_a_migration_goes_on_from_its_address_and_by_itself_only_in_its_own_session(
    server: AuthenticatedServer, visitor: Visitor, visitors: Visitors, client: Client
) -> None:
    feature_id = consumable(client)
    package_id, prefix = package(client, [of(feature_id, 10)]), unique("user")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: client.ensure_user(f"{prefix}-{number}", package_id=package_id), range(USERS)))
    publish(client, package_id, of(feature_id, 20))
    first = next(iter(client.migrate_subscriptions(package_id, to_version=2)))
    assert not first.done
    assert first.users < USERS + 500
    # As the page after the first step is. Another browser, and a browser of somebody else, only show it.
    progress = Progress(*(package_id, 0, 2, first.users + 999, first.users, first.migrated), resume=first.resume_token)
    own = {**parse_form(progress), "proof": proof(visitor, progress)}
    for query, goes_on in ((own, True), ({**own, "total": "7"}, False), ({**own, "proof": ""}, False)):
        page = Parsed(visitor.get("/package/migration", **query).text)
        names = {name for _, attributes in page.elements for name in attributes}
        assert ("data-go-on" in names) is goes_on
        assert f"{first.migrated:,} subscriptions moved to version 2" in page.text
        assert page.attributes("progress", "value")
    other = visitors(server.admin).get("/package/migration", **own)
    assert (other.status_code, "data-go-on" in other.text) == (200, False)
    form = Sent(visitors(server.admin), "/package/migration", **own)
    answer = form.send()
    assert answer.status_code == 303
    while "finished" not in (query := query_of(answer.headers["location"])):
        answer = Sent(visitor, "/package/migration", **query).send()
    assert "All subscriptions are moved." in visitor.http.get(answer.headers["location"]).text
    assert all(each.package_version == 2 for each in client.list_subscriptions(package_id=package_id))


def parse_form(progress: Progress) -> dict[str, str]:
    """Return the query of a progress."""
    return {name: values[0] for name, values in parse_qs(progress.text).items()}


def test_what_cannot_be_moved_is_an_error(visitor: Visitor, client: Client) -> None:
    package_id = package(client, [])
    for query in ({"to": "9"}, {"from": "1", "to": "1"}, {"from": "x"}):
        answer = visitor.get("/package/migrate", id=package_id, **query)
        assert answer.status_code in (400, 404)
    assert visitor.get("/package/migrate", id="unknown").status_code == 404
    answer = Sent(visitor, "/package/migration", id=package_id, to_version="1", resume="made up").send()
    assert (answer.status_code, "resume_token" in answer.text) == (400, True)
    assert "data-go-on" not in answer.text


@pytest.mark.parametrize("scope", SCOPES)
def test_only_keys_that_write_the_catalogue_move_subscriptions(
    server: AuthenticatedServer, visitor: Visitor, visitors: Visitors, client: Client, scope: str
) -> None:
    package_id = package(client, [])
    user_id = create_subscriber(client, package_id)
    publish(client, package_id, of(consumable(client), 1))
    other = visitors(server.key([scope]).secret)
    for path in ("/package/migrate", "/package/migration"):
        query = {"id": package_id, "to_version": "2"}
        is_allowed = scope == "catalog:write" and path == "/package/migration"
        if not is_allowed:
            assert other.get(path, **query).status_code == 403
            url = f"/console{path}?{urlencode(query)}"
            assert other.http.post(url, data={"token": other.token()}).status_code == 403
        assert Sent(visitor, path, **query).send(token=other.token()).status_code == 403
    assert versions(client, user_id) == [1]
