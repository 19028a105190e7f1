"""The Connect protocol: what its clients send besides messages, and how they are told of errors."""

import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpc import StatusCode

from canuse import v1
from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.transport.http.errors import error_body, error_response
from support.authenticated_server import AuthenticatedServer, authenticated_server
from support.connect import envelopes
from support.load import used
from support.message_clients import Client
from support.processes import Canuse, RedisServer
from support.relay import server_behind_relay
from support.resources import package, subscriber, unique

ANY_PORT = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0"}
SERVICE = "/canuse.v1.EntitlementService/"
CAN_USE = f"{SERVICE}CanUse"
USE = f"{SERVICE}UseFeature"
MIGRATE = "/canuse.v1.CatalogService/MigrateSubscriptions"
STATUSES = {
    "canceled": 499,
    "unknown": 500,
    "invalid_argument": 400,
    "deadline_exceeded": 504,
    "not_found": 404,
    "already_exists": 409,
    "permission_denied": 403,
    "resource_exhausted": 429,
    "failed_precondition": 400,
    "aborted": 409,
    "out_of_range": 400,
    "unimplemented": 501,
    "internal": 500,
    "unavailable": 503,
    "data_loss": 500,
    "unauthenticated": 401,
}
"""The codes of the protocol, as connectrpc.com/docs/protocol has them."""


@pytest.mark.parametrize("reason", ErrorReason)
def test_every_error_of_the_table_has_its_code_and_its_http_status(reason: ErrorReason) -> None:
    answer = error_response(ApiError(reason, "text", retry_after_seconds=0.5))
    body = json.loads(bytes(answer.body))
    assert body["code"].replace("canceled", "cancelled") == reason.status.name.lower()
    assert answer.status_code == STATUSES[body["code"]]
    assert answer.headers["retry-after"] == "1"
    assert [detail["debug"]["reason"] for detail in body["details"][:1]] == [reason.name]
    [retry] = [detail for detail in body["details"] if detail["type"] == "google.rpc.RetryInfo"]
    delay = RetryInfo.FromString(base64.b64decode(retry["value"] + "==")).retry_delay
    assert delay.ToMilliseconds() == 500


def test_every_status_of_grpc_has_a_code() -> None:
    for status in StatusCode:
        if status is not StatusCode.OK:
            assert status.name.lower().replace("cancelled", "canceled") in STATUSES


def test_an_error_is_that_of_grpc(http: httpx.Client) -> None:
    user_id = unique("nobody")
    refused = http.post("/canuse.v1.UserService/GetUser", json={"userId": user_id})
    assert refused.status_code == 404
    expected = ApiError(ErrorReason.USER_NOT_FOUND, f"user {user_id!r} does not exist", {"user_id": user_id})
    assert refused.json() == error_body(expected)
    assert refused.json()["code"] == "not_found"


@pytest.mark.parametrize("version", ["1", None])
def test_the_version_of_the_protocol_may_be_named(http: httpx.Client, version: str | None) -> None:
    headers = {} if version is None else {"connect-protocol-version": version}
    assert http.post("/canuse.v1.UserService/ListUsers", json={}, headers=headers).status_code == 200


def test_another_version_is_refused(http: httpx.Client) -> None:
    refused = http.post("/canuse.v1.UserService/ListUsers", json={}, headers={"connect-protocol-version": "2"})
    assert refused.status_code == 400
    assert "connect-protocol-version: must be 1; '2' was sent" in refused.json()["message"]


@pytest.mark.parametrize("timeout", ["", "-1", "1.5", "1s", "12345678901", "+5"])
def test_a_timeout_that_is_no_number_is_refused(http: httpx.Client, client: Client, timeout: str) -> None:
    user_id, feature_id = subscriber(client, 5)
    body = {"userId": user_id, "featureId": feature_id}
    refused = http.post(USE, json=body, headers={"connect-timeout-ms": timeout})
    assert refused.status_code == 400
    assert "connect-timeout-ms" in refused.json()["message"]
    assert used(client, user_id, feature_id) == 0


