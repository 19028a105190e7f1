"""What visitors of the console do with the catalogue: features, packages, and what publishing would take from whom."""

from collections.abc import Callable

import pytest

from canuse import v1
from support.authenticated_server import SCOPES, AuthenticatedServer
from support.console import Parsed, Visitor
from support.console_forms import Sent, audited, done, fields, wrong_fields
from support.message_clients import Client
from support.migrations import create_subscriber, of
from support.resources import binary, consumable, package, subscriber, unique

Visitors = Callable[[str], Visitor]
READS_AND_WRITES = {"catalog:read", "catalog:write"}
ALLOWED = {
    "/feature/new": {"catalog:write"},
    "/feature/edit": READS_AND_WRITES,
    "/feature/archive": READS_AND_WRITES,
    "/package/new": {"catalog:write"},
    "/package/edit": READS_AND_WRITES,
    "/package/publish": READS_AND_WRITES,
    "/package/archive": READS_AND_WRITES,
}
"""The scopes that each action needs, all of them."""


def test_a_feature_is_created_once_changed_and_archived(visitor: Visitor, client: Client, admin_key: str) -> None:
    feature_id = unique("feature")
    form = Sent(visitor, "/feature/new")
    typed = {"feature": feature_id, "type": "FEATURE_TYPE_CONSUMABLE", "name": "Messages", "unit": "message"}
    for _ in range(2):
        done(form.send(**typed, metadata="tier=<1>"), "feature-created")
    found = client.get_feature(feature_id)
    assert (found.name, found.unit_label, dict(found.metadata)) == ("Messages", "message", {"tier": "<1>"})
    taken = Sent(visitor, "/feature/new").send(**{**typed, "name": "Other"})
    assert (taken.status_code, wrong_fields(taken), fields(taken.text)["name"]) == (409, ["feature"], "Other")
    for wrong, answer in {
        "type": Sent(visitor, "/feature/new").send(feature=unique()),
        "feature": Sent(visitor, "/feature/new").send(feature="", type="FEATURE_TYPE_BINARY"),
        "unit": Sent(visitor, "/feature/new").send(**{**typed, "feature": unique(), "unit": "x" * 300}),
        "on_unavailable": Sent(visitor, "/feature/new").send(**{**typed, "feature": unique(), "on_unavailable": "x"}),
    }.items():
        assert (answer.status_code, wrong_fields(answer)) == (400, [wrong])
    form = Sent(visitor, "/feature/edit", id=feature_id)
    assert (form.fields["name"], form.fields["metadata"]) == ("Messages", "tier=<1>")
    for _ in range(2):
        done(form.send(name="", on_unavailable="ON_UNAVAILABLE_ALLOW", metadata=""), "feature-changed")
    found = client.get_feature(feature_id)
    assert (found.name, found.on_unavailable, dict(found.metadata)) == ("", v1.ON_UNAVAILABLE_ALLOW, {})
    form = Sent(visitor, "/feature/archive", id=feature_id)
    assert "Nobody would lose anything." in form.text
    answer = form.send(confirm="yes")
    assert (answer.status_code, wrong_fields(answer)) == (400, ["confirm"])
    assert not client.get_feature(feature_id).archived
    for _ in range(2):
        done(form.send(confirm=feature_id), "feature-archived")
    assert client.get_feature(feature_id).archived
    entries = [each for each in client.list_audit_entries(caller_key_id=admin_key) if feature_id in each.feature_ids]
    methods = [each.method.rpartition("/")[2] for each in entries]
    assert methods == ["ArchiveFeature", "UpdateFeature", "CreateFeature"]


