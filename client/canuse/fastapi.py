"""Endpoints of FastAPI that use a feature: `pip install 'canuse[fastapi]'`.

@app.post("/reports", dependencies=[Depends(require("reports", user=signed_in_user))])
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Annotated, Any, Literal, overload

from fastapi import Depends, HTTPException, Request, Response

from canuse import AccessDenied, AsyncClient, BadArgument, CanUseAnswer, ReserveAnswer, Use, UseFeatureAnswer
from canuse.http import NO_ANSWER, answer_headers, denied_status, error_headers
from canuse.starlette import UNAVAILABLE, handle_errors

__all__ = ["handle_errors", "require"]

User = str | Callable[..., Any]
Answer = CanUseAnswer | ReserveAnswer | UseFeatureAnswer


@overload
def require(
    feature_id: str,
    delta: int = 1,
    *,
    user: User,
    record: Literal["after"] = "after",
    status: int = 402,
    client: AsyncClient | None = None,
    feature_name: str | None = None,
) -> Callable[..., AsyncIterator[Use]]: ...


@overload
def require(
    feature_id: str,
    delta: int = 1,
    *,
    user: User,
    record: Literal["before"],
    status: int = 402,
    client: AsyncClient | None = None,
    feature_name: str | None = None,
) -> Callable[..., Awaitable[UseFeatureAnswer]]: ...


@overload
def require(
    feature_id: str,
    delta: int = 1,
    *,
    user: User,
    record: Literal["never"],
    status: int = 402,
    client: AsyncClient | None = None,
    feature_name: str | None = None,
) -> Callable[..., Awaitable[CanUseAnswer]]: ...


def require(
    feature_id: str,
    delta: int = 1,
    *,
    user: User,
    record: Literal["after", "before", "never"] = "after",
    status: int = 402,
    client: AsyncClient | None = None,
    feature_name: str | None = None,
) -> Callable[..., Any]:
    """Return a dependency, for `Depends`, that lets a request pass only if its user may use a feature.

    A no is answered with `status`, the sentence for the end user as `detail`, and the header fields of
    `canuse.http.answer_headers`; 503 says that canuse does not answer. A yes sets the header fields as well, unless the
    endpoint returns a `Response` of its own.

    Args:
        feature_id: The feature.
        delta: The amount of a request, in the feature's units.
        user: A dependency that returns the user's id, or the name of a parameter of the path that is the id.
        record: When the use is recorded. `after`: the units are reserved before the endpoint, and recorded only if it
            succeeds, which means that it raises nothing and sets no status of 400 or above; the value is the
            `canuse.Use`, whose `delta` the endpoint may change. `before`: checked and recorded in one call before the
            endpoint, whatever becomes of it; the value is the `UseFeatureAnswer`. `never`: only checked; the value is
            the `CanUseAnswer`.
        status: The status of a no: 402, 403 or 429.
        client: The client. Default: `app.state.canuse`; without it, one by the environment variables is made there.
        feature_name: The name of the feature in the sentence, such as `API calls`.

    Raises:
        BadArgument: `record` or `status` is none of these.
    """
    code = denied_status(status)
    user_id_of = user if callable(user) else _path_parameter(user)

    async def after(
        request: Request, response: Response, user_id: Annotated[str, Depends(user_id_of)]
    ) -> AsyncIterator[Use]:
        async with AsyncExitStack() as stack:
            with _refused(code):
                block = _client(request, client).using(user_id, feature_id, delta, feature_name=feature_name)
                use = await stack.enter_async_context(block)
            _add_headers(response, use.answer)
            yield use
            if (response.status_code or 200) >= 400:
                use.delta = 0

    async def before(
        request: Request, response: Response, user_id: Annotated[str, Depends(user_id_of)]
    ) -> UseFeatureAnswer:
        with _refused(code):
            answer = await _client(request, client).use_feature(user_id, feature_id, delta)
            answer.raise_if_denied(feature_name)
        _add_headers(response, answer)
        return answer

    async def never(request: Request, response: Response, user_id: Annotated[str, Depends(user_id_of)]) -> CanUseAnswer:
        with _refused(code):
            answer = await _client(request, client).can_use(user_id, feature_id, delta)
            answer.raise_if_denied(feature_name)
        _add_headers(response, answer)
        return answer

    dependencies: dict[str, Callable[..., Any]] = {"after": after, "before": before, "never": never}
    if record not in dependencies:
        raise BadArgument.of("record", f"{record!r} is not accepted; expected 'after', 'before' or 'never'")
    return dependencies[record]


def _add_headers(response: Response, answer: Answer) -> None:
    """Set the header fields of a yes, beside those of other features of the endpoint."""
    for name, value in answer_headers(answer).items():
        other = response.headers.get(name)
        response.headers[name] = f"{other}, {value}" if other else value


def _client(request: Request, client: AsyncClient | None) -> AsyncClient:
    """Return the given client, or that of the application."""
    if client is not None:
        return client
    state = request.app.state
    if not hasattr(state, "canuse"):
        state.canuse = AsyncClient()
    found: AsyncClient = state.canuse
    return found


def _path_parameter(name: str) -> Callable[[Request], str]:
    """Return a dependency on a parameter of the path."""

    def find(request: Request) -> str:
        if name not in request.path_params:
            names = ", ".join(request.path_params) or "none"
            raise BadArgument.of("user", f"the path has no parameter {name!r}; its parameters: {names}")
        return str(request.path_params[name])

    return find


@contextmanager
def _refused(status: int) -> Iterator[None]:
    """Answer the request if the block is denied, or has no answer."""
    try:
        yield
    except AccessDenied as denied:
        raise HTTPException(status, str(denied), answer_headers(denied.answer)) from denied
    except NO_ANSWER as error:
        raise HTTPException(503, UNAVAILABLE, error_headers(error)) from error
