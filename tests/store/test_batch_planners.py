"""The planners of batches send what single calls would send, and answer what single calls would answer."""

import struct
from typing import Any, Final, cast

import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from canuse import v1
from canuse.v1 import entitlement_service_pb2 as pb
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError
from canuse_server.api.hotpath.batch.checks import MAX_FEATURES, CheckPlanner
from canuse_server.api.hotpath.batch.uses import UsePlanner
from canuse_server.api.hotpath.can_use import CanUse
from canuse_server.api.hotpath.method import FeatureUnknownError
from canuse_server.api.hotpath.record import CreateUsageEvent, UseFeature
from canuse_server.api.repeated_checks import MAX_CHECKS
from canuse_server.domain.entitlements import Entitlement
from canuse_server.domain.model import MAX_AMOUNT, Feature, FeatureType, Reason, ResetPeriod
from canuse_server.domain.periods import DAY_MS, Period
from canuse_server.store.codec.user_values import Meta, pack_entitlement
from canuse_server.store.repositories.use_batches import batch_commands, batch_use
from support.database import pack_counter
from support.requests import unknown

FEATURE: Final = "api-calls"
ARCHIVED: Final = "old-calls"
NOW: Final = 1_800_000_000_000
METHODS: Final[list[tuple[Any, Any]]] = [
    (UseFeature(), pb.UseFeatureRequest),
    (CreateUsageEvent(), pb.CreateUsageEventRequest),
]
IDS: Final = ("", "e", "u", "order-1", "0123456789abcdef" * 2, "x" * 127, "x" * 128, "é", "a\nb", "日本", "\x7f")
any_field = st.one_of(
    st.sampled_from(IDS).map(lambda text: {"event_id": text}),
    st.sampled_from(IDS).map(lambda text: {"user_id": text}),
    st.sampled_from(({"feature_id": FEATURE}, {"feature_id": ARCHIVED}, {"feature_id": "gone"}, {"feature_id": ""})),
    st.sampled_from((0, 1, 3, -5, 1 << 40, MAX_AMOUNT, -MAX_AMOUNT, 1 << 62)).map(lambda delta: {"delta": delta}),
    st.sampled_from((600, 0, -1)).map(lambda seconds: {"event_id_ttl": {"seconds": seconds}}),
    st.just({"metadata": {"a": "\x2a\x01e"}}),
)
actions = st.sampled_from(({"action": v1.USAGE_ACTION_ADD}, {"action": v1.USAGE_ACTION_SET}))
anything = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def know_features(env: Environment) -> None:
    """Put the features of the tests into memory."""
    env.cache.features[FEATURE] = Feature(FEATURE, FeatureType.CONSUMABLE, 1)
    env.cache.features[ARCHIVED] = Feature(ARCHIVED, FeatureType.CONSUMABLE, 1, archived=True)


@pytest.mark.parametrize(("method", "kind"), METHODS)
@given(data=st.data())
@anything
def test_a_use_is_sent_as_its_command_would_be_alone(
    env: Environment, method: Any, kind: Any, data: st.DataObject
) -> None:
    know_features(env)
    planner = UsePlanner(method, kind, env)
    fields = any_field | actions if kind is pb.CreateUsageEventRequest else any_field
    for place in range(3):
        # Fields may come in any order, and more than once: then the last one is valid.
        parts = [{"user_id": "124"}, {"feature_id": FEATURE}, *data.draw(st.lists(fields, max_size=4))]
        if data.draw(st.integers(0, 3)) == 0:
            parts = data.draw(st.permutations(parts))
        strange = data.draw(st.sampled_from((b"", b"", b"", unknown(8), unknown(200), b"\x0a", b"\x0a\x01\xff")))
        sent = b"".join(kind(**part).SerializeToString() for part in parts) + strange
        try:
            kind.FromString(sent)
        except DecodeError:
            with pytest.raises(DecodeError):
                planner.plan(place, sent)
            continue
        try:
            alone = method.plan(sent, env)
        except (ApiError, FeatureUnknownError) as error:
            with pytest.raises(type(error)) as refused:
                planner.plan(place, sent)
            assert str(refused.value) == str(error)
            continue
        plan = planner.plan(place, sent)
        assert plan._replace(command=alone.command, cacheable=alone.cacheable) == alone
        use = batch_use(alone.user_id, alone.command)
        expected = [] if use is None else [*batch_commands(env.keys, [use], env.retention, "", one_slot=False)]
        assert [batch.command for batch in planner.commands({place: plan})] == [command for command, _ in expected]


small = st.integers(0, 3) | st.integers(0, MAX_AMOUNT)


@pytest.mark.parametrize(("method", "kind"), METHODS)
@given(
    reason=st.sampled_from([reason for reason in Reason if reason != Reason.INCLUDED]),
    numbers=st.tuples(small, small | small.map(int.__neg__), st.just(-1) | small, small),
    overage=st.booleans(),
    ends=st.booleans(),
    recorded=st.booleans(),
    event_id=st.sampled_from(("", "e", "x" * 127, "é")),
)
@anything
def test_a_use_is_answered_as_it_would_be_alone(
    env: Environment,
    method: Any,
    kind: Any,
    reason: Reason,
    numbers: tuple[int, int, int, int],
    overage: bool,
    ends: bool,
    recorded: bool,
    event_id: str,
) -> None:
    know_features(env)
    used, applied, budget, reserved = numbers
    if kind is pb.UseFeatureRequest:
        applied = abs(applied) % DAY_MS
    period = Period(NOW, NOW + DAY_MS if ends else None)
    packed = pack_entitlement(Entitlement(True, True, 9, overage, ResetPeriod.DAY, period, None))
    ledger_id = b"1800000000000-3" if recorded else b""
    sizes = (len(packed), len(ledger_id))
    reply = b"K" + struct.pack("<BqBBBqqqqq", 0, NOW, reason, *sizes, used, applied, NOW, budget, reserved)
    reply += packed + ledger_id
    sent = kind(user_id="124", feature_id=FEATURE, event_id=event_id).SerializeToString()
    planner = UsePlanner(method, kind, env)
    plan = planner.plan(0, sent)
    assert planner.respond(0, plan, reply, 0) == method.respond(method.plan(sent, env), reply, 0)


