"""The exceptions of a call: one class per gRPC status, with the server's reason and details as attributes.

docs/errors.md lists the reasons. A no to `can_use` or `use_feature` is an answer, not an error.
"""

# ruff: noqa: N818 - they are named after the gRPC statuses

from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

if TYPE_CHECKING:
    from canuse._denial import Decision

DOMAIN: Final = "canuse"
DETAILS_KEY: Final = "grpc-status-details-bin"

_Detail = TypeVar("_Detail", bound=Message)


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that the server did not accept."""

    field: str
    """The path of the field in the request, such as `user.id`."""
    description: str
    """The value that was sent and what is accepted."""


class CanuseError(Exception):
    """A failed call. Raised itself for a status without a class of its own, such as INTERNAL."""

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    """The gRPC status."""
    reason: str
    """The reason, for programs: `USER_NOT_FOUND`. Empty if the server sent none or was not reached."""
    message: str
    """The reason, for people."""
    metadata: dict[str, str]
    """The ids involved, such as `user_id`."""
    violations: tuple[FieldViolation, ...]
    """The invalid fields. Empty except for invalid input."""
    retry_after_seconds: float | None
    """Delay before a retry that the server asks for, in seconds. None: it asks for none."""
    event_id: str
    """The `event_id` with which the call was sent, also a generated one: a later call with it counts once. Empty: the
    call had none. A generated one is kept for at least 10 minutes."""

    # Every argument but the message has a default: pickling calls the class with `args` and then restores the
    # attributes.
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
        """Create the error; `code` defaults to the status of the class."""
        super().__init__(message)
        self.code = code or type(self).code
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after_seconds = retry_after_seconds
        self.event_id = ""
        self._is_batch_item = False

    def __str__(self) -> str:
        """Return the message and the reason, or the status if there is no reason."""
        return f"{self.message} ({self.reason or self.code.name})"

    def __repr__(self) -> str:
        """Return the class with every attribute that is set."""
        values = {
            "reason": self.reason,
            "metadata": self.metadata,
            "violations": self.violations,
            "event_id": self.event_id,
        }
        shown = "".join(f", {name}={value!r}" for name, value in values.items() if value)
        if self.retry_after_seconds is not None:
            shown += f", retry_after_seconds={self.retry_after_seconds!r}"
        return f"{type(self).__name__}({self.message!r}, code={self.code.name}{shown})"

    def __bool__(self) -> bool:
        """Return False for an error in the results of a batch, so that it is not taken for a yes.

        A raised error is true: `concurrent.futures` before Python 3.13 loses a raised exception that is false.
        """
        return not self._is_batch_item or self.__traceback__ is not None


class InvalidArgument(CanuseError):
    """The request is invalid: `violations` names the fields. Change it before the next attempt."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class BadArgument(InvalidArgument, TypeError, ValueError):
    """An argument that cannot be sent; nothing was sent. `violations` names the parameter.

    It is also a TypeError and a ValueError, for code that expects those.
    """

    @classmethod
    def of(cls, name: str, description: str) -> "BadArgument":
        """Return the error for a parameter."""
        return cls(f"{name}: {description}", violations=[FieldViolation(name, description)])

    def __str__(self) -> str:
        """Return the message alone: there is no reason from a server."""
        return self.message


class ClientClosed(CanuseError):
    """The client was closed, before the call or during it; the message says which.

    A write during which it was closed may have been made: retry it only with the same `event_id`.
    """

    code = grpc.StatusCode.CANCELLED


class NotFound(CanuseError):
    """A user, feature, package, … does not exist; `reason` says which kind, `metadata` which id."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(CanuseError):
    """The id is in use, or (EVENT_ID_REUSED) the idempotency key was already used for a different request.

    GRANT_EXISTS: the user has a grant with this id and different content; the same content is not an error.
    """

    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(CanuseError):
    """The request is valid, but not possible in the current state: a binary feature has no usage, for example."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Aborted(CanuseError):
    """What the call was based on has changed meanwhile; nothing was written. Read again and retry."""

    code = grpc.StatusCode.ABORTED


class Unauthenticated(CanuseError):
    """The server requires an API key and got none, or an invalid one."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(CanuseError):
    """The API key is valid, but does not permit this call."""

    code = grpc.StatusCode.PERMISSION_DENIED


class Overloaded(CanuseError):
    """The server is overloaded: retry after `retry_after_seconds`."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unavailable(CanuseError):
    """The service did not answer.

    Without a reason, the server was not reached or the connection broke, and a write may have been made: retry it only
    with the same `event_id`.
    """

    code = grpc.StatusCode.UNAVAILABLE


