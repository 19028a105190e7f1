"""Uses that Envoy reports after the response: recorded whatever the budget, and reversible."""

import pytest

from canuse import v1
from canuse_server.store.codec.ledger_pb2 import LedgerEntry
from support.load import used
from support.message_clients import Client
from support.rate_limits import RateLimits, amount, descriptor, fact, left, summary
from support.resources import binary, consumable, package, subscriber, unique
from support.store_inspection import StoreInspector
from support.wire import Stubs


@pytest.fixture
def limits(stubs: Stubs) -> RateLimits:
    """The rate limit service."""
    return RateLimits(stubs.channel)


@pytest.fixture
def two(client: Client) -> tuple[str, str, str]:
    """A user who has 5 of one feature and 2 of another."""
    first, second, user_id = consumable(client), consumable(client), unique("user")
    client.create_user(user_id)
    entries = [v1.PackageFeature(feature_id=name, limit=limit) for name, limit in ((first, 5), (second, 2))]
    client.subscribe(user_id, [package(client, entries)])
    return user_id, first, second


def events(store: StoreInspector, user_id: str) -> list[LedgerEntry]:
    """Return the ledger entries of a user."""
    return [entry for entry in store.ledger(user_id).values() if entry.user_id == user_id]


def test_a_report_past_the_limit_is_counted(client: Client, limits: RateLimits) -> None:
    """Twenty times a check of 0 and a report of 400, against 1,000: 8,000 were used and 800 counted."""
    user_id, feature_id = subscriber(client, 1000)
    check, report = amount(descriptor(user_id, feature_id), 0), fact(user_id, feature_id, 400)
    results = [(summary(limits.ask(check)), summary(limits.ask(report))) for _ in range(20)]
    assert (
        results
        == [("OK: OK", "OK: OK")] * 2
        + [("OK: OK", "OVER_LIMIT: OVER_LIMIT")]
        + [("OVER_LIMIT: OVER_LIMIT", "OVER_LIMIT: OVER_LIMIT")] * 17
    )
    assert used(client, user_id, feature_id) == 8000


@pytest.mark.parametrize("limit", [0, 2])
@pytest.mark.parametrize("together", [False, True], ids=["alone", "with another"])
def test_a_check_of_0_is_a_no_where_nothing_is_left(
    client: Client, limits: RateLimits, limit: int, *, together: bool
) -> None:
    """It was allowed at exactly the limit, and always with a limit of 0: one more request was let through."""
    user_id, feature_id, other = unique("user"), consumable(client), consumable(client)
    client.create_user(user_id)
    entries = [v1.PackageFeature(feature_id=feature_id, limit=limit), v1.PackageFeature(feature_id=other, limit=9)]
    client.subscribe(user_id, [package(client, entries)])
    check = [amount(descriptor(user_id, feature_id), 0)]
    if together:
        check.append(amount(descriptor(user_id, other), 0))
    for left_now in range(limit, 0, -1):
        answer = limits.ask(*check)
        assert (answer.statuses[0].code, left(answer)[0]) == (answer.OK, left_now)
        limits.ask(fact(user_id, feature_id, 1))
    answer = limits.ask(*check)
    assert (answer.overall_code, answer.statuses[0].code, left(answer)[0]) == (answer.OVER_LIMIT, answer.OVER_LIMIT, 0)
    assert (used(client, user_id, feature_id), used(client, user_id, other)) == (limit, 0)


def test_a_fact_is_answered_by_what_is_left_after_it_and_is_an_event_like_any_other(
    client: Client, limits: RateLimits, store: StoreInspector
) -> None:
    user_id, feature_id = subscriber(client, 5)
    answers = [limits.ask(fact(user_id, feature_id, 3)) for _ in range(2)]
    assert [(summary(answer), left(answer)) for answer in answers] == [
        ("OK: OK", [2]),
        ("OVER_LIMIT: OVER_LIMIT", [0]),
    ]
    for answer in answers:
        [status] = answer.statuses
        assert status.current_limit.requests_per_unit == 5
        assert status.HasField("duration_until_reset")
    assert [(entry.delta, entry.applied_delta, entry.used, entry.reason) for entry in events(store, user_id)] == [
        (3, 3, 3, v1.REASON_WITHIN_BUDGET),
        (3, 3, 6, v1.REASON_BUDGET_EXCEEDED),
    ]