class User:
    """The fields of a user in the store, as `HMGET` reads them."""

    def __init__(self, *used: int) -> None:
        self.fields: dict[str, bytes] = {"m": Meta(False, 1, NOW).pack()}
        period = Period(NOW, NOW + DAY_MS)
        for number, count in enumerate(used):
            entitlement = Entitlement(True, True, 9, False, ResetPeriod.DAY, period, None)
            self.fields[f"f:f{number}"] = pack_entitlement(entitlement) + pack_counter(count, NOW)

    def reply(self, command: tuple[str | bytes, ...]) -> list[bytes | None]:
        """Return the reply to a command."""
        name, _, *fields = cast("tuple[str, ...]", command)
        assert name == "HMGET"
        return [self.fields.get(field) for field in fields]


def answers(planner: CheckPlanner, sent: list[bytes], users: dict[str, User], now_ms: int = NOW) -> list[bytes]:
    """Return the responses to checks."""
    plans = {place: planner.plan(place, payload) for place, payload in enumerate(sent)}
    found = {}
    for batch in planner.commands(plans):
        reply = users[plans[batch.places[0]].user_id].reply(batch.command.command)
        parts = [reply] if batch.parts is None else batch.parts(reply)
        for place, part in zip(batch.places, parts, strict=True):
            found[place] = planner.respond(place, plans[place], part, now_ms)
    return [found[place] for place in range(len(sent))]


def alone(env: Environment, payload: bytes, users: dict[str, User], now_ms: int = NOW) -> bytes:
    """Return the response to a check that is sent alone."""
    method = CanUse()
    plan = method.plan(payload, env)
    return method.respond(plan, users[plan.user_id].reply(plan.command.command), now_ms)


@given(
    checks=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40), st.sampled_from((1, 1, 2, 9))), min_size=1),
    used=st.lists(st.integers(0, 12), min_size=41, max_size=41),
)
@anything
def test_checks_are_answered_as_they_would_be_alone(
    env: Environment, checks: list[tuple[str, int, int]], used: list[int]
) -> None:
    for number in range(41):
        env.cache.features[f"f{number}"] = Feature(f"f{number}", FeatureType.CONSUMABLE, 1)
    users = {"a": User(*used), "b": User(*used[::-1])}
    sent = [
        pb.CanUseRequest(user_id=user_id, feature_id=f"f{number}", delta=delta).SerializeToString()
        for user_id, number, delta in checks
    ]
    for now_ms in (NOW, NOW + 1, NOW + DAY_MS, NOW):
        expected = [alone(env, payload, users, now_ms) for payload in sent]
        assert answers(CheckPlanner(CanUse(), env), sent, users, now_ms) == expected
        users["a"], users["b"] = users["b"], users["a"]


def test_checks_of_a_user_read_a_bounded_number_of_features_at_once(env: Environment) -> None:
    planner, plans = CheckPlanner(CanUse(), env), {}
    for number in range(100):
        env.cache.features[f"f{number}"] = Feature(f"f{number}", FeatureType.BINARY, 1)
        plans[number] = planner.plan(number, pb.CanUseRequest(user_id="a", feature_id=f"f{number}").SerializeToString())
    commands = planner.commands(plans)
    assert len(commands) == -(-100 // MAX_FEATURES)
    assert {len(batch.command.command) for batch in commands[:-1]} == {4 + 3 * MAX_FEATURES}


def test_a_repeated_check_follows_a_change_of_its_feature(env: Environment) -> None:
    users = {"a": User(1)}
    sent = [pb.CanUseRequest(user_id="a", feature_id="f0").SerializeToString()]
    for archived in (False, False, False, True, True, False):
        env.cache.features["f0"] = Feature("f0", FeatureType.CONSUMABLE, 1, archived=archived)
        for _ in range(2):
            [answer] = answers(CheckPlanner(CanUse(), env), sent, users)
            assert pb.CanUseResponse.FromString(answer).access is not archived


def test_repeated_checks_are_cached_from_the_second_time_on_and_bounded(env: Environment) -> None:
    env.cache.features["f0"] = Feature("f0", FeatureType.CONSUMABLE, 1)
    planner, checks = CheckPlanner(CanUse(), env), env.repeated_checks
    first, second = (pb.CanUseRequest(user_id=user, feature_id="f0").SerializeToString() for user in "ab")
    planner.plan(0, first)
    assert len(checks) == 0
    plan = planner.plan(0, first)
    assert len(checks) == 1
    assert planner.plan(1, first) is plan
    planner.plan(2, second)
    assert len(checks) == 1
    for number in range(2 * MAX_CHECKS):
        for _ in range(2):
            planner.plan(0, pb.CanUseRequest(user_id=f"u{number}", feature_id="f0").SerializeToString())
        assert len(checks) <= MAX_CHECKS
    large = pb.CanUseRequest(user_id="u" * 128, feature_id="f0", delta=1).SerializeToString() + unknown(2000)
    before = len(checks)
    for _ in range(3):
        planner.plan(0, large)
    assert len(checks) == before
