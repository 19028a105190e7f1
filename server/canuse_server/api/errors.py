"""The error table: every error that the server returns. docs/errors.md is generated from it."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, NamedTuple

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError, UnmetDurabilityError

DOMAIN: Final = "canuse"
# Errors are sent in headers. Clients accept about 8 KiB of headers in all, so a larger error would not arrive.
MESSAGE_BYTES: Final = 1200
TEXT_BYTES: Final = 256
MAX_VIOLATIONS: Final = 20
"""Maximum number of invalid fields listed in one error. The error gives the number of the others."""
RETRY_SECONDS: Final = 0.5
"""Delay before a retry that `OVERLOADED` asks for."""
DETAILS_KEY: Final = "grpc-status-details-bin"


class ErrorSpec(NamedTuple):
    """The gRPC status of an error and the advice for the caller."""

    status: StatusCode
    advice: str


class ErrorReason(Enum):
    """Every reason for a failed call."""

    INVALID_FIELD = ErrorSpec(StatusCode.INVALID_ARGUMENT, "Correct the fields that the details name.")
    USER_NOT_FOUND = ErrorSpec(StatusCode.NOT_FOUND, "Check the id, or create the user.")
    FEATURE_NOT_FOUND = ErrorSpec(StatusCode.NOT_FOUND, "Check the id, or create the feature.")
    PACKAGE_NOT_FOUND = ErrorSpec(StatusCode.NOT_FOUND, "Check the id, or create the package.")
    SUBSCRIPTION_NOT_FOUND = ErrorSpec(StatusCode.NOT_FOUND, "Use an id that the server returned.")
    GRANT_NOT_FOUND = ErrorSpec(StatusCode.NOT_FOUND, "Check the id, or create the grant.")
    LEASE_NOT_FOUND = ErrorSpec(
        StatusCode.NOT_FOUND,
        "Check the id. A settled or long expired lease is not found: nothing is left to do.",
    )
    API_KEY_NOT_FOUND = ErrorSpec(StatusCode.NOT_FOUND, "Check the id. The key may already be revoked.")
    USER_EXISTS = ErrorSpec(StatusCode.ALREADY_EXISTS, "Use another id, or update the user.")
    FEATURE_EXISTS = ErrorSpec(StatusCode.ALREADY_EXISTS, "Use another id, or update the feature.")
    PACKAGE_EXISTS = ErrorSpec(StatusCode.ALREADY_EXISTS, "Use another id, or update the package.")
    GRANT_EXISTS = ErrorSpec(StatusCode.ALREADY_EXISTS, "Use another id for another grant.")
    EVENT_ID_REUSED = ErrorSpec(StatusCode.ALREADY_EXISTS, "Use a new event id for a different request.")
    FEATURE_NOT_CONSUMABLE = ErrorSpec(StatusCode.FAILED_PRECONDITION, "Call only CanUse for a binary feature.")
    TOTAL_OUT_OF_RANGE = ErrorSpec(StatusCode.FAILED_PRECONDITION, "Use less: the maximum total is 2^53 - 1.")
    LEASE_PERIOD_ENDED = ErrorSpec(
        StatusCode.FAILED_PRECONDITION, "Settle the lease, and reserve in the current period."
    )
    PACKAGE_NOT_PUBLISHED = ErrorSpec(StatusCode.FAILED_PRECONDITION, "Publish the package, or use another one.")
    PACKAGE_IMMUTABLE = ErrorSpec(StatusCode.FAILED_PRECONDITION, "Create another package.")
    PACKAGE_ARCHIVED = ErrorSpec(StatusCode.FAILED_PRECONDITION, "Use another package.")
    FEATURE_ARCHIVED = ErrorSpec(StatusCode.FAILED_PRECONDITION, "Do not add the feature to new packages.")
    CATALOG_CHANGED = ErrorSpec(StatusCode.ABORTED, "Plan again: the catalogue has changed since. Nothing was written.")
    PACKAGE_NOT_BASE = ErrorSpec(StatusCode.FAILED_PRECONDITION, "Subscribe to the add-on with Subscribe.")
    SECOND_BASE_PACKAGE = ErrorSpec(
        StatusCode.FAILED_PRECONDITION,
        "Replace the other base package with ChangePackage, or end its subscription first.",
    )
    TOO_MANY_SUBSCRIPTIONS = ErrorSpec(
        StatusCode.FAILED_PRECONDITION,
        "End subscriptions that are not needed: 100 can be open at a time.",
    )
    TOO_MANY_GRANTS = ErrorSpec(StatusCode.FAILED_PRECONDITION, "Create fewer and larger grants of the feature.")
    NO_PERIOD_END = ErrorSpec(
        StatusCode.FAILED_PRECONDITION, "Cancel the subscription, or change the package, at once instead."
    )
    ADMIN_KEY_NEEDED = ErrorSpec(
        StatusCode.FAILED_PRECONDITION, "First create another live key with the scope `keys:admin` and no expiry."
    )
    TOO_MANY_API_KEYS = ErrorSpec(StatusCode.FAILED_PRECONDITION, "Revoke keys that are no longer used.")
    API_KEY_MISSING = ErrorSpec(StatusCode.UNAUTHENTICATED, "Send an API key: `authorization: Bearer sk_…`.")
    API_KEY_INVALID = ErrorSpec(
        StatusCode.UNAUTHENTICATED, "Send the key exactly as it was shown when it was created, or a new key."
    )
    API_KEY_EXPIRED = ErrorSpec(StatusCode.UNAUTHENTICATED, "Send a new key.")
    USER_TOKEN_INVALID = ErrorSpec(
        StatusCode.UNAUTHENTICATED, "Generate another token for the user. This one was changed, revoked or never valid."
    )
    USER_TOKEN_EXPIRED = ErrorSpec(StatusCode.UNAUTHENTICATED, "Generate another token for the user.")
    USER_MISMATCH = ErrorSpec(StatusCode.PERMISSION_DENIED, "Name only the user for whom the token was generated.")
    SECRET_KEY_NEEDED = ErrorSpec(
        StatusCode.PERMISSION_DENIED, "Call it from your backend, with an API key that is not publishable."
    )
    PUBLISHABLE_KEYS_NOT_ALLOWED = ErrorSpec(
        StatusCode.PERMISSION_DENIED, "Use a secret key or a user token, or set `publishable_keys` on the server."
    )
    SCOPE_MISSING = ErrorSpec(StatusCode.PERMISSION_DENIED, "Use a key with the scope that `metadata` names.")
    ENVIRONMENT_MISMATCH = ErrorSpec(StatusCode.PERMISSION_DENIED, "Use a key of the requested environment.")
    STORE_UNAVAILABLE = ErrorSpec(StatusCode.UNAVAILABLE, "Retry. Nothing was written.")
    OUTCOME_UNKNOWN = ErrorSpec(
        StatusCode.UNAVAILABLE, "Retry with the same event id. Without one, first check whether the write was made."
    )
    SHUTTING_DOWN = ErrorSpec(
        StatusCode.UNAVAILABLE, "Retry on another server. Nothing was written; a migration resumes with its last token."
    )
    OVERLOADED = ErrorSpec(StatusCode.RESOURCE_EXHAUSTED, "Retry after the delay in `RetryInfo`.")
    MESSAGE_TOO_LARGE = ErrorSpec(StatusCode.RESOURCE_EXHAUSTED, "Split the request: the maximum is 4 MiB.")
    DEADLINE_PASSED = ErrorSpec(StatusCode.DEADLINE_EXCEEDED, "Use a longer deadline. Nothing was written.")
    INTERNAL = ErrorSpec(StatusCode.INTERNAL, "Report it as a bug in canuse.")

    @property
    def status(self) -> StatusCode:
        """The gRPC status that goes with the reason."""
        return self.value.status


STORE_REASONS: Final = frozenset({ErrorReason.STORE_UNAVAILABLE, ErrorReason.OUTCOME_UNKNOWN})
"""Errors that every server with the same store would return."""
DO_NOT_RETRY: Final = ("grpc-retry-pushback-ms", "-1")
"""Stops gRPC's own retries: each would wait for the store again before the caller gets the error."""


