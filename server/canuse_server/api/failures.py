"""Faults that are not the caller's: what the caller is told of them, and what the log is."""

from typing import Final

import structlog

from canuse_server.api.errors import ApiError, internal, store_error
from canuse_server.runtime.throttle import Throttle
from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError

log = structlog.get_logger(__name__)

# An outage fails every call; a line a second tells as much.
_STORE_FAILURES: Final = Throttle(1.0)


def to_api_error(path: str, error: Exception) -> ApiError:
    """Return what a caller is told of a fault that is not theirs, and log the rest."""
    if isinstance(error, StoreUnavailableError | OutcomeUnknownError):
        log_store_failure(path, error)
        return store_error(error)
    log.error("a call failed with an internal error", method=path, exc_info=error)
    return internal()


def log_store_failure(path: str, error: Exception) -> None:
    """Log that the store failed a call, whatever the caller is told."""
    held_back = _STORE_FAILURES.let_through()
    if held_back is not None:
        log.warning("the store failed a call", method=path, cause=str(error), and_before=held_back)
