"""The error table: every error that leaves the server is made from it. docs/errors.md repeats it; a test compares."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, NamedTuple

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError

DOMAIN: Final = "canuse"
# Errors travel in headers, of which clients take about 8 KiB in all. What is larger would reach nobody.
MESSAGE_BYTES: Final = 1200
TEXT_BYTES: Final = 256
MAX_VIOLATIONS: Final = 20
"""How many bad fields of a request are told; of more only the number is."""
RETRY_SECONDS: Final = 0.5
"""How long a caller is asked to wait whose call was one too many."""
DETAILS_KEY: Final = "grpc-status-details-bin"


class ErrorSpec(NamedTuple):
    """An error's status and what a caller should do about it."""

    status: StatusCode
    advice: str


class ErrorReason(Enum):
    """Every reason with which a call fails."""

    INVALID_FIELD = ErrorSpec(StatusCode.INVALID_ARGUMENT, "Correct the fields named in the details.")
    USER_NOT_FOUND = ErrorSpec(StatusCode.NOT_FOUND, "Check the id, or create the user.")
    FEATURE_NOT_FOUND = ErrorSpec(StatusCode.NOT_FOUND, "Check the id, or create the feature.")
    PACKAGE_NOT_FOUND = ErrorSpec(StatusCode.NOT_FOUND, "Check the id, or create the package.")
    SUBSCRIPTION_NOT_FOUND = ErrorSpec(StatusCode.NOT_FOUND, "Check the id: use one that the server gave.")
    GRANT_NOT_FOUND = ErrorSpec(StatusCode.NOT_FOUND, "Check the id, or create the grant.")
    LEASE_NOT_FOUND = ErrorSpec(
        StatusCode.NOT_FOUND, "Check the id, or leave it: the lease has been settled, or expired long ago."
    )
    API_KEY_NOT_FOUND = ErrorSpec(StatusCode.NOT_FOUND, "Check the id: the key may have been revoked already.")
    USER_EXISTS = ErrorSpec(StatusCode.ALREADY_EXISTS, "Take another id, or update the user.")
    FEATURE_EXISTS = ErrorSpec(StatusCode.ALREADY_EXISTS, "Take another id, or update the feature.")
    PACKAGE_EXISTS = ErrorSpec(StatusCode.ALREADY_EXISTS, "Take another id, or update the package.")
    GRANT_EXISTS = ErrorSpec(StatusCode.ALREADY_EXISTS, "Give another grant an id of its own.")
    EVENT_ID_REUSED = ErrorSpec(StatusCode.ALREADY_EXISTS, "Send other content with an event id of its own.")
    FEATURE_NOT_CONSUMABLE = ErrorSpec(StatusCode.FAILED_PRECONDITION, "Only ask CanUse about a binary feature.")
    TOTAL_OUT_OF_RANGE = ErrorSpec(StatusCode.FAILED_PRECONDITION, "Use less: totals end at 2^53 - 1.")
    PACKAGE_NOT_PUBLISHED = ErrorSpec(StatusCode.FAILED_PRECONDITION, "Publish the package, or take another.")
    PACKAGE_IMMUTABLE = ErrorSpec(StatusCode.FAILED_PRECONDITION, "Leave it, or create another package.")
    PACKAGE_ARCHIVED = ErrorSpec(StatusCode.FAILED_PRECONDITION, "Create another package.")
    FEATURE_ARCHIVED = ErrorSpec(StatusCode.FAILED_PRECONDITION, "Leave the feature out of new packages.")
    SECOND_BASE_PACKAGE = ErrorSpec(StatusCode.FAILED_PRECONDITION, "End the other base subscription first.")
    TOO_MANY_SUBSCRIPTIONS = ErrorSpec(
        StatusCode.FAILED_PRECONDITION, "End subscriptions that are not needed: 100 that have not ended are accepted."
    )
    TOO_MANY_GRANTS = ErrorSpec(StatusCode.FAILED_PRECONDITION, "Give fewer, larger grants of one feature.")
    NO_PERIOD_END = ErrorSpec(StatusCode.FAILED_PRECONDITION, "Cancel at once instead.")
    ADMIN_KEY_NEEDED = ErrorSpec(StatusCode.FAILED_PRECONDITION, "First make another key with which keys can be made.")
    TOO_MANY_API_KEYS = ErrorSpec(StatusCode.FAILED_PRECONDITION, "Revoke keys that are not used any more.")
    API_KEY_MISSING = ErrorSpec(StatusCode.UNAUTHENTICATED, "Send an API key: `authorization: Bearer sk_…`.")
    API_KEY_INVALID = ErrorSpec(
        StatusCode.UNAUTHENTICATED, "Send a key as it was shown when it was made, or a new one."
    )
    API_KEY_EXPIRED = ErrorSpec(StatusCode.UNAUTHENTICATED, "Send a new key.")
    SCOPE_MISSING = ErrorSpec(StatusCode.PERMISSION_DENIED, "Use a key with the scope that `metadata` names.")
    ENVIRONMENT_MISMATCH = ErrorSpec(StatusCode.PERMISSION_DENIED, "Use a key of the environment that is asked for.")
    STORE_UNAVAILABLE = ErrorSpec(StatusCode.UNAVAILABLE, "Try again: nothing was written.")
    OUTCOME_UNKNOWN = ErrorSpec(StatusCode.UNAVAILABLE, "Repeat it with the same event id, or look before repeating.")
    SHUTTING_DOWN = ErrorSpec(
        StatusCode.UNAVAILABLE, "Try again or resume, on another server: nothing was written since."
    )
    OVERLOADED = ErrorSpec(StatusCode.RESOURCE_EXHAUSTED, "Try again after the time that `RetryInfo` says.")
    MESSAGE_TOO_LARGE = ErrorSpec(StatusCode.RESOURCE_EXHAUSTED, "Send less at a time: at most 4 MiB.")
    DEADLINE_PASSED = ErrorSpec(StatusCode.DEADLINE_EXCEEDED, "Allow more time: nothing was written.")
    INTERNAL = ErrorSpec(StatusCode.INTERNAL, "Report it: it is a defect of canuse.")

    @property
    def status(self) -> StatusCode:
        """The gRPC status that goes with the reason."""
        return self.value.status


