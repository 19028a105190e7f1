"""What a client decides by itself: the answers, the counts, and what goes to the server nevertheless."""

import asyncio
import copy
import gc
import logging
import pickle
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc.aio
import pytest

import canuse
from canuse import (
    AsyncClient,
    BadArgument,
    CanuseError,
    Client,
    ClientClosed,
    InvalidArgument,
    Lease,
    Reason,
    Source,
    v1,
)
from canuse.leases.account import Account
from canuse.testing import FakeAsyncClient, FakeClient
from support.load import running, until
from support.local_decisions import is_local, is_no, use_until
from support.message_clients import Client as Setup
from support.processes import Canuse
from support.resources import binary, package, subscriber, unique

LEASE = Lease(max_share=0.5)
QUICK = Lease(max_share=0.5, report_seconds=0.1, idle_seconds=60, max_stale_seconds=30)
"""One whose uses are soon in the counts of the server."""


def used(plain: Setup, user_id: str, feature_id: str) -> int:
    """Return the user's count."""
    return plain.show_usage(user_id, feature_id).current.used


def used_and_reserved(plain: Setup, user_id: str, feature_id: str) -> tuple[int, int]:
    """Return the user's counts."""
    current = plain.show_usage(user_id, feature_id).current
    return current.used, current.reserved


def test_uses_are_decided_locally_and_recorded_once(server: Canuse, plain: Setup) -> None:
    user_id, feature_id = subscriber(plain, 100_000)
    yes = local = 0
    with Client(server.address, leases={feature_id: LEASE}) as client:
        for _ in range(3000):
            answer = client.use_feature(user_id, feature_id)
            yes, local = yes + bool(answer), local + answer.local
        assert local > 0
        [held] = client.leases().held
        assert (held.user_id, held.feature_id, held.left > 0) == (user_id, feature_id, True)
        assert timedelta() < held.usable_for <= timedelta(seconds=30)
        assert [each.id for each in plain.list_leases(user_id)] == [held.lease_id]
    assert yes == 3000
    assert used_and_reserved(plain, user_id, feature_id) == (3000, 0)
    assert client.leases() == canuse.HeldLeases()
    assert list(plain.list_leases(user_id)) == []


def test_what_was_used_is_recorded_while_the_client_goes_on(server: Canuse, plain: Setup) -> None:
    user_id, feature_id = subscriber(plain, None)
    lease = Lease(report_seconds=0.1)
    with Client(server.address, leases={feature_id: lease}) as client:
        yes = use_until(client, user_id, feature_id, is_local)
        until(lambda: used(plain, user_id, feature_id) == yes)
        until(lambda: client.leases().unreported == 0)


def test_units_that_are_not_used_are_given_back(server: Canuse, plain: Setup) -> None:
    user_id, feature_id = subscriber(plain, 1000)
    with Client(server.address, leases={feature_id: Lease(idle_seconds=0.3)}) as client:
        yes = use_until(client, user_id, feature_id, is_local)
        until(lambda: used_and_reserved(plain, user_id, feature_id) == (yes, 0))
        until(lambda: client.leases().held == ())
        assert use_until(client, user_id, feature_id, is_local)


def test_a_lease_outlives_its_time_while_it_is_used(server: Canuse, plain: Setup) -> None:
    user_id, feature_id = subscriber(plain, 10_000)
    with Client(server.address, leases={feature_id: Lease(ttl_seconds=2, report_seconds=0.2)}) as client:
        yes = use_until(client, user_id, feature_id, is_local)
        [first] = client.leases().held
        start = datetime.now(UTC)
        while datetime.now(UTC) - start < timedelta(seconds=4):
            yes += bool(client.use_feature(user_id, feature_id))
            threading.Event().wait(0.05)
    assert first.lease_id
    assert used_and_reserved(plain, user_id, feature_id) == (yes, 0)


