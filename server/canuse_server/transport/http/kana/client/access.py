"""What a caller of the Client API may see: the user's entitlements, and what is needed to show them.

Its credentials must permit ListEntitlements for the user, which decides about everything else: the names of the
features and packages that the user has, and which they are. The user's name and e-mail address are for the user, and
for keys that permit GetUser.
"""

from typing import Final

from canuse import v1
from canuse_server.api.context import CallContext
from canuse_server.api.errors import ApiError
from canuse_server.api.users.access import giving_access
from canuse_server.transport.http.kana.errors import AUTHENTICATION, UNAUTHENTICATED, KanaError
from canuse_server.transport.http.kana.work import Work

LIST_ENTITLEMENTS: Final = "EntitlementService/ListEntitlements"
NO_USER: Final = "Unauthenticated: send a token of the user, or a key and the user's id in the header X-User-ID"


class Access:
    """The user of a request, whose entitlements the caller was allowed to read."""

    def __init__(self, work: Work, context: CallContext, user_id: str, entitlements: list[v1.Entitlement]) -> None:
        self._work = work
        self._context = context
        self.user_id = user_id
        self.entitlements = entitlements

    @classmethod
    async def of(cls, work: Work) -> "Access":
        """Return the user of a request; raise ApiError or KanaError if the caller may not see it."""
        context = work.calls.open(LIST_ENTITLEMENTS)
        user_id = _user_of(context) or work.named_user_id
        if not user_id:
            raise KanaError(NO_USER, UNAUTHENTICATED, AUTHENTICATION)
        request = v1.ListEntitlementsRequest(user_id=user_id)
        entitlements = await work.calls.all(LIST_ENTITLEMENTS, request, v1.ListEntitlementsResponse, "entitlements")
        # From here on, what is read belongs to the answer that the credentials permit.
        work.calls.trust(context)
        return cls(work, context, user_id, entitlements)

    async def profile(self) -> v1.User:
        """Return the user; without name and e-mail address, if the caller may not read them."""
        method = "UserService/GetUser"
        try:
            if not _user_of(self._context):
                self._work.calls.authorize(method)
        except ApiError:
            return v1.User(id=self.user_id)
        request = v1.GetUserRequest(user_id=self.user_id)
        return (await self._work.calls(method, request, v1.GetUserResponse)).user

    async def packages(self) -> list[v1.Package]:
        """Return the packages of the subscriptions that give access now, each once, in the version subscribed to."""
        request = v1.ListSubscriptionsRequest(user_id=self.user_id)
        subscriptions = await self._work.calls.all(
            "SubscriptionService/ListSubscriptions", request, v1.ListSubscriptionsResponse, "subscriptions"
        )
        live = await giving_access(self._context, self.user_id, subscriptions)
        versions = {(subscription.package_id, subscription.package_version) for subscription in live}
        return [await self._work.catalog.package(*version) for version in sorted(versions)]


def _user_of(context: CallContext) -> str:
    """Return the user whose token the caller has, empty for another caller."""
    return "" if context.principal is None else context.principal.user_id
