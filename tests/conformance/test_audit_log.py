"""The audit log: one entry for each effective change, by whatever call it is made, and none for anything else."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from canuse import NotFound, v1
from canuse_server.api.methods import method_at
from canuse_server.api.scopes import SCOPES
from canuse_server.store.keys import Keys, bucket_of
from chaos.methods import METHODS
from chaos.retry_cases import CASES
from chaos.scenario import Scenario, create_catalogue, create_scenario
from support.audited_changes import EXPECTED, ONE_MORE_EACH_TIME, audited_methods, cases, content, with_new_entries
from support.authenticated_server import LIVE, TEST, AuthenticatedServer, authenticated_server
from support.load import running
from support.message_clients import Client
from support.processes import Canuse
from support.resources import Clock, subscriber, unique
from support.store_inspection import StoreInspector
from support.stores import store_of
from support.wire import Stubs, failure

KEY_METHODS: Final = ("CreateApiKey", "RevokeApiKey")
"""With a key, an open server closes, so these have a server of their own."""
CLOCK_METHODS: Final = ("ClockService/SetTime", "ClockService/AdvanceTime")
WITHOUT_ENTRIES: Final = ("StoreService/ResetStore", "StoreService/SetStoreAvailability")
"""One deletes all data, and with it the audit log; the other changes nothing in the store."""
MORE_LINES_THAN_A_PIPE_TAKES: Final = 600
"""A line has about 250 bytes, and a pipe takes 64 KiB."""
SECRET_TEXT: Final = "Augusta Ada"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthenticatedServer]:
    """A server with keys on the manual clock."""
    folder = tmp_path_factory.mktemp("keyed")
    with authenticated_server(Canuse(folder, "--clock", "manual")) as server:
        yield server


def call(server: Canuse, name: str, request: Any, api_key: str = "none") -> Any:
    """Call the method of a case."""
    with grpc.insecure_channel(server.address) as channel:
        return METHODS[name.partition(",")[0]].call(channel, request, api_key)


def prepare(client: Client, name: str) -> tuple[Scenario, Any]:
    """Create what a case needs; return it and the request."""
    scenario = create_scenario(client, create_catalogue(client))
    request = CASES[name].request(scenario)
    if name == "RevokeUserTokens":
        client.generate_user_token(scenario.user_id)
    return scenario, request


def check_case(client: Client, server: Canuse, name: str, api_key: str = "none") -> v1.AuditEntry:
    """Make the call of a case twice, and check its entries; return the first."""
    scenario, request = prepare(client, name)
    started_at = datetime.now(UTC)
    answer, entries = with_new_entries(client, lambda: call(server, name, request, api_key))
    assert [content(entry) for entry in entries] == [EXPECTED[name](scenario, answer)], name
    method = METHODS[name.partition(",")[0]].path.removeprefix("/")
    assert (entries[0].method, entries[0].environment) == (method, LIVE)
    assert abs((entries[0].time.ToDatetime(UTC) - started_at).total_seconds()) < 600

    def again() -> None:
        try:
            call(server, name, request, api_key)
        except grpc.RpcError:
            assert CASES[name].repeated.isupper()  # It fails with this reason.

    _, repeated = with_new_entries(client, again)
    assert len(repeated) == (1 if name in ONE_MORE_EACH_TIME else 0), name
    return entries[0]


def test_every_method_that_changes_something_has_an_expected_entry() -> None:
    assert set(EXPECTED) == cases()
    assert {name.partition(",")[0] for name in EXPECTED} == audited_methods()
    others = {path for path in SCOPES if path.startswith("/canuse.testing.") and method_at(path).audited}
    assert others == {f"/canuse.testing.v1.{name}" for name in (*CLOCK_METHODS, *WITHOUT_ENTRIES)}


@pytest.mark.extended
def test_each_change_has_one_entry_and_its_repetition_none(server: Canuse, client: Client) -> None:
    for name in sorted(EXPECTED.keys() - set(KEY_METHODS)):
        entry = check_case(client, server, name)
        assert (entry.caller_key_id, entry.request_id) == ("", "")


@pytest.mark.extended
def test_an_entry_names_the_key_of_the_caller(keyed: AuthenticatedServer) -> None:
    key = keyed.key()
    with keyed.client(key.secret) as client:
        for name in (*KEY_METHODS, "UpdateUser", "CreateFeature"):
            assert check_case(client, keyed.canuse, name, key.secret).caller_key_id == key.api_key.id


@pytest.mark.extended
def test_what_only_reads_or_records_or_changes_nothing_has_no_entry(client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)

    def use() -> None:
        client.can_use(user_id, feature_id)
        client.create_usage_event(user_id, feature_id)
        client.use_feature(user_id, feature_id)
        lease = client.reserve(user_id, feature_id, 2).lease_id
        client.extend_lease(lease, amount=1)
        client.settle(lease, 1)
        client.update_user(user_id, name="")
        client.change_package(user_id, next(iter(client.list_subscriptions(user_id))).package_id, event_id="e")
        client.revoke_user_tokens(user_id)
        with pytest.raises(NotFound):
            client.delete_user(unique("nobody"))

    assert with_new_entries(client, use)[1] == []


@pytest.mark.extended
def test_a_renewal_has_no_entry_and_moving_the_clock_has_one(keyed: AuthenticatedServer, clock: Clock) -> None:
    with keyed.client() as client:
        user_id, feature_id = subscriber(client, 5)
        clock.set(datetime(2040, 1, 1, tzinfo=UTC))

        def renew() -> None:
            clock.advance(days=31)
            client.use_feature(user_id, feature_id)
            client.can_use(user_id, feature_id)

        _, entries = with_new_entries(client, renew)
        assert [content(entry) for entry in entries] == [v1.AuditEntry()]
        assert entries[0].method == "canuse.testing.v1.ClockService/AdvanceTime"
        assert entries[0].time.ToDatetime(UTC) == clock.now()
        assert with_new_entries(client, lambda: clock.advance(days=0))[1] == []


@pytest.fixture
def clock(keyed: AuthenticatedServer) -> Iterator[Clock]:
    """The clock of the server with keys."""
    clock = Clock(keyed.canuse.address, keyed.admin)
    yield clock
    clock.close()


@pytest.mark.extended
def test_entries_have_neither_values_nor_secrets(keyed: AuthenticatedServer) -> None:
    with keyed.client() as client, store_of(keyed.canuse) as redis:
        user_id = client.create_user(unique("user"), name=SECRET_TEXT, email="ada@example.com").id
        client.update_user(user_id, email="countess@example.com", metadata={"note": SECRET_TEXT})
        feature_id = client.create_feature(unique("f"), type=v1.FEATURE_TYPE_CONSUMABLE, name=SECRET_TEXT).id
        client.create_grant(user_id, "bonus", feature_id, amount=5, note=SECRET_TEXT)
        key = keyed.key()
        token = client.generate_user_token(user_id).token
        logs = list(redis.scan_iter("*:audit"))
        kept = b"".join(repr(redis.xrange(name)).encode() for name in logs)
        assert len(logs) >= 4
        for text in (SECRET_TEXT, "@example.com", key.secret, key.secret[8:], token):
            assert text.encode() not in kept
        assert SECRET_TEXT not in keyed.canuse.log


@pytest.mark.extended
def test_of_a_deleted_user_the_ids_in_the_audit_log_remain_and_nothing_else(
    client: Client, stubs: Stubs, store: StoreInspector
) -> None:
    user_id, _ = subscriber(client, 5)
    client.update_user(user_id, name=SECRET_TEXT)
    client.delete_user(user_id)
    methods = [entry.method.rpartition("/")[2] for entry in client.list_audit_entries(user_id=user_id)]
    assert methods == ["DeleteUser", "UpdateUser", "Subscribe", "CreateUser"]
    assert store.names_with(user_id) == [store.audit_log(user_id)]
    assert store.names_with(SECRET_TEXT) == []


@pytest.mark.extended
def test_the_other_environment_has_a_log_of_its_own_but_for_keys_and_the_clock(keyed: AuthenticatedServer) -> None:
    live, test = keyed.key(), keyed.key(environment=TEST)
    with keyed.client(live.secret) as of_live, keyed.client(test.secret) as of_test:
        users = of_live.create_user(unique("live")).id, of_test.create_user(unique("test")).id
        created = of_test.create_api_key("k", ["usage:write"], environment=TEST).api_key.id
        seen = [{entry.user_id for entry in client.list_audit_entries()} for client in (of_live, of_test)]
        assert [users[0] in seen[0], users[1] in seen[0]] == [True, False]
        assert [users[0] in seen[1], users[1] in seen[1]] == [False, True]
        of_keys = [
            {entry.api_key_id: entry.environment for entry in client.list_audit_entries() if entry.api_key_id}
            for client in (of_live, of_test)
        ]
        assert of_keys[0][created] == of_keys[1][created] == TEST
        assert of_keys[0][live.api_key.id] == LIVE
        assert live.api_key.id not in of_keys[1]


@pytest.mark.extended
def test_filters_select_by_user_method_caller_and_time(keyed: AuthenticatedServer, clock: Clock) -> None:
    key = keyed.key()
    with keyed.client(key.secret) as client:
        user_id, other = (client.create_user(unique("user")).id for _ in range(2))
        clock.advance(hours=1)
        since = clock.now()
        client.update_user(user_id, name="Ada")
        clock.advance(hours=1)
        client.update_user(other, name="Ada")
        until = clock.now()

        def users(**filters: Any) -> list[str]:
            return [entry.user_id for entry in client.list_audit_entries(caller_key_id=key.api_key.id, **filters)]

        assert users(user_id=user_id) == [user_id, user_id]
        assert set(users(method="CreateUser")) == {other, user_id}
        assert users(method="CreateUser") == users(method="canuse.v1.UserService/CreateUser")
        assert [each for each in users(start_time=since, end_time=until) if each] == [user_id]
        assert [each for each in users(start_time=since) if each] == [other, user_id]
        assert users(start_time=until, end_time=until) == users(user_id=unique("nobody")) == []
        assert list(client.list_audit_entries(caller_key_id="key_none")) == []
        assert list(client.list_audit_entries(user_id=user_id, method="DeleteUser")) == []


@pytest.mark.extended
def test_a_method_that_has_no_entries_is_refused_as_a_filter(stubs: Stubs) -> None:
    for method in ("CanUse", "UseFeature", "ListUsers", "updateuser", "/canuse.v1.UserService/UpdateUser"):
        refused = failure(stubs.audit.ListAuditEntries, v1.ListAuditEntriesRequest(method=method))
        assert refused.fields == ["method"]
        assert f"like UpdateUser; '{method}' was sent" in refused.violations["method"]


@pytest.mark.extended
def test_a_page_token_is_of_one_list(stubs: Stubs, client: Client) -> None:
    for _ in range(2):
        client.create_user(unique("user"))
    first = stubs.audit.ListAuditEntries(v1.ListAuditEntriesRequest(page_size=1))
    other = v1.ListAuditEntriesRequest(page_size=1, page_token=first.next_page_token, method="CreateUser")
    assert failure(stubs.audit.ListAuditEntries, other).fields == ["page_token"]


@pytest.mark.extended
def test_entries_are_kept_for_as_long_as_the_setting_says(tmp_path: Path) -> None:
    canuse = Canuse(tmp_path, "--clock", "manual", env={"CANUSE_AUDIT_MAX_AGE_DAYS": "2"})
    with running(canuse), Client(canuse.address) as client, store_of(canuse) as redis:
        clock = Clock(canuse.address)
        user_id = client.create_user("124").id
        clock.advance(hours=47)
        client.update_user(user_id, name="Ada")
        assert len(list(client.list_audit_entries(user_id=user_id))) == 2
        clock.advance(hours=2)
        assert [entry.fields for entry in client.list_audit_entries(user_id=user_id)] == [["name"]]
        # The next change in the log removes what is too old from the store.
        log = Keys("live").audit(bucket_of(user_id))
        assert redis.xlen(log) == 2
        client.update_user(user_id, name="Countess")
        assert redis.xlen(log) == 2
        clock.advance(days=2, hours=1)
        assert list(client.list_audit_entries(user_id=user_id)) == []
        clock.close()


@pytest.mark.extended
def test_a_user_of_the_default_package_has_no_entry_by_whatever_call_it_is_created(tmp_path: Path) -> None:
    canuse = Canuse(tmp_path, env={"CANUSE_DEFAULT_PACKAGE": "free"})
    with running(canuse), Client(canuse.address) as client:
        feature_id = client.create_feature(unique("f"), type=v1.FEATURE_TYPE_CONSUMABLE).id
        client.create_package("free", [v1.PackageFeature(feature_id=feature_id, limit=5)])
        client.publish_package("free")
        assert with_new_entries(client, lambda: client.use_feature("reader", feature_id))[1] == []
        _, entries = with_new_entries(client, lambda: client.create_grant("gifted", "bonus", feature_id, amount=5))
        assert [content(entry) for entry in entries] == [
            v1.AuditEntry(user_id="gifted", grant_ids=["bonus"], feature_ids=[feature_id])
        ]


@pytest.mark.extended
def test_changes_are_not_logged_below_the_level_of_the_log(tmp_path: Path) -> None:
    canuse = Canuse(tmp_path, env={"CANUSE_LOG_LEVEL": "warning"})
    with running(canuse), Client(canuse.address) as client:
        client.create_user("124")
        assert len(list(client.list_audit_entries())) == 1
    assert "CreateUser" not in canuse.log


@pytest.mark.extended
def test_changes_go_on_while_nobody_reads_the_log(tmp_path: Path) -> None:
    canuse = Canuse(tmp_path)
    os.mkfifo(canuse.log_path)
    reader = os.open(canuse.log_path, os.O_RDONLY | os.O_NONBLOCK)
    canuse.start()
    try:
        with Client(canuse.address) as client:
            client.create_user("124")
            for number in range(MORE_LINES_THAN_A_PIPE_TAKES):
                client.update_user("124", name=str(number))
            entries = list(client.list_audit_entries(user_id="124", page_size=1000))
    finally:
        os.close(reader)
        canuse.stop()
    assert len(entries) == 1 + MORE_LINES_THAN_A_PIPE_TAKES
