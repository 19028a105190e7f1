"""Errors in Kana's words: a GraphQL error whose extensions name the class that Kana's clients make of it."""

from collections.abc import Mapping
from typing import Any, Final

from grpc import StatusCode

from canuse_server.api.errors import ApiError, ErrorReason

BAD_USER_INPUT: Final = "BAD_USER_INPUT"
UNAUTHENTICATED: Final = "UNAUTHENTICATED"
INTERNAL: Final = "INTERNAL_SERVER_ERROR"
PARSE_FAILED: Final = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED: Final = "GRAPHQL_VALIDATION_FAILED"
GENERAL: Final = "Error"
_SUBSCRIPTION: Final = "SubscriptionError"
_NAMES: Final[Mapping[ErrorReason, str]] = {
    ErrorReason.USER_NOT_FOUND: "UserNotFoundError",
    ErrorReason.FEATURE_NOT_FOUND: "FeatureNotFoundError",
    ErrorReason.PACKAGE_NOT_FOUND: "PackageNotFoundError",
    ErrorReason.SUBSCRIPTION_NOT_FOUND: "SubscriptionNotFoundError",
    ErrorReason.SECOND_BASE_PACKAGE: _SUBSCRIPTION,
    ErrorReason.PACKAGE_NOT_PUBLISHED: _SUBSCRIPTION,
    ErrorReason.TOO_MANY_SUBSCRIPTIONS: _SUBSCRIPTION,
}
"""The classes of Kana's clients."""
MAX_MESSAGE_LENGTH: Final = 1000
"""Messages of the GraphQL library quote what was sent, of any length."""
AUTHENTICATION: Final = "AuthenticationError"
_CODES: Final[Mapping[StatusCode, tuple[str, str | None]]] = {
    StatusCode.UNAUTHENTICATED: (UNAUTHENTICATED, AUTHENTICATION),
    StatusCode.PERMISSION_DENIED: ("FORBIDDEN", AUTHENTICATION),
    StatusCode.INTERNAL: (INTERNAL, None),
    StatusCode.UNAVAILABLE: (INTERNAL, None),
    StatusCode.RESOURCE_EXHAUSTED: (INTERNAL, None),
    StatusCode.DEADLINE_EXCEEDED: (INTERNAL, None),
}
"""The code and the class by the status; of others the code is BAD_USER_INPUT. Clients know these codes from Apollo."""


class KanaError(Exception):
    """An error of this door, which no method of the API has."""

    def __init__(self, message: str, code: str = BAD_USER_INPUT, name: str = GENERAL) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.name = name


def subscription_error(message: str) -> KanaError:
    """Return an error of `subscribe`."""
    return KanaError(message, name=_SUBSCRIPTION)


def error_fields(error: ApiError | KanaError) -> dict[str, Any]:
    """Return the message and the extensions of an error."""
    if isinstance(error, KanaError):
        return _fields(error.message, error.code, error.name)
    status = error.reason.status
    code, name = _CODES.get(status, (BAD_USER_INPUT, None))
    # Kana's clients know bad credentials by the first word.
    message = f"Unauthenticated: {error.message}" if status is StatusCode.UNAUTHENTICATED else error.message
    fields = _fields(message, code, name or _NAMES.get(error.reason, GENERAL))
    fields["extensions"]["reason"] = error.reason.name
    return fields


def _fields(message: str, code: str, name: str) -> dict[str, Any]:
    if len(message) > MAX_MESSAGE_LENGTH:
        message = f"{message[:MAX_MESSAGE_LENGTH]}…"
    return {"message": message, "extensions": {"code": code, "exception": {"name": name, "message": message}}}
