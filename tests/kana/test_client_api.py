"""Kana's Client API: what one user has, as Kana's client for web pages asks for it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from canuse import v1
from support.authenticated_server import PUBLISHABLE_KEYS, AuthenticatedServer, authenticated_server
from support.kana import ADMIN, CLIENT, Kana
from support.load import used
from support.message_clients import Client
from support.processes import Canuse
from support.resources import Clock, binary, consumable, package, unique

CURRENT_USER = (
    "query CurrentUser { currentUser { id name email subscribedPackages { id name isAddon features { id name type "
    "entitlement { access consumption { budget used } } } } } }"
)
NOW = datetime(2033, 5, 1, tzinfo=UTC)


def of_user(http: httpx.Client, user_id: str, **headers: str) -> Kana:
    """Return a caller of the Client API about a user."""
    return Kana(http, CLIENT, {"x-user-id": user_id, "x-api-version": "0.1", **headers})


def entitlements(kana: Kana) -> dict[str, dict[str, dict[str, object]]]:
    """Return the entitlements of a user by package and feature."""
    packages = kana.ask(CURRENT_USER)["currentUser"]["subscribedPackages"]
    return {each["id"]: {feature["id"]: feature["entitlement"] for feature in each["features"]} for each in packages}


def test_a_user_with_packages_features_and_what_is_left(http: httpx.Client, client: Client) -> None:
    user_id, feature_id, switch_id = unique("user"), consumable(client), binary(client)
    client.create_user(user_id, name="N", email="e@x")
    base = package(client, [v1.PackageFeature(feature_id=feature_id, limit=2), v1.PackageFeature(feature_id=switch_id)])
    client.subscribe(user_id, [base])
    kana = of_user(http, user_id)

    def shown(access: bool, used: int) -> dict[str, object]:
        consumption = {"budget": 2, "used": used}
        features = [
            {"id": feature_id, "type": "CONSUMABLE", "entitlement": {"access": access, "consumption": consumption}},
            {"id": switch_id, "type": "BINARY", "entitlement": {"access": True, "consumption": None}},
        ]
        features = [{"name": feature["id"], **feature} for feature in features]
        packages = [{"id": base, "name": base, "isAddon": False, "features": features}]
        return {"currentUser": {"id": user_id, "name": "N", "email": "e@x", "subscribedPackages": packages}}

    assert kana.ask(CURRENT_USER) == shown(access=True, used=0)
    client.create_usage_event(user_id, feature_id, 2)
    assert kana.ask(CURRENT_USER) == shown(access=False, used=2)
    assert used(client, user_id, feature_id) == 2


def test_a_feature_of_several_packages_has_the_same_entitlement_in_each(http: httpx.Client, client: Client) -> None:
    user_id, feature_id = unique("user"), consumable(client)
    client.create_user(user_id)
    entry = v1.PackageFeature(feature_id=feature_id, limit=1)
    base = package(client, [entry])
    addon = package(client, [v1.PackageFeature(feature_id=feature_id)], v1.PACKAGE_TYPE_ADD_ON)
    client.subscribe(user_id, [base, addon])
    unlimited = {feature_id: {"access": True, "consumption": {"budget": None, "used": 0}}}
    assert entitlements(of_user(http, user_id)) == {base: unlimited, addon: unlimited}


def test_only_packages_that_give_access_now_are_listed(http: httpx.Client, client: Client, clock: Clock) -> None:
    clock.set(NOW)
    user_id = unique("user")
    client.create_user(user_id)

    def addon() -> str:
        return package(client, [v1.PackageFeature(feature_id=binary(client))], v1.PACKAGE_TYPE_ADD_ON)

    now, trial, late, unpaid, ended = (addon() for _ in range(5))
    client.subscribe(user_id, [now])
    client.subscribe(user_id, [trial], trial_end=NOW + timedelta(days=2))
    client.subscribe(user_id, [late], started_at=NOW + timedelta(days=1))
    client.subscribe(user_id, [unpaid], status=v1.SUBSCRIPTION_STATUS_UNPAID)
    [subscription] = client.subscribe(user_id, [ended])
    client.cancel_subscription(subscription.id)
    kana = of_user(http, user_id)
    assert entitlements(kana).keys() == {now, trial}
    clock.advance(days=3)
    assert entitlements(kana).keys() == {now, late}


def test_subscribers_see_the_version_that_they_have(http: httpx.Client, client: Client) -> None:
    user_id, feature_id, other_id = unique("user"), consumable(client), binary(client)
    client.create_user(user_id)
    base = package(client, [v1.PackageFeature(feature_id=feature_id, limit=2)])
    client.subscribe(user_id, [base])
    client.update_package(base, features=[v1.PackageFeature(feature_id=other_id)])
    client.publish_package(base)
    assert entitlements(of_user(http, user_id))[base].keys() == {feature_id}


def test_who_is_asked_about_has_to_be_said(http: httpx.Client) -> None:
    error = Kana(http, CLIENT).error(CURRENT_USER)
    assert error["message"].startswith("Unauthenticated")
    assert error["extensions"]["exception"]["name"] == "AuthenticationError"
    error = of_user(http, "nobody").error(CURRENT_USER)
    assert error["extensions"]["exception"]["name"] == "UserNotFoundError"


@pytest.mark.parametrize("query", ["{ users { id } }", 'mutation { createUser(input: {id: "x"}) { id } }'])
def test_there_is_nothing_else_in_it(http: httpx.Client, query: str) -> None:
    assert of_user(http, "nobody").error(query)["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"


def test_amounts_beyond_32_bits_are_an_error(http: httpx.Client, client: Client) -> None:
    user_id, feature_id = unique("user"), consumable(client)
    client.create_user(user_id)
    client.subscribe(user_id, [package(client, [v1.PackageFeature(feature_id=feature_id, limit=1 << 40)])])
    assert "beyond 32 bits" in of_user(http, user_id).message(CURRENT_USER)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthenticatedServer]:
    """A server that requires keys."""
    env = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0", **PUBLISHABLE_KEYS}
    canuse = Canuse(tmp_path_factory.mktemp("guarded"), "--clock", "manual", env=env)
    with authenticated_server(canuse) as server:
        yield server


@pytest.mark.parametrize("path", [ADMIN, CLIENT])
@pytest.mark.parametrize("credentials", ["", "Bearer", "prv_test_x", "sk_live_x", "Basic eDp5"])
def test_bad_credentials_are_told_before_the_body_is_read(
    guarded: AuthenticatedServer, path: str, credentials: str
) -> None:
    headers = {"authorization": credentials} if credentials else {}
    answer = httpx.post(guarded.canuse.http_url + path, content=b"no JSON", headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (200, "Bearer")
    [error] = answer.json()["errors"]
    assert error["message"].startswith("Unauthenticated")
    assert error["extensions"]["code"] == "UNAUTHENTICATED"
    # What needs a key is what was called, and no method that the caller has never heard of.
    assert (f"{path} needs an API key" in error["message"]) is (
        credentials in ("", "Bearer", "Basic eDp5", "prv_test_x")
    )


def test_a_key_works_bare_and_with_bearer_and_reaches_its_environment_only(guarded: AuthenticatedServer) -> None:
    test_key = guarded.key(environment=v1.ENVIRONMENT_TEST).secret
    user_id = unique("user")
    with httpx.Client(base_url=guarded.canuse.http_url) as http:
        for number, key in enumerate((guarded.admin, f"Bearer {guarded.admin}", f"bearer {guarded.admin}")):
            made = Kana(http, headers={"authorization": key})
            made.ask(f'mutation {{ createUser(input: {{ id: "{user_id}-{number}" }}) {{ id }} }}')
        assert Kana(http, headers={"authorization": test_key}).ask("{ users { id } }") == {"users": []}
        with guarded.client() as client:
            client.create_user(user_id, name="N")
        user = of_user(http, user_id, authorization=guarded.admin).ask("{ currentUser { id name } }")
        assert user == {"currentUser": {"id": user_id, "name": "N"}}
        # Who may read entitlements only is not told the user's name.
        reader = guarded.key(("entitlements:read",)).secret
        user = of_user(http, user_id, authorization=reader).ask("{ currentUser { id name email } }")
        assert user == {"currentUser": {"id": user_id, "name": None, "email": None}}
        other = of_user(http, user_id, authorization=test_key).error(CURRENT_USER)
        assert other["extensions"]["exception"]["name"] == "UserNotFoundError"


def test_the_scopes_of_a_key_are_those_of_the_methods(guarded: AuthenticatedServer) -> None:
    with guarded.client() as client:
        user_id = unique("user")
        client.create_user(user_id)
        feature_id = consumable(client)
        client.subscribe(user_id, [package(client, [v1.PackageFeature(feature_id=feature_id, limit=5)])])
    with httpx.Client(base_url=guarded.canuse.http_url) as http:
        key = guarded.key(("usage:write",)).secret
        recorder = Kana(http, headers={"authorization": key})
        record = f'createUsageEvent(input: {{ userId: "{user_id}", featureId: "{feature_id}" }})'
        assert recorder.ask(f"mutation {{ {record} }}") == {"createUsageEvent": True}
        for query in (
            "{ users { id } }",
            f'{{ canUseFeature(userId: "{user_id}", featureId: "{feature_id}") {{ access }} }}',
        ):
            error = recorder.error(query)
            assert (error["extensions"]["code"], error["extensions"]["reason"]) == ("FORBIDDEN", "SCOPE_MISSING")
        refused = Kana(http, CLIENT, {"authorization": key, "x-user-id": user_id}).error(CURRENT_USER)
        assert refused["extensions"]["code"] == "FORBIDDEN"


TOKEN = "mutation m($userId: String!) { generateUserToken(userId: $userId) { token } }"


@pytest.fixture
def users(guarded: AuthenticatedServer) -> tuple[str, str]:
    """Two users with names."""
    user_ids = unique("user"), unique("user")
    with guarded.client() as client:
        for user_id in user_ids:
            client.create_user(user_id, name=f"name of {user_id}")
            client.subscribe(user_id, [package(client, [v1.PackageFeature(feature_id=binary(client))])])
    return user_ids


def check_of(server: AuthenticatedServer, user_id: str) -> str:
    """Return a check that a secret key may make; it is also one that other credentials permit, by another door."""
    with server.client() as client:
        [entitlement] = client.list_entitlements(user_id)
    query = f'{{ canUseFeature(userId: "{user_id}", featureId: "{entitlement.feature_id}") {{ access }} }}'
    with httpx.Client(base_url=server.canuse.http_url) as http:
        assert Kana(http, headers={"authorization": server.admin}).ask(query) == {"canUseFeature": {"access": True}}
    return query


def test_a_token_of_a_user_shows_that_user_whatever_else_is_sent(
    guarded: AuthenticatedServer, users: tuple[str, str]
) -> None:
    own, other = users
    with httpx.Client(base_url=guarded.canuse.http_url) as http:
        admin = Kana(http, headers={"authorization": guarded.admin})
        token = admin.ask(TOKEN, {"userId": own})["generateUserToken"]["token"]
        assert admin.ask(f'mutation {{ generateUserToken(userId: "{own}") }}')["generateUserToken"].keys() == {"token"}
        bearer = {"authorization": f"Bearer {token}"}
        expected = {"currentUser": {"id": own, "name": f"name of {own}"}}
        for headers in (bearer, {"authorization": token}, {**bearer, "x-user-id": other}):
            assert Kana(http, CLIENT, headers).ask("{ currentUser { id name } }") == expected
        assert len(Kana(http, CLIENT, bearer).ask(CURRENT_USER)["currentUser"]["subscribedPackages"]) == 1
        refused = Kana(http, ADMIN, bearer).error(check_of(guarded, own))
        assert refused["extensions"]["reason"] == "SECRET_KEY_NEEDED"
        for route in ("validate", "publish"):
            assert http.post(f"/cli/{route}", json={}, headers=bearer).status_code == 403
        assert http.get("/cli/pull", headers=bearer).status_code == 403


def test_a_token_ends_after_30_days_by_revocation_and_with_its_user(
    guarded: AuthenticatedServer, users: tuple[str, str]
) -> None:
    own, other = users
    clock = Clock(guarded.canuse.address, guarded.admin)
    with httpx.Client(base_url=guarded.canuse.http_url) as http, guarded.client() as client:
        admin = Kana(http, headers={"authorization": guarded.admin})

        def tokens() -> list[Kana]:
            made = (admin.ask(TOKEN, {"userId": each})["generateUserToken"]["token"] for each in (own, other))
            return [Kana(http, CLIENT, {"authorization": f"Bearer {token}"}) for token in made]

        first, second = tokens()
        client.revoke_user_tokens(own)
        assert first.error(CURRENT_USER)["message"].startswith("Unauthenticated: ")
        clock.advance(days=29)
        assert second.ask("{ currentUser { id } }") == {"currentUser": {"id": other}}
        clock.advance(days=2)
        assert second.error(CURRENT_USER)["extensions"]["reason"] == "USER_TOKEN_EXPIRED"
        first, second = tokens()
        client.delete_user(own)
        client.create_user(own)
        assert first.error(CURRENT_USER)["message"].startswith("Unauthenticated: ")
        assert second.ask("{ currentUser { id } }") == {"currentUser": {"id": other}}
    clock.close()


def test_a_publishable_key_shows_what_a_user_has_but_not_who_it_is(
    guarded: AuthenticatedServer, users: tuple[str, str]
) -> None:
    key = guarded.publishable_key()
    with httpx.Client(base_url=guarded.canuse.http_url) as http:
        for headers in ({"authorization": key}, {"authorization": f"Bearer {key}"}):
            user = Kana(http, CLIENT, {**headers, "x-user-id": users[0]}).ask(CURRENT_USER)["currentUser"]
            assert (user["id"], user["name"], user["email"]) == (users[0], None, None)
            assert len(user["subscribedPackages"]) == 1
        refused = Kana(http, ADMIN, {"authorization": key}).error(check_of(guarded, users[0]))
        assert refused["extensions"]["reason"] == "SECRET_KEY_NEEDED"
        assert http.get("/cli/pull", headers={"authorization": key}).status_code == 403
