"""The access log: a line for each call on every port, with request ids, and nothing about users."""

import importlib
import io
import json
import re
import sys
import threading
from pathlib import Path
from typing import Any, cast

import grpc
import httpx
import pytest
from grpc import StatusCode

from canuse import v1
from canuse_server.api.metadata import request_id, with_request_id
from canuse_server.runtime import line_writer
from canuse_server.runtime.line_writer import LineWriter
from support.authenticated_server import TEST, authenticated_server
from support.load import running, until
from support.message_clients import Client
from support.processes import Canuse
from support.resources import subscriber

CAN_USE = "canuse.v1.EntitlementService/CanUse"
GET_USER = "canuse.v1.UserService/GetUser"
LIST_USERS = "canuse.v1.UserService/ListUsers"
NEW_ID = r"[0-9a-f]{32}"


def lines(canuse: Canuse) -> list[dict[str, Any]]:
    """Return the lines of the access log."""
    found = [json.loads(line) for line in canuse.log.splitlines() if line.startswith("{") and line.endswith("}")]
    return [line for line in found if line["event"] == "call"]


def line_with(canuse: Canuse, sent_id: str) -> dict[str, Any]:
    """Wait for the line with a request id, and return it."""
    until(lambda: any(line["request_id"] == sent_id for line in lines(canuse)))
    return next(line for line in lines(canuse) if line["request_id"] == sent_id)


def bearer(secret: str) -> tuple[str, str]:
    """Return the metadata with credentials."""
    return "authorization", f"Bearer {secret}"


def called(address: str, method: str, request: Any, *metadata: tuple[str, str]) -> tuple[StatusCode, list[str]]:
    """Call a method; return how it ended, and the request ids that it returned."""
    with grpc.insecure_channel(address) as channel:
        call: Any = channel.unary_unary(f"/{method}", request_serializer=lambda message: message.SerializeToString())
        try:
            _, ended = call.with_call(request, metadata=metadata, timeout=60)
        except grpc.RpcError as error:
            ended = cast("Any", error)
        return ended.code(), [value for name, value in ended.trailing_metadata() or () if name == "x-request-id"]


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_each_call_is_a_line_with_the_id_that_its_caller_got(tmp_path: Path, transport: str) -> None:
    canuse = Canuse(tmp_path, env={"CANUSE_TRANSPORT": transport, "CANUSE_ACCESS_LOG": "all"})
    with authenticated_server(canuse) as server, server.client() as client:
        user_id, feature_id = subscriber(client, 5)
        live, test = server.key(), server.key(environment=TEST)
        until(
            lambda: called(canuse.address, LIST_USERS, v1.ListUsersRequest(), bearer(test.secret))[0] is StatusCode.OK
        )
        token = client.generate_user_token(user_id).token
        question = v1.CanUseRequest(user_id=user_id, feature_id=feature_id)
        explained = v1.CanUseRequest(user_id=user_id, feature_id=feature_id, explain=True)
        nobody, listed = v1.GetUserRequest(user_id="nobody"), v1.ListUsersRequest()
        credentials: dict[str, tuple[str | None, str | None]] = {
            live.secret: ("live", live.api_key.id),
            test.secret: ("test", test.api_key.id),
            token: ("live", None),
            "sk_live_nothing": (None, None),
        }
        # The native transport answers the first in the lane, the explained one on the event loop, and forwards others.
        calls = (
            (CAN_USE, question, live.secret, StatusCode.OK),
            (CAN_USE, question, test.secret, StatusCode.NOT_FOUND),
            (CAN_USE, question, token, StatusCode.OK),
            (CAN_USE, explained, live.secret, StatusCode.OK),
            (CAN_USE, question, "sk_live_nothing", StatusCode.UNAUTHENTICATED),
            (LIST_USERS, listed, live.secret, StatusCode.OK),
            (LIST_USERS, listed, token, StatusCode.PERMISSION_DENIED),
            (GET_USER, nobody, test.secret, StatusCode.NOT_FOUND),
            (GET_USER, nobody, "sk_live_nothing", StatusCode.UNAUTHENTICATED),
        )
        for number, (method, request, secret, status) in enumerate(calls):
            sent = ("x-request-id", f"request:{number}")
            assert called(canuse.address, method, request, bearer(secret), sent) == (status, [f"request:{number}"])
        until(lambda: len([line for line in lines(canuse) if line["request_id"].startswith("request:")]) == len(calls))
        found = {line["request_id"]: line for line in lines(canuse)}
        for number, (method, _, secret, status) in enumerate(calls):
            line = found[f"request:{number}"]
            assert (line["port"], line["method"], line["status"]) == ("grpc", method, status.name)
            assert (line["environment"], line["key_id"]) == credentials[secret]
            assert 0 <= line["duration_ms"] < 60_000
        assert not any(secret in canuse.log for secret in (user_id, feature_id, *credentials))


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_an_id_that_is_absent_or_not_safe_is_replaced(tmp_path: Path, transport: str) -> None:
    with running(Canuse(tmp_path, env={"CANUSE_TRANSPORT": transport, "CANUSE_ACCESS_LOG": "all"})) as canuse:
        unsafe = ("", "a b", 'quote"', "x" * 129, "ada@example.org")
        for method, request in ((CAN_USE, v1.CanUseRequest()), (LIST_USERS, v1.ListUsersRequest())):
            for sent in ((), *((("x-request-id", value),) for value in unsafe), (("x-request-id", "a"),) * 2):
                _, [returned] = called(canuse.address, method, request, *sent)
                assert re.fullmatch(NEW_ID, returned), sent
                line_with(canuse, returned)
        assert "example.org" not in canuse.log


