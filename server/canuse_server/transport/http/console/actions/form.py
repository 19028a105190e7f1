"""A form that changes something: what it says before, its fields, and what has been typed into them."""

import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from canuse_server.api.errors import ApiError, ErrorReason, invalid
from canuse_server.transport.http.console.actions.overwriting import SEEN, Content, Overwriting, content
from canuse_server.transport.http.console.forms import read_amount, read_time

REQUEST: Final = "request"
"""The field that identifies a form that was shown: sent twice, it is done once."""
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_-]{16,40}")
CHECKED: Final = "on"
OUTDATED: Final = (
    "This has been changed by somebody else since you opened it. Nothing was done. See what was changed; "
    "if what is here is to replace it, send it again."
)
CONFLICT: Final = 409

_Value = TypeVar("_Value")
Options = Sequence[tuple[str, str]]


def _new_request() -> str:
    return secrets.token_urlsafe(15)


@dataclass
class Field:
    """An input of a form."""

    name: str
    label: str
    path: str = ""
    """The field of the API whose errors belong here. Empty: the name."""
    kind: str = "text"
    """`text`, `number`, `datetime-local`, `select`, `checkbox`, `textarea` or `hidden`."""
    value: str = ""
    hint: str = ""
    required: bool = False
    options: Options = ()
    """Pairs of value and label: what can be chosen, or what is proposed for a text."""
    reasons: tuple[ErrorReason, ...] = ()
    """Errors that belong here although they name no field."""
    problem: str = ""
    stored: str = field(init=False)
    """The value before anything is typed."""

    def __post_init__(self) -> None:
        self.stored = self.value

    @property
    def api_field(self) -> str:
        """The field of the API that it fills."""
        return self.path or self.name

    def problems(self, error: ApiError) -> list[str]:
        """Return what an error says about this field."""
        own = self.api_field
        found = [text for path, text in error.violations if path == own or path.startswith(f"{own}[")]
        if not found and error.reason in self.reasons:
            found = [f"{error.message}. {error.reason.value.advice}"]
        return found


@dataclass
class Form:
    """A form, which says what it will do."""

    title: str
    subject: str
    """The id that it is about; empty for a new one."""
    says: list[str]
    """What will happen, in sentences."""
    button: str
    back: str
    """The address to which whoever does not want this goes back."""
    fields: list[Field] = field(default_factory=list)
    rows: list[list[Field]] = field(default_factory=list)
    """The rows of a table of fields."""
    leave: str = "Leave it as it is"
    """What the link to `back` says."""
    is_dangerous: bool = False
    """Whether it cannot be undone."""
    replaces: Content | None = None
    """Of a form that replaces something: what it shows of it besides its fields. The form is refused if what is stored
    has been changed since it was shown."""
    template: str = "actions/form.html"
    values: dict[str, object] = field(default_factory=dict)
    """What the template shows besides."""
    more: Callable[[], Awaitable[dict[str, object]]] | None = None
    """Returns what else the template shows, which takes a while: it is called if the form is shown. Raises ApiError."""
    request: str = field(default_factory=_new_request)
    problem: str = ""
    status: int = 200
    overwriting: Overwriting | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.replaces is not None:
            self.overwriting = Overwriting(content(self.fields, self.rows), self.replaces)

    @property
    def all_fields(self) -> Iterable[Field]:
        """Its fields, also those of the table."""
        return [*self.fields, *(each for row in self.rows for each in row)]

    @property
    def event_id(self) -> str:
        """An idempotency key: the same for the same form."""
        return f"console-{self.request}"

    def fill(self, sent: Mapping[str, str]) -> None:
        """Keep what has been typed."""
        for each in self.all_fields:
            each.value = sent.get(each.name, "")
        if _REQUEST_ID.fullmatch(sent.get(REQUEST, "")):
            self.request = sent[REQUEST]
        if self.overwriting is not None:
            self.overwriting.seen = sent.get(SEEN, "")

    def renew(self) -> None:
        """Make it another form: sent again, it is done again."""
        self.request = _new_request()

    def is_outdated(self) -> bool:
        """Whether it would overwrite what somebody else has changed since it was shown. It says so then."""
        if self.overwriting is None or not self.overwriting.refuses(content(self.fields, self.rows)):
            return False
        self.problem, self.status = OUTDATED, CONFLICT
        return True

    def names(self, error: ApiError) -> bool:
        """Whether all that an error says is about fields of this form."""
        shown = [problem for each in self.all_fields for problem in each.problems(error)]
        return bool(shown) and len(shown) >= len(error.violations)

    def refuse(self, error: ApiError, status: int) -> None:
        """Show an error beside the fields that it names, or else above the form."""
        for each in self.all_fields:
            each.problem = "; ".join(each.problems(error))
        text = f"{error.message}. {error.reason.value.advice}"
        self.problem = "Nothing was changed. See the field that is marked." if self.names(error) else text
        self.status = status

    def text(self, name: str) -> str:
        """Return what has been typed, without spaces around it."""
        return self.field(name).value.strip()

    def is_checked(self, name: str) -> bool:
        """Whether a box is checked."""
        return self.field(name).value == CHECKED

    def amount(self, name: str) -> int | None:
        """Return a whole number; None where nothing has been typed. Raises ApiError."""
        text = self.text(name)
        return read_amount(self.field(name).api_field, text) if text else None

    def time(self, name: str) -> Timestamp | None:
        """Return a time; None where nothing has been typed. Raises ApiError."""
        text = self.text(name)
        return read_time(self.field(name).api_field, text) if text else None

    def enum(self, name: str, value_of: Callable[[str], _Value], default: _Value) -> _Value:
        """Return the value of an enum of the API whose name was chosen. Raises ApiError."""
        text = self.text(name)
        try:
            return value_of(text) if text else default
        except ValueError:
            problem = f"must be one of those that are offered; {text[:40]!r} was sent"
            raise invalid([(self.field(name).api_field, problem)]) from None

    def confirm(self) -> None:
        """Raise ApiError unless the id that the form is about has been typed."""
        if self.field("confirm").value != self.subject:
            raise invalid([("confirm", f"must be exactly {self.subject}; {self.text('confirm')[:128]!r} was sent")])

    def field(self, name: str) -> Field:
        """Return a field by its name."""
        return next(each for each in self.all_fields if each.name == name)
