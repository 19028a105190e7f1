"""FastAPI and Starlette, with a real server of canuse."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
import pytest_asyncio
from fastapi import Depends, FastAPI, HTTPException, Response
from httpx import ASGITransport, AsyncClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import canuse
from canuse.fastapi import handle_errors, require
from canuse.testing import CanuseServer

USER = "124"


@pytest.fixture
def reports(canuse_server: CanuseServer) -> CanuseServer:
    """A server with a user who may make two reports a month, and has no single sign-on."""
    canuse_server.feature("sso", binary=True)
    canuse_server.package("pro", {"reports": "2/month"})
    canuse_server.user(USER, "pro")
    return canuse_server


@pytest_asyncio.fixture
async def app(reports: CanuseServer) -> AsyncIterator[FastAPI]:
    """An application without endpoints."""
    app = FastAPI()
    async with canuse.AsyncClient(reports.address) as client:
        app.state.canuse = client
        yield app


def calls(app: FastAPI | Starlette, *, raise_app_exceptions: bool = False) -> AsyncClient:
    """Return what calls an application."""
    return AsyncClient(transport=ASGITransport(app, raise_app_exceptions), base_url="http://service")


@pytest_asyncio.fixture
async def page(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """What calls the application."""
    async with calls(app) as client:
        yield client


def used(server: CanuseServer) -> tuple[int, int]:
    """Return what the user used and has reserved."""
    current = server.client.show_usage(USER, "reports").current
    assert current is not None
    return current.used, current.reserved


async def test_a_use_is_recorded_only_if_the_endpoint_succeeds(
    app: FastAPI, page: AsyncClient, reports: CanuseServer
) -> None:
    @app.post("/users/{user_id}/reports/{outcome}", dependencies=[Depends(require("reports", user="user_id"))])
    async def create(outcome: str, response: Response) -> str:
        if outcome == "error":
            raise RuntimeError(outcome)
        if outcome == "refused":
            raise HTTPException(422, outcome)
        if outcome == "status":
            response.status_code = 409
        return f"{used(reports)}"

    assert (await page.post("/users/124/reports/done")).json() == "(0, 1)"
    assert used(reports) == (1, 0)
    codes = [
        (await page.post(f"/users/124/reports/{outcome}")).status_code for outcome in ("error", "refused", "status")
    ]
    assert codes == [500, 422, 409]
    assert used(reports) == (1, 0)


async def test_the_endpoint_says_how_much_it_used(app: FastAPI, page: AsyncClient, reports: CanuseServer) -> None:
    @app.post("/reports/{user_id}")
    async def create(used: Annotated[canuse.Use, Depends(require("reports", 2, user="user_id"))]) -> None:
        used.delta = 1

    assert (await page.post("/reports/124")).status_code == 200
    assert used(reports) == (1, 0)


async def test_a_use_that_is_recorded_before_counts_whatever_becomes_of_it(
    app: FastAPI, page: AsyncClient, reports: CanuseServer
) -> None:
    @app.post("/reports/{user_id}", dependencies=[Depends(require("reports", user="user_id", record="before"))])
    async def create() -> None:
        raise HTTPException(422, f"{used(reports)}")

    assert (await page.post("/reports/124")).json() == {"detail": "(1, 0)"}
    assert used(reports) == (1, 0)


async def test_a_check_records_nothing(app: FastAPI, page: AsyncClient, reports: CanuseServer) -> None:
    only_checked = require("reports", user="user_id", record="never")

    @app.get("/reports/{user_id}")
    async def show(answer: Annotated[canuse.CanUseAnswer, Depends(only_checked)]) -> str:
        return answer.reason.name

    assert (await page.get("/reports/124")).json() == "REASON_WITHIN_BUDGET"
    assert used(reports) == (0, 0)


@pytest.mark.parametrize("record", ["after", "before", "never"])
async def test_a_no_is_a_sentence_with_when_to_come_back(
    record: Any, app: FastAPI, page: AsyncClient, reports: CanuseServer
) -> None:
    # The function is typed by its literal; here all of them are tried.
    denied: Any = require("reports", 3, user="user_id", record=record, status=429, feature_name="Reports")

    @app.post("/reports/{user_id}", dependencies=[Depends(denied)])
    async def create() -> None:
        raise AssertionError

    reports.client.use_feature(USER, "reports")
    response = await page.post("/reports/124")
    assert response.status_code == 429
    assert response.json()["detail"].startswith("You have 1 Reports left, which is not enough.")
    assert response.headers["RateLimit"].startswith('"reports";r=1;t=')
    assert used(reports) == (1, 0)


async def test_the_header_fields_are_those_of_the_draft(app: FastAPI, page: AsyncClient, reports: CanuseServer) -> None:
    @app.post("/reports/{user_id}", dependencies=[Depends(require("reports", user="user_id", status=403))])
    async def create() -> None:
        pass

    first, second, denied = [await page.post("/reports/124") for _ in range(3)]
    assert [each.status_code for each in (first, second, denied)] == [200, 200, 403]
    current = reports.client.show_usage(USER, "reports").current
    assert current is not None
    assert current.resets_at is not None
    window = round((current.resets_at - current.period_start).total_seconds())
    left = (current.resets_at - reports.now).total_seconds()
    for answer, remaining in ((first, 1), (second, 0), (denied, 0)):
        assert answer.headers["RateLimit-Policy"] == f'"reports";q=2;w={window}'
        limit, _, seconds = answer.headers["RateLimit"].rpartition("=")
        assert limit == f'"reports";r={remaining};t'
        assert 0 <= left - int(seconds) + 1 < 60, "the clock of the server stands still since the test began"
    assert "Retry-After" not in first.headers
    assert 0 <= int(denied.headers["Retry-After"]) - left < 1


async def test_the_users_login_says_who_it_is(app: FastAPI, page: AsyncClient, reports: CanuseServer) -> None:
    def signed_in(token: str = "") -> str:
        if not token:
            raise HTTPException(401, "Sign in first.")
        return token

    @app.post("/reports", dependencies=[Depends(require("reports", user=signed_in))])
    async def create() -> None:
        pass

    assert (await page.post("/reports")).status_code == 401
    assert (await page.post("/reports?token=124")).status_code == 200
    assert used(reports) == (1, 0)


async def test_a_binary_feature_is_checked(app: FastAPI, page: AsyncClient) -> None:
    @app.get("/{user_id}/sso", dependencies=[Depends(require("sso", user="user_id"))])
    async def sign_on() -> None:
        pass

    response = await page.get("/124/sso")
    assert (response.status_code, response.json()) == (402, {"detail": "Your plan does not include sso."})
    assert "RateLimit" not in response.headers


async def test_each_feature_of_an_endpoint_has_its_header_fields(
    app: FastAPI, page: AsyncClient, reports: CanuseServer
) -> None:
    reports.package("extra", {"pages": "5/never", "chats": "unlimited"}, add_on=True)
    reports.client.subscribe(USER, ["extra"])
    required = [Depends(require(feature, user="user_id")) for feature in ("reports", "pages", "chats")]

    @app.post("/reports/{user_id}", dependencies=required)
    async def create() -> None:
        pass

    response = await page.post("/reports/124")
    assert response.status_code == 200
    first, second = response.headers["RateLimit"].split(", ")
    assert (first.partition(";t=")[0], second) == ('"reports";r=1', '"pages";r=4')
    assert response.headers["RateLimit-Policy"].endswith(', "pages";q=5')


async def test_a_service_that_does_not_answer_is_unavailable(app: FastAPI, page: AsyncClient) -> None:
    async with canuse.AsyncClient("127.0.0.1:1", timeout_seconds=0.3) as nobody:

        @app.post("/reports/{user_id}", dependencies=[Depends(require("reports", user="user_id", client=nobody))])
        async def create() -> None:
            raise AssertionError

        handle_errors(app)

        @app.post("/used/{user_id}")
        async def create_by_hand(user_id: str) -> None:
            async with nobody.using(user_id, "reports"):
                raise AssertionError

        for path in ("/reports/124", "/used/124"):
            response = await page.post(path)
            assert response.status_code == 503, response.text
            assert response.json()["detail"].startswith("This service is unavailable")


async def test_the_client_is_made_by_the_environment(reports: CanuseServer) -> None:
    app = FastAPI()

    @app.post("/reports/{user_id}", dependencies=[Depends(require("reports", user="user_id"))])
    async def create() -> None:
        pass

    async with calls(app) as page:
        assert (await page.post("/reports/124")).status_code == 200
    await app.state.canuse.close()
    assert used(reports) == (1, 0)


async def test_starlette_answers_for_decorated_endpoints(reports: CanuseServer) -> None:
    with canuse.Client(reports.address) as client:

        @client.limited("reports", 2, user=lambda request: request.path_params["user_id"])
        async def create(request: Request) -> JSONResponse:
            return JSONResponse("created")

        app = Starlette(routes=[Route("/{user_id}/reports", create, methods=["POST"])])
        handle_errors(app, status=429)
        async with calls(app) as page:
            first, second = [await page.post("/124/reports") for _ in range(2)]
    assert (first.status_code, first.json()) == (200, "created")
    assert second.status_code == 429
    assert second.json()["detail"].startswith("You have used all 2 reports.")
    assert second.headers["Retry-After"]


def test_what_is_not_accepted_is_named() -> None:
    with pytest.raises(canuse.BadArgument, match="status: 418 is not accepted; expected 402, 403 or 429"):
        require("reports", user="user_id", status=418)
    with pytest.raises(canuse.BadArgument, match="record: 'maybe' is not accepted"):
        require("reports", user="user_id", record="maybe")  # type: ignore[call-overload]


async def test_a_path_without_the_parameter_is_an_error_of_the_program(app: FastAPI, reports: CanuseServer) -> None:
    @app.post("/reports/{user}", dependencies=[Depends(require("reports", user="user_id"))])
    async def create() -> None:
        pass

    async with calls(app, raise_app_exceptions=True) as page:
        with pytest.raises(canuse.BadArgument, match="no parameter 'user_id'; its parameters: user"):
            await page.post("/reports/124")