def test_calls_over_http_have_ids_at_every_door(tmp_path: Path) -> None:
    env = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0", "CANUSE_ACCESS_LOG": "all"}
    with running(Canuse(tmp_path, env=env)) as canuse, httpx.Client(base_url=canuse.http_url, timeout=60) as http:
        flag = {"context": {"targetingKey": "nobody"}}
        requests: tuple[tuple[str, dict[str, Any], str | None], ...] = (
            (f"/{CAN_USE}", {"userId": "nobody", "featureId": "nothing"}, CAN_USE),
            (f"/{LIST_USERS}", {}, LIST_USERS),
            ("/ofrep/v1/evaluate/flags/nothing", flag, CAN_USE),
            ("/graphql", {"query": "{ features { id } }"}, "canuse.v1.CatalogService/ListFeatures"),
            ("/nowhere", {}, None),
        )
        for number, (path, body, method) in enumerate(requests):
            answer = http.post(path, json=body, headers={"x-request-id": f"request:{number}"})
            assert answer.headers.get_list("x-request-id") == [f"request:{number}"], path
            if method is not None:
                line = line_with(canuse, f"request:{number}")
                assert (line["port"], line["method"], line["environment"]) == ("http", method, "live")
        for sent in ([], [("x-request-id", "a b")], [("x-request-id", "a")] * 2):
            [returned] = http.post(f"/{LIST_USERS}", json={}, headers=sent).headers.get_list("x-request-id")
            assert re.fullmatch(NEW_ID, returned)
            line_with(canuse, returned)


@pytest.mark.extended
def test_the_settings_choose_which_calls_are_lines(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("errors", "sample", "off")]
    for folder in folders:
        folder.mkdir()
    errors, sample, off = folders
    with running(Canuse(errors, env={"CANUSE_ACCESS_LOG": "errors"})) as canuse, Client(canuse.address) as client:
        user_id, feature_id = subscriber(client, 5)
        question = v1.CanUseRequest(user_id=user_id, feature_id=feature_id)
        assert called(canuse.address, CAN_USE, question, ("x-request-id", "good")) == (StatusCode.OK, ["good"])
        assert called(canuse.address, CAN_USE, v1.CanUseRequest())[0] is StatusCode.INVALID_ARGUMENT
    # What waits to be written is written when the server ends.
    assert [(line["method"], line["status"]) for line in lines(canuse)] == [(CAN_USE, "INVALID_ARGUMENT")]
    env = {"CANUSE_ACCESS_LOG": "all", "CANUSE_ACCESS_LOG_SAMPLE": "0.5"}
    with running(Canuse(sample, env=env)) as canuse, grpc.insecure_channel(canuse.address) as channel:
        method: Any = channel.unary_unary(f"/{LIST_USERS}")
        for _ in range(200):
            method(b"", timeout=60)
    # Outside of these bounds about once in 10^12 runs.
    assert 50 <= len(lines(canuse)) <= 150
    with running(Canuse(off)) as canuse:
        for method_name, request in ((CAN_USE, v1.CanUseRequest()), (LIST_USERS, v1.ListUsersRequest())):
            assert called(canuse.address, method_name, request, ("x-request-id", "a"))[1] == []
    assert lines(canuse) == []


@pytest.mark.extended
def test_workers_log_their_calls(tmp_path: Path) -> None:
    env = {"CANUSE_WORKERS": "2", "CANUSE_ACCESS_LOG": "all"}
    with running(Canuse(tmp_path, env=env)) as canuse:
        sent = [f"request:{number}" for number in range(10)]
        for text in sent:
            assert called(canuse.address, LIST_USERS, v1.ListUsersRequest(), ("x-request-id", text))[1] == [text]
    assert sorted(line["request_id"] for line in lines(canuse)) == sorted(sent)


class _Blocked(io.StringIO):
    """A standard error whose reader has stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()

    def write(self, text: str) -> int:
        self.goes_on.wait(60)
        return super().write(text)


def test_a_reader_that_stops_delays_nobody_and_misses_lines_it_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = _Blocked()
    monkeypatch.setattr(sys, "stderr", stopped)
    monkeypatch.setattr(line_writer, "MAX_WAITING", 100)
    writer = LineWriter("calls")
    writer.start()
    for number in range(1000):
        writer.put({"event": "call", "number": number})
    stopped.goes_on.set()
    writer.close()
    written = [json.loads(line) for line in stopped.getvalue().splitlines()]
    numbers = [line["number"] for line in written if line["event"] == "call"]
    left_out = sum(line["count"] for line in written if line["event"] != "call")
    assert numbers == list(range(len(numbers)))
    assert len(numbers) in (100, 101)
    assert len(numbers) + left_out == 1000


def test_metadata_gets_exactly_one_id() -> None:
    kept = [("a", "b"), ("x-request-id", "9f1c-A.b_c:d/e+f=")]
    assert with_request_id(kept) == kept
    for sent in (
        [],
        [("x-request-id", "a\n")],
        [("x-request-id", b"a")],
        [("x-request-id", "a"), ("x-request-id", "a")],
    ):
        metadata = with_request_id([("a", "b"), *sent])
        assert [name for name, _ in metadata] == ["a", "x-request-id"]
        assert re.fullmatch(NEW_ID, request_id(metadata))
    assert request_id([("a", "b")]) == ""


def test_while_it_is_off_the_lane_responds_through_the_front_itself() -> None:
    native = pytest.importorskip("pygrpc_native", reason="the native transport is not available on this platform")
    responder = importlib.import_module("canuse_server.transport.native.responder")
    front = native.NativeGrpcFront("127.0.0.1:0", [(f"/{CAN_USE}", False)])
    try:
        assert responder.Responder(front, {0: f"/{CAN_USE}"}).ok == front.respond
    finally:
        front.close()
