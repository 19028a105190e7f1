"""What a call to canuse raises: one class per gRPC status, with the server's reason and details as attributes.

The reasons and what each one means are listed with the API. A "no" to `can_use` or `use_feature` is an answer, not an
error.
"""

# ruff: noqa: N818 - they are named after the gRPC statuses, as callers know them

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

DOMAIN: Final = "canuse"
DETAILS_KEY: Final = "grpc-status-details-bin"

_Detail = TypeVar("_Detail", bound=Message)


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that the server did not accept."""

    field: str
    """The path of the field in the request, such as `user.id`."""
    description: str
    """What was sent and what is accepted."""


class CanuseError(Exception):
    """A call that failed. Raised itself for a status that has no class of its own, such as INTERNAL."""

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    """The gRPC status."""
    reason: str
    """Why, as a word for programs: `USER_NOT_FOUND`. Empty where the server sent none or none was reached."""
    message: str
    """Why, for people."""
    metadata: dict[str, str]
    """The ids that the reason is about, such as `user_id`."""
    violations: tuple[FieldViolation, ...]
    """The fields that were not accepted. Empty except for bad input."""
    retry_after_seconds: float | None
    """How long the server asks to wait before the next try, in seconds. None: it did not say."""

    # Everything but the message has a default, so that the standard pickling, which calls the class with `args` and
    # then restores the attributes, holds for every subclass.
    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[FieldViolation] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        """Describe a failed call; `code` defaults to the status of the class."""
        super().__init__(message)
        self.code = code or type(self).code
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after_seconds = retry_after_seconds
        self._in_place_of_an_answer = False

    def __str__(self) -> str:
        """Return the message and the reason, or the status where there is no reason."""
        return f"{self.message} ({self.reason or self.code.name})"

    def __repr__(self) -> str:
        """Return the class with every attribute that says something."""
        values = {"reason": self.reason, "metadata": self.metadata, "violations": self.violations}
        shown = "".join(f", {name}={value!r}" for name, value in values.items() if value)
        if self.retry_after_seconds is not None:
            shown += f", retry_after_seconds={self.retry_after_seconds!r}"
        return f"{type(self).__name__}({self.message!r}, code={self.code.name}{shown})"

    def __bool__(self) -> bool:
        """Return False for an error in a batch in the place of an answer, so that it can't pass for a yes.

        One that was raised is true: `concurrent.futures` before Python 3.13 loses a raised exception that is not.
        """
        return not self._in_place_of_an_answer or self.__traceback__ is not None


class InvalidArgument(CanuseError):
    """The request is not well formed: `violations` names the fields. Change it before trying again."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class BadArgument(InvalidArgument, TypeError, ValueError):
    """An argument that can't be sent: nothing was. `violations` names it, by the name of the parameter.

    It is a TypeError and a ValueError as well, for code that expects what Python itself raises.
    """

    @classmethod
    def of(cls, name: str, description: str) -> "BadArgument":
        """Describe what is wrong with a parameter."""
        return cls(f"{name}: {description}", violations=[FieldViolation(name, description)])

    def __str__(self) -> str:
        """Return the message alone: no server gave a reason."""
        return self.message


class ClientClosed(CanuseError):
    """The client was closed, before the call or while it was under way; the message says which.

    A write that was under way may have taken place: repeat it only with the same `event_id`.
    """

    code = grpc.StatusCode.CANCELLED


class NotFound(CanuseError):
    """What is named does not exist: a user, feature, package, …; `reason` says which kind, `metadata` which id."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(CanuseError):
    """The id is taken, or (EVENT_ID_REUSED) the idempotency key was sent before with other content.

    GRANT_EXISTS: the user has a grant with this id and other content; the same one again is no error.
    """

    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(CanuseError):
    """The request is well formed, but not possible as things stand: a binary feature has no usage, for example."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Unauthenticated(CanuseError):
    """The server wants an API key and got none, or one that it does not accept."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(CanuseError):
    """The API key is good, but not for this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class Overloaded(CanuseError):
    """The server has too much to do: wait for `retry_after_seconds`, then try again."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unavailable(CanuseError):
    """The service did not answer.

    Without a reason it was not reached or the connection broke, and whether a write took place is not known: repeat it
    only with the same `event_id`.
    """

    code = grpc.StatusCode.UNAVAILABLE


class OutcomeUnknown(Unavailable):
    """The server lost its store while it wrote, and the write may have taken place.

    Safe to repeat with the same `event_id`.
    """


class StoreUnavailable(Unavailable):
    """The server can't reach its store: nothing was written. Safe to repeat."""


