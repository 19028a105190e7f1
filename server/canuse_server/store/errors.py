"""Errors of the store. They tell "nothing was written" from "the outcome is unknown"."""


class StoreError(Exception):
    """A request to the store failed. The message is for the log; callers do not get it."""


class StoreUnavailableError(StoreError):
    """The store is unavailable or refuses the request. Nothing was written."""


class UnreachableError(StoreUnavailableError):
    """There is no connection to the store."""


class OutcomeUnknownError(StoreError):
    """The connection broke or timed out after a write was sent: it may or may not have been made."""


class UnmetDurabilityError(OutcomeUnknownError):
    """The write was sent, but the store is not set up for the durability that it needs. Callers get the message."""


class ConflictError(StoreError):
    """The data to replace has changed since it was read. Read it again and retry."""


class SchemaError(StoreError):
    """The store, or the layout of its data, does not suit this version of canuse."""
