"""Envoy's rate limit service: which requests are understood, which are unknown, and the settings about them."""

from collections.abc import Iterator
from typing import NamedTuple

import grpc
import pytest

from canuse import v1
from support.load import running, used
from support.message_clients import Client
from support.processes import Canuse
from support.rate_limits import MAX_UINT32, PATH, Descriptor, RateLimits, descriptor, left, summary
from support.resources import consumable, package, subscriber, unique
from support.wire import Stubs, failure

# No user or feature can have such an id.
IMPOSSIBLE = ["", "x" * 129, "x" * 1000, "é" * 65, "a\nb"]


@pytest.fixture
def limits(stubs: Stubs) -> RateLimits:
    """The rate limit service."""
    return RateLimits(stubs.channel)


def foreign(**entries: str) -> Descriptor:
    """Return a descriptor without user and feature, unless they are among the entries."""
    return Descriptor(entries=[Descriptor.Entry(key=key, value=value) for key, value in entries.items()])


def test_descriptors_that_name_neither_a_user_nor_a_feature_limit_nothing(client: Client, limits: RateLimits) -> None:
    user_id, feature_id = subscriber(client, 1)
    others = [foreign(path="/x"), foreign(record="fact"), Descriptor()]
    alone = limits.ask(*others)
    assert (summary(alone), left(alone)) == ("OK: OK OK OK", [MAX_UINT32] * 3)
    assert summary(limits.ask()) == "OK:"
    among = [*others[:2], descriptor(user_id, feature_id, path="/x"), *others[2:]]
    assert [summary(limits.ask(*among)) for _ in range(2)] == ["OK: OK OK OK OK", "OVER_LIMIT: OK OK OVER_LIMIT OK"]
    assert used(client, user_id, feature_id) == 1


def test_fields_that_canuse_does_not_know_change_nothing(client: Client, limits: RateLimits, stubs: Stubs) -> None:
    """For example a limit of the caller's own, in field 2 of a descriptor: 1,000 an hour."""
    user_id, feature_id = subscriber(client, 1)
    override = bytes([0x12, 5, 0x08, 0xE8, 0x07, 0x10, 3])
    own = Descriptor.FromString(descriptor(user_id, feature_id).SerializeToString() + override)
    assert [summary(limits.ask(own)) for _ in range(2)] == ["OK: OK", "OVER_LIMIT: OVER_LIMIT"]


def test_a_user_who_is_not_known_is_refused(client: Client, limits: RateLimits) -> None:
    first, second = consumable(client), consumable(client)
    for user_id in (unique("nobody"), *IMPOSSIBLE):
        answer = limits.ask(descriptor(user_id, first), foreign(path="/x"), descriptor(user_id, second))
        assert (summary(answer), left(answer)) == ("OVER_LIMIT: OVER_LIMIT OK OVER_LIMIT", [0, MAX_UINT32, 0])
        assert not answer.statuses[0].HasField("current_limit")


def test_a_feature_that_is_not_known_is_refused_and_nothing_else_is_used(client: Client, limits: RateLimits) -> None:
    user_id, feature_id = subscriber(client, 5)
    for missing in (unique("missing"), *IMPOSSIBLE):
        known, unknown = descriptor(user_id, feature_id), descriptor(user_id, missing)
        assert summary(limits.ask(unknown)) == "OVER_LIMIT: OVER_LIMIT"
        answer = limits.ask(known, unknown, foreign(path="/x"))
        assert (summary(answer), left(answer)) == ("OVER_LIMIT: UNKNOWN OVER_LIMIT OK", [0, 0, MAX_UINT32])
    several = [descriptor(user_id, unique("missing")) for _ in range(20)]
    answer = limits.ask(*several, descriptor(user_id, feature_id))
    assert summary(answer) == f"OVER_LIMIT: OVER_LIMIT{' UNKNOWN' * 20}"
    assert used(client, user_id, feature_id) == 0


def test_a_feature_that_another_server_created_is_found(client: Client, limits: RateLimits) -> None:
    user_id, feature_id = subscriber(client, 5)
    missing = unique("later")
    assert summary(limits.use(user_id, missing)) == "OVER_LIMIT: OVER_LIMIT"
    client.create_feature(missing, type=v1.FEATURE_TYPE_CONSUMABLE)
    client.subscribe(
        user_id, [package(client, [v1.PackageFeature(feature_id=missing, limit=1)], v1.PACKAGE_TYPE_ADD_ON)]
    )
    assert summary(limits.ask(descriptor(user_id, missing), descriptor(user_id, feature_id))) == "OK: OK OK"


@pytest.mark.parametrize("domain", ["", "envoy", "canuse-", "d" * 1000])
def test_a_domain_that_stands_for_no_environment_is_an_error(client: Client, limits: RateLimits, domain: str) -> None:
    """It is a mistake of the configuration, and must not look like a limit or like the absence of one."""
    user_id, feature_id = subscriber(client, 5)
    refused = failure(lambda: limits.ask(descriptor(user_id, feature_id), domain=domain))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert refused.violations["domain"].startswith("must be 'canuse' or 'canuse-test'; ")
    assert len(refused.message) < 200


