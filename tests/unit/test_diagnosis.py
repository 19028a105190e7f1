"""The rules of `canuse doctor` that need no store."""

import re

from canuse_server.store.diagnosis.memory import DAY_MS, Census, memory_of
from canuse_server.store.diagnosis.rights import NEEDED, USEFUL
from support.acl_redis import documented_user

NOW_MS = 1_800_000_000_000
MIB = 1 << 20


def node(used: int, maxmemory: int = 0, total: int = 1000) -> dict[str, str]:
    """Return the INFO of a node, in MiB."""
    figures = {"used_memory": used, "maxmemory": maxmemory, "total_system_memory": total}
    return {name: str(value * MIB) for name, value in figures.items()}


def memory(*nodes: dict[str, str], events: int = 0, days: float = 30, kept_days: int = 30) -> tuple[str, str]:
    """Return the finding about memory with so many events in so many days."""
    census = Census(users=7, events=events, oldest_ms=round(NOW_MS - days * DAY_MS) if events else None)
    finding = memory_of(nodes, census, NOW_MS, kept_days * DAY_MS, DAY_MS)
    return str(finding.status), finding.text


def test_memory_that_is_enough_is_said_with_what_it_is_for() -> None:
    status, text = memory(node(100), events=3_000_000)
    assert status == "ok"
    assert text.startswith(
        "100 MiB of 1,000 MiB used, 7 users and 3000000 events in the ledger; about 100 MiB at 100000 events a day"
    )
    assert text.endswith("maxmemory is not set, so the limit is the machine's memory")
    assert not memory(node(100, 500))[1].endswith("memory")


def test_memory_that_events_will_fill_is_a_warning() -> None:
    """A tenth of the time for which events are kept has passed: nine times as many are still to come."""
    assert memory(node(100, 500), events=450_000, days=3)[0] == "ok"
    status, text = memory(node(100, 500), events=600_000, days=3)
    assert status == "warn"
    assert "about 466 MiB at 200000 events a day" in text
    assert "lower ledger_max_age_seconds" in text
    assert memory(node(100, 500), events=600_000, days=30)[0] == "ok"


def test_a_full_node_is_a_problem_even_if_others_are_empty() -> None:
    assert memory(node(10, 100), node(10, 100))[0] == "ok"
    status, text = memory(node(10, 100), node(91, 100))
    assert status == "problem"
    assert "on the fullest node 91%" in text


def test_an_hour_of_events_is_not_taken_for_a_day() -> None:
    assert memory(node(100, 500), events=10, days=0.0001)[0] == "ok"


def test_every_documented_right_is_checked() -> None:
    documented = {word.removeprefix("+") for word in documented_user() if word.startswith("+")}
    checked = {command[0].lower() for command in (*NEEDED, *(command for command, _ in USEFUL))} - {"config"}
    not_on_every_store = {"wait", "role", "asking", "cluster|slots"}
    by_each_connection = {"ping", "select", "hello", "time", "info", "subscribe", "unsubscribe"}
    by_other_checks = {"script|load", "evalsha", "config|get"}
    assert documented == checked | not_on_every_store | by_each_connection | by_other_checks
    assert re.fullmatch(r"[a-z ]+", " ".join(sorted(checked)))
