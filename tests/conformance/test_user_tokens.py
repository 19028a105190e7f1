"""User tokens: what they are valid for, and how they end."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final, NamedTuple

import grpc
import pytest

from canuse import CanuseError, NotFound, v1
from support.authenticated_server import PUBLISHABLE_KEYS, TEST, AuthenticatedServer, authenticated_server
from support.load import until
from support.message_clients import Client
from support.processes import Canuse
from support.resources import Clock, consumable, subscriber, unique
from support.wire import failure

TRANSPORTS: Final = ("native", "grpcio")
DEFAULT_PACKAGE: Final = unique("default")


class Deployment(NamedTuple):
    """A server with a default package, on the manual clock. `feature_id` is a feature of that package."""

    server: AuthenticatedServer
    admin: Client
    clock: Clock
    feature_id: str

    def client(self, secret: str) -> Client:
        """Return a client with a key or a token."""
        return self.server.client(secret)

    def token(self, user_id: str, ttl: timedelta | None = None) -> str:
        """Generate a token."""
        return self.admin.generate_user_token(user_id, ttl=ttl).token


@pytest.fixture(scope="module", params=TRANSPORTS)
def deployment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A server that demands credentials."""
    env = {**PUBLISHABLE_KEYS, "CANUSE_DEFAULT_PACKAGE": DEFAULT_PACKAGE}
    canuse = Canuse(tmp_path_factory.mktemp("tokens"), "--transport", request.param, "--clock", "manual", env=env)
    with authenticated_server(canuse) as server, server.client() as admin:
        clock = Clock(canuse.address, server.admin)
        feature_id = consumable(admin)
        admin.create_package(DEFAULT_PACKAGE, [v1.PackageFeature(feature_id=feature_id, limit=5)])
        admin.publish_package(DEFAULT_PACKAGE)
        yield Deployment(server, admin, clock, feature_id)
        clock.close()


def reason_of(call: Callable[[], object]) -> str:
    """Return the reason with which a call fails, empty if it succeeds."""
    try:
        call()
    except CanuseError as error:
        return error.reason
    return ""


def readings(client: Client, user_id: str, feature_id: str) -> set[str]:
    """Return the reasons with which the methods for user tokens fail, empty for those that succeed."""
    [checked] = client.batch_can_use([v1.CanUseRequest(user_id=user_id, feature_id=feature_id)])
    return {
        reason_of(lambda: client.can_use(user_id, feature_id)),
        checked.reason if isinstance(checked, CanuseError) else "",
        reason_of(lambda: list(client.list_entitlements(user_id))),
        reason_of(lambda: client.show_usage(user_id, feature_id)),
    }


def outcome(deployment: Deployment, token: str, user_id: str) -> str:
    """Return the reason with which a check and a list by a token fail, empty if they succeed."""
    with deployment.client(token) as client:
        checked = reason_of(lambda: client.can_use(user_id, deployment.feature_id))
        assert reason_of(lambda: list(client.list_entitlements(user_id))) == checked
    return checked