@pytest.mark.parametrize("delta", [1, 3, 7])
def test_the_whole_budget_can_be_used_and_nothing_above_it(server: Canuse, plain: Setup, delta: int) -> None:
    user_id, feature_id = subscriber(plain, 400)
    with Client(server.address, leases={feature_id: LEASE}) as client:
        assert use_until(client, user_id, feature_id, is_no, delta) == 400 // delta * delta
        refused = client.use_feature(user_id, feature_id, delta)
        assert (refused.reason, refused.local) == (Reason.REASON_BUDGET_EXCEEDED, False)
        # The counts are the true ones: what was used locally is recorded before the answer is a no.
        assert refused.consumption
        assert (refused.consumption.used, refused.consumption.reserved) == (400 // delta * delta, 0)
        assert use_until(client, user_id, feature_id, is_no) == 400 % delta
    assert used_and_reserved(plain, user_id, feature_id) == (400, 0)


def test_a_block_can_use_the_units_that_its_client_holds(server: Canuse, plain: Setup) -> None:
    user_id, feature_id = subscriber(plain, 400)
    with Client(server.address, leases={feature_id: LEASE}) as client:
        yes = use_until(client, user_id, feature_id, is_local)
        with client.using(user_id, feature_id, 400 - yes) as use:
            assert use.answer
    assert used_and_reserved(plain, user_id, feature_id) == (400, 0)


def test_threads_and_clients_never_use_more_than_the_budget_together(server: Canuse, plain: Setup) -> None:
    user_id, feature_id = subscriber(plain, 2000)
    clients = [Client(server.address, leases={feature_id: LEASE}) for _ in range(3)]
    with ThreadPoolExecutor(9) as pool:
        yes = list(pool.map(lambda client: use_until(client, user_id, feature_id, is_no), clients * 3))
    for client in clients:
        client.close()
    assert sum(yes) <= 2000
    assert used_and_reserved(plain, user_id, feature_id) == (sum(yes), 0)
    with Client(server.address, leases={feature_id: LEASE}) as last:
        assert sum(yes) + use_until(last, user_id, feature_id, is_no) == 2000


async def test_tasks_use_leases_as_threads_do(server: Canuse, plain: Setup) -> None:
    user_id, feature_id = subscriber(plain, 2000)

    async def use_all(client: AsyncClient) -> tuple[int, int]:
        yes = local = 0
        while answer := await client.use_feature(user_id, feature_id):
            yes, local = yes + 1, local + answer.local
            await asyncio.sleep(0)
        return yes, local

    async with AsyncClient(server.address, leases={feature_id: LEASE}) as client:
        results = await asyncio.gather(*(use_all(client) for _ in range(10)))
        assert client.leases().lost == 0
    assert sum(yes for yes, _ in results) == 2000
    assert sum(local for _, local in results) > 0
    assert used_and_reserved(plain, user_id, feature_id) == (2000, 0)


def test_an_asyncio_client_keeps_its_leases_from_one_event_loop_to_the_next(server: Canuse, plain: Setup) -> None:
    user_id, feature_id = subscriber(plain, 100_000)
    client = AsyncClient(server.address, leases={feature_id: Lease(idle_seconds=60)})

    async def use(times: int) -> int:
        return sum([bool(await client.use_feature(user_id, feature_id)) for _ in range(times)])

    async def use_once() -> bool:
        return (await client.use_feature(user_id, feature_id)).local

    yes = asyncio.run(use(200))
    until(lambda: any(lease.left > 3 for lease in client.leases().held))
    for _ in range(3):
        assert asyncio.run(use_once())
    yes += 3

    async def close() -> None:
        await client.close()

    asyncio.run(close())
    assert used_and_reserved(plain, user_id, feature_id) == (yes, 0)


def test_a_local_answer_is_what_the_server_would_have_answered(server: Canuse, plain: Setup) -> None:
    user_id, feature_id = subscriber(plain, 1000)
    with Client(server.address, leases={feature_id: QUICK}) as client:
        yes = use_until(client, user_id, feature_id, is_local)
        until(lambda: used(plain, user_id, feature_id) == yes and not client.leases().unreported)
        answer = client.use_feature(user_id, feature_id, 2)
        assert isinstance(answer, canuse.UseFeatureAnswer)
        assert answer
        assert answer.raise_if_denied() is answer
        assert answer.local
        assert (answer.access, answer.reason, answer.feature_id) == (True, Reason.REASON_WITHIN_BUDGET, feature_id)
        assert (answer.event_id, answer.replayed, answer.retry_after) == ("", False, None)
        counts = answer.consumption
        assert counts
        assert (counts.used, counts.budget, counts.remaining) == (yes + 2, 1000, 1000 - yes - 2)
        assert (counts.reserved, counts.overage_enabled, counts.message) == (0, False, answer.message.consumption)
        told = canuse.Consumption.from_message(plain.can_use(user_id, feature_id).consumption)
        assert (counts.period_start, counts.resets_at) == (told.period_start, told.resets_at)
        for same in (pickle.loads(pickle.dumps(answer)), copy.copy(answer), copy.deepcopy(answer)):
            assert (repr(same), bool(same), type(same)) == (repr(answer), True, canuse.UseFeatureAnswer)
        assert repr(answer).startswith("UseFeatureAnswer(access=True, reason=REASON_WITHIN_BUDGET, consumption=Cons")
        with pytest.raises(AttributeError, match="has no attribute 'acess'"):
            _ = answer.acess  # type: ignore[attr-defined]


def test_a_check_of_a_leased_feature_is_answered_locally(server: Canuse, plain: Setup) -> None:
    user_id, feature_id = subscriber(plain, 1000)
    plain.update_feature(feature_id, on_unavailable=v1.ON_UNAVAILABLE_ALLOW)
    with Client(server.address, leases={feature_id: QUICK}) as client:
        yes = use_until(client, user_id, feature_id, is_local)
        until(lambda: used(plain, user_id, feature_id) == yes and not client.leases().unreported)
        asked = client.can_use(user_id, feature_id)
        assert not asked.local
        [held] = client.leases().held
        answer = client.can_use(user_id, feature_id, held.left)
        assert (answer.access, answer.local, answer.source) == (True, True, Source.SOURCE_STORE)
        assert answer.on_unavailable == asked.on_unavailable == v1.ON_UNAVAILABLE_ALLOW
        assert answer.consumption
        assert (answer.consumption.used, answer.consumption.remaining) == (yes, 1000 - yes)
        assert client.can_use(user_id, feature_id, 1000 - yes), "it has not given its lease back"
        assert not client.can_use(user_id, feature_id, 1001 - yes)
        assert client.can_use(user_id, feature_id, explain=True).explanation


def test_binary_and_unlimited_features_are_cached_for_a_stated_time(server: Canuse, plain: Setup) -> None:
    switch, unlimited = binary(plain), unique("feature")
    plain.create_feature(unlimited, type=v1.FEATURE_TYPE_CONSUMABLE)
    entries = [v1.PackageFeature(feature_id=switch), v1.PackageFeature(feature_id=unlimited)]
    user_id = unique("user")
    plain.ensure_user(user_id, package_id=package(plain, entries))
    leases = {switch: Lease(max_stale_seconds=4), unlimited: Lease(max_stale_seconds=4)}
    with Client(server.address, leases=leases) as client:
        for feature_id, reason in ((switch, Reason.REASON_INCLUDED), (unlimited, Reason.REASON_UNLIMITED)):
            assert not client.can_use(user_id, feature_id).local
            cached = client.can_use(user_id, feature_id)
            assert (cached.access, cached.local, cached.reason) == (True, True, reason)
        yes = use_until(client, user_id, unlimited, is_local)
        plain.update_user(user_id, disabled=True)
        for feature_id in (switch, unlimited):
            until(lambda: not client.can_use(user_id, feature_id))  # noqa: B023 - it waits
        yes += use_until(client, user_id, unlimited, is_no)
        refused = client.use_feature(user_id, unlimited)
        assert (refused.reason, refused.local) == (Reason.REASON_USER_DISABLED, False)
    assert used(plain, user_id, unlimited) == yes


def test_use_above_the_budget_that_is_allowed_is_decided_with_its_reason(server: Canuse, plain: Setup) -> None:
    user_id, feature_id = subscriber(plain, 50, overage_enabled=True)
    reasons, yes = [], 0
    with Client(server.address, leases={feature_id: LEASE}) as client:

        def is_local_overage(answer: canuse.UseFeatureAnswer) -> bool:
            reasons.append(answer.reason)
            return answer.local and answer.reason == Reason.REASON_OVERAGE

        yes = use_until(client, user_id, feature_id, is_local_overage)
    # A use that the server decides while the client holds units within the budget is above it.
    assert 0 < reasons.count(Reason.REASON_WITHIN_BUDGET) <= 50
    assert set(reasons) == {Reason.REASON_WITHIN_BUDGET, Reason.REASON_OVERAGE}
    assert used_and_reserved(plain, user_id, feature_id) == (yes, 0)


WRONG: list[tuple[Any, ...]] = [
    (None, "feature"), ("", "feature"), (["user"], "feature"), ("user", 5), ("user", ""),
    ("user", "feature", 0), ("user", "feature", -1), ("user", "feature", "1"), ("user", "feature", 1.5),
    ("user", "feature", None), ("user", "feature", 2**53), ("user", "feature", 2**64),
]  # fmt: skip


def test_wrong_arguments_are_refused_as_without_leases_and_count_nothing(server: Canuse, plain: Setup) -> None:
    user_id, feature_id = subscriber(plain, None)
    names = {"user": user_id, "feature": feature_id}
    with Client(server.address, leases={feature_id: Lease(idle_seconds=60)}) as client:
        yes = use_until(client, user_id, feature_id, is_local)
        for wrong in WRONG:
            arguments = [names.get(each, each) if isinstance(each, str) else each for each in wrong]
            for name in ("use_feature", "can_use"):
                outcomes = [outcome(getattr(each, name), arguments) for each in (client, plain)]
                assert outcomes[0] == outcomes[1], (name, wrong)
                assert issubclass(outcomes[0][0], InvalidArgument), (name, wrong)
    assert used(plain, user_id, feature_id) == yes


def outcome(call: Callable[..., Any], arguments: list[Any]) -> tuple[type[CanuseError], str]:
    """Return the type and the text of what a call raises."""
    with pytest.raises(CanuseError) as raised:
        call(*arguments)
    return raised.type, str(raised.value)


def test_a_use_with_an_event_id_or_metadata_is_recorded_by_the_server(server: Canuse, plain: Setup) -> None:
    user_id, feature_id = subscriber(plain, 1000)
    with Client(server.address, leases={feature_id: LEASE}) as client:
        use_until(client, user_id, feature_id, is_local)
        answers = [client.use_feature(user_id, feature_id, event_id="once") for _ in range(2)]
        assert [(answer.local, answer.event_id) for answer in answers] == [(False, "once")] * 2
        assert answers[1].replayed
        assert not client.use_feature(user_id, feature_id, metadata={"job": "7"}).local
    events = list(plain.list_usage_events(user_id))
    assert sum(event.event_id == "once" for event in events) == 1
    assert sum(event.metadata == {"job": "7"} for event in events) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ttl_seconds": 1}, "ttl_seconds: 1 is not from 2 seconds to 7 days"),
        ({"ttl_seconds": "4"}, "ttl_seconds: '4' of type str is not accepted"),
        ({"report_seconds": 0.001}, "report_seconds: 0.001 is not at least 0.01"),
        ({"report_seconds": 16}, "report_seconds: 16 is not at most half of ttl_seconds"),
        ({"max_share": 1.5}, "max_share: 1.5 is not above 0 and at most 1"),
        ({"max_share": 0}, "max_share: 0 is not a number"),
        ({"max_units": 0}, "max_units: 0 is not an int from 1 to 2"),
        ({"max_users": True}, "max_users: True of type bool is not accepted; expected an int from 1 to 2"),
        ({"settle_on_sigterm": 1}, "settle_on_sigterm: 1 of type int is not accepted; expected True or False"),
    ],
)
def test_settings_that_cannot_hold_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadArgument, match=f"^{re.escape(message)}"):
        Lease(**settings)


