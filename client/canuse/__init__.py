"""Call canuse, the entitlement service: may this user use this feature now?

    import canuse

    client = canuse.Client("localhost:50051")
    if client.use_feature("124", "api-calls"):
        ...

`Client` is for threads, `AsyncClient` for asyncio. They return the types of `canuse.answers`, which are true if the
answer is a yes, and raise the exceptions of `canuse.errors`. `v1` has the messages, enums and stubs of the API; users,
features, packages, subscriptions, grants, events and keys are messages.
"""

from importlib.metadata import version

from canuse import v1
from canuse._api_keys import NewApiKey
from canuse._channel import channel_options, service_config
from canuse._retry import Retry
from canuse._tls import Tls
from canuse._use import Use
from canuse._user_tokens import UserToken
from canuse.answers import (
    CanUseAnswer,
    Consumption,
    CreateUsageEventAnswer,
    Entitlement,
    ExtendLeaseAnswer,
    PastPeriod,
    ReserveAnswer,
    SettleAnswer,
    ShowUsageAnswer,
    SourceBalance,
    UseFeatureAnswer,
    UseFeaturesAnswer,
)
from canuse.async_client import AsyncClient
from canuse.client import Client
from canuse.enums import OnUnavailable, Reason, Source
from canuse.errors import (
    Aborted,
    AccessDenied,
    AlreadyExists,
    BadArgument,
    CanuseError,
    ClientClosed,
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
from canuse.leases import HeldLease, HeldLeases, Lease

__all__ = [
    "Aborted",
    "AccessDenied",
    "AlreadyExists",
    "AsyncClient",
    "BadArgument",
    "CanUseAnswer",
    "CanuseError",
    "Client",
    "ClientClosed",
    "Consumption",
    "CreateUsageEventAnswer",
    "DeadlineExceeded",
    "Entitlement",
    "ExtendLeaseAnswer",
    "FailedPrecondition",
    "FieldViolation",
    "HeldLease",
    "HeldLeases",
    "InvalidArgument",
    "Lease",
    "NewApiKey",
    "NotFound",
    "OnUnavailable",
    "OutcomeUnknown",
    "Overloaded",
    "PastPeriod",
    "PermissionDenied",
    "Reason",
    "ReserveAnswer",
    "Retry",
    "SettleAnswer",
    "ShowUsageAnswer",
    "Source",
    "SourceBalance",
    "StoreUnavailable",
    "Tls",
    "Unauthenticated",
    "Unavailable",
    "Use",
    "UseFeatureAnswer",
    "UseFeaturesAnswer",
    "UserToken",
    "__version__",
    "channel_options",
    "service_config",
    "v1",
]

__version__ = version("canuse")
