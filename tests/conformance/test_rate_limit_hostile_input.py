"""Whatever a caller of Envoy sends, Envoy gets an answer: after an error it may let the request through.

A caller chooses the values of headers, and thereby entries of descriptors, their presence, and amounts.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest

from canuse import v1
from support.load import running, used
from support.message_clients import Client
from support.processes import Canuse
from support.rate_limits import MAX_UINT32, Descriptor, RateLimits, amount, descriptor, fact, left, summary
from support.resources import consumable, package, subscriber, unique
from support.wire import Stubs, failure

NO_TEXT = [b"\xff\xff\xff", b"\x80ab", b"a\xc3(", b"\xed\xa0\x80", b"ab\xe2", b"\xc0\x80a"]
"""Bytes that are not UTF-8."""


@pytest.fixture
def limits(stubs: Stubs) -> RateLimits:
    """The rate limit service."""
    return RateLimits(stubs.channel)


def half(**entries: str) -> Descriptor:
    """Return a descriptor with some entries."""
    return Descriptor(entries=[Descriptor.Entry(key=key, value=value) for key, value in entries.items()])


@pytest.mark.parametrize("domain", ["canuse", "canuse-test"])
@pytest.mark.parametrize("raw", NO_TEXT)
def test_bytes_that_are_not_utf_8_are_an_unknown_id(
    client: Client, limits: RateLimits, raw: bytes, domain: str
) -> None:
    """`x-user-id: 124\xff` was an error, after which Envoy lets the request through without a limit."""
    user_id, feature_id = subscriber(client, 5)
    known, other = descriptor(user_id, feature_id), half(path="/x")
    for unknown in (descriptor("~~~", feature_id), descriptor(user_id, "~~~")):
        assert summary(limits.ask_bytes("~~~", raw, unknown, domain=domain)) == "OVER_LIMIT: OVER_LIMIT"
        answer = limits.ask_bytes("~~~", raw, known, unknown, other, domain=domain)
        assert (summary(answer), left(answer)) == ("OVER_LIMIT: UNKNOWN OVER_LIMIT OK", [0, 0, MAX_UINT32])
    assert used(client, user_id, feature_id) == 0


@pytest.mark.parametrize("raw", NO_TEXT)
def test_bytes_that_are_not_utf_8_change_nothing_in_entries_that_canuse_ignores(
    client: Client, limits: RateLimits, raw: bytes
) -> None:
    user_id, feature_id = subscriber(client, 2)
    in_a_value, in_a_key = descriptor(user_id, feature_id, path="/~~~"), half(**{"~~~": "x"})
    assert summary(limits.ask_bytes("~~~", raw, in_a_value)) == "OK: OK"
    assert summary(limits.ask_bytes("~~~", raw, in_a_key, descriptor(user_id, feature_id))) == "OK: OK OK"
    assert summary(limits.ask_bytes("~~~", raw, in_a_value)) == "OVER_LIMIT: OVER_LIMIT"
    assert used(client, user_id, feature_id) == 2


def test_bytes_that_are_not_utf_8_are_taken_for_no_other_user_s_id(client: Client, limits: RateLimits) -> None:
    """A user whose id equals the replacement text must not be charged."""
    feature_id = consumable(client)
    package_id = package(client, [v1.PackageFeature(feature_id=feature_id, limit=5)])
    stem = unique("user")
    lookalikes = [stem + tail for tail in ("", "\ufffd", "\\xff", "?", "ÿ")]
    for user_id in lookalikes:
        client.create_user(user_id)
        client.subscribe(user_id, [package_id])
    answer = limits.ask_bytes(stem + "~", stem.encode() + b"\xff", descriptor(stem + "~", feature_id))
    assert summary(answer) == "OVER_LIMIT: OVER_LIMIT"
    assert [used(client, user_id, feature_id) for user_id in lookalikes] == [0] * len(lookalikes)


def test_a_domain_that_is_not_utf_8_stands_for_no_environment(limits: RateLimits) -> None:
    """Callers do not choose the domain: it is a mistake of the configuration."""
    refused = failure(lambda: limits.ask_bytes("~~~", b"\xff\xff\xff", descriptor("124", "calls"), domain="~~~"))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert refused.fields == ["domain"]


def test_a_descriptor_without_one_of_its_two_entries_is_of_one_that_is_not_known(
    client: Client, limits: RateLimits
) -> None:
    """With `skip_if_absent` Envoy omits the entry of a missing header: a caller without it was not limited."""
    user_id, feature_id = subscriber(client, 5)
    for descriptors in ([half(user_id=user_id)], [half(feature_id=feature_id)]):
        assert summary(limits.ask(*descriptors)) == "OVER_LIMIT: OVER_LIMIT"
        answer = limits.ask(descriptor(user_id, feature_id), *descriptors)
        assert summary(answer) == "OVER_LIMIT: UNKNOWN OVER_LIMIT"
    assert used(client, user_id, feature_id) == 0


def of_two_users(client: Client) -> tuple[list[Descriptor], str, str]:
    """Two users in one request, each from a header of its own."""
    (first, feature_id), (second, _) = subscriber(client, None), subscriber(client, 1)
    return [descriptor(first, feature_id), descriptor(second, feature_id)], first, feature_id


def too_large(client: Client) -> tuple[list[Descriptor], str, str]:
    """An amount out of range: Envoy makes it of a header `nan`."""
    user_id, feature_id = subscriber(client, None)
    return [amount(descriptor(user_id, feature_id), 2**63)], user_id, feature_id


def too_large_in_parts(client: Client) -> tuple[list[Descriptor], str, str]:
    """A sum out of range, of two valid amounts."""
    user_id, feature_id = subscriber(client, None)
    return [amount(descriptor(user_id, feature_id), 2**52)] * 2, user_id, feature_id


def too_much_back(client: Client) -> tuple[list[Descriptor], str, str]:
    """A negative amount out of range."""
    user_id, feature_id = subscriber(client, None)
    return [amount(descriptor(user_id, feature_id), 2**64 - 1, negative=True)], user_id, feature_id


def past_the_largest_total(client: Client) -> tuple[list[Descriptor], str, str]:
    """A total out of range."""
    user_id, feature_id = subscriber(client, None)
    client.create_usage_event(user_id, feature_id, 2**53 - 1)
    return [descriptor(user_id, feature_id)], user_id, feature_id


def a_fact_past_the_largest_total(client: Client) -> tuple[list[Descriptor], str, str]:
    """A total out of range, by a reported use."""
    user_id, feature_id = subscriber(client, None)
    client.create_usage_event(user_id, feature_id, 2**53 - 1)
    return [fact(user_id, feature_id, 1)], user_id, feature_id


def of_too_many_features(client: Client) -> tuple[list[Descriptor], str, str]:
    """33 features, named by headers."""
    user_id, feature_id = subscriber(client, None)
    others = [descriptor(user_id, f"{feature_id}-{number}") for number in range(32)]
    return [descriptor(user_id, feature_id), *others], user_id, feature_id


@pytest.mark.parametrize(
    "make",
    [
        of_two_users,
        too_large,
        too_large_in_parts,
        too_much_back,
        past_the_largest_total,
        a_fact_past_the_largest_total,
        of_too_many_features,
    ],
)
def test_what_can_not_be_recorded_is_refused_and_counts_nothing(
    client: Client, limits: RateLimits, make: Callable[[Client], tuple[list[Descriptor], str, str]]
) -> None:
    """Each was an error: with `nan` in the header of the amount, the request was let through."""
    descriptors, user_id, feature_id = make(client)
    before = used(client, user_id, feature_id)
    for _ in range(2):
        answer = limits.ask(*descriptors, half(path="/x"))
        assert summary(answer) == f"OVER_LIMIT:{' OVER_LIMIT' * len(descriptors)} OK"
        assert not any(status.HasField("current_limit") for status in answer.statuses)
    assert used(client, user_id, feature_id) == before


@pytest.mark.parametrize("raw", [b"~~~", b"\xff\xff\xff"])
def test_more_than_is_looked_at_is_refused_unread(client: Client, limits: RateLimits, raw: bytes) -> None:
    user_id, feature_id = subscriber(client, 5)
    known, marked = descriptor(user_id, feature_id), half(path="~~~")
    many_entries = Descriptor(entries=[*known.entries, *[Descriptor.Entry(key="path", value="/")] * 31])
    for descriptors in ([known] * 64, [known, many_entries], [half(path="~" * (1 << 21)), known]):
        answer = limits.ask_bytes("~~~", raw, marked, *descriptors)
        assert (summary(answer), len(answer.statuses)) == ("OVER_LIMIT:", 0)
    assert used(client, user_id, feature_id) == 0
    assert summary(limits.ask_bytes("~~~", raw, marked, known, *[half(path="/x")] * 62)) == f"OK:{' OK' * 64}"
    assert summary(limits.ask(half(path="~" * 500_000), known)) == "OK: OK OK"


class Defaulting(NamedTuple):
    """A server whose default package is `starter`, and its answer to Envoy for an unknown user."""

    client: Client
    limits: RateLimits
    channel: grpc.Channel
    code: str


@pytest.fixture(params=[("native", "deny"), ("grpcio", "allow"), ("native", "allow"), ("grpcio", "deny")], ids="-".join)
def defaulting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Defaulting]:
    """A server with a default package that does not exist yet."""
    transport, unknown = request.param
    env = {"CANUSE_DEFAULT_PACKAGE": "starter", "CANUSE_RATELIMIT_UNKNOWN": unknown}
    canuse = Canuse(tmp_path, "--transport", transport, env=env)
    with running(canuse), Client(canuse.address) as client, grpc.insecure_channel(canuse.address) as channel:
        yield Defaulting(client, RateLimits(channel), channel, "OK" if unknown == "allow" else "OVER_LIMIT")


def test_where_the_default_package_can_not_be_given_unknown_users_stay_unknown(defaulting: Defaulting) -> None:
    """It was an error while the default package was missing, a draft or archived."""
    client, limits, code = defaulting.client, defaulting.limits, defaulting.code
    user_id, feature_id = subscriber(client, 5)
    can_use = v1.EntitlementServiceStub(defaulting.channel).CanUse

    def check(reason: str) -> None:
        nobody = unique("nobody")
        assert summary(limits.use(nobody, feature_id)) == f"{code}: {code}"
        assert summary(limits.ask(fact(nobody, feature_id, 3))) == f"{code}: {code}"
        assert summary(limits.ask(descriptor(nobody, feature_id), half(path="/"))) == f"{code}: {code} OK"
        refused = failure(can_use, v1.CanUseRequest(user_id=nobody, feature_id=feature_id))
        assert refused.reason == reason
        assert refused.message.startswith(f"user '{nobody}' does not exist, and the default package is not available: ")
        assert refused.metadata == {"user_id": nobody, "package_id": "starter"}
        assert summary(limits.use(user_id, feature_id)) == "OK: OK"

    check("PACKAGE_NOT_FOUND")
    client.create_package("starter", [v1.PackageFeature(feature_id=feature_id, limit=1)])
    check("PACKAGE_NOT_PUBLISHED")
    client.publish_package("starter")
    known = unique("user")
    assert summary(limits.use(known, feature_id)) == "OK: OK"
    client.archive_package("starter")
    check("PACKAGE_NOT_PUBLISHED")
    assert summary(limits.use(known, feature_id)) == "OVER_LIMIT: OVER_LIMIT"
