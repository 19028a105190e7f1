"""Functions that a user may call only within an entitlement.

Written by hand, as is `canuse._sync.limited`: this is where the two clients differ.
"""

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar

from canuse._async.using import UsingMethods
from canuse._use import user_finder
from canuse.errors import BadArgument

_P = ParamSpec("_P")
_T = TypeVar("_T")


class LimitedMethods(UsingMethods):
    """Functions that a user may call only within an entitlement."""

    def limited(
        self,
        feature_id: str,
        delta: int = 1,
        *,
        user: str | Callable[..., str],
        feature_name: str | None = None,
    ) -> Callable[[Callable[_P, Awaitable[_T]]], Callable[_P, Coroutine[Any, Any, _T]]]:
        """Decorate a function that uses a feature: each call of it is a block of `using`.

            @client.limited("api-calls", user="user_id")

        Args:
            feature_id: The feature.
            delta: The amount of a call, in the feature's units.
            user: The name of the function's argument with the user's id, or a callable that gets all arguments and
                returns the id.
            feature_name: The name of the feature in the text of AccessDenied.

        Raises:
            AccessDenied: Of the decorated function: the answer is no, and it was not called.
            BadArgument: The function has no such argument, or cannot be decorated.
        """

        def decorate(function: Callable[_P, Awaitable[_T]]) -> Callable[_P, Coroutine[Any, Any, _T]]:
            if not iscoroutinefunction(function):
                raise BadArgument.of("function", f"{function.__qualname__} is not `async`: use a canuse.Client for it")
            find_user = user_finder(function, user)

            @wraps(function)
            async def call(*arguments: _P.args, **named: _P.kwargs) -> _T:
                user_id = find_user(*arguments, **named)
                async with self.using(user_id, feature_id, delta, feature_name=feature_name):
                    return await function(*arguments, **named)

            return call

        return decorate
