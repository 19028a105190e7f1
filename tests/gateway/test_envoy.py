"""The real Envoy asks canuse about each request, with the example configuration of docs/envoy.md."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from canuse import v1
from support.authenticated_server import TEST, authenticated_server
from support.gateway import Application, Envoy
from support.load import running, used
from support.message_clients import Client
from support.processes import SHORT_STORE_TIMEOUT, START_SECONDS, Canuse, RedisServer
from support.rate_limits import RateLimits
from support.resources import package, unique
from support.tools import VALKEY_SERVER
from support.wire import failure

DAY_SECONDS = 86_400
LAST_ROUTE = """
                          route:
                            cluster: application
                            rate_limits:
                              - actions:
                                  - request_headers: { header_name: x-user-id, descriptor_key: user_id }
                                  - generic_key: { descriptor_key: feature_id, descriptor_value: api-calls }
                http_filters:
"""
CARELESS_ROUTE = """
                          route: { cluster: application }
                          typed_per_filter_config:
                            envoy.filters.http.ratelimit:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute
                              rate_limits:
                                - actions:
                                    - request_headers:
                                        { header_name: x-user-id, descriptor_key: user_id, skip_if_absent: true }
                                    - generic_key: { descriptor_key: feature_id, descriptor_value: api-calls }
                                  hits_addend: { format: "%REQ(x-cost)%" }
                http_filters:
"""
WITHOUT_A_USER = "{ name: x-user-id, present_match: true, invert_match: true }"


@pytest.fixture(params=["native", "grpcio"], scope="module")
def canuse(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A server with the features of the example."""
    with running(Canuse(tmp_path_factory.mktemp("canuse"), "--transport", request.param)) as canuse:
        with Client(canuse.address) as client:
            create_features(client)
        yield canuse


@pytest.fixture(scope="module")
def application() -> Iterator[Application]:
    """The application behind Envoy."""
    application = Application().start()
    yield application
    application.stop()


@pytest.fixture(scope="module")
def envoy(canuse: Canuse, application: Application, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoy]:
    """Envoy in front of the application."""
    envoy = Envoy(tmp_path_factory.mktemp("envoy"), canuse.address, application).start()
    yield envoy
    envoy.stop()


@pytest.fixture(scope="module")
def tokens(canuse: Canuse, application: Application, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoy]:
    """Envoy in front of an application whose answers contain their cost."""
    envoy = Envoy(tmp_path_factory.mktemp("tokens"), canuse.address, application, name="tokens.yaml").start()
    yield envoy
    envoy.stop()


@pytest.fixture(scope="module")
def trusting_envoy(
    canuse: Canuse, application: Application, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Envoy]:
    """Envoy that lets requests through after an error, and takes the user and the amount from the caller's headers."""
    folder = tmp_path_factory.mktemp("careless")
    changes = {LAST_ROUTE: CARELESS_ROUTE, WITHOUT_A_USER: "{ name: x-turned-away, present_match: true }"}
    envoy = Envoy(folder, canuse.address, application, failure_mode_deny=False, others=changes).start()
    yield envoy
    envoy.stop()


@pytest.fixture
def client(canuse: Canuse) -> Iterator[Client]:
    """A client of the server that Envoy asks."""
    with Client(canuse.address) as client:
        yield client


def create_features(client: Client) -> None:
    """Create the features of the example."""
    for feature_id in ("api-calls", "reports", "tokens"):
        client.create_feature(feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)


def subscriber(client: Client, **limits: int) -> str:
    """Create a user with a daily limit for each feature."""
    user_id = client.create_user(unique("user")).id
    entries = [
        v1.PackageFeature(feature_id=name.replace("_", "-"), limit=limit, reset_period=v1.RESET_PERIOD_DAY)
        for name, limit in limits.items()
    ]
    client.subscribe(user_id, [package(client, entries)])
    return user_id


def wait_until_used(client: Client, user_id: str, feature_id: str, amount: int) -> None:
    """Wait until a count reaches what Envoy reports after the response, and assert that it does not exceed it."""
    deadline = time.monotonic() + START_SECONDS
    while used(client, user_id, feature_id) != amount:
        assert time.monotonic() < deadline, (used(client, user_id, feature_id), amount)
        time.sleep(0.01)


