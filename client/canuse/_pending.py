"""The coroutines that the methods of `AsyncClient` return; one that is not awaited cannot be used as a condition."""

import functools
import inspect
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, NoReturn, ParamSpec, TypeVar

_T_co = TypeVar("_T_co", covariant=True)
_T = TypeVar("_T")
_P = ParamSpec("_P")


class Pending(Coroutine[Any, Any, _T_co]):
    """A coroutine without a truth value: a plain one is always true, so `if client.can_use(…)` would always pass."""

    __slots__ = ("__weakref__", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, _T_co]) -> None:
        """Wrap a coroutine."""
        self._coroutine = coroutine

    def __bool__(self) -> NoReturn:
        """Raise TypeError: there is no answer before the call is awaited."""
        self._coroutine.close()
        raise TypeError(f"{self.__name__}(…) is not an answer yet: await it first")

    def __await__(self) -> Generator[Any, Any, _T_co]:
        """Run the call."""
        return self._coroutine.__await__()

    def send(self, value: Any, /) -> Any:
        """Resume it."""
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        """Raise an error in it."""
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """Close it."""
        self._coroutine.close()

    def __getattr__(self, name: str) -> Any:
        """Return the attributes of coroutines that debuggers read, such as `cr_frame`."""
        return getattr(self._coroutine, name)

    @property  # type: ignore[misc]  # typeshed has it writable
    def __class__(self) -> type:
        """Return the type of coroutines: anyio, for example, runs only what `inspect.iscoroutine` accepts."""
        return types.CoroutineType


def calls_are_pending(client: type[_T]) -> type[_T]:
    """Make the public coroutine methods of a client, except `close`, return `Pending` calls."""
    for name, method in inspect.getmembers(client, inspect.iscoroutinefunction):
        if not name.startswith("_") and name != "close":
            setattr(client, name, _pending(method))
    return client


def _pending(method: Callable[_P, Coroutine[Any, Any, _T]]) -> Callable[_P, Coroutine[Any, Any, _T]]:
    @functools.wraps(method)
    def call(*arguments: _P.args, **named: _P.kwargs) -> Coroutine[Any, Any, _T]:
        return Pending(method(*arguments, **named))

    # Makes `inspect.iscoroutinefunction` true, from Python 3.12 on.
    mark = getattr(inspect, "markcoroutinefunction", None)
    return call if mark is None else mark(call)
