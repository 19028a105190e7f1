"""What the doors share: the thread for long work, the answer to a defect; and scrapes of metrics, one at a time."""

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from canuse_server.api.admission import AdmissionLimit
from canuse_server.runtime import thread_pauses
from canuse_server.transport import ops
from canuse_server.transport.http import app
from canuse_server.transport.http.calls import in_worker
from support.load import MAX_WAIT_SECONDS


async def test_long_work_is_done_in_one_thread() -> None:
    """With a thread for each, the batch lane waited for all of them, five milliseconds each."""
    threads = set(await asyncio.gather(*(in_worker(threading.get_ident) for _ in range(20))))
    assert len(threads) == 1
    assert threads != {threading.get_ident()}


async def test_long_work_pauses_while_others_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[int] = []

    def sleep(_seconds: float) -> None:
        pauses.append(threading.get_ident())

    monkeypatch.setattr(thread_pauses, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    monkeypatch.setattr(thread_pauses.CALLS, "last_at", time.monotonic() + 3600)
    thread_pauses.pause_if_due()
    await in_worker(wait_for_a_pause, pauses)
    assert pauses != []
    assert threading.get_ident() not in pauses


def wait_for_a_pause(pauses: list[int]) -> None:
    """Work until there has been a pause."""
    until = time.monotonic() + MAX_WAIT_SECONDS
    while not pauses and time.monotonic() < until:
        thread_pauses.pause_if_due()


async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Fail."""
    raise ZeroDivisionError


async def test_a_defect_is_answered_as_any_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "DOORS", (lambda *_: [Route("/broken", broken)],))
    dispatcher: Any = SimpleNamespace(request_ids=False)
    served = app.application(dispatcher, AdmissionLimit(1, 1), origins=(), is_open=lambda: True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://localhost") as client:
        answer = await client.get("/broken")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_metrics_are_collected_once_at_a_time() -> None:
    under_way = most = 0

    async def metrics() -> bytes:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return b""

    async def is_ready() -> bool:
        return True

    served = ops.application(is_ready, metrics, is_local=True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://localhost") as client:
        await asyncio.gather(*(client.get("/metrics") for _ in range(5)))
    assert most == 1
