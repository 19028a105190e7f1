"""How the console writes values, draws bars, adds up figures, and where its forms may lead back to."""

from collections import Counter

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from canuse.v1 import catalog_service_pb2 as catalog
from canuse.v1.consumption_pb2 import Consumption
from canuse.v1.reason_pb2 import REASON_BUDGET_EXCEEDED, REASON_WITHIN_BUDGET
from canuse_server.api.errors import ApiError
from canuse_server.app.decisions.history import History
from canuse_server.transport.http.console import shown, words
from canuse_server.transport.http.console.addresses import address, is_own
from canuse_server.transport.http.console.bars import chart, usage_bar
from canuse_server.transport.http.console.figures import rate, whose
from canuse_server.transport.http.console.forms import read_amount
from canuse_server.transport.http.host import Decisions

YES, NO, OTHER = ("live", REASON_WITHIN_BUDGET), ("live", REASON_BUDGET_EXCEEDED), ("test", REASON_WITHIN_BUDGET)
SAMPLES: tuple[tuple[float, dict[tuple[str, int], int]], ...] = (
    (0.0, {}),
    (10.0, {YES: 20, NO: 10, OTHER: 99}),
    (70.0, {YES: 20, NO: 15, OTHER: 99}),
    (145.0, {YES: 320, NO: 15, OTHER: 99}),
    (150.0, {YES: 420, NO: 15, OTHER: 99}),
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (86_400 * 30 + 3_661, "30 d 1 h"), (-5, "0 s")],
)
def test_durations_have_at_most_two_units(seconds: float, text: str) -> None:
    assert shown.duration(seconds) == text


def test_numbers_have_their_thousands_apart_and_decimals_only_if_they_are_small() -> None:
    assert [shown.number(value) for value in (0, 7, 1234567, 0.25, 99.94, 1234.5)] == [
        *("0", "7", "1,234,567", "0.2", "99.9", "1,234")
    ]


def test_times_are_in_utc_with_seconds_where_there_are_some() -> None:
    at = Timestamp(seconds=1_900_000_000)
    assert (shown.date_time(at), shown.iso(at)) == ("17 Mar 2030, 17:46:40", "2030-03-17T17:46:40Z")
    assert shown.date_time(1_900_000_020_000) == "17 Mar 2030, 17:47"
    assert shown.until(at, 1_899_999_990_000) == "10 s"


def test_a_bar_is_whole_and_in_order_also_beyond_the_budget() -> None:
    assert usage_bar(Consumption(used=5)) is None
    for used, reserved, budget in ((0, 0, 0), (3, 2, 10), (10, 5, 10), (30, 20, 10), (2**53 - 1, 0, 1)):
        bar = usage_bar(Consumption(used=used, reserved=reserved, budget=budget))
        assert bar is not None
        ends = [part.start + part.width for part in bar.parts]
        assert all(end <= 100.01 for end in ends)
        assert [part.start for part in bar.parts[1:]] == pytest.approx(ends[:-1], abs=0.02)
        assert bar.overage == max(used - budget, 0)


def test_a_chart_is_as_high_as_its_highest_column() -> None:
    rows = [("a", "", 10, 4), ("b", "", 5, 0), ("c", "", -3, 0)]
    heights = [(column.base, column.top) for column in chart(rows).columns]
    assert heights == [(60, 40), (50, 0), (0, 0)]
    assert chart([]).columns == []
    assert chart([("", "", 0, 0)] * 62).step == 11


def test_a_rate_is_that_of_the_last_minute_where_somebody_has_looked_then() -> None:
    moments = iter([0.0, *(moment for moment, _ in SAMPLES)])
    history = History(lambda: next(moments))
    found = []
    for _, counts in SAMPLES:
        total = Counter({(env, "feature", reason): count for (env, reason), count in counts.items()})
        found.append(rate(history.seen(total, 1, 1), "live"))
    _, first, second, third, fourth = found
    assert (first.seconds, first.yes, first.no, first.refusals) == (10, 20, 10, [("Budget exceeded", 10, 10)])
    assert (second.seconds, second.yes, second.no, second.total) == (60, 0, 5, 35)
    assert (third.seconds, third.yes, third.no, third.per_second) == (75, 300, 0, 4)
    assert third.refusals == [("Budget exceeded", 0, 15)]
    # After a long time without a look, the second look tells of what is now.
    assert (fourth.seconds, fourth.per_second) == (5, 20)


def test_it_is_said_whose_figures_they_are() -> None:
    def words_of(answered: int, processes: int) -> str:
        return whose(Decisions(answered, processes, 1.0, Counter(), 1.0, Counter()))

    assert words_of(1, 1) == "this server, which is one process"
    assert words_of(4, 4) == "this server, all 4 processes together"
    assert words_of(3, 4).startswith("this server, of whose 4 processes only 3 answered: ")
    assert words_of(1, 0).startswith("one process of this server: ")


def test_values_of_a_newer_version_have_their_number_for_words() -> None:
    assert [words.reason_words(number) for number in (11, -2, 999)] == ["Budget exceeded", "Rate limit: over", "999"]
    entry = catalog.PackageFeature(limit=1000, reset_period=catalog.RESET_PERIOD_DAY, overage_enabled=True)
    assert words.entry_words(entry, None) == "1,000 a day, then overage"


@pytest.mark.parametrize("text", ["", "x", "1.5", "--1", "1" * 18, "\u0661", "\u00b2"])
def test_an_amount_is_a_whole_number(text: str) -> None:
    assert read_amount("amount", "-1,000") == -1000
    with pytest.raises(ApiError):
        read_amount("amount", text)


def test_addresses_are_escaped_and_only_own_ones_are_followed() -> None:
    assert address("/user", id="a/b&c?#\u00fc", all=False, from_="x") == "/console/user?id=a%2Fb%26c%3F%23%C3%BC&from=x"
    assert [is_own(target) for target in ("/console", "/console?user=a", "/console/user?id=1")] == [True] * 3
    for target in ("", "/", "/consoles", "//console/", "/console\n", "https://x/console/", "/console/\u2028"):
        assert not is_own(target)
