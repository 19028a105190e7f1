"""Arguments that the clients refuse: the error names the parameter, the value and what is accepted."""

import math
import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from canuse import AsyncClient, BadArgument, CanuseError, Client, InvalidArgument, Retry, Tls, _requests, v1

NOBODY = "127.0.0.1:1"
AT = datetime(2025, 1, 31, 12, 30, tzinfo=UTC)
NAIVE = datetime(2025, 1, 31)  # noqa: DTZ001 - the point of the tests that use it
FIRST = datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))
LAST = datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))
STAMP = Timestamp(seconds=1738326600)
CONSUMABLE = v1.FEATURE_TYPE_CONSUMABLE

# A method, its arguments, and the text of the error.
WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("can_use", (5, "f"), {}, "user_id: 5 of type int is not accepted; expected a str"),
    ("can_use", ("u", None), {}, "feature_id: None is not accepted; expected a str"),
    ("can_use", ("u\ud800", "f"), {}, "user_id: .* expected a str"),
    ("can_use", ("u", "f", "3"), {}, "delta: '3' of type str is not accepted; expected an int"),
    ("can_use", ("u", "f", True), {}, "delta: True of type bool"),
    ("can_use", ("u", "f", 1.5), {}, "delta: 1.5 of type float"),
    ("can_use", ("u", "f", 2**63), {}, "delta: 9223372036854775808 of type int"),
    # A number too large for a long was an OverflowError, and so was a moment outside of the years of UTC.
    ("can_use", ("u", "f"), {"explain": 2**63}, "explain: 9223372036854775808 of type int"),
    ("list_usage_events", ("u",), {"start_time": LAST}, "start_time: .* is outside the years 1 to 9999 of UTC"),
    ("subscribe", ("u", ["p"]), {"started_at": FIRST}, "started_at: .* is outside the years 1 to 9999 of UTC"),
    ("can_use", ("u", "f", 10**5000), {}, "delta: a number that is too large of type int"),
    ("can_use", ("u", "f"), {"explain": "no"}, "explain: 'no' of type str is not accepted; expected True or False"),
    ("create_usage_event", ("u", "f", "3"), {}, "delta: '3'"),
    ("create_usage_event", ("u", "f"), {"action": 1.0}, "action: .* a value of canuse.v1.UsageAction, such as"),
    ("create_usage_event", ("u", "f"), {"event_id": 5}, "event_id: 5"),
    ("create_usage_event", ("u", "f"), {"metadata": {"k": 5}}, "metadata: .* expected a mapping of str to str"),
    ("use_feature", ("u", "f"), {"delta": None}, "delta: None"),
    ("use_features", ("u", ["f"]), {}, "charges: .* expected a mapping of feature ids to amounts"),
    ("use_features", ("u", {"f": "1"}), {}, r"charges\['f'\].delta: '1'"),
    ("use_features", ("u", {5: 1}), {}, r"charges\[5\].feature_id: 5"),
    ("batch_can_use", ([v1.CanUseRequest(), "u"],), {}, r"requests\[1\]: 'u' .* expected a canuse.v1.CanUseRequest"),
    ("batch_can_use", (v1.CanUseRequest(),), {}, "requests: .* expected a list"),
    (
        "batch_create_usage_events",
        ([v1.CanUseRequest()],),
        {},
        r"requests\[0\]: .* a canuse.v1.CreateUsageEventRequest",
    ),
    ("batch_use_feature", ([v1.CanUseRequest()],), {}, r"requests\[0\]: .* a canuse.v1.UseFeatureRequest"),
    ("list_entitlements", (5,), {}, "user_id: 5"),
    ("list_entitlements", ("u",), {"page_size": "9"}, "page_size: '9'"),
    ("show_usage", ("u", 5), {}, "feature_id: 5"),
    ("list_usage_events", ("u",), {"start_time": NAIVE}, "start_time: .* has no time zone"),
    ("list_usage_events", ("u",), {"end_time": "2025-01-31"}, "end_time: .* a datetime with a time zone"),
    ("list_usage_events", ("u",), {"feature_id": 5}, "feature_id: 5"),
    ("reserve", ("u", "f", "4"), {}, "amount: '4'"),
    ("reserve", ("u", "f", 4), {"ttl": 60}, "ttl: 60 of type int is not accepted; expected a timedelta"),
    ("settle", (5, 1), {}, "lease_id: 5"),
    ("settle", ("l", None), {}, "used: None"),
    ("create_feature", (5,), {"type": CONSUMABLE}, "feature_id: 5"),
    ("create_feature", ("f",), {"type": "CONSUMABLE"}, "type: 'CONSUMABLE' .* such as canuse.v1.FEATURE_TYPE_BINARY"),
    ("update_feature", ("f",), {"name": None}, "name: None"),
    ("get_package", ("p",), {"version": "1"}, "version: '1'"),
    ("create_package", ("p", ["f"]), {}, r"features\[0\]: 'f' .* expected a canuse.v1.PackageFeature"),
    ("create_package", ("p", v1.PackageFeature()), {}, "features: .* expected a list"),
    ("update_package", ("p",), {"features": None}, "features: None"),
    ("migrate_subscriptions", ("p",), {"to_version": "2"}, "to_version: '2'"),
    ("create_user", (5,), {}, "user_id: 5"),
    ("create_user", ("u",), {"disabled": "yes"}, "disabled: 'yes'"),
    ("update_user", ("u",), {}, "nothing to update: give at least one of name,"),
    ("delete_user", (None,), {}, "user_id: None"),
    ("subscribe", ("u", "pro"), {}, r"package_ids: 'pro' .* such as \['pro'\]"),
    ("subscribe", ("u", ["pro", 5]), {}, r"package_ids\[1\]: 5"),
    ("subscribe", ("u", ["pro"]), {"trial_end": date(2025, 1, 31)}, "trial_end: .* of type date"),
    ("update_subscription", ("s",), {"status": None}, "status: None"),
    ("update_subscription", ("s",), {"cancel_at": 1738326600}, "cancel_at: 1738326600 of type int"),
    ("cancel_subscription", (5,), {}, "subscription_id: 5"),
    ("create_grant", ("u", 5, "f"), {"amount": 1}, "grant_id: 5"),
    ("create_grant", ("u", "g", "f"), {"amount": "1"}, "amount: '1'"),
    ("create_api_key", ("n", "usage:write"), {"environment": v1.ENVIRONMENT_LIVE}, "scopes: 'usage:write'"),
    ("revoke_api_key", (5,), {}, "api_key_id: 5"),
]


