"""Every method of the server is called with every kind of credentials: the outcome is exactly what the docs say."""

from collections.abc import Collection, Iterator
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, cast

import grpc
import pytest
from redis import Redis

from canuse import v1
from canuse_server.store.keys import API_KEYS_USED
from support.authenticated_server import PUBLISHABLE_KEYS, SCOPES, TEST, AuthenticatedServer, authenticated_server
from support.connect import ConnectChannel
from support.docs_tables import table
from support.every_method import OK, Method, Row, methods, rows
from support.processes import Canuse
from support.resources import Clock, unique
from support.stores import store_of
from support.wire import Failure, failure

CAN_USE: Final = "/canuse.v1.EntitlementService/CanUse"
GENERATE_TOKEN: Final = "/canuse.v1.UserService/GenerateUserToken"
OPEN: Final = ("/grpc.",)
ALIKE: Final = ("/canuse.testing.v1.ClockService/", "/canuse.testing.v1.StoreService/")
"""These are the same in both environments: there is one clock and one store."""
MAY_HAVE_OTHERS: Final = "a user token, for a call about another user"
NEEDS_SECRET: Final = "a publishable key or a user token, for a method that needs a secret key"


@dataclass(frozen=True)
class Deployment:
    """A server with credentials of all kinds, and a request for each of its methods."""

    server: AuthenticatedServer
    channel: grpc.Channel
    redis: Redis
    methods: dict[str, Method]
    rows: dict[str, Row]
    live: str
    test: str
    expired: str
    revoked: str
    without: dict[tuple[str, ...], str]
    """The secret of a key with all scopes but some, by the missing ones."""
    only: dict[str, str]
    """The secret of a key with one scope, by the scope."""
    publishable: str
    token: str
    """A token of the user whom the requests name."""
    other_token: str
    """A token of another user."""
    expired_token: str
    revoked_token: str
    """Of the user whom the requests name, like `token`."""

    def refusal(self, path: str, authorization: str | None) -> Failure:
        """Make a call that must fail and change nothing; return the error."""
        before = self.kept()
        method, payload = self.methods[path], self.rows[path].request.SerializeToString()
        refused = failure(lambda: method.call(self.channel, payload, authorization))
        assert self.kept() == before
        return refused

    def outcome(self, path: str, secret: str) -> tuple[str, bytes]:
        """Make a call; return `OK` and the answer, or the reason of the error."""
        method, payload = self.methods[path], self.rows[path].request.SerializeToString()
        answers: list[bytes] = []

        def call() -> None:
            answers.append(method.call(self.channel, payload, f"Bearer {secret}"))

        try:
            reason = failure(call).reason
        except AssertionError:
            if not answers:
                raise
            return OK, answers[0]
        return reason, b""

    def kept(self) -> dict[bytes, object]:
        """Return everything that the store holds except when keys were last used."""
        names = cast("list[bytes]", self.redis.keys("*"))
        return {name: self.redis.dump(name) for name in sorted(names) if name != API_KEYS_USED.encode()}


def documented() -> dict[str, tuple[str, ...]]:
    """Return the scopes of which each method needs one, by path, from docs/api.md."""
    return {
        f"/{service}/{method}": tuple(scopes.split(" or "))
        for service, scopes, names in table("docs/api.md", "scopes")
        for method in names.split(", ")
    }


