"""UserService in memory."""

from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from canuse import v1
from canuse.testing.fake.account import Account
from canuse.testing.fake.catalog import Catalog
from canuse.testing.fake.checks import apply_mask, check, page
from canuse.testing.fake.periods import as_timestamp
from canuse.testing.fake.refusal import Refusal, exists, not_found
from canuse.testing.fake.sources import Granted, Subscribed

_FIELDS: Final = ("name", "email", "billing_id", "metadata", "disabled")

_M = TypeVar("_M", bound=Message)


@dataclass
class User:
    """A user, with everything about the user."""

    message: v1.User
    subscriptions: list[Subscribed] = field(default_factory=list)
    grants: dict[str, Granted] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    events: list[v1.UsageEvent] = field(default_factory=list)
    """Newest first."""
    remembered: dict[str, tuple[bytes, Any]] = field(default_factory=dict)
    """By event id: the request and its response."""

    def account(self, feature_id: str, now: int) -> Account:
        """Return the account of a feature, as it is now."""
        known = self.accounts.get(feature_id)
        if known is None:
            known = self.accounts[feature_id] = Account(feature_id, self.subscriptions)
            known.update(now)
        return known

    def update(self, now: int) -> None:
        """Update the accounts of all features that subscriptions and grants give."""
        for subscription in self.subscriptions:
            for entry in subscription.entries:
                self.account(entry.feature_id, now)
        for account in self.accounts.values():
            account.update(now)

    def pass_time(self, now: int, until: int) -> None:
        """Process every moment of change up to a time."""
        while True:
            dates = [date for one in self.subscriptions for date in one.dates() if date > now]
            dates += [date for account in self.accounts.values() if (date := account.next_date(now)) is not None]
            now = min(dates, default=until)
            if now >= until:
                break
            self.update(now)
        self.update(until)

    def recall(self, request: Any, response: type[_M]) -> _M | None:
        """Return the response to an earlier request with the same event id, marked as replayed; None without one."""
        known = self.remembered.get(request.event_id) if request.event_id else None
        if known is None:
            return None
        content, answer = known
        if content != _content(request) or not isinstance(answer, response):
            text = f"event_id {request.event_id!r} was already used for a different request"
            raise Refusal("EVENT_ID_REUSED", text, user_id=self.message.id, event_id=request.event_id)
        again = response()
        again.CopyFrom(answer)
        again.replayed = True  # type: ignore[attr-defined]
        return again

    def remember(self, request: Any, response: _M) -> _M:
        """Keep a response for the request's event id, if it has one."""
        if request.event_id:
            response.event_id = request.event_id  # type: ignore[attr-defined]
            kept = type(response)()
            kept.CopyFrom(response)
            self.remembered[request.event_id] = _content(request), kept
        return response


def _content(request: Any) -> bytes:
    """Return the bytes of a request without the time for which its event id is kept."""
    plain = type(request)()
    plain.CopyFrom(request)
    plain.ClearField("event_id_ttl")
    return bytes(plain.SerializeToString(deterministic=True))


class Users(Catalog):
    """Users."""

    def __init__(self, now: int) -> None:
        """Start without any."""
        super().__init__(now)
        self.users: dict[str, User] = {}

    def set_time(self, now: int) -> None:
        """Move the time forward."""
        for user in self.users.values():
            user.pass_time(self.now, now)
        self.now = now

    def user(self, user_id: str) -> User:
        """Return a user, who must exist."""
        if user_id not in self.users:
            raise not_found("user", user_id)
        return self.users[user_id]

    def new_user(self, message: v1.User) -> User:
        """Create a user."""
        check(message, "user.", ids=("id",))
        message.created_at.CopyFrom(as_timestamp(self.now))
        self.users[message.id] = User(message)
        return self.users[message.id]

    def changed_user(self, request: v1.UpdateUserRequest | v1.EnsureUserRequest) -> bool:
        """Change the fields that a request names; return whether anything changed."""
        user = self.user(request.user.id)
        changed: v1.User = apply_mask(user.message, request, "user", _FIELDS)
        check(changed, "user.", ids=("id",))
        before, user.message = user.message, changed
        return before != changed

    def create_user(self, request: v1.CreateUserRequest) -> v1.CreateUserResponse:
        """CreateUser."""
        if request.user.id in self.users:
            raise exists("user", request.user.id)
        return v1.CreateUserResponse(user=self.new_user(request.user).message)

    def get_user(self, request: v1.GetUserRequest) -> v1.GetUserResponse:
        """GetUser."""
        return v1.GetUserResponse(user=self.user(request.user_id).message)

    def update_user(self, request: v1.UpdateUserRequest) -> v1.UpdateUserResponse:
        """UpdateUser."""
        self.changed_user(request)
        return v1.UpdateUserResponse(user=self.user(request.user.id).message)

    def list_users(self, request: v1.ListUsersRequest) -> v1.ListUsersResponse:
        """ListUsers."""
        found = [
            user.message
            for user in self.users.values()
            if user.message.id.startswith(request.id_prefix)
            and request.email in ("", user.message.email)
            and request.billing_id in ("", user.message.billing_id)
        ]
        return page(request, found, lambda items, rest: v1.ListUsersResponse(users=items, next_page_token=rest))

    def delete_user(self, request: v1.DeleteUserRequest) -> v1.DeleteUserResponse:
        """DeleteUser."""
        self.user(request.user_id)
        del self.users[request.user_id]
        return v1.DeleteUserResponse()