class ApiError(Exception):
    """A failed call and the error that the caller gets. `metadata` contains the ids involved."""

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
        """Return the status with its details, as it appears in the result of a batch."""
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
        """Return the status as trailing metadata of a call."""
        return ((DETAILS_KEY, self.status().SerializeToString()),)

    def retry_metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata that stops gRPC's own retries, if the error needs it."""
        return (DO_NOT_RETRY,) if self.reason in STORE_REASONS else ()


def _clip(text: str, size: int) -> str:
    encoded = text.encode()
    return text if len(encoded) <= size else encoded[:size].decode(errors="ignore") + "…"


def _any(message: ErrorInfo | BadRequest | RetryInfo) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def invalid(violations: Sequence[tuple[str, str]], unlisted: int = 0) -> ApiError:
    """Return the error for invalid fields: pairs of path and problem. `unlisted` is the number of further ones."""
    listed: list[tuple[str, str]] = []
    parts: list[str] = []
    size = 0
    for field, text in violations[:MAX_VIOLATIONS]:
        part = f"{_clip(field, TEXT_BYTES)}: {_clip(text, TEXT_BYTES)}"
        size += len(part.encode()) + len("; ")
        if listed and size - len("; ") > MESSAGE_BYTES:
            break
        parts.append(part)
        listed.append((field, text))
    if unlisted := unlisted + len(violations) - len(listed):
        parts.append(f"and {unlisted} more")
    return ApiError(ErrorReason.INVALID_FIELD, "; ".join(parts), violations=listed)


def user_not_found(user_id: str) -> ApiError:
    """Return the error for an unknown user."""
    return ApiError(ErrorReason.USER_NOT_FOUND, f"user {user_id!r} does not exist", {"user_id": user_id})