def test_the_hits_of_the_request_are_those_of_its_facts_too(client: Client, limits: RateLimits) -> None:
    user_id, feature_id = subscriber(client, 5)
    assert left(limits.ask(descriptor(user_id, feature_id, record="fact"), hits=4)) == [1]
    assert left(limits.ask(descriptor(user_id, feature_id, record="fact"))) == [0]
    assert used(client, user_id, feature_id) == 5


@pytest.mark.parametrize("record", ["", "Fact", "use", "facts"])
def test_only_the_value_fact_makes_a_fact(client: Client, limits: RateLimits, record: str) -> None:
    user_id, feature_id = subscriber(client, 1)
    use = descriptor(user_id, feature_id, record=record)
    assert [summary(limits.ask(use)) for _ in range(2)] == ["OK: OK", "OVER_LIMIT: OVER_LIMIT"]
    assert used(client, user_id, feature_id) == 1


def test_a_fact_of_nothing_asks_and_counts_nothing(client: Client, limits: RateLimits, store: StoreInspector) -> None:
    user_id, feature_id = subscriber(client, 5)
    before = store.user(user_id)
    for negative in (False, True):
        nothing = amount(fact(user_id, feature_id, 0), 0, negative=negative)
        assert (summary(limits.ask(nothing)), left(limits.ask(nothing))) == ("OK: OK", [5])
        both = nothing, amount(descriptor(user_id, consumable(client)), 0)
        assert summary(limits.ask(*both)) == "OVER_LIMIT: OK OVER_LIMIT"
    assert (store.user(user_id), events(store, user_id)) == (before, [])


def test_negative_hits_are_given_back_down_to_nothing(
    client: Client, limits: RateLimits, store: StoreInspector
) -> None:
    """They were an error."""
    user_id, feature_id = subscriber(client, 5)
    limits.ask(fact(user_id, feature_id, 9))
    back = [limits.ask(amount(descriptor(user_id, feature_id), hits, negative=True)) for hits in (3, 2, 1, 100)]
    assert [(summary(answer), left(answer)) for answer in back] == [
        ("OVER_LIMIT: OVER_LIMIT", [0]),
        ("OK: OK", [1]),
        ("OK: OK", [2]),
        ("OK: OK", [5]),
    ]
    assert used(client, user_id, feature_id) == 0
    assert [entry.applied_delta for entry in events(store, user_id)] == [9, -3, -2, -1, -3]
    by_the_request = descriptor(user_id, feature_id)
    by_the_request.is_negative_hits = True
    limits.use(user_id, feature_id, hits=4)
    assert left(limits.ask(by_the_request, hits=3)) == [4]
    assert left(limits.ask(by_the_request)) == [5]


def test_what_is_given_back_goes_to_the_grants_it_was_drawn_from(client: Client, limits: RateLimits) -> None:
    user_id, feature_id = subscriber(client, 1)
    client.create_grant(user_id, unique("grant"), feature_id, amount=4)
    assert left(limits.ask(fact(user_id, feature_id, 4))) == [1]
    assert left(limits.ask(amount(descriptor(user_id, feature_id), 3, negative=True))) == [4]
    assert used(client, user_id, feature_id) == 1


def test_facts_are_recorded_beside_uses_that_are_refused(
    two: tuple[str, str, str], client: Client, limits: RateLimits
) -> None:
    user_id, first, second = two
    use = descriptor(user_id, second)
    answers = [limits.ask(fact(user_id, first, 4), use) for _ in range(3)]
    assert [(summary(answer), left(answer)) for answer in answers] == [
        ("OK: OK OK", [1, 1]),
        # Envoy refuses the request, so it uses nothing.
        ("OVER_LIMIT: OVER_LIMIT OK", [0, 1]),
        ("OVER_LIMIT: OVER_LIMIT OK", [0, 1]),
    ]
    assert (used(client, user_id, first), used(client, user_id, second)) == (12, 1)
    answers = [limits.ask(amount(use, 2), fact(user_id, first, 4)) for _ in range(2)]
    assert [summary(answer) for answer in answers] == ["OVER_LIMIT: OVER_LIMIT OVER_LIMIT"] * 2
    assert (used(client, user_id, first), used(client, user_id, second)) == (20, 1)


