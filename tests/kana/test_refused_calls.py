"""Calls that fail for reasons which are not the caller's: an error with its status, and when to come back."""

import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from canuse import v1
from canuse_server.api.errors import ApiError, ErrorReason, overloaded
from canuse_server.transport.http.kana.calls import Calls
from canuse_server.transport.http.kana.cli import publish, validate
from support.load import running, until
from support.processes import Canuse

HEAD = "POST /graphql HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\n\r\n"


def test_who_is_refused_for_overload_is_told_when_to_come_back(tmp_path: Path) -> None:
    env = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0", "CANUSE_MAX_CALLS_IN_FLIGHT": "1"}
    with running(Canuse(tmp_path, env=env)) as canuse:
        address = httpx.URL(canuse.http_url)
        with (
            socket.create_connection((address.host, address.port or 0)) as slow,
            httpx.Client(base_url=address, timeout=60) as http,
        ):
            slow.sendall(HEAD.format(host=address.host).encode())
            refused: list[httpx.Response] = []

            def is_refused() -> bool:
                refused.append(http.post("/graphql", json={"query": "{ plans { id } }"}))
                return refused[-1].status_code == 429

            until(is_refused)
        assert refused[-1].headers["retry-after"] == "1"
        assert refused[-1].json()["errors"][0]["extensions"]["reason"] == "OVERLOADED"


def failing(error: ApiError) -> Calls:
    """Return calls of which those fail that apply a document; the catalogue is empty."""

    class Failing(Calls):
        def __init__(self) -> None:
            self.writes = 0

        async def __call__(self, method: str, request: Any, kind: Any) -> Any:
            if isinstance(request, v1.ApplyCatalogRequest) and request.features:
                raise error
            return kind()

    return Failing()


FILE = {"features": [{"id": "a", "type": "BINARY"}]}


async def test_publishing_tells_when_to_come_back() -> None:
    answer = await publish.answer(failing(overloaded()), FILE)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")


NOT_OF_THE_FILE = (
    ErrorReason.OVERLOADED,
    ErrorReason.STORE_UNAVAILABLE,
    ErrorReason.OUTCOME_UNKNOWN,
    ErrorReason.SHUTTING_DOWN,
    ErrorReason.DEADLINE_PASSED,
    ErrorReason.INTERNAL,
)


@pytest.mark.parametrize("reason", NOT_OF_THE_FILE)
async def test_a_failure_that_says_nothing_of_the_file_is_no_line_about_it(reason: ErrorReason) -> None:
    with pytest.raises(ApiError):
        await validate.answer(failing(ApiError(reason, "failed")), FILE)