async def test_leases_that_cannot_be_are_refused() -> None:
    wrong: list[Any] = [None, ["api-calls"], {"api-calls": 5}, {5: Lease()}, {"api-calls": Lease}]
    for leases in wrong:
        for kind in (Client, AsyncClient):
            with pytest.raises(BadArgument, match=r"^leases"):
                kind(leases=leases)
    channel = grpc.aio.insecure_channel("127.0.0.1:1")
    with pytest.raises(BadArgument, match=r"^channel: cannot be combined with leases"):
        AsyncClient(channel=channel, leases={"api-calls": Lease()})
    await channel.close()


def test_a_fake_client_accepts_leases_and_decides_each_use() -> None:
    fake = FakeClient(leases={"api-calls": Lease()})
    fake.package("pro", {"api-calls": "100/month"})
    fake.user("124", "pro")
    assert [fake.use_feature("124", "api-calls").local for _ in range(10)] == [False] * 10
    assert fake.leases() == canuse.HeldLeases()
    with pytest.raises(BadArgument, match=r"^leases"):
        FakeAsyncClient(fake, leases={"api-calls": 5})  # type: ignore[dict-item]


def test_a_closed_client_decides_nothing(server: Canuse, plain: Setup) -> None:
    user_id, feature_id = subscriber(plain, 1000)
    client = Client(server.address, leases={feature_id: LEASE})
    yes = use_until(client, user_id, feature_id, is_local)
    client.close()
    with pytest.raises(ClientClosed):
        client.use_feature(user_id, feature_id)
    client.close()
    assert used_and_reserved(plain, user_id, feature_id) == (yes, 0)


