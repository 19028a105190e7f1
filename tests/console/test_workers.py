"""With workers, any of them shows the figures of all."""

import os
import re
import signal
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from support.authenticated_server import AuthenticatedServer, authenticated_server
from support.console import Parsed, Visitor
from support.load import OWN_CONNECTION, until
from support.message_clients import Client
from support.processes import Canuse
from support.resources import subscriber

HTTP = {"CANUSE_HTTP_LISTEN": "127.0.0.1:0"}
CONNECTIONS = 12
"""The kernel distributes them among two workers by their ports: all in one happens once in 2,048 runs."""


def pages(server: AuthenticatedServer, session: Visitor, path: str) -> list[str]:
    """Open a page on several connections, so that each worker answers some; return the texts."""
    texts = []
    for _ in range(CONNECTIONS):
        with closing(Visitor(server.canuse.http_url)) as other:
            other.http.cookies = session.http.cookies
            answer = other.get(path)
        assert answer.status_code == 200
        texts.append(Parsed(answer.text).text)
    return texts


@pytest.mark.parametrize("ops", ["127.0.0.1:0", ""])
def test_each_worker_shows_the_decisions_of_all_also_of_one_that_died(tmp_path: Path, ops: str) -> None:
    env = {**HTTP, "CANUSE_OPS_LISTEN": ops}
    with (
        authenticated_server(Canuse(tmp_path, "--workers", "2", env=env)) as server,
        closing(Visitor(server.canuse.http_url)) as session,
    ):
        until(lambda: session.log_in(server.admin).status_code == 303)
        with server.client() as client:
            user_id, feature_id = subscriber(client, None)
        for _ in range(CONNECTIONS):
            with Client(server.canuse.address, api_key=server.admin, options=OWN_CONNECTION) as caller:
                for _ in range(5):
                    assert caller.use_feature(user_id, feature_id).access
                assert caller.can_use(user_id, feature_id).access

        decisions = CONNECTIONS * 6
        for text in pages(server, session, ""):
            assert f"{decisions} decisions in live" in text
            assert "the figures of this server, all 2 processes together" in text
        if ops:
            metrics = httpx.get(f"{server.canuse.ops_url}/metrics").text
            found = re.findall(r'^canuse_decisions_total{environment="live".*} (\S+)$', metrics, re.MULTILINE)
            assert sum(map(float, found)) == decisions
        for text in pages(server, session, "/features"):
            assert f"{feature_id} Consumable {decisions} " in text
        assert all("Processes 2 Up for" in text for text in pages(server, session, "/server"))

        first, *_ = map(int, re.findall(r'"pid": (\d+)[^\n]*a worker is ready', server.canuse.log))
        os.kill(first, signal.SIGKILL)
        until(lambda: server.canuse.log.count("a worker is ready") == 3)
        until(lambda: all("all 2 processes together" in text for text in pages(server, session, "")))
        assert all(f"{decisions} decisions in live" in text for text in pages(server, session, ""))