class DeadlineExceeded(CanuseError):
    """No answer came within the client's `timeout_seconds`, or no message of a stream within `silence_timeout_seconds`.

    A write may have taken place: repeat it only with the same `event_id`.
    """

    code = grpc.StatusCode.DEADLINE_EXCEEDED


# What gRPC says of calls that a sync channel took with it, of streams among other words.
_CLOSED_UNDER_WAY: Final = "Channel closed!"

_BY_CODE: Final[Mapping[grpc.StatusCode, type[CanuseError]]] = {
    kind.code: kind
    for kind in (
        InvalidArgument,
        NotFound,
        AlreadyExists,
        FailedPrecondition,
        Unauthenticated,
        PermissionDenied,
        Overloaded,
        Unavailable,
        DeadlineExceeded,
    )
}
_UNAVAILABLE_BY_REASON: Final[Mapping[str, type[Unavailable]]] = {
    "OUTCOME_UNKNOWN": OutcomeUnknown,
    "STORE_UNAVAILABLE": StoreUnavailable,
}
_CODES: Final[Mapping[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}


def from_rpc_error(error: grpc.RpcError) -> CanuseError:
    """Return the typed error for what a stub raised, from a sync channel or an asyncio one."""
    # `RpcError` itself is an empty base class at run time; whatever a call raises has these methods.
    if not hasattr(error, "code"):
        return CanuseError(str(error))
    if error.code() is grpc.StatusCode.CANCELLED and _CLOSED_UNDER_WAY in (error.details() or ""):
        return closed_under_way()
    return _described(error.code(), error.details(), _status(error))


def from_status(status: Status) -> CanuseError:
    """Return the typed error for the status of one call among many: it is false as long as nobody raises it."""
    error = _described(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, status)
    error._in_place_of_an_answer = True  # noqa: SLF001 - of a class of this module
    return error


def closed_before() -> ClientClosed:
    """Return the error for a call on a channel that is closed."""
    return ClientClosed("the client is closed: nothing was sent")


def closed_under_way() -> ClientClosed:
    """Return the error for a call whose channel was closed while it was under way."""
    return ClientClosed("the client was closed while the call was under way: whether it took place is not known")


def silent(seconds: float) -> DeadlineExceeded:
    """Return the error for a stream on which no message came."""
    return DeadlineExceeded(f"silence_timeout_seconds: no message came for {seconds:g} seconds")


def _described(code: grpc.StatusCode, message: str | None, status: Status) -> CanuseError:
    """Return the typed error for a code and a message, with the details of a status."""
    info = next((info for info in _details(status, ErrorInfo) if info.domain == DOMAIN), ErrorInfo())
    violations = (violation for request in _details(status, BadRequest) for violation in request.field_violations)
    delay = next((retry.retry_delay for retry in _details(status, RetryInfo)), None)
    kind = _BY_CODE.get(code, CanuseError)
    if kind is Unavailable:
        kind = _UNAVAILABLE_BY_REASON.get(info.reason, Unavailable)
    return kind(
        message or "no message was sent",
        code=code,
        reason=info.reason,
        metadata=info.metadata,
        violations=(FieldViolation(violation.field, violation.description) for violation in violations),
        retry_after_seconds=None if delay is None else delay.seconds + delay.nanos / 1e9,
    )


def _status(error: grpc.RpcError) -> Status:
    """Return the `google.rpc.Status` sent with an error; an empty one where none was, or it can't be read."""
    # A sync call has a tuple or None here, an asyncio one a mapping that iterates as pairs: more than the stubs tell.
    pairs = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    for key, value in pairs:
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return Status.FromString(value)
            except DecodeError:
                break
    return Status()


def _details(status: Status, kind: type[_Detail]) -> Iterator[_Detail]:
    """Yield the details of one kind, leaving out what can't be read."""
    for packed in status.details:
        detail = kind()
        try:
            if packed.Unpack(detail):
                yield detail
        except DecodeError:
            continue
