"""The service that resets a server between tests, and makes its store unavailable."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

import canuse
from canuse import Client, v1
from canuse._channel import call_metadata
from canuse.testing import v1 as testing
from canuse_server.api.scopes import SCOPES
from support.load import running
from support.processes import Canuse, RedisServer

pytestmark = pytest.mark.extended
START = datetime(2031, 3, 31, 12, tzinfo=UTC)
TEST = v1.ENVIRONMENT_TEST
LIVE = v1.ENVIRONMENT_LIVE
ALL_SCOPES = sorted({scope for scopes in SCOPES.values() for scope in scopes})


@pytest.fixture(scope="module", params=["native", "grpcio"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server on the embedded Valkey and a manual clock."""
    options = ("--clock", "manual", "--transport", request.param)
    with running(Canuse(tmp_path_factory.mktemp("reset"), *options)) as server:
        yield server.address


def reset(address: str, api_key: str = "") -> datetime:
    """Delete everything, and return the time after it."""
    metadata = call_metadata(api_key)
    with grpc.insecure_channel(address) as channel:
        request = testing.ResetStoreRequest()
        request.time.FromDatetime(START)
        answer = testing.StoreServiceStub(channel).ResetStore(request, metadata=metadata)
        shown = testing.ClockServiceStub(channel).GetTime(testing.GetTimeRequest())
    assert answer.time == shown.time
    return answer.time.ToDatetime(UTC)


def set_available(address: str, available: bool) -> None:
    """Make the store unavailable, or available again."""
    with grpc.insecure_channel(address) as channel:
        request = testing.SetStoreAvailabilityRequest(available=available)
        testing.StoreServiceStub(channel).SetStoreAvailability(request)


def set_up(client: Client) -> None:
    """Create a user with a feature that answers by what was last known."""
    client.create_feature("f", type=v1.FEATURE_TYPE_CONSUMABLE, on_unavailable=v1.ON_UNAVAILABLE_LAST_KNOWN)
    client.create_package("p", [v1.PackageFeature(feature_id="f", limit=5, reset_period=v1.RESET_PERIOD_MONTH)])
    client.publish_package("p")
    client.create_user("u")
    client.subscribe("u", ["p"])


def test_a_reset_leaves_nothing_behind_and_sets_the_clock_back(address: str) -> None:
    # The client knows nothing either of what was answered before.
    with Client(address, unavailable_default="raise") as client:
        for limit in (1, 2):
            assert reset(address) == START
            assert [*client.list_users(), *client.list_features(), *client.list_packages()] == []
            set_up(client)
            assert client.can_use("u", "f")
            answer = client.use_feature("u", "f", limit, event_id="e")
            assert (answer.replayed, answer.consumption and answer.consumption.used) == (False, limit)
            with grpc.insecure_channel(address) as channel:
                request = testing.AdvanceTimeRequest()
                request.duration.FromSeconds(3 * 365 * 86400)
                testing.ClockServiceStub(channel).AdvanceTime(request)
        reset(address)
        set_available(address, False)
        # What was known of a user before is not known any more.
        with pytest.raises(canuse.StoreUnavailable):
            client.can_use("u", "f")
        reset(address)
        set_up(client)
        set_available(address, False)
        assert client.can_use("u", "f").source == v1.SOURCE_FALLBACK
        reset(address)
        assert list(client.list_users()) == []


def test_a_reset_ends_api_keys_and_both_environments(address: str) -> None:
    reset(address)
    with Client(address) as client:
        admin = client.create_api_key("admin", ALL_SCOPES, environment=LIVE).secret
    with Client(address, api_key=admin) as client:
        other = client.create_api_key("test", ALL_SCOPES, environment=TEST).secret
    with Client(address, api_key=other) as client:
        set_up(client)
        token = client.generate_user_token("u").token
    assert reset(address, admin) == START
    with Client(address) as client:
        assert list(client.list_users()) == []
        admin = client.create_api_key("admin", ALL_SCOPES, environment=LIVE).secret
    with Client(address, api_key=admin) as client:
        other = client.create_api_key("test", ALL_SCOPES, environment=TEST).secret
    with Client(address, api_key=other) as client:
        assert list(client.list_users()) == []
        set_up(client)
    with Client(address, api_key=token) as client, pytest.raises(canuse.Unauthenticated):
        client.can_use("u", "f")
    reset(address, admin)


def test_an_unavailable_store_fails_calls_at_once_and_keeps_its_data(address: str) -> None:
    reset(address)
    with Client(address) as client:
        set_up(client)
        assert client.can_use("u", "f").source == v1.SOURCE_STORE
        set_available(address, False)
        assert client.can_use("u", "f").source == v1.SOURCE_LAST_KNOWN
        for call in (lambda: client.use_feature("u", "f"), lambda: client.get_user("u")):
            with pytest.raises(canuse.StoreUnavailable):
                call()
        set_available(address, True)
        counts = client.use_feature("u", "f").consumption
        assert counts
        assert counts.used == 1


def test_a_store_that_others_may_use_cannot_be_reset(redis: RedisServer, tmp_path: Path) -> None:
    for options in (("--clock", "manual", "--redis-url", redis.url), ("--clock", "system")):
        with running(Canuse(tmp_path, *options)) as server, grpc.insecure_channel(server.address) as channel:
            stub = testing.StoreServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.ResetStore(testing.ResetStoreRequest())
            assert cast("Any", caught.value).code() is grpc.StatusCode.UNIMPLEMENTED
