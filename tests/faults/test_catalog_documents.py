"""ApplyCatalog is one step: a document is applied as a whole, whatever breaks and whoever else applies one."""

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

import canuse
from canuse import Overloaded, v1
from support.load import MAX_WAIT_SECONDS, callers, running, until, wait_until
from support.message_clients import AsyncClient, Client
from support.migrations import create_subscriber, of
from support.processes import Canuse, RedisServer
from support.relay import server_behind_relay
from support.resources import unique
from support.stores import store_of, valkey_pid

SIZE: Final = 40
MAX_CONCURRENT: Final = 4
Document = tuple[Sequence[v1.Feature], Sequence[v1.Package]]


@pytest.fixture(scope="module", params=["native", "grpcio"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canuse]:
    """A server with a catalogue of its own."""
    with running(Canuse(tmp_path_factory.mktemp("catalogue"), "--transport", request.param)) as server:
        yield server


@pytest.fixture
def client(server: Canuse) -> Iterator[Client]:
    with Client(server.address, timeout_seconds=MAX_WAIT_SECONDS) as client:
        yield client


def document(mark: str, text: str) -> Document:
    """Return a document with the same text everywhere."""
    features = [
        v1.Feature(id=f"{mark}-f{number}", name=text, type=v1.FEATURE_TYPE_CONSUMABLE) for number in range(SIZE)
    ]
    packages = [
        v1.Package(id=f"{mark}-p{number}", name=text, features=[of(f"{mark}-f{number}", number)])
        for number in range(SIZE)
    ]
    return features, packages


def texts(client: Client, mark: str) -> set[tuple[str, int]]:
    """Return the texts in the catalogue; of packages with the number of their published version, of features with 0."""
    features = {(each.name, 0) for each in client.list_features(page_size=1000) if each.id.startswith(f"{mark}-")}
    packages = [each for each in client.list_packages(page_size=1000) if each.id.startswith(f"{mark}-")]
    assert {each.status for each in packages} <= {v1.PACKAGE_STATUS_PUBLISHED}
    return features | {(each.name, each.published_version) for each in packages}


def test_what_a_document_does_not_name_is_archived_if_that_is_asked_for(client: Client) -> None:
    first, second = document("a", "one"), document("b", "one")
    client.apply_catalog(*first)
    client.apply_catalog(*second)
    kept = (first[0][:2], first[1][:1])
    planned = client.apply_catalog(*kept, archive_missing=True, dry_run=True)
    applied = client.apply_catalog(*kept, archive_missing=True)
    archived = [each.feature_id or each.package_id for each in applied.changes]
    assert list(planned.changes) == list(applied.changes)
    assert {each.action for each in applied.changes} == {v1.CATALOG_ACTION_ARCHIVE}
    named = {each.id for part in kept for each in part}
    everything = {each.id for part in (*first, *second) for each in part}
    assert set(archived) == everything - named
    assert archived == sorted(archived[: 2 * SIZE - 2]) + sorted(archived[2 * SIZE - 2 :])
    assert not client.apply_catalog(*kept, archive_missing=True).changes
    left = [each.id for each in client.list_features(page_size=1000) if not each.archived]
    left += [each.id for each in client.list_packages(page_size=1000) if each.status == v1.PACKAGE_STATUS_PUBLISHED]
    assert set(left) == named


@pytest.mark.parametrize("victim", ["store", "server"])
def test_a_document_is_applied_whole_or_not_at_all_when_something_dies(server: Canuse, victim: str) -> None:
    mark = unique()
    redis = store_of(server)
    redis.config_set("appendfsync", "always")  # What was acknowledged has to be there afterwards.
    redis.close()
    acknowledged = 0
    for attempt in range(1, 7):
        with Client(server.address, timeout_seconds=MAX_WAIT_SECONDS) as client:
            pid = valkey_pid(server) if victim == "store" else server.pid

            async def apply_and_kill(pid: int = pid, attempt: int = attempt) -> bool:
                async with AsyncClient(server.address, timeout_seconds=MAX_WAIT_SECONDS) as applying:
                    calls = [
                        asyncio.create_task(applying.apply_catalog(*document(mark, f"{attempt}-{number}")))
                        for number in range(3)
                    ]
                    await asyncio.sleep(0.002 * attempt)  # Each attempt at another moment.
                    os.kill(pid, signal.SIGKILL)
                    results = await asyncio.gather(*calls, return_exceptions=True)
                assert all(isinstance(each, v1.ApplyCatalogResponse | canuse.CanuseError) for each in results)
                return any(isinstance(each, v1.ApplyCatalogResponse) for each in results)

            succeeded = asyncio.run(apply_and_kill())
            if victim == "server":
                server.kill()
                server.start()
        with Client(server.address, timeout_seconds=MAX_WAIT_SECONDS) as client:
            until(lambda client=client: answers(client))  # type: ignore[misc]
            found = texts(client, mark)
            assert len({text for text, _ in found}) <= 1, found
            assert len({version for _, version in found} - {0}) <= 1, found
            [last] = {int(text.partition("-")[0]) for text, _ in found} or {0}
            acknowledged = attempt if succeeded else acknowledged
            assert acknowledged <= last <= attempt


def answers(client: Client) -> bool:
    """Whether the store is back."""
    try:
        return bool(client.apply_catalog().etag)
    except canuse.Unavailable:
        return False


async def test_documents_that_are_applied_at_once_are_applied_one_after_the_other(server: Canuse) -> None:
    mark, count = unique(), 12
    async with callers(server.address, 3) as clients:
        applied = await asyncio.gather(
            *(clients[number % 3].apply_catalog(*document(mark, str(number))) for number in range(count))
        )
    with Client(server.address) as client:
        found = texts(client, mark)
    # Each published the next version of each package.
    versions = sorted(
        each.version for answer in applied for each in answer.changes if each.action == v1.CATALOG_ACTION_PUBLISH
    )
    assert versions == sorted(list(range(1, count + 1)) * SIZE)
    assert len({text for text, _ in found}) == 1
    assert {version for _, version in found} == {0, count}
    assert len({answer.etag for answer in applied}) == count


async def test_of_many_who_apply_the_same_plan_one_does(server: Canuse) -> None:
    mark, count = unique(), 8
    async with callers(server.address, 2) as clients:
        planned = await clients[0].apply_catalog(*document(mark, "x"), dry_run=True)
        results = await asyncio.gather(
            *(
                clients[number % 2].apply_catalog(*document(mark, str(number)), etag=planned.etag)
                for number in range(count)
            ),
            return_exceptions=True,
        )
    [winner] = [number for number, each in enumerate(results) if isinstance(each, v1.ApplyCatalogResponse)]
    assert [each for each in results if not isinstance(each, canuse.Aborted)] == [results[winner]]
    with Client(server.address) as client:
        assert texts(client, mark) == {(str(winner), 0), (str(winner), 1)}


async def test_a_document_and_single_changes_at_the_same_time_are_one_after_the_other(server: Canuse) -> None:
    mark = unique()
    async with callers(server.address, 2) as (one, other):
        await one.apply_catalog(*document(mark, "0"))

        async def edit() -> None:
            for number in range(20):
                await other.update_feature(f"{mark}-f{number % 3}", unit_label=str(number))

        editing = asyncio.create_task(edit())
        rounds = 0
        while not editing.done():
            rounds += 1
            await one.apply_catalog(*document(mark, str(rounds)))
        await editing
        final = await one.apply_catalog(*document(mark, "end"))
    with Client(server.address) as client:
        assert texts(client, mark) == {("end", 0), ("end", rounds + 2)}
        assert {each.unit_label for each in client.list_features(page_size=1000) if each.id.startswith(mark)} == {""}
    assert final.etag


async def test_a_document_applied_through_one_server_takes_effect_at_the_other(
    transport: str, redis: RedisServer, tmp_path: Path
) -> None:
    mark = unique()
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    others = [Canuse(tmp_path / name, "--transport", transport, "--redis-url", redis.url) for name in ("one", "other")]
    with running(others[0]), running(others[1]), Client(others[0].address) as one, Client(others[1].address) as other:
        features, packages = document(mark, "x")
        one.apply_catalog(features, packages)
        user_id = create_subscriber(other, f"{mark}-p5")
        assert other.use_feature(user_id, f"{mark}-f5", 5).access
        features[5].archived = True
        one.apply_catalog(features)
        await wait_until(lambda: other.can_use(user_id, f"{mark}-f5", 1).reason == v1.REASON_FEATURE_ARCHIVED)


async def test_the_fifth_dry_run_that_counts_users_is_refused(
    transport: str, redis: RedisServer, tmp_path: Path
) -> None:
    async with (
        server_behind_relay(transport, tmp_path, redis, CANUSE_STORE_TIMEOUT_SECONDS="60") as (server, relay),
        AsyncClient(server.address, timeout_seconds=MAX_WAIT_SECONDS) as client,
    ):
        package_id = unique("package")
        await client.create_package(package_id, [])
        await client.publish_package(package_id)
        asked = relay.request_with(b"SMEMBERS")
        changed = [v1.Package(id=package_id, name="changed")]

        def plan() -> "asyncio.Task[v1.ApplyCatalogResponse]":
            return asyncio.ensure_future(client.apply_catalog(packages=changed, dry_run=True))

        relay.delay_seconds = 0.1
        calls = [plan() for _ in range(MAX_CONCURRENT + 2)]
        await asyncio.wait_for(asked.wait(), MAX_WAIT_SECONDS)
        results = await asyncio.gather(*calls, return_exceptions=True)
        refused = [each for each in results if isinstance(each, Overloaded)]
        assert (len(refused), {each.reason for each in refused}) == (2, {"OVERLOADED"})
        assert {each.retry_after_seconds for each in refused} == {5}
        relay.delay_seconds = 0
        assert (await plan()).changes