def test_a_call_that_has_no_time_left_counts_nothing(http: httpx.Client, client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    body = {"userId": user_id, "featureId": feature_id}
    refused = http.post(USE, json=body, headers={"connect-timeout-ms": "0"})
    assert (refused.status_code, refused.json()["code"]) == (504, "deadline_exceeded")
    assert used(client, user_id, feature_id) == 0


async def test_a_call_ends_when_its_caller_has_waited_long_enough(tmp_path: Path, redis: RedisServer) -> None:
    env = {"CANUSE_STORE_TIMEOUT_SECONDS": "20", **ANY_PORT}
    async with (
        server_behind_relay("grpcio", tmp_path, redis, **env) as (canuse, relay),
        httpx.AsyncClient(base_url=canuse.http_url, timeout=60) as http,
    ):
        list_users = "/canuse.v1.UserService/ListUsers"
        assert (await http.post(list_users, json={})).status_code == 200
        relay.hold_replies()
        answer = await http.post(list_users, json={}, headers={"connect-timeout-ms": "100"})
        assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
        relay.release()


@pytest.fixture(scope="module")
def ids(client: Client) -> tuple[str, str]:
    """A user and a feature of which 5 may be used."""
    return subscriber(client, 5)


def queries(user_id: str, feature_id: str) -> Iterator[dict[str, str]]:
    """Yield the forms of a query that asks whether a user may use a feature."""
    request = v1.CanUseRequest(user_id=user_id, feature_id=feature_id)
    text, packed = json.dumps({"userId": user_id, "featureId": feature_id}), request.SerializeToString()
    yield {"encoding": "json", "message": text}
    yield {"connect": "v1", "encoding": "json", "message": text, "compression": "identity"}
    yield {
        "connect": "v1",
        "encoding": "json",
        "base64": "1",
        "message": base64.urlsafe_b64encode(text.encode()).decode(),
    }
    yield {"encoding": "proto", "base64": "1", "message": base64.urlsafe_b64encode(packed).decode().rstrip("=")}
    yield {"encoding": "proto", "base64": "1", "message": base64.b64encode(packed).decode()}


def test_what_only_reads_is_answered_to_get(http: httpx.Client, ids: tuple[str, str]) -> None:
    for query in queries(*ids):
        answer = http.get(CAN_USE, params=query)
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == f"application/{query['encoding']}"
        if query["encoding"] == "json":
            assert answer.json()["access"] is True
        else:
            assert v1.CanUseResponse.FromString(answer.content).access


WRONG_QUERIES: dict[str, tuple[dict[str, str | list[str]], int, str]] = {
    "no message": ({"encoding": "json"}, 400, "message"),
    "no encoding": ({"message": "{}"}, 415, "encoding"),
    "two messages": ({"encoding": "json", "message": ["{}", "{}"]}, 400, "message"),
    "two encodings": ({"encoding": ["json", "proto"], "message": "{}"}, 400, "encoding"),
    "an unknown encoding": ({"encoding": "xml", "message": "{}"}, 415, "encoding"),
    "no base64": ({"encoding": "json", "base64": "1", "message": "{}"}, 400, "message"),
    "another version": ({"encoding": "json", "message": "{}", "connect": "v2"}, 400, "connect"),
    "compressed": ({"encoding": "json", "message": "{}", "compression": "gzip"}, 501, "compression"),
    "broken JSON": ({"encoding": "json", "message": "{"}, 400, "request"),
    "a number for userId": ({"encoding": "json", "message": '{"userId": 1}'}, 400, "userId"),
}


@pytest.mark.parametrize("case", WRONG_QUERIES)
def test_a_wrong_query_names_what_is_wrong(http: httpx.Client, case: str) -> None:
    query, status, field = WRONG_QUERIES[case]
    refused = http.get(CAN_USE, params=query)
    assert refused.status_code == status
    assert refused.json()["message"].startswith(f"{field}: ")


def test_what_writes_is_not_answered_to_get(http: httpx.Client, client: Client, ids: tuple[str, str]) -> None:
    before = used(client, *ids)
    for query in queries(*ids):
        refused = http.get(USE, params=query)
        assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert used(client, *ids) == before


@pytest.fixture(scope="module")
def migrated(client: Client) -> str:
    """A package with a subscriber of an old version."""
    feature_id = unique("feature")
    client.create_feature(feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)
    package_id = package(client, [v1.PackageFeature(feature_id=feature_id, limit=1)])
    user_id = client.create_user(unique("user")).id
    client.subscribe(user_id, [package_id])
    client.update_package(package_id, features=[v1.PackageFeature(feature_id=feature_id, limit=2)])
    client.publish_package(package_id)
    return package_id


def stream(http: httpx.Client, kind: str, message: bytes, **headers: str) -> list[tuple[int, bytes]]:
    """Make a call that answers with a stream; return its envelopes."""
    sent = {"content-type": f"application/connect+{kind}", **headers}
    answer = http.post(MIGRATE, content=struct.pack(">BI", 0, len(message)) + message, headers=sent)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == sent["content-type"]
    return list(envelopes(iter([answer.content])))


@pytest.mark.parametrize("kind", ["json", "proto"])
def test_a_migration_answers_with_a_stream(http: httpx.Client, migrated: str, kind: str) -> None:
    request = v1.MigrateSubscriptionsRequest(package_id=migrated, dry_run=True)
    message = json.dumps({"packageId": migrated, "dryRun": True}).encode()
    found = stream(http, kind, message if kind == "json" else request.SerializeToString())
    assert [flags for flags, _ in found] == [0] * (len(found) - 1) + [2]
    assert json.loads(found[-1][1]) == {}
    last = found[-2][1]
    done = json.loads(last)["done"] if kind == "json" else v1.MigrateSubscriptionsResponse.FromString(last).done
    assert done is True


def test_an_error_of_a_stream_is_in_its_last_envelope(http: httpx.Client) -> None:
    package_id = unique("nothing")
    [(flags, end)] = stream(http, "json", json.dumps({"packageId": package_id}).encode())
    assert flags == 2
    error = json.loads(end)["error"]
    assert (error["code"], error["details"][0]["debug"]["reason"]) == ("not_found", "PACKAGE_NOT_FOUND")
    [(_, end)] = stream(http, "json", b'{"packageid": "a"}')
    assert json.loads(end)["error"]["message"].startswith("packageid: is not a field of ")
    [(_, end)] = stream(http, "json", b"{}", **{"connect-content-encoding": "gzip"})
    assert json.loads(end)["error"]["code"] == "unimplemented"
    [(_, end)] = stream(http, "json", json.dumps({"packageId": package_id}).encode(), **{"connect-timeout-ms": "0"})
    assert json.loads(end)["error"]["code"] == "deadline_exceeded"


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"\x00\x00\x00\x00\x05{}", b"\x01\x00\x00\x00\x02{}", b"\x00\x00\x00\x00\x02{}" * 2]
)
def test_a_stream_takes_one_envelope(http: httpx.Client, body: bytes) -> None:
    answer = http.post(MIGRATE, content=body, headers={"content-type": "application/connect+json"})
    [(_, end)] = envelopes(iter([answer.content]))
    assert json.loads(end)["error"]["message"].startswith("request: must be one envelope")


