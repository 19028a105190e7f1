"""Failures that the caller did not cause: the error for the caller, and the log line."""

from typing import Final

import structlog

from canuse_server.api.errors import ApiError, internal, store_error
from canuse_server.runtime.throttle import Throttle
from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError

log = structlog.get_logger(__name__)

# An outage fails every call; one line per second is enough.
_STORE_FAILURES: Final = Throttle(1.0)


def to_api_error(path: str, error: Exception) -> ApiError:
    """Return the error for a failure that the caller did not cause, and log the details."""
    if isinstance(error, StoreUnavailableError | OutcomeUnknownError):
        log_store_failure(path, error)
        return store_error(error)
    log.error("a call failed with an internal error", method=path, exc_info=error)
    return internal()


def log_store_failure(path: str, error: Exception) -> None:
    """Log a failure of the store, also if the caller gets an answer without the store."""
    suppressed = _STORE_FAILURES.try_acquire()
    if suppressed is not None:
        log.warning("the store failed a call", method=path, cause=str(error), suppressed=suppressed)