def test_a_token_works_and_ends_on_each_kind_of_store(server: Canuse, client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    for _ in range(2):
        with Client(server.address, api_key=client.generate_user_token(user_id).token) as page:
            assert page.can_use(user_id, feature_id).access
            client.revoke_user_tokens(user_id)
            assert reason_of(lambda: page.can_use(user_id, feature_id)) == "USER_TOKEN_INVALID"
    client.delete_user(user_id)
    with pytest.raises(NotFound):
        client.generate_user_token(user_id)


def test_a_token_reads_what_its_user_may_use_and_has_used(deployment: Deployment) -> None:
    user_id, feature_id = subscriber(deployment.admin, 5)
    deployment.admin.use_feature(user_id, feature_id, 2)
    with deployment.client(deployment.token(user_id)) as client:
        assert client.can_use(user_id, feature_id, 3) == deployment.admin.can_use(user_id, feature_id, 3)
        assert client.show_usage(user_id, feature_id).current.used == 2
        assert [each.feature_id for each in client.list_entitlements(user_id)] == [feature_id]
        assert client.can_use(user_id, feature_id, explain=True).explanation.steps


@pytest.mark.parametrize("user_id", ["u", "用户\U0001f600", "ä" * 64, "-._~!$&'()*+,;=:@ /?#[]%"])
def test_every_user_id_can_have_a_token(deployment: Deployment, user_id: str) -> None:
    deployment.admin.ensure_user(user_id, package_id=DEFAULT_PACKAGE)
    assert outcome(deployment, deployment.token(user_id), user_id) == ""


def test_a_token_expires_by_the_clock_of_the_store(deployment: Deployment) -> None:
    user_id = deployment.admin.create_user(unique("user")).id
    now = deployment.clock.now()
    lengths = (timedelta(minutes=1), None, timedelta(days=30))
    generated = [deployment.admin.generate_user_token(user_id, ttl=ttl) for ttl in lengths]
    assert [each.expires_at - now for each in generated] == [ttl or timedelta(hours=1) for ttl in lengths]
    tokens = [each.token for each in generated]
    for passed, expired in ((59.999, 0), (0.001, 1), (3539.999, 1), (0.001, 2), (43_140 * 60 - 0.001, 2), (0.001, 3)):
        deployment.clock.advance(seconds=passed)
        reasons = [outcome(deployment, token, user_id) for token in tokens]
        assert reasons == ["USER_TOKEN_EXPIRED"] * expired + [""] * (3 - expired)


@pytest.mark.parametrize("seconds", [59.999, 0, -60, 2_592_000.001])
def test_a_token_is_valid_from_a_minute_to_thirty_days(deployment: Deployment, seconds: float) -> None:
    with pytest.raises(CanuseError) as caught:
        deployment.token("u", timedelta(seconds=seconds))
    assert (caught.value.reason, [each.field for each in caught.value.violations]) == ("INVALID_FIELD", ["ttl"])


def test_revoking_ends_all_tokens_of_a_user_and_of_no_other_and_none_generated_later(deployment: Deployment) -> None:
    user_id, other_id = (deployment.admin.create_user(unique("user")).id for _ in range(2))
    tokens, other = [deployment.token(user_id) for _ in range(2)], deployment.token(other_id)
    deployment.admin.revoke_user_tokens(user_id)
    later = deployment.token(user_id)
    assert [outcome(deployment, token, user_id) for token in tokens] == ["USER_TOKEN_INVALID"] * 2
    assert outcome(deployment, later, user_id) == outcome(deployment, other, other_id) == ""
    for _ in range(2):
        deployment.admin.revoke_user_tokens(user_id)
    assert outcome(deployment, later, user_id) == "USER_TOKEN_INVALID"


def test_the_revocation_of_tokens_is_logged_without_the_user(deployment: Deployment) -> None:
    user_id = deployment.admin.create_user(unique("user")).id
    deployment.token(user_id)
    before = deployment.server.canuse.log
    deployment.admin.revoke_user_tokens(user_id)
    until(lambda: "/RevokeUserTokens" in deployment.server.canuse.log.removeprefix(before))
    assert user_id not in deployment.server.canuse.log.removeprefix(before)


def test_a_token_ends_with_its_user_and_stays_so_if_the_user_is_created_again(deployment: Deployment) -> None:
    user_id = deployment.admin.create_user(unique("user")).id
    token = deployment.token(user_id)
    deployment.admin.delete_user(user_id)
    # With a default package, another caller's first call would create the user.
    assert outcome(deployment, token, user_id) == "USER_TOKEN_INVALID"
    with pytest.raises(NotFound):
        deployment.admin.get_user(user_id)
    deployment.admin.create_user(user_id)
    assert outcome(deployment, token, user_id) == "USER_TOKEN_INVALID"
    assert outcome(deployment, deployment.token(user_id), user_id) == ""


def test_a_token_is_of_one_environment(deployment: Deployment) -> None:
    user_id, feature_id = subscriber(deployment.admin, 5)
    with deployment.client(deployment.server.key(environment=TEST).secret) as test_admin:
        test_admin.create_feature(feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)
        test_admin.create_user(user_id)
        with deployment.client(test_admin.generate_user_token(user_id).token) as client:
            assert client.can_use(user_id, feature_id).reason == v1.REASON_NOT_ENTITLED
            deployment.admin.revoke_user_tokens(user_id)
            assert client.can_use(user_id, feature_id).reason == v1.REASON_NOT_ENTITLED
        test_admin.delete_user(user_id)
    token = deployment.token(user_id)
    with deployment.client(token) as client:
        assert client.can_use(user_id, feature_id).access


def test_a_token_for_an_unknown_user_needs_a_default_package_which_the_user_then_has(deployment: Deployment) -> None:
    user_id = unique("user")
    assert outcome(deployment, deployment.token(user_id), user_id) == ""
    assert [each.package_id for each in deployment.admin.list_subscriptions(user_id)] == [DEFAULT_PACKAGE]
    unknown = unique("user")
    with pytest.raises(NotFound):
        deployment.admin.revoke_user_tokens(unknown)
    with pytest.raises(NotFound):
        deployment.admin.get_user(unknown)


def test_what_web_pages_may_hold_cannot_write(deployment: Deployment) -> None:
    user_id, feature_id = subscriber(deployment.admin, 5)
    for secret in (deployment.token(user_id), deployment.server.publishable_key()):
        with deployment.client(secret) as client:
            for call in (
                lambda: client.use_feature(user_id, feature_id),
                lambda: client.generate_user_token(user_id),
                lambda: list(client.list_usage_events(user_id)),
                lambda: client.get_user(user_id),
            ):
                assert reason_of(call) == "SECRET_KEY_NEEDED"
    assert deployment.admin.show_usage(user_id, feature_id).current.used == 0


def test_a_publishable_key_reads_any_user_it_names_and_creates_none(deployment: Deployment) -> None:
    user_id, feature_id = subscriber(deployment.admin, 5)
    unknown = unique("user")
    with deployment.client(deployment.server.publishable_key()) as client:
        assert readings(client, user_id, feature_id) == {""}
        assert readings(client, unknown, feature_id) == {"USER_NOT_FOUND"}
    with pytest.raises(NotFound):
        deployment.admin.get_user(unknown)


def test_a_period_that_has_ended_is_renewed_for_a_token(deployment: Deployment) -> None:
    started_at = deployment.clock.now() - timedelta(days=20)
    user_id, feature_id = subscriber(deployment.admin, 5, started_at=started_at)
    deployment.admin.use_feature(user_id, feature_id, 5)
    with deployment.client(deployment.token(user_id, timedelta(days=30))) as client:
        assert not client.can_use(user_id, feature_id).access
        deployment.clock.advance(days=12)
        assert client.can_use(user_id, feature_id).consumption.used == 0


MADE_UP: Final = (
    "utk_",
    "utk_x",
    "utk_" + "A" * 80,
    "utk_" + "A" * 243,
    "utk_" + "A" * 8000,
    "utk_live_00",
    "utk_e30.e",
)


def test_what_was_made_up_is_refused_and_not_repeated(deployment: Deployment) -> None:
    request, stranger = v1.CanUseRequest(user_id="u", feature_id="f"), deployment.token("u").swapcase()
    with grpc.insecure_channel(deployment.server.canuse.address) as channel:
        stub = v1.EntitlementServiceStub(channel)
        for token in (*MADE_UP, stranger, stranger.replace("UTK_", "utk_")):
            refused = failure(lambda: stub.CanUse(request, metadata=(("authorization", f"Bearer {token}"),)))  # noqa: B023
            assert refused.code is grpc.StatusCode.UNAUTHENTICATED
            assert refused.reason == ("USER_TOKEN_INVALID" if token.startswith("utk_") else "API_KEY_INVALID")
            assert token[-20:] not in f"{refused.message}{deployment.server.canuse.log}" or len(token) < 20


def test_of_a_user_that_is_named_twice_the_one_that_is_read_is_the_one_that_is_checked(deployment: Deployment) -> None:
    """In protobuf the last one counts. Templates and caches must not read another one."""
    feature_id = deployment.feature_id
    own, other = (unique("user") for _ in range(2))
    for user_id, used in ((own, 1), (other, 2)):
        deployment.admin.use_feature(user_id, feature_id, used)
    metadata = (("authorization", f"Bearer {deployment.token(own)}"),)
    first, last = (v1.CanUseRequest(user_id=user_id).SerializeToString() for user_id in (other, own))
    feature = v1.CanUseRequest(feature_id=feature_id).SerializeToString()
    with grpc.insecure_channel(deployment.server.canuse.address) as channel:
        single: grpc.UnaryUnaryMultiCallable[bytes, v1.CanUseResponse] = channel.unary_unary(
            "/canuse.v1.EntitlementService/CanUse", response_deserializer=v1.CanUseResponse.FromString
        )
        batch: grpc.UnaryUnaryMultiCallable[bytes, v1.BatchCanUseResponse] = channel.unary_unary(
            "/canuse.v1.EntitlementService/BatchCanUse", response_deserializer=v1.BatchCanUseResponse.FromString
        )
        for _ in range(3):
            payload = first + last + feature
            item = b"\n" + bytes((len(payload),)) + payload
            [result] = batch(item, metadata=metadata).results
            assert single(payload, metadata=metadata).consumption.used == result.response.consumption.used == 1
            payload = last + first + feature
            item = b"\n" + bytes((len(payload),)) + payload
            assert failure(lambda: single(payload, metadata=metadata)).reason == "USER_MISMATCH"  # noqa: B023
            assert failure(lambda: batch(item, metadata=metadata)).reason == "USER_MISMATCH"  # noqa: B023


def test_a_request_that_is_no_message_or_too_large_is_refused_as_any_other(deployment: Deployment) -> None:
    metadata = (("authorization", f"Bearer {deployment.token('u')}"),)
    item = v1.CanUseRequest(user_id="u", feature_id="f")
    many = v1.BatchCanUseRequest(requests=[item] * 1001).SerializeToString()
    with grpc.insecure_channel(deployment.server.canuse.address) as channel:
        for path, payload in (
            ("EntitlementService/CanUse", b"\xff"),
            ("EntitlementService/CanUse", b"\n\x01u" + b"\x12" * 300_000),
            ("EntitlementService/BatchCanUse", b"\n\xff"),
            ("EntitlementService/BatchCanUse", b""),
            ("EntitlementService/BatchCanUse", many),
            ("EntitlementService/ListEntitlements", b"\xff"),
            ("UsageService/ShowUsage", b"\xff"),
        ):
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/canuse.v1.{path}")
            refused = failure(lambda: call(payload, metadata=metadata))  # noqa: B023
            assert refused.reason == "INVALID_FIELD", path
