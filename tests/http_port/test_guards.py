"""What every request over HTTP has to pass before any work, and what every answer has."""

import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from canuse import v1
from support.authenticated_server import authenticated_server
from support.load import running, used
from support.message_clients import Client
from support.processes import Canuse
from support.resources import subscriber

ANY_PORT = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0"}
ORIGIN = "https://app.example.com"
USE = "/canuse.v1.EntitlementService/UseFeature"
LIST = "/canuse.v1.UserService/ListUsers"
SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}


def raw(canuse: Canuse, request: bytes) -> bytes:
    """Send bytes; return all that is answered until the server closes the connection."""
    host, _, port = canuse.http_url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), 60) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


@pytest.mark.parametrize(
    "origins",
    [
        ["https://evil.example"],
        ["null"],
        ["http://localhost:1"],
        [f"{ORIGIN}.evil.example"],
        [ORIGIN, "https://evil.example"],
        [""],
    ],
)
def test_a_page_of_another_origin_is_refused_before_anything_is_counted(
    http: httpx.Client, client: Client, origins: list[str]
) -> None:
    user_id, feature_id = subscriber(client, 5)
    body = {"userId": user_id, "featureId": feature_id}
    refused = http.post(USE, json=body, headers=[("origin", origin) for origin in origins])
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
    assert "access-control-allow-origin" not in refused.headers
    assert used(client, user_id, feature_id) == 0


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_an_image_or_a_link_in_a_page_of_another_site_is_refused(http: httpx.Client, site: str) -> None:
    query = {"encoding": "json", "message": "{}"}
    assert http.get(LIST, params=query, headers={"sec-fetch-site": site}).status_code == 403
    for own in ("same-origin", "none"):
        assert http.get(LIST, params=query, headers={"sec-fetch-site": own}).status_code == 200
    assert http.post(LIST, json={}, headers={"sec-fetch-site": site, "origin": ORIGIN}).status_code == 200


def test_a_page_of_an_allowed_origin_and_one_of_the_server_itself_are_answered(
    http: httpx.Client, canuse: Canuse
) -> None:
    answered = http.post(LIST, json={}, headers={"origin": ORIGIN})
    assert answered.status_code == 200
    assert answered.headers["access-control-allow-origin"] == ORIGIN
    assert answered.headers["access-control-expose-headers"] == "ETag, Retry-After, X-Request-ID"
    assert answered.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in answered.headers
    own = http.post(LIST, json={}, headers={"origin": canuse.http_url})
    assert own.status_code == 200
    assert "access-control-allow-origin" not in own.headers
    # Not under another scheme: that is another server.
    assert http.post(LIST, json={}, headers={"origin": f"https{canuse.http_url[4:]}"}).status_code == 403


def test_a_browser_may_ask_first_what_a_page_may_do(http: httpx.Client) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    allowed = http.options(USE, headers={"origin": ORIGIN, **asked})
    assert allowed.status_code == 204
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert allowed.headers["access-control-allow-methods"] == "GET, POST"
    names = allowed.headers["access-control-allow-headers"].lower().split(", ")
    asked_for = {"authorization", "content-type", "connect-protocol-version", "connect-timeout-ms", "traceparent"}
    assert asked_for <= set(names)
    assert http.options(USE, headers={"origin": "https://evil.example", **asked}).status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:50052", "localhost.evil.example", "192.168.0.1", ""])
def test_a_server_without_keys_is_reached_under_the_names_of_the_loopback_only(http: httpx.Client, host: str) -> None:
    refused = http.post(LIST, json={}, headers={"host": host})
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:50052", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:50052"])
def test_the_names_of_the_loopback_are_answered(http: httpx.Client, host: str) -> None:
    assert http.post(LIST, json={}, headers={"host": host}).status_code == 200


def test_a_server_with_keys_is_reached_under_any_name(tmp_path: Path) -> None:
    with authenticated_server(Canuse(tmp_path, env=ANY_PORT)) as server:
        headers = {"host": "canuse.example.com", "authorization": f"Bearer {server.admin}"}
        assert httpx.post(server.canuse.http_url + LIST, json={}, headers=headers).status_code == 200
        del headers["authorization"]
        assert httpx.post(server.canuse.http_url + LIST, json={}, headers=headers).status_code == 401


