"""The bench's requests and report: requests for many users, medians, ratios, the chart."""

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

from bench import event_ids
from bench.measure import Round, pick
from bench.methods import BATCH, BATCH_CAN_USE, CAN_USE, METHODS, SHOULD_RATE_LIMIT
from bench.picture import svg
from bench.report import Case, costs, ratios, rows_of, table, warnings

from canuse import v1
from canuse_server.envoy import rate_limit_service_pb2 as envoy

USERS = [f"bench-{number:07d}" for number in range(250)]
ROUND = Round(
    calls_per_second=1000,
    items_per_second=1000,
    p50_us=100,
    p99_us=200,
    p999_us=300,
    server_cpu_us=40.0,
    store_cpu_us=10.0,
    loader_cpu_us=5.0,
    load_share=0.5,
    others_share=0.0,
    server_bytes=2**20,
    store_bytes=2**21,
    answered=1000,
    checked=True,
)


def rounds(*speeds: float) -> list[Round]:
    """Return rounds that differ only in speed."""
    return [replace(ROUND, calls_per_second=speed, items_per_second=speed) for speed in speeds]


def batch(answers: int, *, last: bool = True) -> bytes:
    """Return a framed answer to a batch of checks: all allowed except possibly the last."""
    results = [v1.BatchCanUseResult(response=v1.CanUseResponse(access=True)) for _ in range(answers - 1)]
    results.append(v1.BatchCanUseResult(response=v1.CanUseResponse(access=last)))
    message = v1.BatchCanUseResponse(results=results).SerializeToString()
    return b"\0" + len(message).to_bytes(4, "big") + message


def test_a_batch_is_right_only_if_every_answer_in_it_is_a_yes() -> None:
    assert BATCH_CAN_USE.check(batch(BATCH))
    assert not BATCH_CAN_USE.check(batch(BATCH, last=False))
    assert not BATCH_CAN_USE.check(batch(BATCH - 1))


def test_requests_go_through_all_users() -> None:
    user_ids = [v1.CanUseRequest.FromString(message).user_id for message in CAN_USE.messages(USERS)]
    assert user_ids == USERS
    batches = [v1.BatchCanUseRequest.FromString(message).requests for message in BATCH_CAN_USE.messages(USERS)]
    assert [len(requests) for requests in batches] == [BATCH] * 3
    assert {request.user_id for requests in batches for request in requests} == set(USERS)
    [alone] = BATCH_CAN_USE.messages(USERS[:1])
    assert [request.user_id for request in v1.BatchCanUseRequest.FromString(alone).requests] == USERS[:1] * BATCH


def test_the_request_to_a_rate_limiter_is_envoys() -> None:
    request = envoy.RateLimitRequest.FromString(SHOULD_RATE_LIMIT.messages(USERS)[3])
    [descriptor] = request.descriptors
    assert request.domain == "canuse"
    entries = [(entry.key, entry.value) for entry in descriptor.entries]
    assert entries == [("user_id", USERS[3]), ("feature_id", "api-calls")]


def test_a_round_picks_the_same_users_for_all_candidates_and_others_than_the_next_round() -> None:
    assert pick(USERS, 1) == pick(USERS, 1)
    assert pick(USERS, 1) != pick(USERS, 2)
    assert sorted(pick(USERS, 1)) == USERS


def test_figures_are_medians_and_ratios_are_medians_of_the_ratios_in_each_round() -> None:
    rows = rows_of(
        {
            Case(1, "CanUse", 32, "mine"): rounds(100, 3000, 400),
            Case(1, "ShouldRateLimit", 32, "mine"): rounds(90, 2700, 360),
            Case(1, "ShouldRateLimit", 32, "theirs"): rounds(50, 3000, 100),
        }
    )
    assert [row.median("calls_per_second") for row in rows] == [400, 360, 100]
    _, first, *_ = table(rows).splitlines()
    assert first.split() == ["1", "CanUse", "32", "mine", "400", "400", "100", "200", "300", "40.0", "10.0", "1", "2"]
    # The medians alone would say 4. The other candidate has only one method, so only that one is compared.
    _, can_use, rate_limit = ratios(rows, "theirs").splitlines()
    assert can_use.split() == ["1", "CanUse", "32", "mine", "2.00", *("2.00", "1.00", "4.00"), *["1.00"] * 3]
    assert rate_limit.split()[1:5] == ["ShouldRateLimit", "32", "mine", "1.80"]


def test_event_ids_and_batches_are_compared_with_the_calls_without_round_by_round() -> None:
    slow = [replace(each, server_cpu_us=60.0, store_cpu_us=30.0) for each in rounds(50, 1500, 100)]
    rows = rows_of(
        {
            Case(1, "UseFeature", 32, "mine"): rounds(100, 3000, 400),
            Case(1, "UseFeature+id", 32, "mine"): slow,
            Case(1, "CreateUsageEvent+id", 32, "mine"): rounds(100, 3000, 400),
            Case(1, "BatchCreateUsageEvents+id", 32, "mine"): slow,
            Case(1, "UseFeature", 1, "mine"): rounds(1, 1, 1),
        }
    )
    _, use, batched = costs(rows).splitlines()
    figures = ["0.50", *("0.50", "0.50", "0.25"), "1.00", "1.50", "3.00"]
    assert use.split() == ["1", "UseFeature+id", "32", "mine", "UseFeature", *figures]
    assert batched.split()[1:] == ["BatchCreateUsageEvents+id", "32", "mine", "CreateUsageEvent+id", *figures]
    assert not costs(rows[:1])


def test_a_use_with_an_event_id_is_sent_with_a_new_one_each_time() -> None:
    for name, items in (("UseFeature+id", 1), ("BatchCreateUsageEvents+id", BATCH)):
        [method] = [method for method in METHODS if method.name == name]
        [message] = method.messages(USERS[:1])
        ids = [re.findall(rb"[0-9a-f]{32}", event_ids.with_new_ids(message)) for _ in range(2)]
        assert [len(found) for found in ids] == [items, items]
        assert len({*ids[0], *ids[1]}) == 2 * items


def test_it_warns_of_figures_that_are_not_what_they_seem() -> None:
    case = Case(1, "CanUse", 32, "mine")
    assert not warnings(rows_of({case: [ROUND]}))
    [busy] = warnings(rows_of({case: [replace(ROUND, load_share=0.95)]}))
    assert "mine CanUse, 1 users, 32 in flight" in busy
    [disturbed] = warnings(rows_of({case: [replace(ROUND, others_share=0.5)]}))
    assert "50 % of a core" in disturbed
    [unchecked] = warnings(rows_of({case: [replace(ROUND, checked=False)]}))
    assert unchecked.endswith(": mine")


def test_the_picture_draws_a_bar_for_each_figure_and_escapes_names() -> None:
    rows = rows_of({Case(1, "CanUse", n, name): rounds(900) for n in (1, 32) for name in ("a<b", "c")})
    elements = list(ET.fromstring(svg(rows)).iter())
    assert {"a<b", "c", "900"} <= {element.text for element in elements}
    bars = [element for element in elements if element.tag.endswith("rect")]
    background, legend = 1, 2
    assert len(bars) == background + legend + len(rows)