@pytest.fixture(scope="module", params=["native", "grpcio", "http"])
def deployment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A server with everything that canuse offers, including the clock."""
    over_http = request.param == "http"
    env = PUBLISHABLE_KEYS | ({"CANUSE_HTTP_LISTEN": "127.0.0.1:0"} if over_http else {})
    options = ("--transport", "native" if over_http else request.param, "--clock", "manual")
    canuse = Canuse(tmp_path_factory.mktemp("matrix"), *options, env=env)
    with (
        authenticated_server(canuse) as server,
        grpc.insecure_channel(canuse.address) as described,
        ConnectChannel(canuse.http_url) if over_http else grpc.insecure_channel(canuse.address) as channel,
    ):
        served = {path: each for path, each in methods(described).items() if not (over_http and path.startswith(OPEN))}
        clock = Clock(canuse.address, server.admin)
        expired = server.key(expires_at=clock.now() + timedelta(minutes=1)).secret
        revoked = server.key()
        with server.client() as admin:
            other = admin.create_user(unique("user")).id
            expired_token = admin.generate_user_token(other, ttl=timedelta(minutes=1)).token
            clock.advance(minutes=1)
            admin.revoke_api_key(revoked.api_key.id)
            requests = {path: row for path, row in rows(admin).items() if path in served}
            user = cast("Any", requests[CAN_USE].request).user_id
            revoked_token = admin.generate_user_token(user).token
            admin.revoke_user_tokens(user)
            token, other_token = (admin.generate_user_token(each).token for each in (user, other))
        clock.close()
        redis = store_of(canuse)
        yield Deployment(
            server,
            channel,
            redis,
            served,
            requests,
            live=server.key().secret,
            test=server.key(environment=TEST).secret,
            expired=expired,
            revoked=revoked.secret,
            without={enough: server.key(set(SCOPES) - set(enough)).secret for enough in set(documented().values())},
            only={scope: server.key([scope]).secret for scope in SCOPES},
            publishable=server.publishable_key(),
            token=token,
            other_token=other_token,
            expired_token=expired_token,
            revoked_token=revoked_token,
        )
        redis.close()


@pytest.fixture(scope="module")
def scopes() -> dict[str, tuple[str, ...]]:
    """The scopes of which each method needs one, by path."""
    return documented()


@pytest.fixture(scope="module")
def public() -> Collection[str]:
    """The methods for publishable keys and user tokens, from docs/security.md."""
    return [f"/{service}/{name}" for service, name, _ in table("docs/security.md", "public-methods")]


@pytest.fixture(scope="module")
def refusals() -> dict[str, tuple[str, str]]:
    """The status and the reason for each kind of key, from docs/security.md."""
    return {kind: (status, reason) for kind, status, reason in table("docs/security.md", "refusals")}


def test_every_method_that_the_server_describes_is_in_the_matrix(
    deployment: Deployment, scopes: dict[str, tuple[str, ...]]
) -> None:
    assert deployment.rows.keys() == deployment.methods.keys()
    assert scopes.keys() == {path for path in deployment.methods if not path.startswith(OPEN)}
    assert {scope for enough in scopes.values() for scope in enough} == set(SCOPES)


def test_every_kind_of_invalid_key_is_refused_by_every_method_before_it_does_anything(
    deployment: Deployment,
    scopes: dict[str, tuple[str, ...]],
    public: Collection[str],
    refusals: dict[str, tuple[str, str]],
) -> None:
    credentials = {
        "none": None,
        "a value that is not a key": "Bearer of bad news",
        "an unknown or revoked key": f"Bearer {deployment.revoked}",
        "an expired key": f"Bearer {deployment.expired}",
        "a user token that was changed, revoked or made up": f"Bearer {deployment.token[:-1]}",
        "an expired user token": f"Bearer {deployment.expired_token}",
    }
    outcomes = {
        (path, kind): deployment.refusal(path, authorization)
        for path in scopes
        for kind, authorization in credentials.items()
    }
    outcomes |= {
        (path, "a key without the scope"): deployment.refusal(path, f"Bearer {deployment.without[enough]}")
        for path, enough in scopes.items()
    }
    outcomes |= {
        (path, kind): deployment.refusal(path, f"Bearer {sent}")
        for path in public
        for kind, sent in (
            ("a user token that was changed, revoked or made up", deployment.revoked_token),
            (MAY_HAVE_OTHERS, deployment.other_token),
        )
    }
    outcomes |= {
        (path, NEEDS_SECRET): deployment.refusal(path, f"Bearer {sent}")
        for path in scopes.keys() - public
        for sent in (deployment.publishable, deployment.token)
    }
    # A server that does not allow publishable keys is in test_publishable_keys.py.
    assert {kind for _, kind in outcomes} == set(refusals) - {"a publishable key, where none is allowed"}
    for (path, kind), refused in outcomes.items():
        assert (refused.code.name, refused.reason) == refusals[kind], path
        lacking = {"scope": scopes[path][0]} if kind in ("a key without the scope", NEEDS_SECRET) else {}
        assert {name: value for name, value in refused.metadata.items() if name != "key_id"} == lacking, path


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_alone_permits_no_other_methods(
    deployment: Deployment, scopes: dict[str, tuple[str, ...]], scope: str
) -> None:
    others = [path for path, enough in scopes.items() if scope not in enough]
    assert others
    for path in others:
        assert deployment.refusal(path, f"Bearer {deployment.only[scope]}").reason == "SCOPE_MISSING", path


def test_a_valid_key_finds_what_is_in_its_environment_and_nothing_of_the_other(deployment: Deployment) -> None:
    for path, row in deployment.rows.items():
        # The other environment first: an effect on this one would show.
        sibling, here = deployment.outcome(path, deployment.test), deployment.outcome(path, deployment.live)
        assert (here[0], sibling[0]) == (row.live, row.test), path
        if not path.startswith((*OPEN, *ALIKE)):
            assert here != sibling, path


def test_what_web_pages_may_hold_reads_what_a_secret_key_reads(deployment: Deployment, public: Collection[str]) -> None:
    for path in public:
        expected = deployment.outcome(path, deployment.live)
        assert expected[0] == OK
        for secret in (deployment.publishable, deployment.token):
            assert deployment.outcome(path, secret) == expected, path


def test_a_token_for_one_user_reads_no_other_user_wherever_the_other_one_is_named(
    deployment: Deployment, public: Collection[str]
) -> None:
    own, somebody = (cast("Any", deployment.rows[path].request) for path in (CAN_USE, GENERATE_TOKEN))
    others = [somebody.user_id, unique("nobody"), "", own.user_id.upper(), f"{own.user_id}\x00"]
    refused: list[Failure] = []
    for path in public:
        for other in others:
            request: Any = deepcopy(deployment.rows[path].request)
            if isinstance(request, v1.BatchCanUseRequest):
                request.requests.add(user_id=other, feature_id=own.feature_id)
            else:
                request.user_id = other
            call, payload = deployment.methods[path].call, request.SerializeToString()
            refused.append(failure(call, deployment.channel, payload, f"Bearer {deployment.token}"))
    # Nothing in it depends on whether there is such a user.
    assert refused == [refused[0]] * len(refused)
    assert refused[0].reason == "USER_MISMATCH"


def test_health_and_reflection_answer_whoever_asks(deployment: Deployment) -> None:
    for path in (path for path in deployment.methods if path.startswith(OPEN)):
        payload = deployment.rows[path].request.SerializeToString()
        for authorization in (
            None,
            "Bearer of bad news",
            f"Bearer {deployment.revoked}",
            f"Bearer {deployment.expired}",
        ):
            assert deployment.methods[path].call(deployment.channel, payload, authorization), path


def test_no_secret_is_in_the_log_or_in_the_store(deployment: Deployment) -> None:
    secrets = [
        deployment.server.admin,
        deployment.live,
        deployment.test,
        deployment.expired,
        deployment.revoked,
        *deployment.without.values(),
        *deployment.only.values(),
        deployment.publishable,
        deployment.token,
        deployment.expired_token,
        deployment.revoked_token,
    ]
    kept = repr(deployment.kept())
    for secret in secrets:
        bits = secret.removeprefix("utk_") if secret.startswith("utk_") else secret.rpartition("_")[2]
        assert bits not in deployment.server.canuse.log
        assert bits not in kept
