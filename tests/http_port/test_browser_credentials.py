"""Credentials of web pages over HTTP: by no door does a token for one user read another one."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import httpx
import pytest

from support.authenticated_server import PUBLISHABLE_KEYS, authenticated_server
from support.processes import Canuse
from support.resources import Clock, subscriber, unique

ORIGIN: Final = "https://app.example.com"
CAN_USE: Final = "/canuse.v1.EntitlementService/CanUse"
FLAGS: Final = "/ofrep/v1/evaluate/flags"


@dataclass(frozen=True)
class Page:
    """A web page with a token for one user, beside whom there is another one."""

    http: httpx.Client
    clock: Clock
    user_id: str
    other_id: str
    feature_id: str
    token: str
    key: str
    """A publishable key."""

    def answers(self, credentials: str, user_id: str) -> list[httpx.Response]:
        """Ask by each door for what a user may use."""
        headers = {"authorization": f"Bearer {credentials}", "origin": ORIGIN}
        check = {"userId": user_id, "featureId": self.feature_id}
        query = {"connect": "v1", "encoding": "json", "message": json.dumps(check)}
        context = {"context": {"targetingKey": user_id}}
        return [
            self.http.post(CAN_USE, json=check, headers=headers),
            self.http.get(CAN_USE, params=query, headers=headers),
            self.http.post(f"{FLAGS}/{self.feature_id}", json=context, headers=headers),
            self.http.post(FLAGS, json=context, headers=headers),
        ]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page, and the server that it calls."""
    env = {**PUBLISHABLE_KEYS, "CANUSE_HTTP_LISTEN": "127.0.0.1:0", "CANUSE_HTTP_CORS_ORIGINS": ORIGIN}
    canuse = Canuse(tmp_path_factory.mktemp("page"), "--clock", "manual", env=env)
    with (
        authenticated_server(canuse) as server,
        server.client() as admin,
        httpx.Client(base_url=canuse.http_url, timeout=60) as http,
    ):
        user_id, feature_id = subscriber(admin, 5)
        other_id, _ = subscriber(admin, 5)
        clock = Clock(canuse.address, server.admin)
        token = admin.generate_user_token(user_id).token
        yield Page(http, clock, user_id, other_id, feature_id, token, server.publishable_key())
        clock.close()


def test_a_token_reads_its_user_by_every_door_and_a_publishable_key_any(page: Page) -> None:
    for credentials, user_ids in ((page.token, [page.user_id]), (page.key, [page.user_id, page.other_id])):
        for user_id in user_ids:
            assert [answer.status_code for answer in page.answers(credentials, user_id)] == [200] * 4


def test_a_token_reads_no_other_user_and_does_not_learn_whether_there_is_one(page: Page) -> None:
    existing, unknown = (page.answers(page.token, user_id) for user_id in (page.other_id, unique("nobody")))
    assert [answer.status_code for answer in existing] == [403] * 4
    assert [answer.content for answer in existing] == [answer.content for answer in unknown]


def test_a_page_may_read_why_its_token_was_refused_and_that_it_expired(page: Page) -> None:
    page.clock.advance(hours=1)
    for answer in page.answers(page.token, page.user_id):
        assert answer.status_code == 401
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "the user token has expired" in answer.text
