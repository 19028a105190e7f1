"""The client for asyncio. `canuse.Client` has the same methods for code with threads."""

from canuse._async.api_keys import ApiKeyMethods
from canuse._async.entitlements import EntitlementMethods
from canuse._async.features import FeatureMethods
from canuse._async.grants import GrantMethods
from canuse._async.leases import LeaseMethods
from canuse._async.packages import PackageMethods
from canuse._async.subscriptions import SubscriptionMethods
from canuse._async.usage import UsageMethods
from canuse._async.users import UserMethods
from canuse._pending import calls_are_pending


@calls_are_pending
class AsyncClient(
    EntitlementMethods,
    UsageMethods,
    LeaseMethods,
    FeatureMethods,
    PackageMethods,
    UserMethods,
    SubscriptionMethods,
    GrantMethods,
    ApiKeyMethods,
):
    """Asks canuse what users may use, records what they used, and administers the catalogue, from asyncio.

        async with canuse.AsyncClient("localhost:50051") as client:
            if await client.can_use("user-124", "api-calls"):
                ...
                await client.create_usage_event("user-124", "api-calls")

    A client holds one connection. Make one and keep it: connecting costs more than a call. It belongs to the event loop
    that runs when it is made, and any number of tasks there may share it; RuntimeError where none runs, or another one.

    Every method raises a `CanuseError` where the call fails: `NotFound` for an unknown id, `InvalidArgument` for input
    that the server does not accept, `BadArgument` for input that can't even be sent, `Unavailable` or
    `DeadlineExceeded` where no answer came, `ClientClosed` where the client was closed. A no is an answer, not an
    error: answers are true where they are a yes, or where something was recorded. A call that is not awaited is no
    answer: `if client.can_use(…)` raises TypeError.

    What only reads is repeated where the service did not answer, up to three times in its time; a write only with
    `retry_uses`. Repeat one yourself only with an `event_id`.

    The `list_*` methods return asynchronous iterators that fetch page after page as they are consumed, `page_size`
    items (1 to 1000) at a time, so that errors arise while iterating.
    """
