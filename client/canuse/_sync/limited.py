"""Functions that a user may call only within an entitlement.

Written by hand, as is `canuse._async.limited`: this is where the two clients differ.
"""

import asyncio
import sys
from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar, cast

from canuse._sync.using import UsingMethods
from canuse._use import user_finder

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
    ) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
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

        def decorate(function: Callable[_P, _T]) -> Callable[_P, _T]:
            find_user = user_finder(function, user)

            def block(arguments: Any, named: Any) -> Any:
                return self.using(find_user(*arguments, **named), feature_id, delta, feature_name=feature_name)

            @wraps(function)
            def call(*arguments: _P.args, **named: _P.kwargs) -> _T:
                with block(arguments, named):
                    return function(*arguments, **named)

            @wraps(function)
            async def call_later(*arguments: _P.args, **named: _P.kwargs) -> Any:
                use = block(arguments, named)
                await asyncio.to_thread(use.__enter__)
                try:
                    result = await cast("Any", function)(*arguments, **named)
                except BaseException:
                    await asyncio.to_thread(use.__exit__, *sys.exc_info())
                    raise
                await asyncio.to_thread(use.__exit__, None, None, None)
                return result

            return cast("Callable[_P, _T]", call_later) if iscoroutinefunction(function) else call

        return decorate