class OutcomeUnknown(Unavailable):
    """The store did not confirm a write, which may have been made.

    Safe to retry with the same `event_id`.
    """


class StoreUnavailable(Unavailable):
    """The store is unavailable; nothing was written. Safe to retry."""


class DeadlineExceeded(CanuseError):
    """No answer arrived within `timeout_seconds`, or no message of a stream within `silence_timeout_seconds`.

    A write may have been made: retry it only with the same `event_id`.
    """

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class AccessDenied(Exception):
    """The answer is no. Its text is a sentence for the end user, without ids other than the feature's.

    Raised by `raise_if_denied`, `using` and `limited`. It is no CanuseError: the call was answered. Handlers for failed
    calls, which may let users pass, do not catch it.
    """

    answer: "Decision"
    """The answer, with its reason and counts."""

    def __init__(self, message: str, answer: "Decision") -> None:
        """Create the error."""
        super().__init__(message, answer)
        self.message = message
        self.answer = answer

    def __str__(self) -> str:
        """Return the sentence for the end user."""
        return self.message


# Part of gRPC's message for a call that ends because its synchronous channel is closed.
_CLOSED_DURING_CALL: Final = "Channel closed!"

_BY_CODE: Final[Mapping[grpc.StatusCode, type[CanuseError]]] = {
    kind.code: kind
    for kind in (
        InvalidArgument,
        NotFound,
        AlreadyExists,
        FailedPrecondition,
        Aborted,
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
    """Return the typed error for what a stub raised, synchronous or asynchronous."""
    # `RpcError` is an empty base class at run time. The errors of calls have these methods.
    if not hasattr(error, "code"):
        return CanuseError(str(error))
    if error.code() is grpc.StatusCode.CANCELLED and _CLOSED_DURING_CALL in (error.details() or ""):
        return closed_during_call()
    return _typed_error(error.code(), error.details(), _status(error))


def from_status(status: Status) -> CanuseError:
    """Return the typed error for an item of a batch: it is false until it is raised."""
    error = _typed_error(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, status)
    error._is_batch_item = True  # noqa: SLF001 - of a class of this module
    return error


def as_batch_item(error: CanuseError) -> CanuseError:
    """Return a copy of an error for the results of a batch: it is false until it is raised."""
    item = copy(error)
    item._is_batch_item = True  # noqa: SLF001 - of a class of this module
    return item


def closed_before_call() -> ClientClosed:
    """Return the error for a call on a channel that is closed."""
    return ClientClosed("the client is closed; nothing was sent")


def closed_during_call() -> ClientClosed:
    """Return the error for a call whose channel was closed during the call."""
    return ClientClosed("the client was closed during the call; it may have been processed")


def stream_timed_out(seconds: float) -> DeadlineExceeded:
    """Return the error for a stream on which no message arrived in time."""
    return DeadlineExceeded(f"silence_timeout_seconds: no message arrived for {seconds:g} seconds")


def _typed_error(code: grpc.StatusCode, message: str | None, status: Status) -> CanuseError:
    """Return the typed error for a code and a message, with the details of a status."""
    info = next((info for info in _details(status, ErrorInfo) if info.domain == DOMAIN), ErrorInfo())
    violations = (violation for request in _details(status, BadRequest) for violation in request.field_violations)
    delay = next((retry.retry_delay for retry in _details(status, RetryInfo)), None)
    kind = _BY_CODE.get(code, CanuseError)
    if kind is Unavailable:
        kind = _UNAVAILABLE_BY_REASON.get(info.reason, Unavailable)
    return kind(
        message or "no message",
        code=code,
        reason=info.reason,
        metadata=info.metadata,
        violations=(FieldViolation(violation.field, violation.description) for violation in violations),
        retry_after_seconds=None if delay is None else delay.seconds + delay.nanos / 1e9,
    )


def _status(error: grpc.RpcError) -> Status:
    """Return the `google.rpc.Status` of an error; an empty one if it has none, or one that cannot be decoded."""
    # A tuple or None of a synchronous call; of an asynchronous one a mapping that iterates as pairs. The types omit it.
    pairs = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    for key, value in pairs:
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return Status.FromString(value)
            except DecodeError:
                break
    return Status()


def _details(status: Status, kind: type[_Detail]) -> Iterator[_Detail]:
    """Yield the details of one kind, without those that cannot be decoded."""
    for packed in status.details:
        detail = kind()
        try:
            if packed.Unpack(detail):
                yield detail
        except DecodeError:
            continue
