"""The errors for calls that are not authorized. None of them contains a part of the credentials."""

from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.api.scopes import SCOPES


def key_required(path: str, *, sent: bool) -> ApiError:
    """Return the error for a call without an API key; `sent`: something else was sent in its place."""
    text = f"{_name(path)} needs an API key: send `authorization: Bearer sk_…` (metadata or header)"
    if sent:
        problem = "what was sent is not `Bearer ` and then an API key or a user token"
        return ApiError(ErrorReason.API_KEY_INVALID, f"{text}; {problem}")
    return ApiError(ErrorReason.API_KEY_MISSING, text)


def unknown_key() -> ApiError:
    """Return the error for an API key that does not exist."""
    return ApiError(ErrorReason.API_KEY_INVALID, "the API key is unknown: it is mistyped or was revoked")


def expired_key(key_id: str) -> ApiError:
    """Return the error for an API key that has expired."""
    return ApiError(ErrorReason.API_KEY_EXPIRED, "the API key has expired", {"key_id": key_id})


def scope_missing(path: str, key_id: str) -> ApiError:
    """Return the error for a method that a secret key's scopes do not permit."""
    scopes = SCOPES[path]
    text = f"{_name(path)} needs an API key with the scope {' or '.join(scopes)}; this key does not have it"
    return ApiError(ErrorReason.SCOPE_MISSING, text, {"scope": scopes[0], "key_id": key_id})


def secret_key_needed(path: str, sent: str) -> ApiError:
    """Return the error for a method that only secret keys may call; `sent` is what was sent instead."""
    scopes = SCOPES[path]
    text = f"{_name(path)} needs a secret API key with the scope {' or '.join(scopes)}; {sent} was sent"
    return ApiError(ErrorReason.SECRET_KEY_NEEDED, text, {"scope": scopes[0]})


def no_secret_key() -> ApiError:
    """Return the error for credentials that nobody can log in with."""
    text = "a secret API key is needed (sk_…); a publishable one or a user token was sent"
    return ApiError(ErrorReason.SECRET_KEY_NEEDED, text)


def invalid_token() -> ApiError:
    """Return the error for a user token that no server has generated, as far as its signature tells."""
    return ApiError(ErrorReason.USER_TOKEN_INVALID, "the user token is not valid: it was changed, cut off or made up")


def expired_token() -> ApiError:
    """Return the error for a user token that has expired."""
    return ApiError(ErrorReason.USER_TOKEN_EXPIRED, "the user token has expired")


def _name(path: str) -> str:
    return path.rpartition("/")[2]
