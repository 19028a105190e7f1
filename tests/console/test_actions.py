"""What visitors of the console do with users: each action once, with its key's rights only, and in the audit log."""

import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest

from canuse import v1
from support.authenticated_server import SCOPES, AuthenticatedServer
from support.console import Parsed, Visitor
from support.console_forms import Sent, audited, done, fields, wrong_fields
from support.message_clients import Client
from support.resources import grant, package, subscriber, unique

Visitors = Callable[[str], Visitor]
USERS = {"users:write", "catalog:write"}
ALLOWED = {
    "/user/subscribe": USERS,
    "/user/change-package": USERS,
    "/user/cancel": USERS,
    "/user/grant": USERS,
    "/user/revoke-grant": USERS,
    "/user/disable": USERS,
    "/user/enable": USERS,
    "/user/edit": USERS,
    "/user/new": USERS,
    "/user/token": USERS,
    "/user/revoke-tokens": USERS,
    "/user/delete": {"catalog:write"},
    "/user/record": {"usage:write"},
    "/user/take-back": set(),
}
"""The scopes of which each action of a user needs one; `take-back` needs two at once."""


def everything(client: Client, user_id: str, feature_id: str) -> dict[str, str]:
    """Use a feature and give a grant; return what the addresses of all actions of a user need."""
    client.use_feature(user_id, feature_id, 1)
    [subscription] = client.list_subscriptions(user_id)
    [event] = client.list_usage_events(user_id)
    ids = {"subscription": subscription.id, "grant": grant(client, user_id, feature_id, 1), "event": event.id}
    return {"id": user_id, "feature": feature_id, **ids}


def test_a_user_is_subscribed_once_however_often_the_form_is_sent(
    visitor: Visitor, client: Client, admin_key: str
) -> None:
    client.create_user(user_id := unique("user"))
    package_id = package(client, [])
    form = Sent(visitor, "/user/subscribe", id=user_id)
    assert "base package" in form.text
    for _ in range(2):
        done(form.send(package=package_id), "subscribed")
    [found] = client.list_subscriptions(user_id)
    assert found.package_id == package_id
    [entry] = audited(client, "Subscribe", user_id=user_id)
    assert (entry.caller_key_id, list(entry.subscription_ids)) == (admin_key, [found.id])
    page = visitor.page("/user", id=user_id, done="subscribed")
    assert "The user is subscribed." in page.text
    # A second base package is an error beside the field, and what was typed stays.
    again = Sent(visitor, "/user/subscribe", id=user_id).send(package=package(client, []), trial_end="2099-01-01T00:00")
    assert again.status_code == 400
    assert "ChangePackage replaces it in one step" in Parsed(again.text).text
    assert fields(again.text)["trial_end"] == "2099-01-01T00:00"
    assert "f-package-problem" in Parsed(again.text).attributes("select", "aria-describedby") + Parsed(
        again.text
    ).attributes("input", "aria-describedby")


def test_the_package_is_changed_and_a_subscription_cancelled(visitor: Visitor, client: Client, admin_key: str) -> None:
    user_id, _ = subscriber(client, 5)
    [before] = client.list_subscriptions(user_id)
    other = package(client, [])
    form = Sent(visitor, "/user/change-package", id=user_id)
    for _ in range(2):
        done(form.send(package=other), "changed-package")
    [entry] = audited(client, "ChangePackage", user_id=user_id)
    assert before.id in entry.subscription_ids
    current = next(each for each in client.list_subscriptions(user_id) if each.package_id == other)
    refused = Sent(visitor, "/user/cancel", subscription=current.id).send(when="end")
    assert (refused.status_code, "resets" in refused.text) == (400, True)
    form = Sent(visitor, "/user/cancel", subscription=current.id)
    assert other in form.text
    for _ in range(2):
        done(form.send(), "cancelled")
    assert {each.status for each in client.list_subscriptions(user_id)} == {v1.SUBSCRIPTION_STATUS_CANCELLED}
    [entry] = audited(client, "CancelSubscription", user_id=user_id)
    assert (entry.caller_key_id, list(entry.subscription_ids)) == (admin_key, [current.id])