def test_no_more_users_than_stated_have_a_lease(server: Canuse, plain: Setup) -> None:
    feature_id = unique("feature")
    plain.create_feature(feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)
    package_id = package(plain, [v1.PackageFeature(feature_id=feature_id, limit=1000)])
    users = [unique("user") for _ in range(6)]
    yes = {}
    with Client(server.address, leases={feature_id: Lease(max_users=2, idle_seconds=60)}) as client:
        for user_id in users:
            plain.ensure_user(user_id, package_id=package_id)
            yes[user_id] = use_until(client, user_id, feature_id, is_local)
            until(lambda: len(client.leases().held) <= 2)
        assert users[-1] in {each.user_id for each in client.leases().held}
    assert {user_id: used(plain, user_id, feature_id) for user_id in users} == yes


async def test_many_users_one_after_the_other_leave_nothing_behind(server: Canuse, plain: Setup) -> None:
    feature_id = unique("feature")
    plain.create_feature(feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)
    package_id = package(plain, [v1.PackageFeature(feature_id=feature_id)])
    users = [unique("user") for _ in range(800)]
    lease = Lease(max_users=50, report_seconds=0.02, ttl_seconds=2)
    before = accounts_in_memory()
    async with AsyncClient(server.address, timeout_seconds=30, leases={feature_id: lease}) as client:

        async def use(user_id: str) -> None:
            await client.ensure_user(user_id, package_id=package_id)
            for _ in range(3):
                await client.use_feature(user_id, feature_id)

        for first in range(0, len(users), 50):
            await asyncio.gather(*map(use, users[first : first + 50]))
        assert accounts_in_memory() - before < len(users) / 2
    assert {used(plain, user_id, feature_id) for user_id in users} == {3}


