"""Refusing a form that would overwrite what somebody else has changed since it was shown.

The form brings back what it was made of. It is compared with what is stored right before the call that replaces it, so
only a change within the few milliseconds between the two can still be overwritten.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from canuse_server.transport.http.console.actions.form import Field

SEEN: Final = "seen"
"""The hidden field with what the form was made of."""
Content = Mapping[str, str]
"""What is stored, or would be: values for people by their names for people."""


class Difference(NamedTuple):
    """A value that somebody else has changed; empty where there is none."""

    name: str
    before: str
    """When the form was shown."""
    now: str
    typed: str
    """What this form would make of it."""


@dataclass
class Overwriting:
    """What a form replaces."""

    of_fields: Content
    """What is stored now of what the form's fields say."""
    others: Content
    """What else is stored now that the form is about."""
    seen: str = field(init=False)
    """What was stored when the form was shown, as it is sent."""
    differences: list[Difference] = field(default_factory=list)
    """What somebody else has changed meanwhile."""

    def __post_init__(self) -> None:
        self.seen = _encoded(self._stored)

    @property
    def _stored(self) -> Content:
        return {**self.others, **self.of_fields}

    def refuses(self, typed: Content) -> bool:
        """Whether something has been changed since the form was shown; sent once more, the form replaces that.

        Fields that say what is stored already replace nothing: the form may have been sent twice.
        """
        stored, seen = self._stored, _decoded(self.seen)
        if seen == stored or (typed and typed == self.of_fields):
            return False
        self.differences = [
            Difference(name, before, now, typed.get(name, ""))
            for name in dict.fromkeys([*stored, *seen])
            if (before := seen.get(name, "")) != (now := stored.get(name, ""))
        ]
        self.seen = _encoded(stored)
        return True


def _encoded(content: Content) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _decoded(sent: str) -> Content:
    """Return what a form has brought back; what no form has had differs from everything that is stored."""
    try:
        found = json.loads(sent)
    except (ValueError, RecursionError):
        return {}
    is_content = isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
    return found if is_content else {}


def content(fields: Iterable["Field"], rows: Sequence[Sequence["Field"]]) -> Content:
    """Return what the fields of a form say; a row of a table is a value by what its first field says."""
    values = {each.label: _text(each) for each in fields if each.kind != "hidden"}
    for first, *others in rows:
        if item := first.value.strip():
            values[item] = ", ".join(text for each in others if (text := _text(each)))
    return values


def _text(each: "Field") -> str:
    """Return what a field says, for people, and the same for the same value."""
    if each.kind == "select":
        return dict(each.options).get(each.value, each.value)
    if each.kind == "checkbox":
        return each.name.partition(".")[0] if each.value else ""
    if each.kind == "textarea":
        pairs = (line.partition("=") for line in each.value.splitlines() if line.strip())
        return "\n".join(sorted(f"{name.strip()}={value.strip()}" for name, _, value in pairs))
    if each.kind == "number":
        return each.value.strip().replace(",", "") or "unlimited"
    return each.value.strip()
