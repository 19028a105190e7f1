"""API keys: creation, lists, revocation, and what a key allows."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import pytest

from canuse import CanuseError, FailedPrecondition, NotFound, PermissionDenied, Unauthenticated, v1
from canuse_server.store.keys import API_KEYS
from support.authenticated_server import LIVE, SCOPES, TEST, AuthenticatedServer, authenticated_server
from support.load import running, wait_until
from support.message_clients import Client
from support.processes import Canuse
from support.rate_limits import RateLimits, descriptor, summary
from support.resources import Clock, subscriber, unique
from support.store_inspection import StoreInspector
from support.stores import store_of
from support.wire import failure, moment

ADMIN = ("keys:admin",)
TRANSPORTS = ("native", "grpcio")


@pytest.fixture(scope="module", params=TRANSPORTS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthenticatedServer]:
    """A server that demands keys."""
    with authenticated_server(Canuse(tmp_path_factory.mktemp("guarded"), "--transport", request.param)) as server:
        yield server


@pytest.fixture
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Canuse]:
    """A server without keys, on the transport named by the test."""
    with running(Canuse(tmp_path, "--transport", request.param)) as canuse:
        yield canuse


def reason_of(call: Callable[[], object]) -> str:
    """Return the reason with which a call fails, empty if it succeeds."""
    try:
        call()
    except CanuseError as error:
        return error.reason
    return ""


def reason_for_read(client: Client) -> str:
    """Return the reason with which a read fails, empty if it succeeds."""
    return reason_of(lambda: client.can_use("nobody", "nothing")).replace("FEATURE_NOT_FOUND", "")


@pytest.mark.parametrize("fresh", TRANSPORTS, indirect=True)
def test_a_server_is_open_until_the_first_key_is_made_and_demands_one_from_then_on(fresh: Canuse) -> None:
    with Client(fresh.address) as nobody:
        user_id, feature_id = subscriber(nobody, 5)
        assert nobody.can_use(user_id, feature_id).access
        created = nobody.create_api_key("first", SCOPES, environment=LIVE)
        # Immediately, not a second later: the caller has been told that there is a key.
        assert reason_for_read(nobody) == "API_KEY_MISSING"
        assert reason_of(lambda: list(nobody.list_users())) == "API_KEY_MISSING"
        assert reason_of(lambda: list(nobody.list_api_keys())) == "API_KEY_MISSING"
    with Client(fresh.address, api_key=created.secret) as somebody:
        assert somebody.can_use(user_id, feature_id).access
        assert [user.id for user in somebody.list_users()] == [user_id]


@pytest.mark.parametrize("fresh", TRANSPORTS, indirect=True)
def test_the_first_key_has_to_be_one_that_nobody_is_locked_out_with(fresh: Canuse) -> None:
    later = datetime.now(UTC) + timedelta(days=1)
    with Client(fresh.address) as nobody:
        for scopes, environment, expires_at in (
            (set(SCOPES) - {"keys:admin"}, LIVE, None),
            (SCOPES, TEST, None),
            (SCOPES, LIVE, later),
        ):
            with pytest.raises(FailedPrecondition) as caught:
                nobody.create_api_key("first", scopes, environment=environment, expires_at=expires_at)
            assert caught.value.reason == "ADMIN_KEY_NEEDED"
        assert list(nobody.list_api_keys()) == []


@pytest.mark.parametrize("fresh", TRANSPORTS, indirect=True)
def test_a_key_that_is_sent_to_an_open_server_has_to_be_valid(fresh: Canuse) -> None:
    """The key selects the environment. Other schemes, which proxies add for themselves, are ignored."""
    with Client(fresh.address, api_key=f"sk_test_{'0' * 64}") as mistaken:
        assert reason_for_read(mistaken) == "API_KEY_INVALID"
        assert reason_of(lambda: list(mistaken.list_users())) == "API_KEY_INVALID"
    with Client(fresh.address, api_key="eyJhbGciOi.of-a-proxy") as proxied:
        assert reason_for_read(proxied) == ""
        assert list(proxied.list_users()) == []


def test_a_secret_is_shown_once_and_kept_as_a_digest_only(server: AuthenticatedServer) -> None:
    created = server.key()
    assert re.fullmatch(r"sk_live_[0-9a-f]{64}", created.secret)
    assert re.fullmatch(r"sk_test_[0-9a-f]{64}", server.key(environment=TEST).secret)
    assert created.secret not in repr(created)
    with server.client() as client:
        listed = {key.id: key for key in client.list_api_keys()}
    assert listed[created.api_key.id] == created.api_key
    bits = created.secret.removeprefix("sk_live_")
    assert bits not in str(listed)
    redis = store_of(server.canuse)
    kept = StoreInspector(redis).everything()
    redis.close()
    assert bits.encode() not in kept
    assert sha256(created.secret.encode()).hexdigest().encode() in kept
    assert bits not in server.canuse.log
    assert server.admin not in server.canuse.log


def test_keys_are_listed_oldest_first_and_page_by_page(server: AuthenticatedServer) -> None:
    ids = [server.key().api_key.id for _ in range(5)]
    with server.client() as client:
        listed = [key.id for key in client.list_api_keys(page_size=2)]
        assert listed[-5:] == ids
        assert listed == [key.id for key in client.list_api_keys()]
        assert len(listed) == len(set(listed))


def test_a_key_is_what_was_asked_for(server: AuthenticatedServer) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    later = (before + timedelta(days=30)).replace(microsecond=0)
    scopes = ("usage:write", "entitlements:read", "usage:write")
    with server.client() as client:
        created = client.create_api_key("billing", scopes, environment=TEST, expires_at=later).api_key
    assert (created.name, created.environment) == ("billing", TEST)
    assert list(created.scopes) == ["entitlements:read", "usage:write"]
    assert created.expires_at.ToDatetime(UTC) == later
    assert before < created.created_at.ToDatetime(UTC) < later
    assert not created.HasField("last_used_at")
    assert not server.key().api_key.HasField("expires_at")


async def test_the_time_of_a_key_s_last_use_is_shown(server: AuthenticatedServer) -> None:
    created = server.key(["entitlements:read"])
    with server.client(created.secret) as client:
        assert reason_for_read(client) == ""
    # A key that is created right after that must not cause it to be forgotten.
    unused = server.key().api_key.id

    def used() -> bool:
        with server.client() as admin:
            listed = {key.id: key for key in admin.list_api_keys()}
        assert not listed[unused].HasField("last_used_at")
        return bool(listed[created.api_key.id].HasField("last_used_at"))

    await wait_until(used)


@pytest.mark.parametrize("spelling", ["Bearer {}", "bearer {}", "BEARER   {}"])
def test_the_header_may_be_spelled_in_any_way_that_http_allows(server: AuthenticatedServer, spelling: str) -> None:
    with grpc.insecure_channel(server.canuse.address) as channel:
        metadata = (("authorization", spelling.format(server.admin)),)
        entitlements, request = v1.EntitlementServiceStub(channel), v1.CanUseRequest(user_id="u", feature_id="f")
        for _ in range(2):
            refused = failure(lambda: entitlements.CanUse(request, metadata=metadata))
            assert refused.reason == "FEATURE_NOT_FOUND"
        v1.UserServiceStub(channel).ListUsers(v1.ListUsersRequest(), metadata=metadata)


NO_KEYS = ("{}", "Basic {}", "Bearer", "Bearer  ", "Bearer {} {}", "Bearer {}x", "Bearer sk_", "")


@pytest.mark.parametrize("header", NO_KEYS)
def test_what_is_no_key_is_refused_and_not_repeated(server: AuthenticatedServer, header: str) -> None:
    sent = header.format(server.admin, server.admin)
    with grpc.insecure_channel(server.canuse.address) as channel:
        for path in ("/canuse.v1.EntitlementService/CanUse", "/canuse.v1.UserService/ListUsers"):
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
            refused = failure(lambda: call(b"", metadata=(("authorization", sent),)))  # noqa: B023 - called at once
            assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "API_KEY_INVALID")
            assert server.admin not in refused.message
            assert refused.metadata == {}


@pytest.mark.parametrize(("headers", "reason"), [(["{}", "Bearer x"], ""), (["Bearer x", "{}"], "API_KEY_INVALID")])
def test_of_several_headers_the_first_counts(server: AuthenticatedServer, headers: list[str], reason: str) -> None:
    metadata = tuple(("authorization", header.format(f"Bearer {server.admin}")) for header in headers)
    with grpc.insecure_channel(server.canuse.address) as channel:
        request = v1.CanUseRequest(user_id="u", feature_id="f")
        refused = failure(lambda: v1.EntitlementServiceStub(channel).CanUse(request, metadata=metadata))
        assert refused.reason == (reason or "FEATURE_NOT_FOUND")
        missing = v1.GetUserRequest(user_id="nobody")
        refused = failure(lambda: v1.UserServiceStub(channel).GetUser(missing, metadata=metadata))
        assert refused.reason == (reason or "USER_NOT_FOUND")


@pytest.mark.parametrize("fresh", TRANSPORTS, indirect=True)
def test_who_has_no_key_makes_none_once_there_is_one_although_this_server_has_not_heard_of_it(fresh: Canuse) -> None:
    """Until then a caller could have become an admin."""
    redis = store_of(fresh)
    key = {"id": "key_1", "name": "n", "environment": "live", "scopes": list(ADMIN), "created_at_ms": 1}
    # The version stays the same, so that no server refreshes.
    redis.hset(API_KEYS, "key_1", json.dumps({**key, "expires_at_ms": None, "sha256": "00" * 32}))
    with Client(fresh.address) as nobody:
        assert reason_for_read(nobody) == ""
        assert reason_of(lambda: nobody.create_api_key("mine", SCOPES, environment=LIVE)) == "API_KEY_MISSING"
        assert reason_of(lambda: nobody.revoke_api_key("key_1")) == "API_KEY_MISSING"
        assert reason_of(lambda: list(nobody.list_api_keys())) == "API_KEY_MISSING"
    assert redis.hlen(API_KEYS) == 1
    redis.close()


def test_a_revoked_key_is_refused_at_once(server: AuthenticatedServer) -> None:
    created = server.key()
    with server.client(created.secret) as client, server.client() as admin:
        assert reason_for_read(client) == ""
        assert client.create_user(unique()).id
        assert admin.revoke_api_key(created.api_key.id) == created.api_key
        assert reason_for_read(client) == "API_KEY_INVALID"
        assert reason_of(lambda: list(client.list_users())) == "API_KEY_INVALID"
        assert created.api_key.id not in {key.id for key in admin.list_api_keys()}
        with pytest.raises(NotFound) as caught:
            admin.revoke_api_key(created.api_key.id)
    assert (caught.value.reason, caught.value.metadata) == ("API_KEY_NOT_FOUND", {"api_key_id": created.api_key.id})


def test_a_secret_that_is_taken_for_an_id_is_not_repeated(server: AuthenticatedServer) -> None:
    with server.client() as admin, pytest.raises(CanuseError) as caught:
        admin.revoke_api_key(server.admin)
    assert caught.value.reason == "INVALID_FIELD"
    assert server.admin not in repr(caught.value)
    assert server.admin not in server.canuse.log


@pytest.mark.parametrize("fresh", TRANSPORTS, indirect=True)
def test_the_last_key_that_can_make_keys_cannot_be_revoked(fresh: Canuse) -> None:
    with Client(fresh.address) as nobody:
        first = nobody.create_api_key("first", ADMIN, environment=LIVE)
    with Client(fresh.address, api_key=first.secret) as admin:
        admin.create_api_key("other", SCOPES, environment=TEST)
        admin.create_api_key("brief", ADMIN, environment=LIVE, expires_at=datetime.now(UTC) + timedelta(days=1))
        with pytest.raises(FailedPrecondition) as caught:
            admin.revoke_api_key(first.api_key.id)
        assert caught.value.reason == "ADMIN_KEY_NEEDED"
        second = admin.create_api_key("second", ADMIN, environment=LIVE)
        admin.revoke_api_key(first.api_key.id)
        assert reason_for_read(admin) == "API_KEY_INVALID"
    with Client(fresh.address, api_key=second.secret) as admin:
        assert [key.name for key in admin.list_api_keys()] == ["other", "brief", "second"]


@pytest.mark.parametrize("fresh", TRANSPORTS, indirect=True)
def test_admins_who_revoke_each_other_at_the_same_time_leave_one(fresh: Canuse) -> None:
    with Client(fresh.address) as nobody:
        created = [nobody.create_api_key("0", ADMIN, environment=LIVE)]
    with Client(fresh.address, api_key=created[0].secret) as admin:
        created += [admin.create_api_key(str(number), ADMIN, environment=LIVE) for number in range(1, 8)]
    start = threading.Barrier(len(created))
    failures: list[str] = []

    def revoke(number: int) -> None:
        with Client(fresh.address, api_key=created[number].secret) as admin:
            start.wait()
            failures.append(reason_of(lambda: admin.revoke_api_key(created[number].api_key.id)))

    threads = [threading.Thread(target=revoke, args=[number]) for number in range(len(created))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Each key revokes itself: all but one succeed, whichever that is.
    assert sorted(failures) == ["", "", "", "", "", "", "", "ADMIN_KEY_NEEDED"]


def test_a_test_key_manages_test_keys_only(server: AuthenticatedServer) -> None:
    manager, other, live = server.key(ADMIN, TEST), server.key(SCOPES, TEST), server.key()
    with server.client(manager.secret) as client:
        assert {key.environment for key in client.list_api_keys()} == {TEST}
        created = client.create_api_key("made by it", SCOPES, environment=TEST)
        with pytest.raises(PermissionDenied) as caught:
            client.create_api_key("live", SCOPES, environment=LIVE)
        assert (caught.value.reason, caught.value.metadata) == ("ENVIRONMENT_MISMATCH", {"environment": "test"})
        assert reason_of(lambda: client.revoke_api_key(live.api_key.id)) == "API_KEY_NOT_FOUND"
        for each in (created, other):
            client.revoke_api_key(each.api_key.id)
    with server.client(live.secret) as client:
        assert manager.api_key.id in {key.id for key in client.list_api_keys()}
        client.revoke_api_key(manager.api_key.id)


def test_what_a_key_may_do_is_what_its_scopes_say(server: AuthenticatedServer) -> None:
    with server.client(server.key(["usage:write"]).secret) as client, pytest.raises(PermissionDenied) as caught:
        client.can_use("nobody", "nothing")
    assert caught.value.reason == "SCOPE_MISSING"
    assert caught.value.metadata["scope"] == "entitlements:read"
    assert "entitlements:read" in caught.value.message


def test_live_and_test_share_nothing(server: AuthenticatedServer) -> None:
    with server.client() as live, server.client(server.key(environment=TEST).secret) as test:
        user_id, feature_id = subscriber(live, 5)
        assert reason_of(lambda: test.get_user(user_id)) == "USER_NOT_FOUND"
        assert reason_of(lambda: test.get_feature(feature_id)) == "FEATURE_NOT_FOUND"
        assert reason_of(lambda: test.can_use(user_id, feature_id)) == "FEATURE_NOT_FOUND"
        # The same ids are other objects there.
        test.create_user(user_id)
        test.create_feature(feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)
        package_id = test.create_package(
            unique(), [v1.PackageFeature(feature_id=feature_id, limit=1, reset_period=v1.RESET_PERIOD_MONTH)]
        ).id
        test.publish_package(package_id)
        test.subscribe(user_id, [package_id])
        for _ in range(3):
            assert live.use_feature(user_id, feature_id).access
        assert [test.use_feature(user_id, feature_id).access for _ in range(3)] == [True, False, False]
        assert [env.can_use(user_id, feature_id).consumption.used for env in (live, test)] == [3, 1]
        assert user_id in {user.id for user in test.list_users()}
        assert [len(list(env.list_usage_events(user_id))) for env in (live, test)] == [3, 1]
        test.delete_user(user_id)
        assert live.can_use(user_id, feature_id).consumption.used == 3


def test_with_a_key_the_domain_of_a_rate_limit_request_has_to_be_that_of_the_environment(
    server: AuthenticatedServer,
) -> None:
    with server.client() as client:
        user_id, feature_id = subscriber(client, 5)
    with grpc.insecure_channel(server.canuse.address) as channel:
        limits, test = RateLimits(channel), server.key(["usage:write"], TEST).secret
        request = descriptor(user_id, feature_id)
        assert summary(limits.ask(request, api_key=server.admin)) == "OK: OK"
        assert summary(limits.ask(request, domain="canuse-test", api_key=test)) == "OVER_LIMIT: OVER_LIMIT"
        for secret, domain, environment in ((server.admin, "canuse-test", "live"), (test, "canuse", "test")):
            refused = failure(lambda: limits.ask(request, domain=domain, api_key=secret))  # noqa: B023 - called at once
            assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ENVIRONMENT_MISMATCH")
            assert refused.metadata == {"environment": environment}
            assert domain in refused.message
        refused = failure(lambda: limits.ask(request, domain="other", api_key=server.admin))
        assert refused.violations == {"domain": "must be 'canuse'; 'other' was sent"}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_without_demand_for_keys_the_domain_of_a_rate_limit_request_picks_the_environment(
    tmp_path: Path, transport: str
) -> None:
    options = ("--transport", transport, "--insecure-no-auth", "--clock", "manual")
    with authenticated_server(Canuse(tmp_path, *options)) as server:
        with server.client(server.key(environment=TEST).secret) as test:
            user_id, feature_id = subscriber(test, 2)
        with grpc.insecure_channel(server.canuse.address) as channel:
            limits, request = RateLimits(channel), descriptor(user_id, feature_id)
            assert summary(limits.ask(request)) == "OVER_LIMIT: OVER_LIMIT"
            answers = [summary(limits.ask(request, domain="canuse-test")) for _ in range(3)]
        assert answers == ["OK: OK", "OK: OK", "OVER_LIMIT: OVER_LIMIT"]
        with server.client("") as nobody:
            assert reason_for_read(nobody) == ""
            # Another server on the same store may demand the keys.
            assert reason_of(lambda: list(nobody.list_api_keys())) == "API_KEY_MISSING"
        clock = Clock(server.canuse.address)
        assert failure(clock.now).reason == "API_KEY_MISSING"
        clock.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_key_expires_at_its_moment(tmp_path: Path, transport: str) -> None:
    with authenticated_server(Canuse(tmp_path, "--transport", transport, "--clock", "manual")) as server:
        clock = Clock(server.canuse.address, server.admin)
        created = server.key(expires_at=clock.now() + timedelta(hours=1))
        with server.client(created.secret) as client:
            clock.set(created.api_key.expires_at.ToDatetime(UTC) - timedelta(milliseconds=1))
            assert [reason_for_read(client), reason_of(lambda: list(client.list_users()))] == ["", ""]
            clock.advance(milliseconds=1)
            for call in (lambda: client.can_use("u", "f"), lambda: list(client.list_users())):
                with pytest.raises(Unauthenticated) as caught:
                    call()
                assert (caught.value.reason, caught.value.metadata) == (
                    "API_KEY_EXPIRED",
                    {"key_id": created.api_key.id},
                )
        with server.client() as admin:
            assert created.api_key.id in {key.id for key in admin.list_api_keys()}
        clock.close()


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"name": ""}, "api_key.name", "must be 1 to 128 bytes"),
        ({"name": "x" * 129}, "api_key.name", "must be 1 to 128 bytes"),
        ({"name": "a\nb"}, "api_key.name", "without control characters"),
        ({"environment": 0}, "api_key.environment", "must be ENVIRONMENT_LIVE or ENVIRONMENT_TEST; 0 was sent"),
        ({"environment": 7}, "api_key.environment", "7 was sent"),
        ({"scopes": []}, "api_key.scopes", "must be at least one of entitlements:read, usage:write, "),
        ({"scopes": ["usage:write", "usage:read"]}, "api_key.scopes[1]", "'usage:read' was sent"),
        ({"expires_at": moment(datetime(2020, 1, 1, tzinfo=UTC))}, "api_key.expires_at", "must be after now"),
    ],
)
def test_invalid_fields_of_a_key_are_reported(
    server: AuthenticatedServer, changes: dict[str, Any], field: str, message: str
) -> None:
    key = v1.ApiKey(**{"name": "n", "environment": LIVE, "scopes": ["usage:write"], **changes})
    with grpc.insecure_channel(server.canuse.address) as channel:
        stub = v1.ApiKeyServiceStub(channel)
        metadata = (("authorization", f"Bearer {server.admin}"),)
        refused = failure(lambda: stub.CreateApiKey(v1.CreateApiKeyRequest(api_key=key), metadata=metadata))
    assert refused.fields == [field]
    assert message in refused.violations[field]


@pytest.mark.parametrize("scope", ["users:write", "catalog:write"])
def test_a_key_for_users_does_all_about_them_but_delete_them_and_one_for_the_catalogue_all_of_it(
    server: AuthenticatedServer, scope: str
) -> None:
    """Before `users:write`, whoever creates users at sign-up could also delete them and change the catalogue."""
    with server.client() as admin:
        user_id, feature_id = subscriber(admin, 5)
        [subscription] = admin.list_subscriptions(user_id)
    created = unique("user")
    with server.client(server.key([scope]).secret) as client:
        assert client.create_user(created).id == created
        assert client.update_user(created, name="Ada").name == "Ada"
        assert client.get_user(created).name == "Ada"
        assert created in {user.id for user in client.list_users(page_size=1000)}
        [added] = client.subscribe(created, [subscription.package_id])
        assert client.get_subscription(added.id) == added
        assert list(client.list_subscriptions(created)) == [added]
        client.update_subscription(added.id, status=v1.SUBSCRIPTION_STATUS_PAST_DUE)
        client.cancel_subscription(added.id)
        client.create_grant(created, "g", feature_id, amount=1)
        assert [grant.id for grant in client.list_grants(created)] == ["g"]
        client.revoke_grant(created, "g")
        refused = "SCOPE_MISSING" if scope == "users:write" else ""
        for call in (
            lambda: client.update_feature(feature_id, name="new"),
            lambda: client.create_package(unique("package"), []),
            lambda: client.delete_user(created),
        ):
            assert reason_of(call) == refused
        assert reason_of(lambda: client.get_feature(feature_id)) == "SCOPE_MISSING"
        assert reason_of(lambda: client.can_use(created, feature_id)) == "SCOPE_MISSING"