def accounts_in_memory() -> int:
    """Return how many accounts there are, also where they only wait in a queue."""
    return sum(type(each) is Account for each in gc.get_objects())  # Asking others for their class may run code.


def test_uses_of_a_period_count_in_it_and_not_in_the_next_one(server: Canuse, plain: Setup) -> None:
    started_at = datetime.now(UTC) - timedelta(hours=1) + timedelta(seconds=6)
    user_id, feature_id = subscriber(plain, 1000, v1.RESET_PERIOD_HOUR, started_at=started_at)
    ends_at = started_at + timedelta(hours=1)
    by_period = {"before": 0, "after": 0}
    with Client(server.address, leases={feature_id: LEASE}) as client:
        while datetime.now(UTC) < ends_at + timedelta(seconds=2):
            answer = client.use_feature(user_id, feature_id)
            assert answer.consumption
            if answer:
                assert answer.consumption.resets_at
                is_first = answer.consumption.resets_at < ends_at + timedelta(seconds=1)
                by_period["before" if is_first else "after"] += 1
            threading.Event().wait(0.002)
    usage = plain.show_usage(user_id, feature_id)
    assert usage.current.used == by_period["after"]
    assert sum(period.used for period in usage.past) == by_period["before"]
    assert by_period["after"] > 0
    assert all(units <= 1000 for units in by_period.values())