def test_a_route_is_let_through_five_times_and_then_gets_429(
    client: Client, envoy: Envoy, application: Application
) -> None:
    user_id, path = subscriber(client, api_calls=5), unique("/path")
    for remaining in (4, 3, 2, 1, 0):
        answer = envoy.get(path, user_id)
        assert answer.status == 200
        assert answer.limits["limit"] == f"5, 5;w={DAY_SECONDS}"
        assert answer.limits["remaining"] == str(remaining)
        assert 0 < int(answer.limits["reset"]) <= DAY_SECONDS
    for _ in range(2):
        answer = envoy.get(path, user_id)
        assert (answer.status, answer.limits["remaining"]) == (429, "0")
        assert 0 < int(answer.limits["reset"]) <= DAY_SECONDS
    assert used(client, user_id, "api-calls") == 5
    assert application.requests.count(path) == 5


def test_a_route_that_uses_two_features_uses_both_or_none(client: Client, envoy: Envoy) -> None:
    user_id = subscriber(client, api_calls=5, reports=2)
    assert [envoy.get("/reports", user_id).status for _ in range(3)] == [200, 200, 429]
    assert (used(client, user_id, "reports"), used(client, user_id, "api-calls")) == (2, 2)
    assert [envoy.get("/else", user_id).status for _ in range(4)] == [200, 200, 200, 429]
    assert (used(client, user_id, "reports"), used(client, user_id, "api-calls")) == (2, 5)


def test_the_headers_describe_the_limit_that_ends_first(client: Client, envoy: Envoy) -> None:
    user_id = subscriber(client, api_calls=5, reports=2)
    assert envoy.get("/reports", user_id).limits["remaining"] == "1"


def test_who_has_no_limit_gets_no_headers_about_one(client: Client, envoy: Envoy) -> None:
    user_id = client.create_user(unique("user")).id
    client.subscribe(user_id, [package(client, [v1.PackageFeature(feature_id="api-calls")])])
    answer = envoy.get("/", user_id)
    assert (answer.status, answer.limits) == (200, {})


def test_a_user_who_is_not_known_or_not_entitled_gets_429_and_nobody_gets_401(client: Client, envoy: Envoy) -> None:
    assert envoy.get("/", unique("nobody")).status == 429
    assert envoy.get("/", "n" * 200).status == 429
    assert envoy.get("/", "").status == 429
    assert envoy.get("/", client.create_user(unique("user")).id).status == 429
    assert envoy.get("/", None).status == 401


def test_envoy_finds_canuse_healthy_and_every_answer_good(client: Client, envoy: Envoy) -> None:
    before = envoy.counts("cluster.application.ratelimit.")
    user_id = subscriber(client, api_calls=1)
    assert [envoy.get("/", user_id).status for _ in range(3)] == [200, 429, 429]
    after = envoy.counts("cluster.application.ratelimit.")
    increases = {name: count - before.get(name, 0) for name, count in after.items()}
    assert (increases["ok"], increases["over_limit"], after.get("error", 0)) == (1, 2, 0)
    health = envoy.counts("cluster.canuse.health_check.")
    assert health["success"] > 0
    assert health["failure"] == 0


def test_what_a_response_cost_is_counted_past_the_limit_and_then_nobody_is_let_through(
    client: Client, tokens: Envoy, application: Application
) -> None:
    """A report beyond the limit was refused and not counted, so that the user was never limited."""
    user_id, path = subscriber(client, tokens=1000), unique("/chat")
    application.bodies[path] = b'{"usage": {"total_tokens": 400}}'
    for number, remaining in enumerate(("1000", "600", "200"), 1):
        answer = tokens.get(path, user_id)
        assert (answer.status, answer.limits["remaining"]) == (200, remaining)
        wait_until_used(client, user_id, "tokens", 400 * number)
    assert [tokens.get(path, user_id).status for _ in range(3)] == [429] * 3
    assert application.requests.count(path) == 3
    assert used(client, user_id, "tokens") == 1200


def test_a_response_that_does_not_say_what_it_cost_is_not_counted(
    client: Client, tokens: Envoy, application: Application
) -> None:
    user_id, silent, telling = subscriber(client, tokens=1000), unique("/chat"), unique("/chat")
    application.bodies |= {silent: b'{"usage": {}}', telling: b'{"usage": {"total_tokens": 7}}'}
    assert [tokens.get(path, user_id).status for path in (silent, telling)] == [200, 200]
    wait_until_used(client, user_id, "tokens", 7)


