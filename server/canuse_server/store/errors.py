"""What can go wrong between canuse and its store, in two words: nothing was written, or nobody knows."""


class StoreError(Exception):
    """The store could not do what was asked. The message is for the log; callers are told less."""


class StoreUnavailableError(StoreError):
    """The store is unavailable or refuses to work, and nothing was written."""


class UnreachableError(StoreUnavailableError):
    """There is no connection to the store."""


class OutcomeUnknownError(StoreError):
    """The connection broke, or time ran out, after a write had been sent: it may or may not have happened."""


class ConflictError(StoreError):
    """What was to be replaced has changed since it was read; read it again."""


class SchemaError(StoreError):
    """The store holds data that this version of canuse does not know how to read."""
