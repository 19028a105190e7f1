"""Call canuse, the entitlement service: may this user use this feature now?

    import canuse

    with canuse.Client("localhost:50051") as client:
        if client.can_use("user-124", "api-calls").access:
            client.create_usage_event("user-124", "api-calls")

`Client` is for threads, `AsyncClient` for asyncio, `v1` has the messages and enums of the API, and each way a call can
fail has its exception.
"""

from importlib.metadata import version

from canuse import v1
from canuse._api_keys import NewApiKey
from canuse._channel import service_config
from canuse._tls import Tls
from canuse.async_client import AsyncClient
from canuse.client import Client
from canuse.errors import (
    AlreadyExists,
    CanuseError,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    PermissionDenied,
    StoreUnavailable,
    Unauthenticated,
    Unavailable,
)

__all__ = [
    "AlreadyExists",
    "AsyncClient",
    "CanuseError",
    "Client",
    "DeadlineExceeded",
    "FailedPrecondition",
    "FieldViolation",
    "InvalidArgument",
    "NewApiKey",
    "NotFound",
    "OutcomeUnknown",
    "Overloaded",
    "PermissionDenied",
    "StoreUnavailable",
    "Tls",
    "Unauthenticated",
    "Unavailable",
    "__version__",
    "service_config",
    "v1",
]

__version__ = version("canuse")
