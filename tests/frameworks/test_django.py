"""Django, with a real server of canuse."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import django
import pytest
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template import TemplateSyntaxError, engines
from django.test import AsyncClient, Client
from django.urls import path

import canuse
from canuse.django import client, require
from canuse.testing import CanuseServer

USER = "124"


def user_of(request: HttpRequest) -> str | None:
    """Return the user that a request names."""
    return request.headers.get("X-User")


@require("reports", status=429, feature_name="Reports")
@require("pages")
def create(request: HttpRequest, outcome: str) -> HttpResponse:
    """Create a report of a page."""
    if outcome == "error":
        raise RuntimeError(outcome)
    return HttpResponse(status=422 if outcome == "refused" else 201)


@require("reports")
async def create_async(request: HttpRequest, outcome: str) -> HttpResponse:
    """Create a report, and say how much was reserved before."""
    if outcome == "error":
        raise RuntimeError(outcome)
    return HttpResponse(f"{used()}", status=422 if outcome == "refused" else 201)


@require("reports", 2)
def create_part(request: Any) -> HttpResponse:
    """Use less than was reserved."""
    request.canuse_use.delta = 1
    return HttpResponse()


@require("reports", record="before")
def create_at_once(request: HttpRequest) -> HttpResponse:
    """Fail after the use was recorded."""
    return HttpResponse(status=422)


@require("reports", record="never")
def look(request: HttpRequest) -> HttpResponse:
    """Only look."""
    return HttpResponse()


def by_hand(request: Any) -> HttpResponse:
    """Use the client of the middleware."""
    with request.canuse.using(USER, "reports", 3):
        raise AssertionError


def without_answer(request: Any) -> HttpResponse:
    """Ask nobody."""
    with canuse.Client("127.0.0.1:1", timeout_seconds=0.3) as nobody:
        nobody.use_feature(USER, "reports")
    raise AssertionError


TAG = '{% load canuse %}{% if_can_use "reports" amount %}yes{% else %}no{% endif_can_use %}'


def page(request: HttpRequest, amount: int) -> HttpResponse:
    """Show a page with a block for some users."""
    return HttpResponse(engines["django"].from_string(TAG).render({"amount": amount}, request))


urlpatterns = [
    path("create/<outcome>", create),
    path("async/<outcome>", create_async),
    path("part", create_part),
    path("at-once", create_at_once),
    path("look", look),
    path("by-hand", by_hand),
    path("without-answer", without_answer),
    path("page/<int:amount>", page),
]


@pytest.fixture(autouse=True)
def site(canuse_server: CanuseServer) -> Iterator[CanuseServer]:
    """A site with these views, and a server with a user who may make two reports a month."""
    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=__name__,
            ALLOWED_HOSTS=["*"],
            INSTALLED_APPS=["canuse.django"],
            MIDDLEWARE=["canuse.django.middleware.CanuseMiddleware"],
            TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
            CANUSE_USER_ID=f"{__name__}.user_of",
        )
        django.setup()
    canuse_server.package("pro", {"reports": "2/month", "pages": "10/never"})
    canuse_server.user(USER, "pro")
    client.cache_clear()
    yield canuse_server
    client().close()
    client.cache_clear()


@pytest.fixture
def browser() -> Client:
    """What calls the site for the user."""
    return Client(raise_request_exception=False, headers={"X-User": USER})


def used() -> tuple[int, int]:
    """Return what the user used and has reserved."""
    current = client().show_usage(USER, "reports").current
    assert current is not None
    return current.used, current.reserved


def test_a_use_is_recorded_only_if_the_view_succeeds(browser: Client, site: CanuseServer) -> None:
    codes = [browser.post(f"/create/{outcome}").status_code for outcome in ("error", "refused", "done", "done")]
    assert codes == [500, 422, 201, 201]
    assert used() == (2, 0)
    denied = browser.post("/create/done")
    assert denied.status_code == 429
    assert denied.json()["detail"].startswith("You have used all 2 Reports.")
    assert int(denied["Retry-After"]) > 0
    pages = site.client.show_usage(USER, "pages").current
    assert pages is not None
    assert (pages.used, pages.reserved) == (2, 0)


def test_a_yes_has_the_header_fields_of_each_feature(browser: Client) -> None:
    response = browser.post("/create/done")
    first, second = response["RateLimit"].split(", ")
    assert (first.partition(";t=")[0], second) == ('"reports";r=1', '"pages";r=9')
    assert response["RateLimit-Policy"].startswith('"reports";q=2;w=')


async def test_an_async_view_is_the_same() -> None:
    post = partial(AsyncClient(raise_request_exception=False).post, headers={"X-User": USER})
    first = await post("/async/done")
    assert (first.status_code, first.content) == (201, b"(0, 1)")
    codes = [(await post(f"/async/{outcome}")).status_code for outcome in ("error", "refused", "done", "done")]
    assert codes == [500, 422, 201, 402]
    assert used() == (2, 0)


def test_the_view_says_how_much_it_used(browser: Client) -> None:
    assert browser.post("/part").status_code == 200
    assert used() == (1, 0)


def test_a_use_can_be_recorded_before_the_view_or_never(browser: Client) -> None:
    assert browser.post("/at-once").status_code == 422
    assert used() == (1, 0)
    assert browser.get("/look").status_code == 200
    assert used() == (1, 0)
    browser.post("/at-once")
    assert browser.get("/look").status_code == 402


def test_nobody_is_forbidden() -> None:
    assert Client().post("/create/done").status_code == 403


def test_the_middleware_answers_for_views_that_use_the_client(browser: Client) -> None:
    denied = browser.post("/by-hand")
    assert denied.status_code == 402
    assert denied.json()["detail"].startswith("You have 2 reports left, which is not enough.")
    unavailable = browser.post("/without-answer")
    assert unavailable.status_code == 503
    assert unavailable.json()["detail"].startswith("This service is unavailable")


def test_a_template_shows_a_block_to_those_who_may_use_a_feature(browser: Client) -> None:
    assert [browser.get(f"/page/{amount}").content for amount in (2, 3)] == [b"yes", b"no"]
    assert Client().get("/page/1").content == b"no"
    assert used() == (0, 0)


@pytest.mark.parametrize(
    ("tag", "message"),
    [("{% if_can_use %}", "takes a feature's id"), ('{% if_can_use "reports" %}', "is rendered with a request")],
)
def test_a_template_without_what_the_tag_needs_says_so(tag: str, message: str) -> None:
    with pytest.raises(TemplateSyntaxError, match=message):
        engines["django"].from_string("{% load canuse %}" + tag + "{% endif_can_use %}").render({})


def test_what_is_not_accepted_is_named() -> None:
    with pytest.raises(canuse.BadArgument, match="status: 500 is not accepted"):
        require("reports", status=500)
    with pytest.raises(canuse.BadArgument, match="record: 'maybe' is not accepted"):
        require("reports", record="maybe")  # type: ignore[arg-type]
