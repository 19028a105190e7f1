"""The client for code with threads. `canuse.AsyncClient` has the same methods for asyncio."""

from canuse._sync.api_keys import ApiKeyMethods
from canuse._sync.entitlements import EntitlementMethods
from canuse._sync.features import FeatureMethods
from canuse._sync.grants import GrantMethods
from canuse._sync.leases import LeaseMethods
from canuse._sync.packages import PackageMethods
from canuse._sync.subscriptions import SubscriptionMethods
from canuse._sync.usage import UsageMethods
from canuse._sync.users import UserMethods


class Client(
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
    """Asks canuse what users may use, records what they used, and administers the catalogue.

        with canuse.Client("localhost:50051") as client:
            if client.can_use("user-124", "api-calls"):
                ...
                client.create_usage_event("user-124", "api-calls")

    A client holds one connection, which threads may share. Make one and keep it: connecting costs more than a call.

    Every method raises a `CanuseError` where the call fails: `NotFound` for an unknown id, `InvalidArgument` for input
    that the server does not accept, `BadArgument` for input that can't even be sent, `Unavailable` or
    `DeadlineExceeded` where no answer came, `ClientClosed` where the client was closed. A no is an answer, not an
    error: answers are true where they are a yes, or where something was recorded.

    What only reads is repeated where the service did not answer, up to three times in its time; a write only with
    `retry_uses`. Repeat one yourself only with an `event_id`.

    The `list_*` methods return iterators that fetch page after page as they are consumed, `page_size` items (1 to 1000)
    at a time, so that errors arise while iterating.
    """