def test_a_use_is_recorded_once_and_a_no_records_nothing(visitor: Visitor, client: Client) -> None:
    user_id, feature_id = subscriber(client, 10)
    form = Sent(visitor, "/user/record", id=user_id, feature=feature_id)
    for _ in range(2):
        done(form.send(amount="7"), "recorded")
    assert client.show_usage(user_id, feature_id).current.used == 7
    # The same form with another amount was another request: it is said, and the next time it counts.
    other = form.send(amount="2")
    assert (other.status_code, "sent before" in other.text) == (409, True)
    assert client.show_usage(user_id, feature_id).current.used == 7
    refused = Sent(visitor, "/user/record", id=user_id, feature=feature_id).send(amount="4")
    assert (refused.status_code, "budget exceeded" in refused.text) == (409, True)
    assert fields(refused.text)["amount"] == "4"
    assert client.show_usage(user_id, feature_id).current.used == 7
    done(Sent(visitor, "/user/record", id=user_id, feature=feature_id).send(amount="4", how="record"), "recorded")
    assert client.show_usage(user_id, feature_id).current.used == 11
    done(Sent(visitor, "/user/record", id=user_id, feature=feature_id).send(amount="-5"), "recorded")
    assert client.show_usage(user_id, feature_id).current.used == 6
    done(Sent(visitor, "/user/record", id=user_id, feature=feature_id).send(amount="1,000", how="set"), "recorded")
    assert client.show_usage(user_id, feature_id).current.used == 1000
    for typed in ({"amount": "x"}, {"amount": "0"}, {"feature": "unknown", "amount": "1"}):
        answer = Sent(visitor, "/user/record", id=user_id, feature=feature_id).send(**typed)
        assert answer.status_code in (400, 404)
        assert wrong_fields(answer) == [next(iter(typed))]
        assert fields(answer.text)["amount"] == typed["amount"]
    assert client.show_usage(user_id, feature_id).current.used == 1000


def test_an_event_is_taken_back_once(visitor: Visitor, client: Client) -> None:
    user_id, feature_id = subscriber(client, 10)
    client.use_feature(user_id, feature_id, 7, event_id="seven")
    client.use_feature(user_id, feature_id, 2)
    events = visitor.page("/user/events", id=user_id)
    links = [each for each in events.attributes("a", "href") if "/user/take-back" in each]
    assert len(links) == 2
    query = {name: values[0] for name, values in parse_qs(urlsplit(links[1]).query).items()}
    form = Sent(visitor, "/user/take-back", **query)
    assert "7 of" in form.text
    assert "as event seven" in form.text
    wrong = form.send(amount="8")
    assert (wrong.status_code, "must be 1 to 7" in wrong.text) == (400, True)
    for _ in range(2):
        done(form.send(), "taken-back")
    # Also by a form that was opened anew.
    done(Sent(visitor, "/user/take-back", **query).send(), "taken-back")
    part = Sent(visitor, "/user/take-back", **query).send(amount="3")
    assert (part.status_code, "already taken back" in part.text) == (409, True)
    assert client.show_usage(user_id, feature_id).current.used == 2
    newest = next(iter(client.list_usage_events(user_id)))
    assert (newest.applied_delta, newest.metadata["takes_back"]) == (-7, query["event"])
    assert visitor.get("/user/take-back", id=user_id, feature=feature_id, event="1-0").status_code == 400
    assert visitor.get("/user/take-back", id=user_id, feature=feature_id, event="x").status_code == 400


