"""The client for asyncio. `canuse.Client` has the same methods for code with threads."""

from canuse._async.api_keys import ApiKeyMethods
from canuse._async.audit import AuditMethods
from canuse._async.catalog import CatalogMethods
from canuse._async.features import FeatureMethods
from canuse._async.grants import GrantMethods
from canuse._async.limited import LimitedMethods
from canuse._async.packages import PackageMethods
from canuse._async.recording import RecordingMethods
from canuse._async.subscriptions import SubscriptionMethods
from canuse._async.usage import UsageMethods
from canuse._async.users import UserMethods
from canuse._pending import calls_are_pending


@calls_are_pending
class AsyncClient(
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
    """Checks what users may use, records what they used, and manages the catalogue, from asyncio.

        client = canuse.AsyncClient("localhost:50051")
        async with client.using("124", "api-calls"):
            ...
        if await client.can_use("124", "sso"):
            ...

    A client holds one connection for each event loop in which it is used, which all tasks of the loop may share.
    Create one, at the top of a module or anywhere else, and keep it: connecting costs more than a call. The first call
    in a loop connects. A process that is forked from one that has used it cannot use it: its calls raise RuntimeError.

    Every method raises a `CanuseError` if the call fails: `NotFound` for an unknown id, `InvalidArgument` for input
    that the server does not accept, `BadArgument` for input that cannot be sent, `Unavailable` or `DeadlineExceeded` if
    no answer arrives, `ClientClosed` if the client was closed. A no is an answer, not an error: an answer is true if it
    is a yes, or if something was recorded. A call without `await` raises TypeError when it is used as a condition.

    If the service does not answer, calls are made again within their deadline: those that only read, and those that
    record uses, each of which has an `event_id` and counts once (`canuse.Retry`). Make other calls again yourself only
    where the error says that nothing was written.

    The `list_*` methods return asynchronous iterators that fetch page after page as they are consumed, `page_size`
    items (1 to 1000) at a time, so that errors arise while iterating.
    """
