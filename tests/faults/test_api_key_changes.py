"""A key created or revoked through one server takes effect on all of them, whether or not they get the message."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from canuse import CanuseError, Unauthenticated
from canuse_server.store.keys import API_KEYS, API_KEYS_CHANNEL, API_KEYS_VERSION
from support.authenticated_server import LIVE, SCOPES, AuthenticatedServer, authenticated_server
from support.load import OWN_CONNECTION, running, wait_until
from support.message_clients import Client
from support.population import create_population
from support.processes import Canuse
from support.stores import store_of, valkey_socket

TRANSPORTS = ["native", "grpcio"]


@pytest.fixture(params=TRANSPORTS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[AuthenticatedServer, Canuse]]:
    """A server that demands keys, and another one on the same store that knows this."""
    with running(Canuse(tmp_path, "--transport", request.param)) as first:
        (tmp_path / "other").mkdir()
        url = f"unix://{valkey_socket(first)}"
        with running(Canuse(tmp_path / "other", "--transport", request.param, "--redis-url", url)) as second:
            with Client(first.address) as client:
                created = client.create_api_key("admin", SCOPES, environment=LIVE)
            yield AuthenticatedServer(first, created.secret), second


def reasons(client: Client) -> list[str]:
    """Return the reasons with which a call of the lane and one of the event loop fail; empty if they succeed."""
    reasons_found = []
    for call in (lambda: client.can_use("nobody", "nothing"), lambda: list(client.list_users())):
        try:
            call()
            reasons_found.append("")
        except CanuseError as error:
            reasons_found.append(error.reason.replace("FEATURE_NOT_FOUND", ""))
    return reasons_found


async def test_the_first_key_closes_all_servers(pair: tuple[AuthenticatedServer, Canuse]) -> None:
    with Client(pair[1].address) as nobody:
        await wait_until(lambda: reasons(nobody) == ["API_KEY_MISSING"] * 2)


async def test_a_key_made_and_revoked_through_one_server_is_so_on_the_other(
    pair: tuple[AuthenticatedServer, Canuse],
) -> None:
    server, other = pair
    created = server.key()
    with Client(other.address, api_key=created.secret) as client, server.client() as admin:
        await wait_until(lambda: reasons(client) == ["", ""])
        admin.revoke_api_key(created.api_key.id)
        await wait_until(lambda: reasons(client) == ["API_KEY_INVALID"] * 2)


async def test_a_revocation_of_which_no_message_comes_is_seen_by_its_version(
    pair: tuple[AuthenticatedServer, Canuse],
) -> None:
    server, other = pair
    created = server.key()
    with Client(other.address, api_key=created.secret) as client:
        await wait_until(lambda: reasons(client) == ["", ""])
        redis = store_of(server.canuse)
        assert redis.pubsub_numsub(API_KEYS_CHANNEL) == [(API_KEYS_CHANNEL.encode(), 2)]
        # As RevokeApiKey does, but without a message.
        redis.hdel(API_KEYS, created.api_key.id)
        redis.delete(API_KEYS_VERSION)
        redis.close()
        await wait_until(lambda: reasons(client) == ["API_KEY_INVALID"] * 2)


async def test_a_revocation_holds_after_the_connection_for_messages_broke(
    pair: tuple[AuthenticatedServer, Canuse],
) -> None:
    server, other = pair
    created = server.key()
    with Client(other.address, api_key=created.secret) as client, server.client() as admin:
        await wait_until(lambda: reasons(client) == ["", ""])
        redis = store_of(server.canuse)
        redis.client_kill_filter(_type="pubsub")
        redis.close()
        admin.revoke_api_key(created.api_key.id)
        await wait_until(lambda: reasons(client) == ["API_KEY_INVALID"] * 2)


async def test_without_messages_the_version_still_shows_a_change(pair: tuple[AuthenticatedServer, Canuse]) -> None:
    server, other = pair
    created = server.key()
    with Client(other.address, api_key=created.secret) as client:
        await wait_until(lambda: reasons(client) == ["", ""])
        redis = store_of(server.canuse)
        # Disconnects the subscribers, and lets none subscribe again.
        redis.acl_setuser("default", enabled=True, reset_channels=True)
        redis.hdel(API_KEYS, created.api_key.id)
        redis.delete(API_KEYS_VERSION)
        redis.close()
        await wait_until(lambda: reasons(client) == ["API_KEY_INVALID"] * 2)


async def test_while_the_store_is_unavailable_valid_keys_stay_valid(pair: tuple[AuthenticatedServer, Canuse]) -> None:
    """Their scopes are in memory. A caller without a key is refused as such, and learns nothing of the store."""
    server, other = pair
    with Client(other.address, api_key=server.admin) as admin, Client(other.address) as nobody:
        await wait_until(lambda: reasons(admin) == ["", ""])
        server.canuse.kill()
        await wait_until(lambda: reasons(admin) == ["STORE_UNAVAILABLE"] * 2)
        assert reasons(nobody) == ["API_KEY_MISSING"] * 2


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_workers_hear_of_each_others_keys(tmp_path: Path, transport: str) -> None:
    with authenticated_server(Canuse(tmp_path, "--transport", transport, "--workers", "2")) as server:
        created = server.key()
        clients = [Client(server.canuse.address, api_key=created.secret, options=OWN_CONNECTION) for _ in range(12)]
        await wait_until(lambda: [reasons(client) for client in clients] == [["", ""]] * 12)
        with server.client() as admin:
            admin.revoke_api_key(created.api_key.id)
        await wait_until(lambda: [reasons(client) for client in clients] == [["API_KEY_INVALID"] * 2] * 12)
        for client in clients:
            client.close()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_stream_ends_when_its_key_is_revoked(tmp_path: Path, transport: str) -> None:
    with running(Canuse(tmp_path, "--transport", transport)) as canuse:
        population = create_population(canuse, 2100)
        with Client(canuse.address) as nobody:
            server = AuthenticatedServer(canuse, nobody.create_api_key("admin", SCOPES, environment=LIVE).secret)
        created = server.key()
        with server.client() as admin, server.client(created.secret) as client:
            messages = client.migrate_subscriptions(population.package_id)
            assert not next(messages).done
            admin.revoke_api_key(created.api_key.id)
            with pytest.raises(Unauthenticated) as caught:
                list(messages)
        assert caught.value.reason == "API_KEY_INVALID"