def test_a_grant_is_given_once_and_revoked(visitor: Visitor, client: Client, admin_key: str) -> None:
    user_id, feature_id = subscriber(client, 10)
    form = Sent(visitor, "/user/grant", id=user_id, feature=feature_id)
    for _ in range(2):
        done(form.send(amount="5", until="2099-01-01T00:00", note="for <you>"), "granted")
    [found] = client.list_grants(user_id)
    assert (found.amount, found.note, found.expires_at.ToJsonString()) == (5, "for <you>", "2099-01-01T00:00:00Z")
    [entry] = audited(client, "CreateGrant", user_id=user_id)
    assert (entry.caller_key_id, list(entry.grant_ids)) == (admin_key, [found.id])
    for typed, wrong in (
        ({"amount": "0"}, "amount"),
        ({"amount": "many"}, "amount"),
        ({"grant": ""}, "grant"),
        ({"grant": found.id, "amount": "6"}, "grant"),
        ({"until": "2001-01-01T00:00"}, "until"),
        ({"priority": "-1"}, "priority"),
        ({"feature": "unknown"}, "feature"),
    ):
        answer = Sent(visitor, "/user/grant", id=user_id, feature=feature_id).send(**typed)
        assert answer.status_code in (400, 404, 409)
        assert wrong_fields(answer) == [wrong]
    form = Sent(visitor, "/user/revoke-grant", id=user_id, grant=found.id)
    assert feature_id in form.text
    for _ in range(2):
        done(form.send(), "grant-revoked")
    [found] = client.list_grants(user_id)
    assert found.HasField("revoked_at")
    [entry] = audited(client, "RevokeGrant", user_id=user_id)
    assert entry.caller_key_id == admin_key
    assert visitor.get("/user/revoke-grant", id=user_id, grant="unknown").status_code == 404


def test_a_user_is_created_changed_disabled_enabled_and_deleted(
    visitor: Visitor, client: Client, admin_key: str
) -> None:
    user_id = unique("user")
    form = Sent(visitor, "/user/new")
    for _ in range(2):
        done(form.send(user=user_id, name="Ada", metadata="a=1\n b = 2=3 "), "user-created")
    found = client.get_user(user_id)
    assert (found.name, dict(found.metadata)) == ("Ada", {"a": "1", "b": "2=3"})
    taken = Sent(visitor, "/user/new").send(user=user_id, name="Grace")
    assert (taken.status_code, "USER_EXISTS" in taken.text or "update the user" in taken.text) == (409, True)
    form = Sent(visitor, "/user/edit", id=user_id)
    assert (form.fields["name"], form.fields["metadata"]) == ("Ada", "a=1\nb=2=3")
    done(form.send(name="", email="a@example.com"), "user-changed")
    assert (client.get_user(user_id).name, client.get_user(user_id).email) == ("", "a@example.com")
    for typed in ({"metadata": "no pair"}, {"metadata": "a=1\na=2"}, {"name": "x" * 257}):
        answer = Sent(visitor, "/user/edit", id=user_id).send(**typed)
        assert answer.status_code == 400
        [wrong] = wrong_fields(answer)
        assert fields(answer.text)[wrong] == typed[wrong]
    for action, code, is_disabled in (("disable", "disabled", True), ("enable", "enabled", False)):
        form = Sent(visitor, f"/user/{action}", id=user_id)
        for _ in range(2):
            done(form.send(), code)
        assert client.get_user(user_id).disabled is is_disabled
    form = Sent(visitor, "/user/delete", id=user_id)
    for typed_id in ("", "delete", user_id.upper()):
        answer = form.send(confirm=typed_id)
        assert (answer.status_code, "must be exactly" in answer.text) == (400, True)
    assert client.get_user(user_id).id == user_id
    for _ in range(2):
        done(form.send(confirm=user_id), "deleted")
    assert visitor.get("/user", id=user_id).status_code == 404
    entries = list(client.list_audit_entries(user_id=user_id))
    methods = [each.method.rpartition("/")[2] for each in entries]
    assert methods == ["DeleteUser", "UpdateUser", "UpdateUser", "UpdateUser", "CreateUser"]
    assert {each.caller_key_id for each in entries} == {admin_key}


