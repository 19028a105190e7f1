"""Answers whose fields are converted from the message when they are first read: most callers read one of eight."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

new = object.__new__
assign = object.__setattr__
"""Set a field of a frozen dataclass that was made with `new`."""


class Lazy:
    """Base of a frozen dataclass with slots, whose fields in `_CONVERTERS` may be left without a value.

    Such a field is converted from the `message` when it is first read. Two threads that do so get equal values.
    """

    __slots__ = ()

    _CONVERTERS: ClassVar[Mapping[str, Callable[[Any], Any]]]
    """By the name of a field, what converts it from the message."""

    if not TYPE_CHECKING:  # Otherwise a type checker would accept any attribute.

        def __getattr__(self, name: str) -> Any:
            """Convert a field that has no value yet; AttributeError if there is no such field."""
            convert = self._CONVERTERS.get(name)
            if convert is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            value = convert(self.message)
            assign(self, name, value)
            return value