def test_archiving_a_feature_says_before_which_users_lose_it(visitor: Visitor, client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    form = Sent(visitor, "/feature/archive", id=feature_id)
    assert "Who would lose what, at once" in form.text
    assert f"{feature_id} Copy {feature_id} 1" in form.text
    lost = f"{user_id} Copy {user_id} {feature_id} Copy {feature_id} 5 a month nothing"
    assert lost in form.text
    assert lost in visitor.page("/feature/losses", id=feature_id).text


def test_a_package_is_created_as_a_draft_changed_published_and_archived(
    visitor: Visitor, client: Client, admin_key: str
) -> None:
    package_id, counted, switch = unique("package"), consumable(client), binary(client)
    form = Sent(visitor, "/package/new")
    typed = {"package": package_id, "name": "Pro", "feature.0": counted, "limit.0": "1,000", "overage.0": "on"}
    for _ in range(2):
        done(form.send(**typed, **{"period.0": "RESET_PERIOD_MONTH", "feature.2": switch}), "package-created")
    draft = client.get_package(package_id)
    assert draft.status == v1.PACKAGE_STATUS_DRAFT
    first, second = draft.features
    assert (first.limit, first.reset_period, first.overage_enabled) == (1000, v1.RESET_PERIOD_MONTH, True)
    assert (second.feature_id, second.HasField("limit")) == (switch, False)
    taken = Sent(visitor, "/package/new").send(package=package_id)
    assert (taken.status_code, wrong_fields(taken)) == (409, ["package"])
    form = Sent(visitor, "/package/publish", id=package_id)
    assert f"Publish {package_id}, version 1" in form.text
    for _ in range(2):
        done(form.send(), "published")
    assert client.get_package(package_id).published_version == 1
    form = Sent(visitor, "/package/edit", id=package_id)
    assert (form.fields["limit.0"], form.fields["overage.0"], form.fields["feature.1"]) == ("1000", "on", switch)
    assert "This becomes a draft of version 2" in form.text
    assert "type" not in form.fields
    for _ in range(2):
        done(form.send(**{"limit.0": "10", "feature.1": ""}), "package-changed")
    after = client.get_package(package_id)
    assert (after.version, after.published_version, len(after.features)) == (2, 1, 1)
    form = Sent(visitor, "/package/archive", id=package_id)
    answer = form.send(confirm="x")
    assert (answer.status_code, wrong_fields(answer)) == (400, ["confirm"])
    for _ in range(2):
        done(form.send(confirm=package_id), "package-archived")
    assert client.get_package(package_id).status == v1.PACKAGE_STATUS_ARCHIVED
    entries = [each for each in client.list_audit_entries(caller_key_id=admin_key) if package_id in each.package_ids]
    methods = [each.method.rpartition("/")[2] for each in entries]
    assert methods == ["ArchivePackage", "UpdatePackage", "PublishPackage", "CreatePackage"]


def test_an_error_in_a_row_of_a_package_is_shown_in_that_row(visitor: Visitor, client: Client) -> None:
    counted, switch = consumable(client), binary(client)
    for typed, wrong in (
        ({"feature.0": counted, "feature.3": counted, "limit.3": "-1"}, ["limit.3"]),
        ({"feature.1": counted, "limit.1": "few"}, ["limit.1"]),
        ({"feature.1": switch, "limit.1": "5"}, ["limit.1"]),
        ({"feature.0": counted, "feature.2": "unknown"}, ["feature.2"]),
        ({"limit.0": "5"}, ["feature.0"]),
        ({"feature.1": counted, "period.1": "x"}, ["period.1"]),
    ):
        answer = Sent(visitor, "/package/new").send(package=unique("package"), **typed)
        assert answer.status_code in (400, 404), typed
        if wrong != ["limit.3"]:  # The same feature twice is named as well, above the form.
            assert wrong_fields(answer) == wrong
        kept = {name: value for name, value in typed.items() if not name.startswith("period")}
        assert kept.items() <= fields(answer.text).items()
    more = Sent(visitor, "/package/new")
    more.fields["more"] = "1"
    answer = more.send(name="Kept", **{"feature.3": counted})
    assert answer.status_code == 200
    assert (fields(answer.text)["name"], fields(answer.text)["feature.3"]) == ("Kept", counted)
    assert "feature.7" in fields(answer.text)


def test_publishing_says_before_who_would_lose_what(visitor: Visitor, client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    kept = consumable(client)
    [package_id] = [each.id for each in client.list_packages() if feature_id in {e.feature_id for e in each.features}]
    lower = [v1.PackageFeature(feature_id=feature_id, limit=4, reset_period=v1.RESET_PERIOD_MONTH)]
    client.update_package(package_id, features=[*lower, v1.PackageFeature(feature_id=kept, limit=1)])
    form = Sent(visitor, "/package/publish", id=package_id)
    assert f"{feature_id} Copy {feature_id} 5 a month 4 a month changed" in form.text
    assert f"{kept} Copy {kept} not in it 1 in total added" in form.text
    assert f"{feature_id} Copy {feature_id} 1" in form.text
    assert f"{user_id} Copy {user_id} {feature_id} Copy {feature_id} 5 a month 4 a month" in form.text
    assert "Publishing takes nothing from anybody" in form.text
    assert "All who would lose something" not in form.text
    assert "user was looked at" in form.text or "users were looked at" in form.text
    # The dry run has changed nothing.
    assert client.get_package(package_id).published_version == 1


def test_all_who_would_lose_something_are_on_pages_of_their_own(
    server: AuthenticatedServer, visitor: Visitor, visitors: Visitors, client: Client
) -> None:
    counted, switch = consumable(client), binary(client)
    package_id = package(client, [of(counted, 10), v1.PackageFeature(feature_id=switch)])
    users = {create_subscriber(client, package_id) for _ in range(110)}
    client.update_package(package_id, features=[of(counted, 9)])
    publish = visitor.page("/package/publish", id=package_id)
    [href] = [each for each in publish.attributes("a", "href") if "/package/losses" in each]
    # The first ones are named on the form.
    assert len(losers(publish)) == 10
    found: list[str] = []
    pages = []
    while True:
        answer = visitor.http.get(href)
        assert answer.status_code == 200
        page = Parsed(answer.text)
        found += losers(page)
        pages.append(len(losers(page)))
        further = [each for each in page.attributes("a", "href") if "page_token" in each]
        if not further:
            break
        [href] = further
    assert len(pages) > 2
    assert pages[0] == 50
    assert (set(found), len(found)) == (users, len(users))
    # The draft is changed while somebody reads on: they begin anew.
    first = visitor.page("/package/losses", id=package_id)
    [href] = [each for each in first.attributes("a", "href") if "page_token" in each]
    client.update_package(package_id, features=[of(counted, 8)])
    assert visitor.http.get(href).headers["location"] == f"/console/package/losses?id={package_id}"
    assert visitors(server.key(["catalog:read"]).secret).get("/package/losses", id=package_id).status_code == 403


def losers(page: Parsed) -> list[str]:
    """Return the ids of the users that a page names, each once."""
    hrefs = page.attributes("a", "href")
    return list(dict.fromkeys(each.partition("=")[2] for each in hrefs if each.startswith("/console/user?id=")))


@pytest.mark.parametrize("scope", [*SCOPES, "catalog:read catalog:write"])
def test_an_action_that_a_key_does_not_permit_is_not_offered_and_refused_all_the_same(
    server: AuthenticatedServer, visitors: Visitors, client: Client, scope: str
) -> None:
    scopes = set(scope.split())
    visitor = visitors(server.key(sorted(scopes)).secret)
    feature_id, package_id = consumable(client), unique("package")
    client.create_package(package_id)
    offered = set()
    for path, item in (("/features", ""), ("/packages", ""), ("/feature", feature_id), ("/package", package_id)):
        answer = visitor.get(path, id=item)
        if answer.status_code == 200:
            hrefs = Parsed(answer.text).attributes("a", "href")
            offered |= {href.partition("?")[0].removeprefix("/console") for href in hrefs} & set(ALLOWED)
    for path, needed in ALLOWED.items():
        item = feature_id if path.startswith("/feature") else package_id
        is_allowed = needed <= scopes
        # The pages with the links need catalog:read.
        assert (path in offered) is (is_allowed and "catalog:read" in scopes), path
        assert visitor.get(path, id=item).status_code == (200 if is_allowed else 403), path
        if not is_allowed:
            refused = visitor.http.post(
                f"/console{path}", params={"id": item}, data={"token": visitor.token(), "confirm": item}
            )
            assert (path, refused.status_code, "SCOPE_MISSING" in refused.text) == (path, 403, True)
    assert not client.get_feature(feature_id).archived
    assert client.get_package(package_id).status == v1.PACKAGE_STATUS_DRAFT


@pytest.mark.parametrize("path", ALLOWED)
def test_a_form_without_the_visitors_token_does_nothing(
    server: AuthenticatedServer, visitor: Visitor, visitors: Visitors, client: Client, path: str
) -> None:
    item = consumable(client) if path.startswith("/feature") else package(client, [])
    if path.startswith("/package"):
        client.update_package(item, name="a draft")
    form = Sent(visitor, path, id=item)
    before = [each.id for each in audited(client, "")]
    for token in ("", visitors(server.admin).token()):
        refused = form.send(token=token)
        assert (refused.status_code, "out of date" in refused.text) == (403, True)
    assert [each.id for each in audited(client, "")] == before
