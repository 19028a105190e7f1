"""Credentials of web pages over HTTP: by no door does a token for one user read another one."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import httpx
import pytest

from support.authenticated_server import PUBLISHABLE_KEYS, authenticated_server
from support.processes import Canuse
from support.resources import Clock, subscriber, unique

ORIGIN: Final = "https://app.example.com"
CAN_USE: Final = "/canuse.v1.EntitlementService/CanUse"
FLAGS: Final = "/ofrep/v1/evaluate/flags"


ADMIN_DOORS: Final = {
    ("POST", "/graphql"): {"query": "{ features { id } }"},
    ("GET", "/cli/pull"): None,
    ("POST", "/cli/validate"): {},
    ("POST", "/cli/publish"): {},
}
"""Doors for secret keys only, with what is sent there."""
WORDS: Final = {
    "none": "needs an API key",
    "made up": "the user token is not valid",
    "expired": "the user token has expired",
    "revoked": "the user token was revoked",
    "an unknown key": "the API key is unknown",
}
"""What the answers to invalid credentials say, by every door."""
ONLY_SECRET_KEYS: Final = "needs a secret API key"


@dataclass(frozen=True)
class Page:
    """A web page of one user, beside whom there is another one."""

    http: httpx.Client
    user_id: str
    other_id: str
    feature_id: str
    token: str
    key: str
    """A publishable key."""
    invalid: dict[str, str]
    """Credentials that are not valid, by their names in WORDS."""

    def headers(self, credentials: str) -> dict[str, str]:
        """Return the headers of a call."""
        return {"origin": ORIGIN} | ({"authorization": f"Bearer {credentials}"} if credentials else {})

    def answers(self, credentials: str, user_id: str) -> list[httpx.Response]:
        """Ask by each door for what a user may use."""
        headers = self.headers(credentials)
        check = {"userId": user_id, "featureId": self.feature_id}
        query = {"connect": "v1", "encoding": "json", "message": json.dumps(check)}
        context = {"context": {"targetingKey": user_id}}
        return [
            self.http.post(CAN_USE, json=check, headers=headers),
            self.http.get(CAN_USE, params=query, headers=headers),
            self.http.post(f"{FLAGS}/{self.feature_id}", json=context, headers=headers),
            self.http.post(FLAGS, json=context, headers=headers),
        ]

    def current_user(self, credentials: str) -> httpx.Response:
        """Ask Kana's Client API for the page's user, who is also the user of the token."""
        headers = {**self.headers(credentials), "x-user-id": self.user_id}
        return self.http.post("/client/graphql", json={"query": "{ currentUser { id } }"}, headers=headers)

    def admin_answers(self, credentials: str) -> list[httpx.Response]:
        """Call each door that is for secret keys."""
        headers = self.headers(credentials)
        return [self.http.request(*door, json=sent, headers=headers) for door, sent in ADMIN_DOORS.items()]


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
        expired = admin.generate_user_token(user_id, ttl=timedelta(minutes=1)).token
        clock = Clock(canuse.address, server.admin)
        clock.advance(minutes=1)
        clock.close()
        revoked = admin.generate_user_token(user_id).token
        admin.revoke_user_tokens(user_id)
        token = admin.generate_user_token(user_id).token
        invalid = {
            "none": "",
            "made up": token[:-1],
            "expired": expired,
            "revoked": revoked,
            "an unknown key": f"pk_live_{'0' * 64}",
        }
        yield Page(http, user_id, other_id, feature_id, token, server.publishable_key(), invalid)


def test_a_token_reads_its_user_by_every_door_and_a_publishable_key_any(page: Page) -> None:
    for credentials, user_ids in ((page.token, [page.user_id]), (page.key, [page.user_id, page.other_id])):
        for user_id in user_ids:
            assert [answer.status_code for answer in page.answers(credentials, user_id)] == [200] * 4
        assert page.current_user(credentials).json() == {"data": {"currentUser": {"id": page.user_id}}}


def test_a_token_reads_no_other_user_and_does_not_learn_whether_there_is_one(page: Page) -> None:
    existing, unknown = (page.answers(page.token, user_id) for user_id in (page.other_id, unique("nobody")))
    assert [answer.status_code for answer in existing] == [403] * 4
    assert [answer.content for answer in existing] == [answer.content for answer in unknown]


def test_what_is_not_valid_opens_no_door_and_a_page_may_read_why(page: Page) -> None:
    for name, credentials in page.invalid.items():
        answers = [*page.answers(credentials, page.user_id), page.current_user(credentials)]
        assert [answer.status_code for answer in answers[:-1]] == [401] * 4, name
        # The doors for secret keys do not ask whether a token was revoked: no token opens them.
        answers += page.admin_answers(credentials) if name != "revoked" else []
        for answer in answers:
            assert WORDS[name] in answer.text, (name, answer.request.url)
            assert answer.headers["access-control-allow-origin"] == ORIGIN


def test_what_web_pages_may_hold_opens_no_door_that_is_for_secret_keys(page: Page) -> None:
    for credentials in (page.token, page.key, page.invalid["revoked"]):
        for answer in page.admin_answers(credentials):
            assert ONLY_SECRET_KEYS in answer.text, answer.request.url
