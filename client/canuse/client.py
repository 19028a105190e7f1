"""The client for code with threads. `canuse.AsyncClient` has the same methods for asyncio."""

from canuse._sync.api_keys import ApiKeyMethods
from canuse._sync.audit import AuditMethods
from canuse._sync.catalog import CatalogMethods
from canuse._sync.features import FeatureMethods
from canuse._sync.grants import GrantMethods
from canuse._sync.limited import LimitedMethods
from canuse._sync.packages import PackageMethods
from canuse._sync.recording import RecordingMethods
from canuse._sync.subscriptions import SubscriptionMethods
from canuse._sync.usage import UsageMethods
from canuse._sync.users import UserMethods


class Client(
    LimitedMethods,
    RecordingMethods,
    UsageMethods,
    FeatureMethods,
    PackageMethods,
    CatalogMethods,
    UserMethods,
    SubscriptionMethods,
    GrantMethods,
    ApiKeyMethods,
    AuditMethods,
):
    """Checks what users may use, records what they used, and manages the catalogue.

        client = canuse.Client("localhost:50051")
        with client.using("124", "api-calls"):
            ...
        if client.can_use("124", "sso"):
            ...

    A client holds one connection, which threads may share. Create one and keep it: connecting costs more than a call.
    The first call connects, and so does the first call in each forked process; where gRPC does not survive a fork, the
    call raises RuntimeError and says what to do.

    `limited` decorates `async` functions, too: its calls for them are made in other threads.

    Every method raises a `CanuseError` if the call fails: `NotFound` for an unknown id, `InvalidArgument` for input
    that the server does not accept, `BadArgument` for input that cannot be sent, `Unavailable` or `DeadlineExceeded` if
    no answer arrives, `ClientClosed` if the client was closed. A no is an answer, not an error: an answer is true if it
    is a yes, or if something was recorded.

    If the service does not answer, calls are made again within their deadline: those that only read, and those that
    record uses, each of which has an `event_id` and counts once (`canuse.Retry`). Make other calls again yourself only
    where the error says that nothing was written.

    The `list_*` methods return iterators that fetch page after page as they are consumed, `page_size` items (1 to 1000)
    at a time, so that errors arise while iterating.
    """