def test_what_a_job_did_not_need_is_given_back(client: Client, tokens: Envoy, application: Application) -> None:
    user_id, path = subscriber(client, tokens=250), unique("/jobs")
    application.bodies[path] = b'{"unused": 60}'
    for number, remaining in enumerate(("150", "110", "70", "30"), 1):
        answer = tokens.get(path, user_id)
        assert (answer.status, answer.limits["remaining"]) == (200, remaining)
        wait_until_used(client, user_id, "tokens", 40 * number)
    assert [tokens.get(path, user_id).status for _ in range(2)] == [429] * 2
    assert used(client, user_id, "tokens") == 160


@pytest.mark.parametrize(
    ("suffix", "cost"),
    [(b"\xff", "1"), (b"\xc3", "1"), (b"n" * 200, "1"), (b"\x80" * 9000, "1"), (b"", "nan"), (b"", "1e9")],
)
def test_nothing_that_a_caller_sends_is_an_error_that_envoy_lets_through(
    client: Client, trusting_envoy: Envoy, application: Application, suffix: bytes, cost: str
) -> None:
    """A caller with a byte that is not UTF-8 after their id, or with `nan` as the amount, was not limited."""
    user_id, path = subscriber(client, api_calls=5), unique("/path")
    answer = trusting_envoy.get(path, user_id.encode() + suffix, x_cost=cost)
    assert (answer.status, application.requests.count(path)) == (429, 0)
    assert trusting_envoy.get(path, user_id, x_cost="2").status == 200
    assert used(client, user_id, "api-calls") == 2
    assert trusting_envoy.counts("cluster.application.ratelimit.").get("error", 0) == 0


def test_who_leaves_out_a_header_that_may_be_left_out_is_not_known(trusting_envoy: Envoy) -> None:
    """With `skip_if_absent` the entry was missing, and the request was not limited."""
    assert trusting_envoy.get("/", None, x_cost="1").status == 429


@pytest.mark.parametrize("transport", ["native", "grpcio"])
@pytest.mark.parametrize(("deny", "status"), [(True, 500), (False, 200)])
def test_without_a_store_envoy_does_what_its_failure_mode_says(
    application: Application, tmp_path: Path, transport: str, *, deny: bool, status: int
) -> None:
    with ExitStack() as stack:
        redis = RedisServer(VALKEY_SERVER, tmp_path / "store").start()
        stack.callback(redis.stop)
        options = ("--transport", transport, "--redis-url", redis.url)
        canuse = stack.enter_context(running(Canuse(tmp_path, *options, env=SHORT_STORE_TIMEOUT)))
        client = stack.enter_context(Client(canuse.address))
        create_features(client)
        user_id = subscriber(client, api_calls=2)
        envoy = Envoy(tmp_path, canuse.address, application, failure_mode_deny=deny).start()
        stack.callback(envoy.stop)

        assert envoy.get("/", user_id).status == 200
        redis.kill()
        with grpc.insecure_channel(canuse.address) as channel:
            refused = failure(RateLimits(channel).use, user_id, "api-calls")
        assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        assert [envoy.get("/", user_id).status for _ in range(3)] == [status] * 3
        redis.start()
        assert [envoy.get("/", user_id).status for _ in range(2)] == [200, 429]
        assert used(client, user_id, "api-calls") == 2


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_envoy_sends_its_api_key(application: Application, tmp_path: Path, transport: str) -> None:
    with authenticated_server(Canuse(tmp_path, "--transport", transport)) as server, ExitStack() as stack:
        with server.client() as client:
            create_features(client)
            user_id = subscriber(client, api_calls=1)
        statuses: dict[str, list[int]] = {}
        for name, api_key in {
            "right": server.key(["usage:write"]).secret,
            "none": None,
            "without the scope": server.key(["entitlements:read"]).secret,
            "of the other environment": server.key(["usage:write"], TEST).secret,
        }.items():
            folder = tmp_path / name
            folder.mkdir()
            envoy = Envoy(folder, server.canuse.address, application, api_key=api_key).start()
            stack.callback(envoy.stop)
            statuses[name] = [envoy.get("/", user_id).status for _ in range(2)]
            # Envoy's health check sends no key.
            assert envoy.counts("cluster.canuse.health_check.")["failure"] == 0
        refused = {name: [500, 500] for name in statuses if name != "right"}
        assert statuses == {"right": [200, 429], **refused}