def called(call: Callable[[], Any]) -> object:
    """Call a method of a client to its end; an iterator up to its first item."""
    result = call()
    return next(result) if isinstance(result, Iterator) else result


async def called_later(call: Callable[[], Any]) -> object:
    """Call a method of an asynchronous client to its end; an iterator up to its first item."""
    result = call()
    return await (result if isinstance(result, Awaitable) else anext(result))


@pytest.mark.parametrize(("method", "arguments", "named", "message"), WRONG)
async def test_an_argument_that_cannot_be_sent_is_named_and_nothing_is_sent(
    method: str, arguments: tuple[Any, ...], named: dict[str, Any], message: str
) -> None:
    # It was "bad argument type for built-in operation", without a name, or was taken for something else.
    with Client(NOBODY, timeout_seconds=30) as client, pytest.raises(BadArgument, match=f"^{message}") as caught:
        called(lambda: getattr(client, method)(*arguments, **named))
    if violations := caught.value.violations:
        assert str(caught.value) == f"{violations[0].field}: {violations[0].description}"
    async with AsyncClient(NOBODY, timeout_seconds=30) as asynchronous:
        with pytest.raises(BadArgument, match=f"^{re.escape(str(caught.value))}$"):
            await called_later(lambda: getattr(asynchronous, method)(*arguments, **named))


def test_a_bad_argument_is_what_code_for_bad_input_expects() -> None:
    for kind in (CanuseError, InvalidArgument, TypeError, ValueError):
        assert issubclass(BadArgument, kind)


@pytest.mark.parametrize("moment", [AT, STAMP])
def test_a_time_is_a_datetime_or_what_the_server_sent(moment: datetime | Timestamp) -> None:
    # The server's own timestamps, passed back, were "AttributeError: utcoffset".
    request = _requests.subscribe("u", ["p"], started_at=moment, trial_end=moment, status=None)
    assert request.started_at == request.trial_end == STAMP
    grant = _requests.create_grant(
        "u", "g", "f", amount=1, effective_at=moment, expires_at=moment, priority=0, note=""
    ).grant
    assert grant.effective_at == grant.expires_at == STAMP
    change = _requests.update_subscription("s", status=_requests.UNSET, trial_end=moment, cancel_at=moment)
    assert change.subscription.trial_end == change.subscription.cancel_at == STAMP
    listing = _requests.list_usage_events("u", feature_id=None, start_time=moment, end_time=moment, page_size=1)
    assert listing.start_time == listing.end_time == STAMP
    key = _requests.create_api_key("n", ["s"], environment=v1.ENVIRONMENT_LIVE, expires_at=moment).api_key
    assert key.expires_at == STAMP


@pytest.mark.parametrize("length", [timedelta(seconds=90), Duration(seconds=90)])
def test_a_length_of_time_is_a_timedelta_or_a_duration(length: timedelta | Duration) -> None:
    request = _requests.reserve("u", "f", 1, min_amount=1, ttl=length, event_id=None)
    assert request.ttl.seconds == 90