def test_facts_are_recorded_beside_what_is_not_known_or_can_not_be(
    two: tuple[str, str, str], client: Client, limits: RateLimits
) -> None:
    user_id, first, second = two
    use = descriptor(user_id, second)
    others = [
        descriptor(user_id, unique("missing")),
        fact(user_id, unique("missing"), 1),
        descriptor(user_id, "x" * 129),
        descriptor("", second),
        amount(descriptor(user_id, unique("missing")), 2**63),
    ]
    for other in others:
        answer = limits.ask(use, other, fact(user_id, first, 4))
        assert summary(answer).startswith("OVER_LIMIT: UNKNOWN OVER_LIMIT O")
    assert (used(client, user_id, first), used(client, user_id, second)) == (4 * len(others), 0)


def test_a_feature_of_which_one_descriptor_is_a_fact_is_recorded_as_one(
    two: tuple[str, str, str], client: Client, limits: RateLimits
) -> None:
    user_id, first, second = two
    check = amount(descriptor(user_id, second), 0)
    assert summary(limits.ask(fact(user_id, first, 4), descriptor(user_id, first), check)) == "OK: OK OK OK"
    assert summary(limits.ask(check, descriptor(user_id, first), fact(user_id, first, 4))) == (
        "OVER_LIMIT: OK OVER_LIMIT OVER_LIMIT"
    )
    assert used(client, user_id, first) == 10
    assert left(limits.ask(descriptor(user_id, first), amount(descriptor(user_id, first), 9, negative=True))) == [3, 3]
    assert (used(client, user_id, first), used(client, user_id, second)) == (2, 0)


def test_a_fact_about_who_is_not_entitled_or_not_known_is_not_recorded(
    client: Client, limits: RateLimits, store: StoreInspector
) -> None:
    user_id, feature_id = client.create_user(unique("user")).id, consumable(client)
    nobody = unique("nobody")
    for who in (user_id, nobody, "x" * 129):
        for report in (fact(who, feature_id, 3), amount(descriptor(who, feature_id), 3, negative=True)):
            answer = limits.ask(report)
            assert (summary(answer), answer.statuses[0].HasField("current_limit")) == ("OVER_LIMIT: OVER_LIMIT", False)
    assert summary(limits.ask(fact(user_id, unique("missing"), 1))) == "OVER_LIMIT: OVER_LIMIT"
    assert events(store, user_id) == events(store, nobody) == []


def test_a_fact_about_who_may_not_use_it_any_more_is_recorded_and_refused(client: Client, limits: RateLimits) -> None:
    """As by CreateUsageEvent: the use has happened."""
    user_id, feature_id = subscriber(client, 50)
    client.update_user(user_id, disabled=True)
    assert summary(limits.ask(fact(user_id, feature_id, 3))) == "OVER_LIMIT: OVER_LIMIT"
    client.update_user(user_id, disabled=False)
    client.archive_feature(feature_id)
    assert summary(limits.ask(fact(user_id, feature_id, 4))) == "OVER_LIMIT: OVER_LIMIT"
    assert used(client, user_id, feature_id) == 7


def test_a_fact_about_a_binary_feature_asks_and_counts_nothing(
    client: Client, limits: RateLimits, store: StoreInspector
) -> None:
    switch, user_id = binary(client), client.create_user(unique("user")).id
    client.subscribe(user_id, [package(client, [v1.PackageFeature(feature_id=switch)])])
    assert summary(limits.ask(fact(user_id, switch, 3))) == "OK: OK"
    assert summary(limits.ask(amount(descriptor(user_id, switch), 3, negative=True))) == "OK: OK"
    assert events(store, user_id) == []