def test_a_user_token_is_shown_once_and_all_are_revoked(visitor: Visitor, client: Client, admin_key: str) -> None:
    user_id, feature_id = subscriber(client, 10)
    answer = Sent(visitor, "/user/token", id=user_id).send(ttl="300")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    [token] = set(re.findall(r"utk_[\w.-]+", answer.text))
    assert "location" not in answer.headers
    allowed = {"authorization": f"Bearer {token}"}
    url = "/canuse.v1.EntitlementService/CanUse"
    body = {"userId": user_id, "featureId": feature_id}
    assert visitor.http.post(url, json=body, headers=allowed).status_code == 200
    done(Sent(visitor, "/user/revoke-tokens", id=user_id).send(), "tokens-revoked")
    assert visitor.http.post(url, json=body, headers=allowed).status_code == 401
    [entry] = audited(client, "RevokeUserTokens", user_id=user_id)
    assert entry.caller_key_id == admin_key


@pytest.mark.parametrize("scope", [*SCOPES, "usage:write entitlements:read"])
def test_an_action_that_a_key_does_not_permit_is_not_offered_and_refused_all_the_same(
    server: AuthenticatedServer, visitors: Visitors, client: Client, scope: str
) -> None:
    scopes = set(scope.split())
    visitor = visitors(server.key(sorted(scopes)).secret)
    user_id, feature_id = subscriber(client, 10)
    query = everything(client, user_id, feature_id)
    offered = set()
    for path in ("/user", "/user/events", "/users"):
        answer = visitor.get(path, id=user_id)
        if answer.status_code == 200:
            hrefs = Parsed(answer.text).attributes("a", "href")
            offered |= {urlsplit(href).path.removeprefix("/console") for href in hrefs} & set(ALLOWED)
    for path, needed in ALLOWED.items():
        is_allowed = bool(scopes & needed) or (path == "/user/take-back" and len(scopes) == 2)
        # An enabled user is not to be enabled.
        assert (path in offered) is (is_allowed and path != "/user/enable"), path
        assert visitor.get(path, **query).status_code == (200 if is_allowed else 403), path
        if not is_allowed:
            refused = visitor.http.post(
                f"/console{path}", params=query, data={"token": visitor.token(), "confirm": user_id, "user": "new"}
            )
            assert (path, refused.status_code, "SCOPE_MISSING" in refused.text) == (path, 403, True)
    assert client.get_user(user_id).disabled is False
    assert client.show_usage(user_id, feature_id).current.used == 1


@pytest.mark.parametrize("path", [path for path in ALLOWED if path != "/user/enable"])
def test_a_form_without_the_visitors_token_does_nothing(
    visitor: Visitor, visitors: Visitors, server: AuthenticatedServer, client: Client, path: str
) -> None:
    user_id, feature_id = subscriber(client, 10)
    query = everything(client, user_id, feature_id)
    form = Sent(visitor, path, **query)
    before = len(audited(client, "", user_id=user_id))
    for token in ("", visitors(server.admin).token()):
        refused = form.send(token=token, **({"confirm": user_id} if path == "/user/delete" else {}))
        assert (refused.status_code, "out of date" in refused.text) == (403, True)
    assert len(audited(client, "", user_id=user_id)) == before
    assert client.show_usage(user_id, feature_id).current.used == 1


def test_actions_of_an_unknown_user_are_an_error(visitor: Visitor) -> None:
    for path in ("/user/subscribe", "/user/record", "/user/grant", "/user/disable", "/user/delete", "/user/edit"):
        answer = visitor.get(path, id="nobody")
        assert (path, answer.status_code, "USER_NOT_FOUND" in answer.text) == (path, 404, True)


def test_a_page_says_only_texts_of_its_own_after_an_action(visitor: Visitor) -> None:
    assert "notice" not in visitor.get("/users", done="you won").text
    assert "you won" not in visitor.get("/users", done="you won").text
