"""The clients whose service is in memory."""

import time as clock
from collections.abc import Mapping
from datetime import datetime
from typing import Self

from canuse._arguments import timestamp
from canuse.async_client import AsyncClient
from canuse.client import Client
from canuse.errors import InvalidArgument
from canuse.leases import NO_LEASES, Lease, check_leases
from canuse.testing.definitions import Definitions
from canuse.testing.fake.channel import FakeAsyncChannel, FakeChannel, Service
from canuse.testing.fake.periods import as_datetime, in_ms
from canuse.testing.fake.usage import Usage


class FakeClient(Client, Definitions):
    """A `Client` that calls no server: users, packages and counts are in memory, and time moves only when told to.

        client = FakeClient()
        client.package("pro", {"api-calls": "100/month"})
        client.user("124", "pro")
        assert client.use_feature("124", "api-calls", 100)
        assert not client.can_use("124", "api-calls")

    It is for unit tests that need no server. It answers as a server does to checks, uses, leases, subscriptions and
    grants, and to the management of users and the catalogue. It has no explanations, migrations, catalogue documents,
    API keys, user tokens and audit log: those raise a CanuseError with the status UNIMPLEMENTED. docs/testing.md lists
    the differences.
    """

    def __init__(self, *, leases: Mapping[str, Lease] = NO_LEASES) -> None:
        """Start without any data, at the present time. `leases` is checked, and not used: there is no call to save."""
        check_leases(leases)
        self._service = Service(clock.time_ns() // 1_000_000)
        super().__init__(channel=FakeChannel(self._service))

    @property
    def client(self) -> Self:
        """This client."""
        return self

    @property
    def now(self) -> datetime:
        """The time."""
        return as_datetime(self._service.world.now)

    def set_time(self, time: datetime) -> datetime:
        """Move the time forward to a time with a time zone, and return it. InvalidArgument if it is in the past."""
        time_ms = in_ms(timestamp("time", time))
        if time_ms < self._service.world.now:
            raise InvalidArgument(
                f"time: must move the clock forward; the clock shows {self.now}", reason="INVALID_FIELD"
            )
        self._service.world.set_time(time_ms)
        return self.now

    def reset(self, time: datetime | None = None) -> None:
        """Delete everything, and set the time, also back. Default: the present."""
        time_ms = clock.time_ns() // 1_000_000 if time is None else in_ms(timestamp("time", time))
        self._service.world = Usage(time_ms)

    def set_store_available(self, available: bool) -> None:
        """Make the store unavailable, or available again. Its data stays."""
        self._service.world.available = available


class FakeAsyncClient(AsyncClient):
    """An `AsyncClient` that calls no server: see `FakeClient`, which defines what there is.

    fake = FakeClient()
    fake.package("pro", {"api-calls": "100/month"})
    client = FakeAsyncClient(fake)
    """

    def __init__(self, fake: FakeClient | None = None, *, leases: Mapping[str, Lease] = NO_LEASES) -> None:
        """Share the data and the time of a FakeClient. Default: a new one. `leases` is checked, and not used."""
        check_leases(leases)
        self.fake = FakeClient() if fake is None else fake
        """The client that defines users and packages, and moves the time."""
        super().__init__(channel=FakeAsyncChannel(self.fake._service))  # noqa: SLF001 - of the same module