def feature_not_found(feature_id: str) -> ApiError:
    """Return the error for an unknown feature."""
    return ApiError(ErrorReason.FEATURE_NOT_FOUND, f"feature {feature_id!r} does not exist", {"feature_id": feature_id})


def package_not_found(package_id: str) -> ApiError:
    """Return the error for an unknown package."""
    return ApiError(ErrorReason.PACKAGE_NOT_FOUND, f"package {package_id!r} does not exist", {"package_id": package_id})


def version_not_found(package_id: str, version: int) -> ApiError:
    """Return the error for a version of a package that was never published."""
    text = f"package {package_id!r} has no published version {version}"
    return ApiError(ErrorReason.PACKAGE_NOT_FOUND, text, {"package_id": package_id, "version": str(version)})


def subscription_not_found(subscription_id: str) -> ApiError:
    """Return the error for an unknown subscription."""
    return ApiError(
        ErrorReason.SUBSCRIPTION_NOT_FOUND,
        f"subscription {subscription_id!r} does not exist",
        {"subscription_id": subscription_id},
    )


def lease_not_found(lease_id: str) -> ApiError:
    """Return the error for a lease that does not exist or has ended."""
    text = f"lease {lease_id!r} does not exist or has ended"
    return ApiError(ErrorReason.LEASE_NOT_FOUND, text, {"lease_id": lease_id})


def lease_period_ended(lease_id: str) -> ApiError:
    """Return the error for adding units to a lease of an earlier period."""
    text = f"the period of lease {lease_id!r} has ended, so that no units can be added to it"
    return ApiError(ErrorReason.LEASE_PERIOD_ENDED, text, {"lease_id": lease_id})


def not_consumable(feature_id: str) -> ApiError:
    """Return the error for recording a use of a binary feature."""
    return ApiError(
        ErrorReason.FEATURE_NOT_CONSUMABLE,
        f"feature {feature_id!r} is binary: its use is not counted",
        {"feature_id": feature_id},
    )


def event_id_reused(user_id: str, event_id: str) -> ApiError:
    """Return the error for an event id that was used for a different request."""
    return ApiError(
        ErrorReason.EVENT_ID_REUSED,
        f"event_id {event_id!r} was already used for a different request",
        {"user_id": user_id, "event_id": event_id},
    )


def total_out_of_range(user_id: str, feature_ids: Sequence[str]) -> ApiError:
    """Return the error for a total of one of these features above the maximum."""
    names = " or ".join(repr(feature_id) for feature_id in feature_ids)
    ids = {"user_id": user_id, "feature_id": ",".join(feature_ids)}
    return ApiError(ErrorReason.TOTAL_OUT_OF_RANGE, f"the total used of {names} would exceed 2^53 - 1", ids)


def store_error(error: StoreUnavailableError | OutcomeUnknownError) -> ApiError:
    """Return the error for a failure of the store. It does not contain the store's own message."""
    if isinstance(error, UnmetDurabilityError):
        text = f"the store did not confirm the write; it may have been made: {error}"
        return ApiError(ErrorReason.OUTCOME_UNKNOWN, text)
    if isinstance(error, OutcomeUnknownError):
        text = "the store did not confirm the write; it may have been made; retry with the same event_id"
        return ApiError(ErrorReason.OUTCOME_UNKNOWN, text)
    return ApiError(ErrorReason.STORE_UNAVAILABLE, "the store is unavailable; nothing was written")


def shutting_down() -> ApiError:
    """Return the error for a call that arrives during shutdown."""
    return ApiError(ErrorReason.SHUTTING_DOWN, "the server is shutting down; nothing was written")


def overloaded() -> ApiError:
    """Return the error for a call above the limit of calls in flight."""
    text = "too many calls in flight; nothing was written"
    return ApiError(ErrorReason.OVERLOADED, text, retry_after_seconds=RETRY_SECONDS)


def publishable_keys_not_allowed() -> ApiError:
    """Return the error for a publishable API key, to use or to create, on a server that does not allow them."""
    text = "this server does not allow publishable API keys: its setting `publishable_keys` is false"
    return ApiError(ErrorReason.PUBLISHABLE_KEYS_NOT_ALLOWED, text)


def reflection_limited() -> ApiError:
    """Return the error for a reflection request above the limit."""
    text = "reflection has reached its limit for now; the Python package canuse contains the API as well"
    return ApiError(ErrorReason.OVERLOADED, text, retry_after_seconds=RETRY_SECONDS)


def message_too_large(size: int, maximum: int) -> ApiError:
    """Return the error for a request above the size limit."""
    return ApiError(ErrorReason.MESSAGE_TOO_LARGE, f"the request has {size} bytes; the maximum is {maximum}")


def deadline_passed() -> ApiError:
    """Return the error for a call whose deadline passed before it was processed."""
    return ApiError(ErrorReason.DEADLINE_PASSED, "the deadline passed before the call started; nothing was written")


def internal() -> ApiError:
    """Return the error for a bug in the server. The log has the details."""
    return ApiError(ErrorReason.INTERNAL, "internal error; the server's log has the details")
