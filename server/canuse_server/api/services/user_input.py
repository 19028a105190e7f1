"""The user in a request: its checks, its profile, and the changes of a profile."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any, Final

from canuse.v1 import user_service_pb2 as pb
from canuse_server.api.validation import Violations
from canuse_server.domain.model import Profile

PROFILE: Final = ("name", "email", "billing_id", "metadata")
CHANGEABLE: Final = (*PROFILE, "disabled")


def check_user(user: pb.User, package_id: str = "") -> None:
    """Raise ApiError if a user, or the id of a package that goes with it, is invalid."""
    violations = Violations()
    violations.id("user.id", user.id)
    for name in ("name", "email", "billing_id"):
        violations.text(f"user.{name}", getattr(user, name))
    violations.metadata("user.metadata", user.metadata)
    if package_id:
        violations.id("package_id", package_id)
    violations.check()


def profile_of(user: pb.User) -> Profile:
    """Return the profile of a user in a request."""
    return Profile(user.name, user.email, user.billing_id, dict(user.metadata))


def changed_profile(old: Profile, user: pb.User, chosen: Collection[str]) -> Profile:
    """Return a profile with the chosen fields of a user in a request."""
    new = profile_of(user)
    changes: dict[str, Any] = {name: getattr(new, name) for name in PROFILE if name in chosen}
    return replace(old, **changes)
