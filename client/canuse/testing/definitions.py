"""Features, packages, users and time in one line each, for a real server and for `FakeClient`."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from canuse import v1
from canuse._arguments import bad_argument
from canuse.client import Client
from canuse.errors import AlreadyExists

Terms: TypeAlias = str | bool | v1.PackageFeature
"""What a package gives of a feature: see `Definitions.package`."""

_LIMIT: Final = re.compile(r"(\d+)/(never|hour|day|week|month|year)")
_ACCEPTED: Final = 'True, "unlimited", an amount per period such as "100/month", or a canuse.v1.PackageFeature'


class Definitions(ABC):
    """What tests need to set up and to let happen, in one line each."""

    @property
    @abstractmethod
    def client(self) -> Client:
        """A client of the server."""

    @property
    @abstractmethod
    def now(self) -> datetime:
        """The time of the server, which only moves when it is told to."""

    @abstractmethod
    def set_time(self, time: datetime) -> datetime:
        """Move the time forward to a time with a time zone, and return it. InvalidArgument if it is in the past."""

    @abstractmethod
    def reset(self, time: datetime | None = None) -> None:
        """Delete everything, and set the time, also back. Default: the present."""

    @abstractmethod
    def set_store_available(self, available: bool) -> None:
        """Make the store unavailable, or available again. Its data stays."""

    @contextmanager
    def store_unavailable(self) -> Iterator[None]:
        """Make the store unavailable within a `with` block."""
        self.set_store_available(False)
        try:
            yield
        finally:
            self.set_store_available(True)

    def advance(self, duration: timedelta | None = None, **units: float) -> datetime:
        """Move the time forward by a duration, given as a timedelta or by its keywords (`days=3`); return the time."""
        return self.set_time(self.now + (duration or timedelta()) + timedelta(**units))

    def jump_to_reset(self, user_id: str, feature_id: str) -> datetime:
        """Move the time to the moment at which the user's count of a feature resets, and return it.

        Raises:
            ValueError: The count does not reset, or the user has no entitlement to the feature.
        """
        current = self.client.show_usage(user_id, feature_id).current
        if current is None or current.resets_at is None:
            raise ValueError(f"the count of {feature_id!r} for user {user_id!r} does not reset")
        return self.set_time(current.resets_at)

    def feature(
        self,
        feature_id: str,
        *,
        binary: bool = False,
        on_unavailable: v1.OnUnavailable.ValueType = v1.ON_UNAVAILABLE_DENY,
    ) -> v1.Feature:
        """Create a feature: a consumable one, unless it is `binary`."""
        kind = v1.FEATURE_TYPE_BINARY if binary else v1.FEATURE_TYPE_CONSUMABLE
        return self.client.create_feature(feature_id, type=kind, on_unavailable=on_unavailable)

    def package(self, package_id: str, features: Mapping[str, Terms], *, add_on: bool = False) -> v1.Package:
        """Create and publish a package, or its next version if it exists. Creates the features that do not exist.

            canuse_server.package("pro", {"api-calls": "100/month", "storage": "unlimited", "sso": True})

        Args:
            package_id: The package.
            features: By feature id: True for a binary feature, "unlimited", an amount per period such as "100/month",
                or a `v1.PackageFeature` for everything else. Periods: hour, day, week, month, year, never.
            add_on: Whether it is an add-on. Default: a base package.

        Raises:
            BadArgument: `features` is not a mapping, or a value of it is none of these.
        """
        if not isinstance(features, Mapping):
            raise bad_argument("features", features, 'a mapping, such as {"api-calls": "100/month", "sso": True}')
        entries = [_entry(feature_id, terms) for feature_id, terms in features.items()]
        for entry in entries:
            with suppress(AlreadyExists):
                self.feature(entry.feature_id, binary=features[entry.feature_id] is True)
        try:
            kind = v1.PACKAGE_TYPE_ADD_ON if add_on else v1.PACKAGE_TYPE_BASE
            self.client.create_package(package_id, entries, type=kind)
        except AlreadyExists:
            self.client.update_package(package_id, features=entries)
        return self.client.publish_package(package_id)

    def user(self, user_id: str, *package_ids: str) -> v1.User:
        """Create a user, with a subscription to each of some packages that starts now."""
        user = self.client.create_user(user_id)
        if package_ids:
            self.client.subscribe(user_id, package_ids)
        return user


def _entry(feature_id: str, terms: object) -> v1.PackageFeature:
    if isinstance(terms, v1.PackageFeature):
        entry = v1.PackageFeature()
        entry.CopyFrom(terms)
        entry.feature_id = feature_id
        return entry
    if terms is True or terms == "unlimited":
        return v1.PackageFeature(feature_id=feature_id)
    found = _LIMIT.fullmatch(terms) if isinstance(terms, str) else None
    if found is None:
        raise bad_argument(f"features[{feature_id!r}]", terms, _ACCEPTED)
    reset_period = v1.ResetPeriod.Value(f"RESET_PERIOD_{found[2].upper()}")
    return v1.PackageFeature(feature_id=feature_id, limit=int(found[1]), reset_period=reset_period)
