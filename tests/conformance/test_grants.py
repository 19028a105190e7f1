"""Grants: what is stored, what is refused, and that a repeated creation changes nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from canuse import v1
from support.message_clients import Client
from support.resources import binary, consumable, grant, left, subscriber, unique
from support.wire import Stubs, failure, moment

LARGEST = 2**53 - 1
FAR_OFF = datetime(2125, 1, 1, tzinfo=UTC)
LONG_AGO = datetime(2024, 2, 3, 4, 5, 6, 789_000, tzinfo=UTC)
MAX_GRANTS = 1000


def fresh(client: Client) -> tuple[str, str]:
    """Create a user without subscriptions, and a feature; return the ids of both."""
    return client.create_user(unique("user")).id, consumable(client)


def request(user_id: str, feature_id: str, /, **fields: Any) -> v1.CreateGrantRequest:
    """Return a request that creates a grant."""
    plain = {"id": "g", "user_id": user_id, "feature_id": feature_id, "amount": 5}
    return v1.CreateGrantRequest(grant=v1.Grant(**{**plain, **fields}))


def test_a_grant_is_kept_as_sent(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = fresh(client)
    fields: dict[str, Any] = {
        "id": "a {:} grant ☃",
        "amount": 7,
        "effective_at": moment(LONG_AGO),
        "expires_at": moment(FAR_OFF),
        "priority": 1_000_000,
        "note": "n" * 256,
    }
    made_up = Timestamp(seconds=5)
    sent = request(user_id, feature_id, **fields, created_at=made_up, revoked_at=made_up).grant
    created = stubs.subscriptions.CreateGrant(v1.CreateGrantRequest(grant=sent)).grant
    assert created.created_at.seconds > 5
    assert not created.HasField("revoked_at")
    sent.ClearField("revoked_at")
    sent.created_at.CopyFrom(created.created_at)
    assert created == sent
    assert list(client.list_grants(user_id)) == [created]


def test_a_grant_with_no_more_than_it_needs_is_unlimited_from_now_on_and_for_ever(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = fresh(client)
    plain = v1.CreateGrantRequest(grant=v1.Grant(id="g", user_id=user_id, feature_id=feature_id))
    created = stubs.subscriptions.CreateGrant(plain).grant
    assert created.effective_at == created.created_at
    assert not any(created.HasField(name) for name in ("amount", "expires_at", "revoked_at"))
    assert (created.priority, created.note) == (0, "")
    assert client.use_feature(user_id, feature_id, LARGEST).reason == v1.REASON_UNLIMITED


def test_a_time_is_kept_to_the_millisecond(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = fresh(client)
    created = stubs.subscriptions.CreateGrant(
        request(user_id, feature_id, effective_at=Timestamp(seconds=5, nanos=123_999_999))
    ).grant
    assert created.effective_at == Timestamp(seconds=5, nanos=123_000_000)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"id": ""}, "id"),
        ({"id": "g" * 129}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"user_id": "é" * 65}, "user_id"),
        ({"feature_id": ""}, "feature_id"),
        ({"amount": 0}, "amount"),
        ({"amount": -1}, "amount"),
        ({"amount": LARGEST + 1}, "amount"),
        ({"priority": -1}, "priority"),
        ({"priority": 1_000_001}, "priority"),
        ({"note": "é" * 129}, "note"),
        ({"note": "a\x00b"}, "note"),
        ({"effective_at": Timestamp(seconds=-1)}, "effective_at"),
        ({"effective_at": Timestamp(nanos=-1)}, "effective_at"),
        ({"expires_at": Timestamp(seconds=2**40)}, "expires_at"),
        ({"effective_at": moment(FAR_OFF), "expires_at": moment(FAR_OFF)}, "expires_at"),
        ({"effective_at": moment(FAR_OFF), "expires_at": moment(LONG_AGO)}, "expires_at"),
        ({"expires_at": moment(LONG_AGO)}, "expires_at"),
    ],
)
def test_a_bad_grant_is_refused_by_field_and_not_made(
    client: Client, stubs: Stubs, wrong: dict[str, Any], field: str
) -> None:
    user_id, feature_id = fresh(client)
    refused = failure(stubs.subscriptions.CreateGrant, request(user_id, feature_id, **wrong))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert refused.fields == [f"grant.{field}"]
    assert "sent" in refused.violations[f"grant.{field}"]
    assert list(client.list_grants(user_id)) == []


def test_an_amount_of_a_binary_feature_is_refused(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = client.create_user(unique("user")).id, binary(client)
    refused = failure(stubs.subscriptions.CreateGrant, request(user_id, feature_id, amount=3))
    assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["grant.amount"])
    assert "3 was sent" in refused.violations["grant.amount"]


def test_an_unknown_user_or_feature_or_grant_is_an_error(client: Client, stubs: Stubs) -> None:
    user_id, feature_id, missing = *fresh(client), unique("missing")
    grant_id = grant(client, user_id, feature_id, 5)
    other_id = client.create_user(unique("user")).id
    methods = stubs.subscriptions
    for call, sent, reason, ids in (
        (methods.CreateGrant, request(missing, feature_id), "USER", {"user_id": missing}),
        (methods.CreateGrant, request(user_id, missing), "FEATURE", {"feature_id": missing}),
        (methods.ListGrants, v1.ListGrantsRequest(user_id=missing), "USER", {"user_id": missing}),
        (methods.RevokeGrant, v1.RevokeGrantRequest(user_id=missing, grant_id=grant_id), "USER", {"user_id": missing}),
        (
            methods.RevokeGrant,
            v1.RevokeGrantRequest(user_id=user_id, grant_id=missing),
            "GRANT",
            {"user_id": user_id, "grant_id": missing},
        ),
        (
            methods.RevokeGrant,
            v1.RevokeGrantRequest(user_id=other_id, grant_id=grant_id),
            "GRANT",
            {"user_id": other_id, "grant_id": grant_id},
        ),
    ):
        refused = failure(call, sent)
        assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, f"{reason}_NOT_FOUND")
        assert refused.metadata == ids
    assert not next(client.list_grants(user_id)).HasField("revoked_at")


def test_the_same_grant_again_is_the_one_that_there_is(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = fresh(client)
    create = stubs.subscriptions.CreateGrant
    first = create(request(user_id, feature_id)).grant
    client.use_feature(user_id, feature_id, 3)
    # Whether or not the request says when it begins.
    for again in (request(user_id, feature_id), request(user_id, feature_id, effective_at=first.effective_at)):
        assert create(again).grant == first
        assert left(client, user_id, feature_id) == {"g": 2}
    revoked = client.revoke_grant(user_id, "g")
    client.archive_feature(feature_id)
    assert create(request(user_id, feature_id)).grant == revoked
    assert list(client.list_grants(user_id)) == [revoked]


def test_a_grant_sent_many_times_at_once_is_made_once(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = fresh(client)
    calls = [stubs.subscriptions.CreateGrant.future(request(user_id, feature_id)) for _ in range(30)]
    assert len({call.result().SerializeToString() for call in calls}) == 1
    assert left(client, user_id, feature_id) == {"g": 5}


@pytest.mark.parametrize(
    "other",
    [
        {"amount": 6},
        {"amount": None},
        {"effective_at": moment(LONG_AGO)},
        {"expires_at": moment(FAR_OFF)},
        {"priority": 1},
        {"note": "n"},
    ],
    ids="-".join,
)
def test_other_content_under_the_same_id_is_refused_and_changes_nothing(
    client: Client, stubs: Stubs, other: dict[str, Any]
) -> None:
    user_id, feature_id = fresh(client)
    first = stubs.subscriptions.CreateGrant(request(user_id, feature_id)).grant
    refused = failure(stubs.subscriptions.CreateGrant, request(user_id, feature_id, **other))
    assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "GRANT_EXISTS")
    assert refused.metadata == {"user_id": user_id, "grant_id": "g"}
    assert list(client.list_grants(user_id)) == [first]
    assert left(client, user_id, feature_id) == {"g": 5}


def test_an_id_is_taken_by_a_grant_of_any_feature_of_the_user_and_of_no_other_user(
    client: Client, stubs: Stubs
) -> None:
    user_id, feature_id = fresh(client)
    client.create_grant(user_id, "g", feature_id, amount=5)
    refused = failure(stubs.subscriptions.CreateGrant, request(user_id, consumable(client)))
    assert refused.reason == "GRANT_EXISTS"
    other_id = client.create_user(unique("user")).id
    client.create_grant(other_id, "g", feature_id, amount=6)
    assert (left(client, user_id, feature_id), left(client, other_id, feature_id)) == ({"g": 5}, {"g": 6})


def test_grants_are_listed_by_id_ended_ones_too(client: Client) -> None:
    user_id, feature_id = fresh(client)
    for grant_id, priority in (("b", 0), ("a", 9), ("é", 1), ("B", 5)):
        client.create_grant(user_id, grant_id, feature_id, amount=5, priority=priority)
    client.create_grant(user_id, "aa", binary(client), amount=None)
    client.revoke_grant(user_id, "b")
    for size in (1, 2, 1000):
        assert [each.id for each in client.list_grants(user_id, page_size=size)] == ["B", "a", "aa", "b", "é"]


def test_an_archived_feature_takes_no_new_grant_and_those_it_has_give_nothing(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = fresh(client)
    grant_id = grant(client, user_id, feature_id, 5)
    client.archive_feature(feature_id)
    refused = failure(stubs.subscriptions.CreateGrant, request(user_id, feature_id))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "FEATURE_ARCHIVED")
    assert refused.metadata == {"feature_id": feature_id}
    answer = client.can_use(user_id, feature_id)
    assert (answer.access, answer.reason) == (False, v1.REASON_FEATURE_ARCHIVED)
    assert client.use_feature(user_id, feature_id).reason == v1.REASON_FEATURE_ARCHIVED
    # A fact is recorded all the same, and drawn from the grant.
    assert client.create_usage_event(user_id, feature_id, 2).recorded
    assert left(client, user_id, feature_id) == {grant_id: 3}
    assert client.revoke_grant(user_id, grant_id).HasField("revoked_at")


def test_revoking_twice_changes_nothing(client: Client) -> None:
    user_id, feature_id = fresh(client)
    grant_id = grant(client, user_id, feature_id, 5)
    first = client.revoke_grant(user_id, grant_id)
    assert first.revoked_at.ToDatetime(UTC) >= first.created_at.ToDatetime(UTC)
    assert client.revoke_grant(user_id, grant_id) == first
    assert list(client.list_grants(user_id)) == [first]


def test_a_grant_that_is_revoked_before_it_begins_never_does(client: Client) -> None:
    user_id, feature_id = subscriber(client, 3)
    grant_id = grant(client, user_id, feature_id, None, effective_at=datetime.now(UTC) + timedelta(seconds=2))
    client.revoke_grant(user_id, grant_id)
    assert client.can_use(user_id, feature_id, 4).reason == v1.REASON_BUDGET_EXCEEDED
    assert left(client, user_id, feature_id)[grant_id] == 0


# One kind of server is enough: this takes long.
@pytest.mark.extended
@pytest.mark.parametrize("server", ["native-valkey"], indirect=True, scope="session")
def test_a_user_may_have_a_thousand_grants_of_a_feature_and_no_more(client: Client, stubs: Stubs) -> None:
    user_id, feature_id = fresh(client)
    expected = sum(range(1, MAX_GRANTS + 1))
    for first in range(0, MAX_GRANTS, 50):
        sent = [
            request(user_id, feature_id, id=f"g{number:04}", amount=number + 1) for number in range(first, first + 50)
        ]
        for call in [stubs.subscriptions.CreateGrant.future(each) for each in sent]:
            assert call.result().grant.id
    refused = failure(stubs.subscriptions.CreateGrant, request(user_id, feature_id, id="one too many"))
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TOO_MANY_GRANTS")
    assert refused.metadata == {"user_id": user_id, "feature_id": feature_id}
    # Neither a repeated grant nor one of another feature exceeds the bound.
    assert (
        stubs.subscriptions.CreateGrant(request(user_id, feature_id, id="g0999", amount=MAX_GRANTS)).grant.id == "g0999"
    )
    grant(client, user_id, consumable(client), 5)

    assert client.can_use(user_id, feature_id).consumption.budget == expected
    assert client.use_feature(user_id, feature_id, expected - 5).access
    sources = left(client, user_id, feature_id)
    assert (len(sources), sum(amount or 0 for amount in sources.values()), sources["g0999"]) == (MAX_GRANTS, 5, 5)
    [entitlement] = [each for each in client.list_entitlements(user_id) if each.feature_id == feature_id]
    assert list(entitlement.grant_ids) == sorted(sources)