def test_items_of_an_iterator_are_all_sent() -> None:
    request = _requests.subscribe("u", (name for name in ("a", "b")), started_at=None, trial_end=None, status=None)  # type: ignore[arg-type]
    assert list(request.package_ids) == ["a", "b"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": ""}, "target: '' is not an address"),
        ({"target": ":50051"}, "target: ':50051' is not an address"),
        ({"target": "host:99999"}, "target: 'host:99999'"),
        ({"target": "host:http"}, "target: 'host:http'"),
        ({"target": "two words:1"}, "target: 'two words:1'"),
        ({"target": 5}, "target: 5 of type int"),
        # gRPC took the first for a name to look up, and the second for one with the port 443.
        (
            {"target": "http://host:50051"},
            "target: 'http://host:50051' is a URL; expected host:port with",
        ),
        ({"target": "host"}, "target: 'host' has no port; expected host:port"),
        ({"target": "::1:50051"}, "target: '::1:50051' is not an address"),
        ({"timeout_seconds": "5"}, "timeout_seconds: '5' of type str"),
        ({"timeout_seconds": 0}, "timeout_seconds: 0 is not a number of seconds above 0"),
        # With infinity every call was DEADLINE_EXCEEDED at once.
        ({"timeout_seconds": math.inf}, "timeout_seconds: inf is not .* at most 31622400"),
        ({"timeout_seconds": math.nan}, "timeout_seconds: nan is not"),
        ({"timeout_seconds": 10**400}, "timeout_seconds: 1000.* is not"),
        ({"timeout_seconds": True}, "timeout_seconds: True of type bool"),
        ({"silence_timeout_seconds": -1}, "silence_timeout_seconds: -1"),
        ({"silence_timeout_seconds": 2**63}, "silence_timeout_seconds: 9223372036854775808 is not"),
        ({"api_key": 5}, "api_key: "),
        ({"api_key": []}, "api_key: "),
        ({"durability": 5}, "durability: 5"),
        ({"durability": {}}, "durability: {} of type dict"),
        ({"tls": "ca.pem"}, "tls: 'ca.pem' of type str is not accepted; expected True, False or a canuse.Tls"),
        ({"credentials": "ca.pem"}, "credentials: 'ca.pem' .* expected a grpc.ChannelCredentials"),
        ({"channel": "host:1"}, r"channel: 'host:1' of type str is not accepted; expected a grpc\.(aio\.)?Channel"),
        ({"options": None}, "options: None"),
        ({"options": {"grpc.a": 1}}, "options: .* expected a list of pairs"),
        ({"options": [("grpc.a", None)]}, "options: .* expected a list of pairs"),
        ({"options": ["grpc.a"]}, "options: .* expected a list of pairs"),
        ({"retry": "no"}, "retry: 'no' of type str is not accepted; expected True, False or a canuse.Retry"),
        ({"tls": True, "credentials": grpc.ssl_channel_credentials()}, "tls: cannot be combined with credentials"),
    ],
)
async def test_a_setting_that_cannot_hold_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadArgument, match=f"^{message}"):
        Client(**settings)
    with pytest.raises(BadArgument, match=f"^{message}"):
        AsyncClient(**settings)


async def test_a_channel_of_the_other_kind_is_refused() -> None:
    # It was an AttributeError, or failed at the first call.
    with grpc.insecure_channel(NOBODY) as channel, pytest.raises(BadArgument, match=r"^channel: .* grpc\.aio\.Channel"):
        AsyncClient(channel=channel)  # type: ignore[arg-type]
    async with grpc.aio.insecure_channel(NOBODY) as asynchronous:
        with pytest.raises(BadArgument, match=r"^channel: .* expected a grpc\.Channel$"):
            Client(channel=asynchronous)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recording": "yes"}, "recording: 'yes' of type str"),
        ({"initial_backoff_seconds": 0}, "initial_backoff_seconds: 0 is not"),
        ({"max_backoff_seconds": "1"}, "max_backoff_seconds: '1' of type str"),
        ({"max_seconds": -1}, "max_seconds: -1 is not"),
        ({"budget": 1.5}, "budget: 1.5 of type float"),
        ({"budget": 0}, "budget: 0 is not 1 or more"),
    ],
)
def test_what_cannot_be_a_policy_for_retries_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadArgument, match=f"^{message}"):
        Retry(**settings)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ca": 5}, "ca: 5 of type int is not accepted; expected the path of a file"),
        ({"ca": ""}, "ca: '' of type str"),
        ({"ca": b"ca.pem"}, "ca: b'ca.pem' of type bytes"),
        ({"certificate": "a\0b", "key": "k"}, "certificate: "),
        ({"certificate": "c"}, "certificate: `certificate` and `key` must be set together"),
        ({"key": "k"}, "key: `certificate` and `key` must be set together"),
    ],
)
def test_what_names_no_file_of_tls_is_refused_by_its_name(files: dict[str, Any], message: str) -> None:
    with pytest.raises(BadArgument, match=f"^{message}"):
        Tls(**files)


@pytest.mark.parametrize(
    "target", ["host:50051", "[::1]:50051", "dns:///host:50051", "unix:/path", "unix:path", "ipv4:10.0.0.1:5"]
)
def test_every_kind_of_address_that_grpc_knows_is_left_to_it(target: str) -> None:
    Client(target).close()