def test_a_stream_has_content_types_of_its_own(http: httpx.Client) -> None:
    refused = http.post(MIGRATE, json={"packageId": "a"})
    assert refused.status_code == 415
    assert "application/connect+json" in refused.json()["message"]
    assert http.get(MIGRATE).status_code == 405


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthenticatedServer]:
    """A server that demands keys."""
    with authenticated_server(Canuse(tmp_path_factory.mktemp("guarded"), env=ANY_PORT)) as server:
        yield server


KEYS = {
    "none": (None, 401, "API_KEY_MISSING"),
    "no key": ("Bearer of bad news", 401, "API_KEY_INVALID"),
    "an unknown key": (f"Bearer sk_live_{'a' * 43}", 401, "API_KEY_INVALID"),
}


@pytest.mark.parametrize("case", KEYS)
@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
def test_who_may_not_call_is_told_so_before_the_request_is_read(
    guarded: AuthenticatedServer, case: str, content_type: str
) -> None:
    authorization, status, reason = KEYS[case]
    headers = {"content-type": content_type, **({} if authorization is None else {"authorization": authorization})}
    refused = httpx.post(guarded.canuse.http_url + USE, content=b"{", headers=headers)
    assert (refused.status_code, refused.json()["details"][0]["debug"]["reason"]) == (status, reason)
    assert refused.headers["www-authenticate"] == "Bearer"


def test_a_key_may_do_what_its_scopes_allow(guarded: AuthenticatedServer) -> None:
    reader = {"authorization": f"Bearer {guarded.key(['entitlements:read']).secret}"}
    body = {"userId": "a", "featureId": "b"}
    allowed = httpx.post(guarded.canuse.http_url + CAN_USE, json=body, headers=reader)
    refused = httpx.post(guarded.canuse.http_url + USE, json=body, headers=reader)
    assert (allowed.status_code, refused.status_code) == (404, 403)
    assert refused.json()["details"][0]["debug"]["reason"] == "SCOPE_MISSING"


def test_a_write_can_be_required_to_be_durable(http: httpx.Client, ids: tuple[str, str]) -> None:
    body = {"userId": ids[0], "featureId": ids[1]}
    refused = http.post(USE, json=body, headers={"canuse-durability": "paper"})
    assert refused.status_code == 400
    assert refused.json()["message"].startswith("canuse-durability: must be one of ")
    assert http.post(USE, json=body, headers={"canuse-durability": "memory"}).status_code == 200