def test_a_lease_of_a_period_that_a_change_of_package_has_ended_is_given_back(server: Canuse, plain: Setup) -> None:
    user_id, feature_id = subscriber(plain, 1000)
    other = package(plain, [v1.PackageFeature(feature_id=feature_id, limit=30, reset_period=v1.RESET_PERIOD_DAY)])
    with Client(server.address, leases={feature_id: Lease(report_seconds=0.1)}) as client:
        use_until(client, user_id, feature_id, is_local)
        plain.change_package(user_id, other)
        use_until(client, user_id, feature_id, is_no)
        counts = client.use_feature(user_id, feature_id).consumption
        assert counts
        assert counts.budget == 30
        until(lambda: client.leases().held == ())


def test_units_of_a_deleted_user_are_reported_as_lost(
    server: Canuse, plain: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    user_id, feature_id = subscriber(plain, 1000)
    with Client(server.address, leases={feature_id: Lease(report_seconds=15)}) as client:
        use_until(client, user_id, feature_id, is_local)
        client.use_feature(user_id, feature_id, 2)
        plain.delete_user(user_id)
    assert client.leases().lost >= 2
    [logged] = [record for record in caplog.records if record.name == "canuse.leases"]
    assert logged.levelno == logging.ERROR
    assert "are not recorded" in logged.getMessage()


def test_a_lease_goes_on_while_the_server_is_away_and_everything_is_recorded_afterwards(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with (
        running(Canuse(tmp_path_factory.mktemp("restarted"))) as server,
        Setup(server.address, timeout_seconds=30, retry=canuse.Retry()) as plain,
    ):
        user_id, feature_id = subscriber(plain, 1_000_000)
        with Client(server.address, leases={feature_id: Lease(report_seconds=0.2)}) as client:
            yes = use_until(client, user_id, feature_id, is_local)
            for end in (server.stop, server.kill):
                for _ in range(1000):
                    yes += bool(client.use_feature(user_id, feature_id))
                yes += use_until(client, user_id, feature_id, is_local)
                until(lambda: any(lease.left > 9 for lease in client.leases().held))
                end()
                assert client.use_feature(user_id, feature_id).local
                yes += 1
                server.start()
                until(lambda: used(plain, user_id, feature_id) == yes)  # noqa: B023 - it waits
        assert used_and_reserved(plain, user_id, feature_id) == (yes, 0)


def test_a_recorder_keeps_what_cannot_be_settled(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("recorded")
    with running(Canuse(folder)) as server, Setup(server.address, timeout_seconds=30, retry=canuse.Retry()) as plain:
        user_id, feature_id = subscriber(plain, 1000)
        client = Client(server.address, timeout_seconds=2, leases={feature_id: Lease(report_seconds=15)})
        recorder = client.recorder(folder / "spool")
        client.attach(recorder)
        yes = use_until(client, user_id, feature_id, is_local) + 1
        assert client.use_feature(user_id, feature_id).local
        server.stop()
        used_before = yes - client.leases().unreported
        client.close()
        assert client.leases().lost == 0
        assert recorder.close(0) >= 1
        server.start()
        with plain.recorder(folder / "spool") as again:
            assert again.flush(30)
        recorded = used(plain, user_id, feature_id)
        assert (used_before < recorded, recorded) == (True, yes)


def test_the_server_decides_while_no_thread_can_be_started(
    server: Canuse, plain: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id, feature_id = subscriber(plain, 1000)
    start = threading.Thread.start

    def start_others(thread: threading.Thread) -> None:
        if thread.name == "canuse-leases":
            raise RuntimeError("can't start new thread")
        start(thread)

    with Client(server.address, leases={feature_id: LEASE}) as without:
        client = Client(server.address, leases={feature_id: LEASE})
        with monkeypatch.context() as context:
            context.setattr(threading.Thread, "start", start_others)
            answers = [each.use_feature(user_id, feature_id) for each in (client, without) for _ in range(10)]
        assert [(answer.access, answer.local) for answer in answers] == [(True, False)] * 20
    yes = 20 + use_until(client, user_id, feature_id, is_local)
    client.close()
    assert used_and_reserved(plain, user_id, feature_id) == (yes, 0)


@pytest.mark.parametrize("kind", ["closed", "interrupted"])
def test_the_end_waits_for_a_server_that_is_being_restarted(
    tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    with running(Canuse(tmp_path_factory.mktemp("restarted"))) as server, Setup(server.address) as plain:
        names = subscriber(plain, 100_000)
        command = [sys.executable, "-W", "ignore", "-c", CLOSING, server.address, *names, kind]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin
            assert process.stdout
            yes = int(process.stdout.readline())
            server.stop()
            process.stdin.write("close\n")
            process.stdin.flush()
            assert process.stdout.readline() == "closing\n"
            if kind == "interrupted":
                process.send_signal(signal.SIGINT)
                assert process.stdout.readline() == "interrupted\n"
            server.start()
            process.communicate("end\n", timeout=90)
            assert process.returncode == 0
        assert used_and_reserved(plain, *names) == (yes, 0)


def test_a_close_that_was_cancelled_can_be_repeated(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running(Canuse(tmp_path_factory.mktemp("restarted"))) as server, Setup(server.address) as plain:
        user_id, feature_id = subscriber(plain, 1000)
        lease = Lease(max_share=0.5, report_seconds=300, ttl_seconds=600)
        client = AsyncClient(server.address, timeout_seconds=5, leases={feature_id: lease})

        async def use() -> int:
            yes = 1
            while not (await client.use_feature(user_id, feature_id)).local:
                yes += 1
            return yes

        async def close_in_vain() -> None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.close(), 0.1)

        yes = asyncio.run(use())
        server.stop()
        asyncio.run(close_in_vain())  # It waits for the thread that settles.
        assert client.leases().unreported > 0
        server.start()
        asyncio.run(client.close())
        assert used_and_reserved(plain, user_id, feature_id) == (yes, 0)


CLOSING = """
import signal, sys, threading
import canuse

signal.signal(signal.SIGINT, signal.default_int_handler)  # A job in the background of a shell ignores it.
address, user_id, feature_id, kind = sys.argv[1:]
lease = canuse.Lease(max_share=0.5, report_seconds=300, idle_seconds=600, ttl_seconds=600)
client = canuse.Client(address, timeout_seconds=60, leases={feature_id: lease})
yes = 1
while not client.use_feature(user_id, feature_id).local:
    yes += 1
print(yes, flush=True)
sys.stdin.readline()
join = threading.Thread.join

def told(thread, timeout=None):
    join(thread, timeout)
    threading.Thread.join = join
    print("closing", flush=True)

threading.Thread.join = told
try:
    client.close()
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.stdin.readline()
    client.can_use(user_id, feature_id)  # Connects again.
"""
