"""What the methods of `AsyncClient` return: calls to be awaited, which can't be mistaken for their answers."""

import functools
import inspect
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, NoReturn, ParamSpec, TypeVar

_T_co = TypeVar("_T_co", covariant=True)
_T = TypeVar("_T")
_P = ParamSpec("_P")


class Pending(Coroutine[Any, Any, _T_co]):
    """A coroutine that has no truth: a plain one is always true, so that `if client.can_use(…)` let everybody in."""

    __slots__ = ("__weakref__", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, _T_co]) -> None:
        """Take the place of a coroutine."""
        self._coroutine = coroutine

    def __bool__(self) -> NoReturn:
        """Raise TypeError: the answer is not there before it is awaited."""
        self._coroutine.close()
        raise TypeError(f"{self.__name__}(…) is not an answer yet: await it first")

    def __await__(self) -> Generator[Any, Any, _T_co]:
        """Run the call."""
        return self._coroutine.__await__()

    def send(self, value: Any, /) -> Any:
        """Go on with it."""
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        """Raise an error in it."""
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """End it."""
        self._coroutine.close()

    def __getattr__(self, name: str) -> Any:
        """Return what debuggers ask coroutines for, such as `cr_frame`."""
        return getattr(self._coroutine, name)

    @property  # type: ignore[misc]  # typeshed has it writable
    def __class__(self) -> type:
        """Pass for a plain coroutine, where `inspect.iscoroutine` is asked before it is run, as by anyio."""
        return types.CoroutineType


def calls_are_pending(client: type[_T]) -> type[_T]:
    """Let the public coroutine methods of a client return `Pending` calls; `close` is none."""
    for name, method in inspect.getmembers(client, inspect.iscoroutinefunction):
        if not name.startswith("_") and name != "close":
            setattr(client, name, _pending(method))
    return client


def _pending(method: Callable[_P, Coroutine[Any, Any, _T]]) -> Callable[_P, Coroutine[Any, Any, _T]]:
    @functools.wraps(method)
    def call(*arguments: _P.args, **named: _P.kwargs) -> Coroutine[Any, Any, _T]:
        return Pending(method(*arguments, **named))

    # From Python 3.12 on `inspect.iscoroutinefunction` can be told; before that it needs a plain `async def`.
    mark = getattr(inspect, "markcoroutinefunction", None)
    return call if mark is None else mark(call)
