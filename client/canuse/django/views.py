"""Views that use a feature."""

from asyncio import to_thread
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, Literal, TypeVar, cast

from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase

from canuse import AccessDenied, BadArgument, CanUseAnswer, ReserveAnswer, Use, UseFeatureAnswer
from canuse.django.clients import client, user_id_of
from canuse.django.responses import response_to
from canuse.http import NO_ANSWER, answer_headers, denied_status

_View = TypeVar("_View", bound=Callable[..., Any])


def require(
    feature_id: str,
    delta: int = 1,
    *,
    user: Callable[[HttpRequest], str | None] | None = None,
    record: Literal["after", "before", "never"] = "after",
    status: int | None = None,
    feature_name: str | None = None,
) -> Callable[[_View], _View]:
    """Decorate a view, sync or async, that a user may call only within an entitlement.

        @require("reports")
        def create_report(request): ...

    A no is answered in JSON, with the sentence for the end user as `detail` and the header fields of
    `canuse.http.answer_headers`; 503 says that canuse does not answer. Responses to a yes have the header fields, too.

    Args:
        feature_id: The feature.
        delta: The amount of a request, in the feature's units.
        user: Returns the user's id; None for nobody, who gets 403. Default: as the setting CANUSE_USER_ID says.
        record: When the use is recorded. `after`: the units are reserved before the view, and recorded only if it
            succeeds, which means that it raises nothing and returns no status of 400 or above; `request.canuse_use` is
            the `canuse.Use`, whose `delta` the view may change. `before`: checked and recorded in one call before the
            view, whatever becomes of it. `never`: only checked.
        status: The status of a no: 402, 403 or 429. Default: the setting CANUSE_DENIED_STATUS.
        feature_name: The name of the feature in the sentence, such as `API calls`.

    Raises:
        BadArgument: `record` or `status` is none of these.
    """
    if status is not None:
        denied_status(status)
    if record not in ("after", "before", "never"):
        raise BadArgument.of("record", f"{record!r} is not accepted; expected 'after', 'before' or 'never'")

    return _Requirement(feature_id, delta, user or user_id_of, record, status, feature_name).decorate


@dataclass(frozen=True)
class _Requirement:
    """What a view requires, as the arguments of `require` say."""

    feature_id: str
    delta: int
    find_user: Callable[[HttpRequest], str | None]
    record: str
    status: int | None
    feature_name: str | None

    def decorate(self, view: _View) -> _View:
        """Return a view that checks before this one and records after it."""
        if iscoroutinefunction(view):

            @wraps(view)
            async def call_async(request: HttpRequest, *arguments: Any, **named: Any) -> HttpResponseBase:
                # `request.user` may read the database, for which Django has a thread of its own.
                user_id = await sync_to_async(self.user_of)(request)
                async with _in_threads(self.guarded(request, user_id)) as passed:
                    if isinstance(passed, HttpResponseBase):
                        return passed
                    return passed.finish(await view(request, *arguments, **named))

            return cast("_View", call_async)

        @wraps(view)
        def call(request: HttpRequest, *arguments: Any, **named: Any) -> HttpResponseBase:
            with self.guarded(request, self.user_of(request)) as passed:
                if isinstance(passed, HttpResponseBase):
                    return passed
                return passed.finish(view(request, *arguments, **named))

        return cast("_View", call)

    def user_of(self, request: HttpRequest) -> str:
        """Return the user; PermissionDenied if there is none."""
        user_id = self.find_user(request)
        if user_id is None:
            raise PermissionDenied
        return user_id

    @contextmanager
    def guarded(self, request: HttpRequest, user_id: str) -> "Iterator[_Pass | HttpResponseBase]":
        """Check before the block, whose value is then the response to a no, and record after it."""
        with ExitStack() as stack:
            try:
                passed: _Pass | HttpResponseBase = self._enter(request, user_id, stack)
            except (AccessDenied, *NO_ANSWER) as error:
                passed = response_to(error, self.status)
            yield passed

    def _enter(self, request: HttpRequest, user_id: str, stack: ExitStack) -> "_Pass":
        if self.record == "after":
            block = client().using(user_id, self.feature_id, self.delta, feature_name=self.feature_name)
            use = stack.enter_context(block)
            request.canuse_use = use  # type: ignore[attr-defined]  # for the view
            return _Pass(use.answer, use)
        ask = client().use_feature if self.record == "before" else client().can_use
        return _Pass(ask(user_id, self.feature_id, self.delta).raise_if_denied(self.feature_name))


class _Pass:
    """A request that was let through."""

    def __init__(self, answer: CanUseAnswer | UseFeatureAnswer | ReserveAnswer, use: Use | None = None) -> None:
        self._answer = answer
        self._use = use

    def finish(self, response: HttpResponseBase) -> HttpResponseBase:
        """Set the header fields, beside those of other features, and record nothing for a failure."""
        if response.status_code >= 400 and self._use is not None:
            self._use.delta = 0
        for name, value in answer_headers(self._answer).items():
            response[name] = f"{value}, {response[name]}" if name in response else value
        return response


@asynccontextmanager
async def _in_threads(
    block: AbstractContextManager[_Pass | HttpResponseBase],
) -> AsyncIterator[_Pass | HttpResponseBase]:
    """Enter and leave a block in other threads, since its calls wait."""
    entered = await to_thread(block.__enter__)
    try:
        yield entered
    except BaseException as error:
        await to_thread(block.__exit__, type(error), error, error.__traceback__)
        raise
    else:
        await to_thread(block.__exit__, None, None, None)