def test_an_http_port_that_others_can_reach_makes_the_server_demand_keys(tmp_path: Path) -> None:
    with running(Canuse(tmp_path, env={"CANUSE_HTTP_LISTEN": "0.0.0.0:0"})) as canuse:
        assert "access by API key" in canuse.ready_line
        url = canuse.http_url.replace("0.0.0.0", "127.0.0.1")
        refused = httpx.post(url + LIST, json={})
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert refused.json()["code"] == "unauthenticated"
        secret = canuse.startup_lines[0].split()[-1]
        assert httpx.post(url + LIST, json={}, headers={"authorization": f"Bearer {secret}"}).status_code == 200


@pytest.mark.parametrize(
    ("verb", "path", "sent", "status"),
    [
        ("POST", LIST, {"json": {}}, 200),
        ("GET", LIST, {"params": {"encoding": "json", "message": "{}"}}, 200),
        ("POST", LIST, {"json": []}, 400),
        ("POST", "/nowhere", {}, 404),
        ("GET", "/", {}, 404),
        ("DELETE", LIST, {}, 405),
        ("POST", LIST, {"json": {}, "headers": {"origin": "https://evil.example"}}, 403),
        ("POST", LIST, {"json": {}, "headers": {"x-name": "Zo\u00eb".encode()}}, 400),
    ],
)
def test_every_answer_has_the_security_headers(
    http: httpx.Client, verb: str, path: str, sent: dict[str, Any], status: int
) -> None:
    answer = http.request(verb, path, **sent)
    assert answer.status_code == status
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert answer.headers.get("cache-control") == ("no-store" if verb == "GET" else None)
    assert "server" not in answer.headers


def test_what_is_no_http_is_a_400_with_the_same_headers(canuse: Canuse) -> None:
    for request in (
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET / HTTP/9\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ):
        answer = raw(canuse, request).lower()
        assert answer.startswith(b"http/1.1 400 "), request
        assert b"x-content-type-options: nosniff" in answer


def test_a_header_that_is_not_ascii_is_named(http: httpx.Client) -> None:
    refused = http.post(LIST, json={}, headers={b"authorization": "Bearer sk_\u00e9".encode()})
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_argument")
    assert "'authorization'" in refused.json()["message"]


def test_a_head_that_is_too_large_is_an_error_and_not_a_broken_server(http: httpx.Client) -> None:
    refused = http.post(LIST, json={}, headers={"x-large": "x" * 20_000})
    assert refused.status_code == 400
    assert refused.json()["message"].startswith("metadata: must be at most 16384 bytes")
    assert http.post(LIST, json={}).status_code == 200


BODY = b'{"pageSize": 1}'
SMUGGLED = {
    "both lengths": b"Content-Length: 15\r\nTransfer-Encoding: chunked\r\n\r\nf\r\n" + BODY + b"\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 15\r\nContent-Length: 3\r\n\r\n" + BODY,
    "a signed length": b"Content-Length: +15\r\n\r\n" + BODY,
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n\r\nf\r\n" + BODY + b"\r\n0\r\n\r\n",
    "an unknown encoding": b"Transfer-Encoding: xchunked\r\n\r\nf\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a space before the colon": b"Content-Length : 15\r\n\r\n" + BODY,
    "a folded header": b"X-A: b\r\n\tContent-Length: 15\r\n\r\n" + BODY,
    "a negative chunk": b"Transfer-Encoding: chunked\r\n\r\n-f\r\n" + BODY + b"\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("shape", SMUGGLED)
def test_a_request_that_a_proxy_may_read_as_another_one_is_refused(canuse: Canuse, shape: str) -> None:
    head = f"POST {LIST} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
    hidden = b"GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = raw(canuse, head + SMUGGLED[shape] + hidden)
    first = answer.split(b"\r\n", 1)[0]
    assert first.split()[1] in (b"400", b"501"), answer
    assert b"/hidden" not in answer


def test_chunks_in_http_1_0_are_refused(canuse: Canuse) -> None:
    head = f"POST {LIST} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
    answer = raw(canuse, head + b"Transfer-Encoding: chunked\r\n\r\nf\r\n" + BODY + b"\r\n0\r\n\r\n")
    assert b" 400 " in answer.split(b"\r\n", 1)[0]


def test_the_messages_of_the_api_are_what_they_are_over_grpc(http: httpx.Client, client: Client) -> None:
    user_id, feature_id = subscriber(client, 5)
    request = v1.UseFeatureRequest(user_id=user_id, feature_id=feature_id)
    answer = http.post(USE, content=request.SerializeToString(), headers={"content-type": "application/proto"})
    assert v1.UseFeatureResponse.FromString(answer.content).access
    assert used(client, user_id, feature_id) == 1