def test_thirty_two_features_are_not_too_many(client: Client, limits: RateLimits) -> None:
    features, user_id = [consumable(client) for _ in range(32)], unique("user")
    client.create_user(user_id)
    client.subscribe(user_id, [package(client, [v1.PackageFeature(feature_id=name, limit=1) for name in features])])
    every = [descriptor(user_id, name) for name in features]
    assert summary(limits.ask(*every)) == f"OK: {' '.join(['OK'] * 32)}"
    assert summary(limits.ask(*every)) == f"OVER_LIMIT: {' '.join(['OVER_LIMIT'] * 32)}"


@pytest.mark.parametrize("payload", [b"\xff\xff\xff\xff", b"\x0a\x05ab", b"\x0a\x02\xc3\x28"])
def test_bytes_that_are_no_request_are_an_error(stubs: Stubs, payload: bytes) -> None:
    refused = failure(stubs.call_raw, PATH, payload)
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


class Lenient(NamedTuple):
    """A server that lets through what it does not know, with its own entry names."""

    client: Client
    channel: grpc.Channel


@pytest.fixture(scope="module", params=["native", "grpcio"])
def lenient(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lenient]:
    """A server with all settings of the service set."""
    settings = {
        "LIVE_DOMAIN": "shop",
        "TEST_DOMAIN": "lab",
        "USER_KEY": "who",
        "FEATURE_KEY": "what",
        "RECORD_KEY": "how",
        "UNKNOWN": "allow",
    }
    env = {f"CANUSE_RATELIMIT_{name}": value for name, value in settings.items()}
    canuse = Canuse(tmp_path_factory.mktemp("lenient"), "--transport", request.param, env=env)
    with running(canuse), Client(canuse.address) as client, grpc.insecure_channel(canuse.address) as channel:
        yield Lenient(client, channel)


def test_the_domain_and_the_entries_can_be_set(lenient: Lenient) -> None:
    limits, (user_id, feature_id) = RateLimits(lenient.channel), subscriber(lenient.client, 1)
    own, usual = foreign(who=user_id, what=feature_id), descriptor(user_id, feature_id)
    assert summary(limits.ask(own, usual, domain="shop")) == "OK: OK OK"
    assert summary(limits.ask(own, usual, domain="shop")) == "OVER_LIMIT: OVER_LIMIT OK"
    done = foreign(who=user_id, what=feature_id, how="fact")
    assert summary(limits.ask(done, foreign(how="fact"), domain="shop")) == "OVER_LIMIT: OVER_LIMIT OK"
    assert used(lenient.client, user_id, feature_id) == 2
    refused = failure(limits.ask, own)
    assert refused.violations == {"domain": "must be 'shop' or 'lab'; 'canuse' was sent"}


def test_what_is_not_known_can_be_let_through(lenient: Lenient) -> None:
    limits, (user_id, feature_id) = RateLimits(lenient.channel), subscriber(lenient.client, 1)
    for nobody in (unique("nobody"), *IMPOSSIBLE):
        assert summary(limits.ask(foreign(who=nobody, what=feature_id), domain="shop")) == "OK: OK"
    known = foreign(who=user_id, what=feature_id)
    for missing in (unique("missing"), *IMPOSSIBLE):
        assert summary(limits.ask(foreign(who=user_id, what=missing), domain="shop")) == "OK: OK"
    both = foreign(who=user_id, what=unique("missing")), known
    answers = [limits.ask(*both, domain="shop") for _ in range(2)]
    assert [summary(answer) for answer in answers] == ["OK: OK OK", "OVER_LIMIT: OK OVER_LIMIT"]
    assert [left(answer) for answer in answers] == [[MAX_UINT32, 0], [MAX_UINT32, 0]]
    assert used(lenient.client, user_id, feature_id) == 1
    several = [foreign(who=user_id, what=unique("missing")) for _ in range(20)]
    assert summary(limits.ask(*several, domain="shop")) == f"OK: {' '.join(['OK'] * 20)}"
    for half in (foreign(who=user_id), foreign(what=feature_id)):
        assert summary(limits.ask(half, domain="shop")) == "OK: OK"
    for text in (user_id, feature_id):
        assert summary(limits.ask_bytes(text, b"\xff" * len(text), known, domain="shop")) == "OK: OK"
    assert summary(limits.ask(known, domain="shop")) == "OVER_LIMIT: OVER_LIMIT"


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_with_a_default_package_a_user_is_known_from_the_first_request(
    tmp_path_factory: pytest.TempPathFactory, transport: str
) -> None:
    canuse = Canuse(
        tmp_path_factory.mktemp("first"), "--transport", transport, env={"CANUSE_DEFAULT_PACKAGE": "starter"}
    )
    with running(canuse), Client(canuse.address) as client, grpc.insecure_channel(canuse.address) as channel:
        limits, feature_id, user_id = RateLimits(channel), consumable(client), unique("user")
        client.create_package("starter", [v1.PackageFeature(feature_id=feature_id, limit=2)])
        client.publish_package("starter")
        assert [summary(limits.use(user_id, feature_id)) for _ in range(3)] == [
            "OK: OK",
            "OK: OK",
            "OVER_LIMIT: OVER_LIMIT",
        ]
        assert summary(limits.use("x" * 129, feature_id)) == "OVER_LIMIT: OVER_LIMIT"
