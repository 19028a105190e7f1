"""A Cluster that moves its slots: a call follows its user, waits while the location is uncertain, and counts once."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from threading import Event

import pytest
from redis import Redis

from canuse import OutcomeUnknown, StoreUnavailable, v1
from canuse_server.store.keys import bucket_of
from canuse_server.store.redis.slots import BUCKET_SLOTS
from support.load import running, used
from support.message_clients import Client
from support.processes import Canuse, RedisServer
from support.resources import subscriber, unique
from support.topologies import Cluster, wait_for

Recorded = v1.CreateUsageEventResponse
TRANSPORTS = ("native", "grpcio")
LEVELS = ("memory", "fsync")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Cluster shared by all tests here: they move slots of their own users."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster")).start()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module", params=[f"{transport}-{level}" for transport in TRANSPORTS for level in LEVELS])
def served(
    request: pytest.FixtureRequest, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Canuse]:
    """A server on the Cluster, on each transport, with confirmed writes and without."""
    transport, level = request.param.split("-")
    options = ("--transport", transport, "--redis-url", cluster.url, "--durability", level)
    env = {"CANUSE_STORE_TIMEOUT_SECONDS": "3"}
    with running(Canuse(tmp_path_factory.mktemp(request.param), *options, env=env)) as canuse:
        yield canuse
    assert not canuse.failed_unexpectedly()


@pytest.fixture
def client(served: Canuse) -> Iterator[Client]:
    """A client of the server."""
    with Client(served.address, timeout_seconds=20) as client:
        yield client


def slot_and_target(cluster: Cluster, user_id: str) -> tuple[int, RedisServer]:
    """Return the slot of a user, and a node that does not have it."""
    slot = BUCKET_SLOTS[bucket_of(user_id)]
    owner = cluster.owner(slot)
    return slot, next(server for server in cluster.masters if server is not owner)


def test_a_user_who_has_moved_is_found_and_counted_once(cluster: Cluster, client: Client) -> None:
    user_id, feature_id = subscriber(client, None)
    for count in range(3):
        slot, target = slot_and_target(cluster, user_id)
        assert cluster.move(slot, target)
        assert client.use_feature(user_id, feature_id).consumption.used == 2 * count + 1
        client.create_usage_event(user_id, feature_id)
        assert client.can_use(user_id, feature_id).consumption.used == 2 * count + 2
    assert used(client, user_id, feature_id) == 6


def test_a_check_finds_a_user_on_the_way_and_a_write_waits_until_it_is_there(cluster: Cluster, client: Client) -> None:
    user_id, feature_id = subscriber(client, None)
    client.use_feature(user_id, feature_id)
    slot, target = slot_and_target(cluster, user_id)
    source = cluster.begin_to_move(slot, target)
    assert cluster.move_keys(slot, source, target)
    # The keys have moved, the slot has not: a caller is redirected for this call only.
    assert client.can_use(user_id, feature_id).consumption.used == 1
    assert client.batch_can_use([v1.CanUseRequest(user_id=user_id, feature_id=feature_id)])
    # A script has keys that are missing, and the node cannot tell whether they are still to come.
    with pytest.raises(StoreUnavailable):
        client.use_feature(user_id, feature_id)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(client.use_feature, user_id, feature_id)
        cluster.end_move(slot, target)
        assert waiting.result().consumption.used == 2
    assert used(client, user_id, feature_id) == 2


def test_a_batch_goes_to_all_nodes_and_keeps_the_order_of_each_user(cluster: Cluster, client: Client) -> None:
    users = [subscriber(client, None) for _ in range(12)]
    for user_id, _ in users[::2]:
        cluster.move(*slot_and_target(cluster, user_id))
    requests = [v1.CanUseRequest(user_id=user_id, feature_id=feature_id) for user_id, feature_id in users]
    assert all(isinstance(answer, v1.CanUseResponse) and answer.access for answer in client.batch_can_use(requests))
    for user_id, _ in users[1::2]:
        cluster.move(*slot_and_target(cluster, user_id))
    uses = [
        v1.CreateUsageEventRequest(user_id=user_id, feature_id=feature_id)
        for _ in range(5)
        for user_id, feature_id in users
    ]
    totals: dict[str, list[int]] = {}
    for use, answer in zip(uses, client.batch_create_usage_events(uses), strict=True):
        assert isinstance(answer, v1.CreateUsageEventResponse)
        totals.setdefault(use.user_id, []).append(answer.consumption.used)
    assert list(totals.values()) == [[1, 2, 3, 4, 5]] * 12


def hesitate(cluster: Cluster, slot: int, over: Event) -> None:
    """Announce and revoke the move of a slot, many times: in between no script with absent keys runs."""
    owner = cluster.owner(slot)
    other = next(server for server in cluster.masters if server is not owner)
    words = (("MIGRATING", cluster.id_of(other)), ("STABLE",))
    with Redis(port=owner.port) as node:
        while not over.is_set():
            for state in words:
                node.execute_command("CLUSTER", "SETSLOT", slot, *state)


def go_down(cluster: Cluster, slot: int, over: Event) -> None:
    """Let the node of a slot give up another slot and take it back, many times: in between it runs nothing."""
    owner = cluster.owner(slot)
    ranges = [range(first, last + 1) for first, last, (_, port, *_), *_ in cluster.slots() if port == owner.port]
    spare = next(other for slots in ranges for other in slots if other not in BUCKET_SLOTS)
    with Redis(port=owner.port) as node:
        while not over.is_set():
            node.execute_command("CLUSTER", "DELSLOTS", spare)
            node.execute_command("CLUSTER", "ADDSLOTS", spare)
    wait_for(cluster.is_complete, "the Cluster did not come back")


@pytest.mark.parametrize(
    ("flap", "event_ids"),
    [
        (hesitate, False),
        (go_down, True),
        pytest.param(hesitate, True, marks=pytest.mark.extended),
        pytest.param(go_down, False, marks=pytest.mark.extended),
    ],
)
def test_uses_of_a_user_keep_their_order_while_the_slot_flaps(
    cluster: Cluster, client: Client, flap: Callable[[Cluster, int, Event], None], event_ids: bool
) -> None:
    """A redirected use was executed after those behind it: after SET 1 to 1000 the total was 634."""
    user_id, feature_id = subscriber(client, None)
    slot, over = BUCKET_SLOTS[bucket_of(user_id)], Event()
    recorded_totals: list[int] = []
    outcomes: set[type] = set()
    with ThreadPoolExecutor(1) as thread, ExitStack() as stack:
        flapping = thread.submit(flap, cluster, slot, over)
        stack.callback(over.set)
        for first in (1, 1001):
            totals = range(first, first + 1000)
            requests = [
                v1.CreateUsageEventRequest(
                    user_id=user_id,
                    feature_id=feature_id,
                    delta=total,
                    action=v1.USAGE_ACTION_SET,
                    event_id=f"{total}" if event_ids else "",
                )
                for total in totals
            ]
            answers = client.batch_create_usage_events(requests)
            recorded_totals += [
                total for total, answer in zip(totals, answers, strict=True) if isinstance(answer, Recorded)
            ]
            outcomes |= {type(answer) for answer in answers}
    flapping.result()
    events = [event.delta for event in client.list_usage_events(user_id)][::-1]
    # A write that can't be confirmed in the meantime may have been made.
    assert outcomes <= {Recorded, StoreUnavailable, OutcomeUnknown}
    assert set(recorded_totals) <= set(events) if OutcomeUnknown in outcomes else recorded_totals == events
    assert events == sorted(set(events))
    assert used(client, user_id, feature_id) == events[-1]


def test_users_of_all_nodes_are_listed_once(cluster: Cluster, client: Client) -> None:
    recorded_totals = {unique("listed") for _ in range(60)}
    for user_id in recorded_totals:
        client.create_user(user_id)
    assert len({cluster.owner(BUCKET_SLOTS[bucket_of(user_id)]).port for user_id in recorded_totals}) == 3
    listed = [user.id for user in client.list_users(page_size=7)]
    assert recorded_totals <= set(listed)
    assert len(set(listed)) == len(listed)


def test_a_change_of_the_catalogue_reaches_another_server(cluster: Cluster, client: Client, tmp_path: Path) -> None:
    user_id, feature_id = subscriber(client, None)
    with ExitStack() as stack:
        second = stack.enter_context(running(Canuse(tmp_path, "--redis-url", cluster.url)))
        other = stack.enter_context(Client(second.address))
        assert other.can_use(user_id, feature_id).access
        client.archive_feature(feature_id)
        reasons = [other.can_use(user_id, feature_id).reason for _ in range(2)]
        while reasons[-1] != v1.REASON_FEATURE_ARCHIVED:
            reasons.append(other.can_use(user_id, feature_id).reason)
        assert all(one <= next_one for one, next_one in pairwise(reasons))