OF_THE_STORE: Final = frozenset({ErrorReason.STORE_UNAVAILABLE, ErrorReason.OUTCOME_UNKNOWN})
"""What every server would say that shares the store."""
DO_NOT_RETRY: Final = ("grpc-retry-pushback-ms", "-1")
"""Keeps gRPC from repeating a call by itself: the caller would hear of it only after as many waits for the store."""


class ApiError(Exception):
    """A call's failure, with what the caller is told. `metadata` holds the ids involved."""

    def __init__(
        self,
        reason: ErrorReason,
        message: str,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[tuple[str, str]] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        self.message = _clip(message, MESSAGE_BYTES + TEXT_BYTES)
        self.metadata = {key: _clip(value, TEXT_BYTES) for key, value in (metadata or {}).items()}
        self.violations = [(_clip(field, TEXT_BYTES), _clip(text, TEXT_BYTES)) for field, text in violations]

    @property
    def code(self) -> int:
        """The number of the gRPC status."""
        number: int = self.reason.status.value[0]
        return number

    def status(self) -> Status:
        """Return the status with its details, as the result of one call among many."""
        info = ErrorInfo(reason=self.reason.name, domain=DOMAIN, metadata=self.metadata)
        status = Status(code=self.code, message=self.message, details=[_any(info)])
        if self.violations:
            violations = [BadRequest.FieldViolation(field=field, description=text) for field, text in self.violations]
            status.details.append(_any(BadRequest(field_violations=violations)))
        if self.retry_after_seconds is not None:
            retry = RetryInfo()
            retry.retry_delay.FromMilliseconds(round(self.retry_after_seconds * 1000))
            status.details.append(_any(retry))
        return status

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        """Return the status as it goes over the wire at the end of a call."""
        return ((DETAILS_KEY, self.status().SerializeToString()),)

    def retry_metadata(self) -> tuple[tuple[str, str], ...]:
        """Return what goes along with it to keep gRPC from repeating the call by itself."""
        return (DO_NOT_RETRY,) if self.reason in OF_THE_STORE else ()


def _clip(text: str, size: int) -> str:
    encoded = text.encode()
    return text if len(encoded) <= size else encoded[:size].decode(errors="ignore") + "…"


def _any(message: ErrorInfo | BadRequest | RetryInfo) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def invalid(violations: Sequence[tuple[str, str]], untold: int = 0) -> ApiError:
    """Return the error for bad fields: pairs of a field's path and what is wrong with it; `untold` is how many more."""
    told: list[tuple[str, str]] = []
    parts: list[str] = []
    size = 0
    for field, text in violations[:MAX_VIOLATIONS]:
        part = f"{_clip(field, TEXT_BYTES)}: {_clip(text, TEXT_BYTES)}"
        size += len(part.encode()) + len("; ")
        if told and size - len("; ") > MESSAGE_BYTES:
            break
        parts.append(part)
        told.append((field, text))
    if untold := untold + len(violations) - len(told):
        parts.append(f"and {untold} more")
    return ApiError(ErrorReason.INVALID_FIELD, "; ".join(parts), violations=told)


def user_not_found(user_id: str) -> ApiError:
    """Return the error for an unknown user."""
    return ApiError(ErrorReason.USER_NOT_FOUND, f"there is no user {user_id!r}", {"user_id": user_id})


def feature_not_found(feature_id: str) -> ApiError:
    """Return the error for an unknown feature."""
    return ApiError(ErrorReason.FEATURE_NOT_FOUND, f"there is no feature {feature_id!r}", {"feature_id": feature_id})


def package_not_found(package_id: str) -> ApiError:
    """Return the error for an unknown package."""
    return ApiError(ErrorReason.PACKAGE_NOT_FOUND, f"there is no package {package_id!r}", {"package_id": package_id})


def version_not_found(package_id: str, version: int) -> ApiError:
    """Return the error for a version of a package that was never published."""
    text = f"package {package_id!r} has no published version {version}"
    return ApiError(ErrorReason.PACKAGE_NOT_FOUND, text, {"package_id": package_id, "version": str(version)})


def subscription_not_found(subscription_id: str) -> ApiError:
    """Return the error for an unknown subscription."""
    return ApiError(
        ErrorReason.SUBSCRIPTION_NOT_FOUND,
        f"there is no subscription {subscription_id!r}",
        {"subscription_id": subscription_id},
    )


def lease_not_found(lease_id: str) -> ApiError:
    """Return the error for a lease that there is not, or not any more."""
    text = f"there is no lease {lease_id!r}, or not any more"
    return ApiError(ErrorReason.LEASE_NOT_FOUND, text, {"lease_id": lease_id})


def not_consumable(feature_id: str) -> ApiError:
    """Return the error for counting a feature that is on or off."""
    return ApiError(
        ErrorReason.FEATURE_NOT_CONSUMABLE,
        f"feature {feature_id!r} is binary: it is on or off, and has nothing to count",
        {"feature_id": feature_id},
    )


def event_id_reused(user_id: str, event_id: str) -> ApiError:
    """Return the error for an idempotency key that was used with other content."""
    return ApiError(
        ErrorReason.EVENT_ID_REUSED,
        f"event_id {event_id!r} was used before with other content",
        {"user_id": user_id, "event_id": event_id},
    )


def total_out_of_range(user_id: str, feature_ids: Sequence[str]) -> ApiError:
    """Return the error for a total, of one of these features, that would pass the largest amount."""
    names = " or ".join(repr(feature_id) for feature_id in feature_ids)
    ids = {"user_id": user_id, "feature_id": ",".join(feature_ids)}
    return ApiError(ErrorReason.TOTAL_OUT_OF_RANGE, f"the total used of {names} would pass 2^53 - 1", ids)


def store_error(error: StoreUnavailableError | OutcomeUnknownError) -> ApiError:
    """Return what callers are told of a fault of the store: what it means for them, none of its own words."""
    if isinstance(error, OutcomeUnknownError):
        text = "the store did not confirm the write, which may have been made; with an event_id it can be repeated"
        return ApiError(ErrorReason.OUTCOME_UNKNOWN, text)
    return ApiError(ErrorReason.STORE_UNAVAILABLE, "the store is not available; nothing was written")


def shutting_down() -> ApiError:
    """Return the error for a call that comes while the server ends."""
    return ApiError(ErrorReason.SHUTTING_DOWN, "the server is shutting down; nothing was written")


def overloaded() -> ApiError:
    """Return the error for a call that is one too many."""
    text = "the server has as many calls in flight as it may; nothing was written"
    return ApiError(ErrorReason.OVERLOADED, text, retry_after_seconds=RETRY_SECONDS)


def too_much_asked() -> ApiError:
    """Return the error for a question about the services after too many of them."""
    text = "reflection has answered as much as it may for now; the protos are in the package canuse as well"
    return ApiError(ErrorReason.OVERLOADED, text, retry_after_seconds=RETRY_SECONDS)


def message_too_large(size: int, most: int) -> ApiError:
    """Return the error for a request of so many bytes."""
    return ApiError(ErrorReason.MESSAGE_TOO_LARGE, f"the request has {size} bytes; at most {most} are accepted")


def deadline_passed() -> ApiError:
    """Return the error for a call whose caller has given up before it was looked at."""
    return ApiError(ErrorReason.DEADLINE_PASSED, "the deadline passed before the call was looked at")


def internal() -> ApiError:
    """Return the error for a defect; the log has the rest."""
    return ApiError(ErrorReason.INTERNAL, "an internal error; the server's log has the details")
