"""What `using` gives to its block, and whom a decorated function is called for."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from canuse._arguments import bad_argument
from canuse.answers import CanUseAnswer, ReserveAnswer
from canuse.errors import BadArgument, CanuseError


@dataclass(slots=True)
class Use:
    """A use that `using` records when its block has succeeded."""

    answer: ReserveAnswer | CanUseAnswer
    """The answer to the check before the block: of a consumable feature a lease, of a binary one a check."""
    delta: int
    """The amount to record, in the feature's units. The block may change it to what was really used, 0 for nothing."""
    event_id: str = field(default_factory=lambda: uuid4().hex)
    """The idempotency key of the use."""
    failure: CanuseError | None = None
    """After the block: why the service did not answer, so that the attached recorder has the use. None: it answered."""


def user_finder(function: Callable[..., object], user: Any) -> Callable[..., Any]:
    """Return what finds the user's id in the arguments of a function: by the name of one of them, or by a callable.

    BadArgument if the function has no such argument, or is a generator, which does its work after it has returned.
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise BadArgument.of("function", f"{function.__qualname__} is a generator; put `using` into it")
    if callable(user):
        return user  # type: ignore[no-any-return]  # it is checked where it is called
    if not isinstance(user, str):
        raise bad_argument("user", user, "the name of an argument, or a callable on the arguments")
    signature = inspect.signature(function)
    parameters = signature.parameters.values()
    extra = next((each.name for each in parameters if each.kind is inspect.Parameter.VAR_KEYWORD), None)
    if user not in signature.parameters and extra is None:
        names = ", ".join(signature.parameters) or "none"
        raise BadArgument.of("user", f"{function.__qualname__} has no argument {user!r}; its arguments: {names}")

    def find(*arguments: Any, **named: Any) -> Any:
        bound = signature.bind(*arguments, **named)
        bound.apply_defaults()
        if user in signature.parameters:
            return bound.arguments[user]
        return bound.arguments.get(str(extra), {}).get(user)

    return find
