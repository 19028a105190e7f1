"""The requests that the clients send, and values that they refuse."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from canuse import AsyncClient, BadArgument, Client, NewApiKey, UserToken, _requests, v1
from canuse._channel import call_metadata, channel_options
from canuse._requests import UNSET

NAIVE = datetime(2025, 1, 31, 12)  # noqa: DTZ001 - the point of the tests that use it
KEY_WITH_A_LINE_END = "ck_live_0123456789\n"


def create_grant(amount: int | None = 5, **moments: datetime) -> v1.CreateGrantRequest:
    """Build a grant with the given moments."""
    effective_at, expires_at = moments.get("effective_at"), moments.get("expires_at")
    return _requests.create_grant(
        "u", "g", "f", amount=amount, effective_at=effective_at, expires_at=expires_at, priority=0, note=""
    )


def subscribe(**moments: datetime) -> v1.SubscribeRequest:
    """Build a subscription with the given moments."""
    return _requests.subscribe(
        "u", ["pro"], started_at=moments.get("started_at"), trial_end=moments.get("trial_end"), status=None
    )


def update_subscription(trial_end: datetime | None) -> v1.UpdateSubscriptionRequest:
    """Build an update of the trial end only."""
    return _requests.update_subscription("s", status=UNSET, trial_end=trial_end, cancel_at=UNSET)


def test_a_moment_keeps_its_instant_whatever_its_time_zone() -> None:
    in_delhi = datetime(2025, 1, 31, 17, 30, 0, 250_000, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert subscribe(started_at=in_delhi).started_at.ToJsonString() == "2025-01-31T12:00:00.250Z"


@pytest.mark.parametrize(
    ("field", "build"),
    [
        ("started_at", lambda: subscribe(started_at=NAIVE)),
        ("trial_end", lambda: subscribe(trial_end=NAIVE)),
        ("trial_end", lambda: update_subscription(NAIVE)),
        ("effective_at", lambda: create_grant(effective_at=NAIVE)),
        ("expires_at", lambda: create_grant(expires_at=NAIVE)),
    ],
)
def test_a_moment_without_a_time_zone_is_refused_by_name(field: str, build: Callable[[], Message]) -> None:
    with pytest.raises(ValueError, match=f"^{field}: .* has no time zone"):
        build()


def test_a_subscription_leaves_its_defaults_to_the_server() -> None:
    assert subscribe() == v1.SubscribeRequest(user_id="u", package_ids=["pro"])


def test_one_package_id_in_place_of_a_list_is_refused_and_not_taken_letter_by_letter() -> None:
    with pytest.raises(TypeError, match=r"\['pro'\]"):
        _requests.subscribe("u", "pro", started_at=None, trial_end=None, status=None)


def test_a_usage_event_without_a_delta_leaves_it_unset_so_that_set_cannot_mean_one() -> None:
    request = _requests.create_usage_event(
        "u", "f", delta=None, action=v1.USAGE_ACTION_SET, event_id=None, metadata=None
    )
    assert request == v1.CreateUsageEventRequest(user_id="u", feature_id="f", action=v1.USAGE_ACTION_SET)
    assert not request.HasField("delta")


def test_a_delta_of_zero_is_sent() -> None:
    request = _requests.create_usage_event(
        "u", "f", delta=0, action=v1.USAGE_ACTION_SET, event_id="e", metadata={"k": "v"}
    )
    assert request.HasField("delta")
    assert (request.event_id, dict(request.metadata)) == ("e", {"k": "v"})


def test_a_grant_leaves_its_defaults_to_the_server_and_says_that_it_is_unlimited_by_no_amount() -> None:
    grant = v1.Grant(id="g", user_id="u", feature_id="f", amount=5)
    assert create_grant() == v1.CreateGrantRequest(grant=grant)
    assert create_grant(amount=0).grant.HasField("amount")
    assert not create_grant(amount=None).grant.HasField("amount")


def test_several_uses_keep_their_order() -> None:
    request = _requests.use_features("u", {"b": 2, "a": 0}, event_id="e", metadata={"k": "v"})
    charges = [v1.Charge(feature_id="b", delta=2), v1.Charge(feature_id="a", delta=0)]
    assert request == v1.UseFeaturesRequest(user_id="u", charges=charges, event_id="e", metadata={"k": "v"})


def test_a_use_carries_its_key_and_metadata() -> None:
    request = _requests.use_feature("u", "f", delta=3, event_id="e", metadata={"k": "v"})
    assert request == v1.UseFeatureRequest(user_id="u", feature_id="f", delta=3, event_id="e", metadata={"k": "v"})


def test_an_update_names_the_given_fields_and_no_others_even_where_they_are_empty() -> None:
    request = _requests.update_user("u", name="", email=UNSET, billing_id=UNSET, metadata={}, disabled=False)
    assert sorted(request.update_mask.paths) == ["disabled", "metadata", "name"]
    assert request.user == v1.User(id="u")


def test_each_update_puts_the_values_where_the_mask_says() -> None:
    given: Any = {"name": "n", "unit_label": "u", "unit_label_plural": "us", "metadata": {"k": "v"}}
    given["on_unavailable"] = v1.ON_UNAVAILABLE_ALLOW
    feature = _requests.update_feature("f", **given)
    assert feature.feature == v1.Feature(id="f", **given)
    assert sorted(feature.update_mask.paths) == sorted(given)

    entry = v1.PackageFeature(feature_id="f", limit=0)
    package = _requests.update_package("p", features=[entry], type=v1.PACKAGE_TYPE_ADD_ON, name=UNSET, metadata=UNSET)
    assert package.package == v1.Package(id="p", features=[entry], type=v1.PACKAGE_TYPE_ADD_ON)
    assert sorted(package.update_mask.paths) == ["features", "type"]

    subscription = _requests.update_subscription(
        "s",
        status=v1.SUBSCRIPTION_STATUS_PAST_DUE,
        trial_end=datetime(2025, 1, 1, tzinfo=UTC),
        cancel_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert subscription.subscription.status == v1.SUBSCRIPTION_STATUS_PAST_DUE
    assert subscription.subscription.trial_end.ToJsonString() == "2025-01-01T00:00:00Z"
    assert subscription.subscription.cancel_at.ToJsonString() == "2026-01-01T00:00:00Z"
    assert sorted(subscription.update_mask.paths) == ["cancel_at", "status", "trial_end"]


def test_a_trial_end_of_none_removes_the_trial() -> None:
    request = update_subscription(None)
    assert list(request.update_mask.paths) == ["trial_end"]
    assert not request.subscription.HasField("trial_end")


def test_an_update_of_nothing_is_refused_since_an_empty_mask_means_something_else() -> None:
    with pytest.raises(ValueError, match="give at least one of features, type, name, metadata"):
        _requests.update_package("p", features=UNSET, type=UNSET, name=UNSET, metadata=UNSET)


def test_the_api_key_is_a_bearer_token_and_an_empty_one_is_none() -> None:
    assert call_metadata("sk_live_1") == (("authorization", "Bearer sk_live_1"),)
    assert call_metadata("") == call_metadata(None) == ()


def test_an_api_key_that_cannot_be_sent_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="api_key") as caught:
        Client(api_key=KEY_WITH_A_LINE_END)
    assert KEY_WITH_A_LINE_END.strip() not in str(caught.value)


def test_channel_options_of_the_caller_win_over_the_defaults() -> None:
    name = "grpc.max_reconnect_backoff_ms"
    assert dict(channel_options([]))[name] == 1_000
    chosen = dict(channel_options([(name, 9), ("grpc.x", 1)]))
    assert (chosen[name], chosen["grpc.x"]) == (9, 1)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_timeout_that_is_not_above_zero_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="timeout_seconds"):
        Client(timeout_seconds=seconds)


def test_settings_that_a_channel_of_the_callers_own_would_ignore_are_refused() -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        with pytest.raises(BadArgument, match=r"^channel: cannot be combined with credentials, tls or options"):
            Client(channel=channel, options=[("grpc.x", 1)])
        with pytest.raises(BadArgument, match=r"^channel: cannot be combined with credentials, tls or options"):
            Client(channel=channel, credentials=grpc.ssl_channel_credentials())


async def test_no_secret_is_in_what_a_client_a_new_key_or_a_token_shows_of_itself() -> None:
    secret = f"sk_live_{'7' * 64}"
    created = NewApiKey(v1.ApiKey(id="key_1", name="billing"), secret)
    token = UserToken(secret, datetime(2026, 1, 1, tzinfo=UTC))
    assert created.secret == token.token == secret
    with Client(api_key=secret) as client:
        async with AsyncClient(api_key=secret) as asynchronous:
            for shown in (repr(client), repr(asynchronous), repr(created), str(created), repr(token), str(token)):
                assert secret not in shown
    assert "billing" in repr(created)


def test_scopes_that_are_one_text_are_refused_since_its_letters_would_be_sent() -> None:
    with pytest.raises(ValueError, match="scopes"):
        _requests.create_api_key("n", "usage:write", environment=v1.ENVIRONMENT_LIVE, expires_at=None)


def test_an_event_id_that_is_generated_for_retries_is_kept_for_minutes() -> None:
    generated, own = v1.UseFeatureRequest(user_id="u"), v1.UseFeatureRequest(user_id="u", event_id="e")
    batch = v1.BatchCreateUsageEventsRequest(requests=[{}, {"event_id": "e"}])  # type: ignore[list-item]
    for request in (generated, own, batch):
        _requests.give_event_ids(request)
    assert len(generated.event_id) == 32
    assert generated.event_id_ttl.ToTimedelta() == timedelta(minutes=10)
    assert (own.event_id, own.HasField("event_id_ttl")) == ("e", False)
    assert [each.HasField("event_id_ttl") for each in batch.requests] == [True, False]
