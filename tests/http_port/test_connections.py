"""Connections are bounded in number and in time: callers who send slowly or nothing take nothing from others."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest
from starlette.types import Receive, Scope, Send

from canuse_server.transport.http import connection
from canuse_server.transport.http.server import HttpServer, bind
from canuse_server.transport.shutdown import Deadline

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
WITH_BODY = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"
ANSWERS = {"/large": b"x" * (16 << 20), "/long": b"x" * (48 << 10)}
"""More than the network takes at once, and less than asyncio keeps without pausing."""
held = asyncio.Event()
"""Set when what is at `/held` may be answered."""
Start = Callable[[], "asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]"]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the length of the body, or at some paths with an answer that is long, or later."""
    size = 0
    while (message := await receive())["type"] == "http.request":
        size += len(message["body"])
        if not message["more_body"]:
            break
    else:
        return
    if scope["path"] == "/held":
        await held.wait()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    body = ANSWERS.get(scope["path"]) or str(size).encode()
    await send({"type": "http.response.body", "body": body, "more_body": False})


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    """A server in this process."""
    held.clear()
    server = HttpServer(app, bind("127.0.0.1:0", share_port=False), None)
    await server.start()
    yield server
    server.begin_to_end()
    await server.end(Deadline(0))


async def connect(server: HttpServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection."""
    host, _, port = server.address.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def ends(reader: asyncio.StreamReader) -> bytes:
    """Return all that comes until the server closes the connection, as long as it does so at all."""
    async with asyncio.timeout(30):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def answer(reader: asyncio.StreamReader) -> bytes:
    """Return the answer to a request."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    if b"transfer-encoding: chunked" in head.lower():
        size = int(await reader.readuntil(b"\r\n"), 16)
        body = await reader.readexactly(size)
        await reader.readexactly(len(b"\r\n0\r\n\r\n"))
        return body
    raise AssertionError(head)


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost: local"])
async def test_a_head_that_does_not_come_closes_the_connection(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    reader, writer = await connect(server)
    writer.write(sent)
    assert await ends(reader) == b""
    writer.close()


async def test_a_head_that_comes_byte_by_byte_gets_no_more_time(server: HttpServer) -> None:
    reader, writer = await connect(server)
    timers = set()
    async with asyncio.timeout(30):
        for sent in (b"GET / HTTP/1.1\r\n", b"Host: loc"):
            writer.write(sent)
            while not server._connections.state.connections or not _received(server).endswith(sent):
                await asyncio.sleep(0.01)
            timers.add(_only(server)._timer)
    assert len(timers) == 1
    writer.write(b"alhost\r\n\r\n")
    assert await answer(reader) == b"0"
    writer.close()


def _only(server: HttpServer) -> connection.Connection:
    [only] = server._connections.state.connections
    assert isinstance(only, connection.Connection)
    return only


def _received(server: HttpServer) -> bytes:
    return bytes(_only(server).conn.trailing_data[0])


async def test_the_head_of_a_later_request_has_as_much_time(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    reader, writer = await connect(server)
    writer.write(REQUEST)
    assert await answer(reader) == b"0"
    writer.write(b"GET / HTTP")
    assert await ends(reader) == b""
    writer.close()


async def test_a_body_that_does_not_come_closes_the_connection(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 60)
    monkeypatch.setattr(connection, "BODY_SECONDS", 0.3)
    reader, writer = await connect(server)
    writer.write(WITH_BODY + b"ab")
    assert await ends(reader) == b""
    writer.close()


async def test_an_answer_that_nobody_takes_closes_the_connection(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "STALLED_SECONDS", 0.3)
    reader, writer = await connect(server)
    writer.write(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    async with asyncio.timeout(30):
        await server._connections.none_left.wait()
    writer.close()


async def test_an_idle_connection_is_closed_in_the_end(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server._config, "timeout_keep_alive", 0.2)
    reader, writer = await connect(server)
    writer.write(REQUEST)
    assert await answer(reader) == b"0"
    assert await ends(reader) == b""
    writer.close()


async def test_for_a_new_connection_the_one_that_has_been_idle_longest_goes(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server._connections, "_max", 3)
    opened = []
    for _ in range(3):
        opened.append(await connect(server))
        await asyncio.wait_for(_open(server, len(opened)), 30)
    # The first is no longer the one that has been idle longest.
    opened[0][1].write(REQUEST)
    assert await answer(opened[0][0]) == b"0"
    newest = await connect(server)
    newest[1].write(REQUEST)
    assert await answer(newest[0]) == b"0"
    assert await ends(opened[1][0]) == b""
    for reader, writer in (opened[0], opened[2], newest):
        writer.write(REQUEST)
        assert await answer(reader) == b"0"
    for _, writer in (*opened, newest):
        writer.close()


async def _open(server: HttpServer, number: int) -> None:
    while len(server._connections.state.connections) < number:
        await asyncio.sleep(0.01)


async def test_where_all_are_being_answered_the_newest_goes(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server._connections, "_max", 1)
    reader, writer = await connect(server)
    writer.write(b"GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(30):
        while server._connections._waiting or not server._connections.state.connections:
            await asyncio.sleep(0.01)
    newest, other = await connect(server)
    assert await ends(newest) == b""
    held.set()
    assert await answer(reader) == b"0"
    for each in (writer, other):
        each.close()


async def test_where_all_are_in_use_the_one_that_has_waited_longest_for_a_body_goes(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow bodies on all connections had kept everybody else out."""
    monkeypatch.setattr(server._connections, "_max", 2)
    slow = []
    for number in range(2):
        slow.append(await connect(server))
        slow[number][1].write(WITH_BODY + b"a")
        async with asyncio.timeout(30):
            while len(server._connections.state.tasks) <= number:
                await asyncio.sleep(0.01)
    # More of its body does not make it younger.
    slow[0][1].write(b"b")
    reader, writer = await connect(server)
    writer.write(WITH_BODY + b"abcde")
    assert await answer(reader) == b"5"
    assert await ends(slow[0][0]) == b""
    slow[1][1].write(b"bcde")
    assert await answer(slow[1][0]) == b"5"
    for _, each in (*slow, (reader, writer)):
        each.close()


async def test_a_closed_connection_whose_last_answer_nobody_takes_goes(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stayed for ever, since what asyncio had not sent was less than what it pauses at."""
    monkeypatch.setattr(connection, "STALLED_SECONDS", 0.3)
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.setblocking(False)
        host, _, port = server.address.removeprefix("http://").rpartition(":")
        loop = asyncio.get_running_loop()
        await loop.sock_connect(caller, (host, int(port)))
        async with asyncio.timeout(30):
            while not server._connections.state.connections:
                await asyncio.sleep(0.01)
            _only(server).transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            await loop.sock_sendall(caller, b"GET /long HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            await server._connections.none_left.wait()


async def test_an_answer_does_not_wait_for_the_caller_to_acknowledge_a_part_of_it(server: HttpServer) -> None:
    """Each call took 40 ms: asyncio turns Nagle's algorithm off only for sockets that name their protocol."""
    reader, writer = await connect(server)
    writer.write(REQUEST)
    assert await answer(reader) == b"0"
    connected: socket.socket = _only(server).transport.get_extra_info("socket")
    assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    writer.close()


async def test_what_takes_longer_than_the_grace_is_cut_off(server: HttpServer) -> None:
    reader, writer = await connect(server)
    writer.write(WITH_BODY)
    async with asyncio.timeout(30):
        while not server._connections.state.tasks:
            await asyncio.sleep(0.01)
        server.begin_to_end()
        await server.end(Deadline(0.1))
    assert await ends(reader) == b""
    writer.close()
