"""Short helpers that most tests need: ids, packages, users, and the clock of a server."""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from canuse import v1
from canuse._channel import call_metadata
from canuse.testing import v1 as testing
from support.message_clients import Client


def unique(prefix: str = "x") -> str:
    """Return an id that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def consumable(client: Client) -> str:
    """Create a consumable feature and return its id."""
    feature_id = unique("feature")
    client.create_feature(feature_id, type=v1.FEATURE_TYPE_CONSUMABLE)
    return feature_id


def binary(client: Client) -> str:
    """Create a binary feature and return its id."""
    feature_id = unique("switch")
    client.create_feature(feature_id, type=v1.FEATURE_TYPE_BINARY)
    return feature_id


def package(
    client: Client, entries: Iterable[v1.PackageFeature], kind: v1.PackageType.ValueType = v1.PACKAGE_TYPE_BASE
) -> str:
    """Create and publish a package and return its id."""
    package_id = unique("package")
    client.create_package(package_id, list(entries), type=kind)
    client.publish_package(package_id)
    return package_id


def subscriber(
    client: Client,
    limit: int | None,
    reset_period: v1.ResetPeriod.ValueType = v1.RESET_PERIOD_MONTH,
    *,
    overage_enabled: bool = False,
    started_at: datetime | None = None,
) -> tuple[str, str]:
    """Create a user entitled to one consumable feature; return the ids of both."""
    feature_id, user_id = consumable(client), unique("user")
    entry = v1.PackageFeature(
        feature_id=feature_id, limit=limit, reset_period=reset_period, overage_enabled=overage_enabled
    )
    client.create_user(user_id)
    client.subscribe(user_id, [package(client, [entry])], started_at=started_at)
    return user_id, feature_id


def grant(
    client: Client,
    user_id: str,
    feature_id: str,
    amount: int | None,
    *,
    effective_at: datetime | None = None,
    expires_at: datetime | None = None,
    priority: int = 0,
) -> str:
    """Create a grant and return its id."""
    created = client.create_grant(
        user_id,
        unique("grant"),
        feature_id,
        amount=amount,
        effective_at=effective_at,
        expires_at=expires_at,
        priority=priority,
    )
    return created.id


def left(client: Client, user_id: str, feature_id: str) -> dict[str, int | None]:
    """Return what each source of a budget has left, in drawing order; None means unlimited."""
    return {
        source.grant_id or source.subscription_id: source.left if source.HasField("left") else None
        for source in client.show_usage(user_id, feature_id).sources
    }


class Clock:
    """The manual clock of a server."""

    def __init__(self, address: str, api_key: str | None = None) -> None:
        self._metadata = call_metadata(api_key)
        self._channel = grpc.insecure_channel(address)
        self._stub = testing.ClockServiceStub(self._channel)

    def now(self) -> datetime:
        """Return its time."""
        return _datetime(self._stub.GetTime(testing.GetTimeRequest(), metadata=self._metadata).time)

    def set(self, time: datetime) -> None:
        """Move it to a time."""
        message = Timestamp()
        message.FromDatetime(time)
        self._stub.SetTime(testing.SetTimeRequest(time=message), metadata=self._metadata)

    def advance(self, **units: float) -> datetime:
        """Advance it; the keywords are those of timedelta."""
        duration = Duration()
        duration.FromTimedelta(timedelta(**units))
        request = testing.AdvanceTimeRequest(duration=duration)
        return _datetime(self._stub.AdvanceTime(request, metadata=self._metadata).time)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


def _datetime(message: Timestamp) -> datetime:
    return message.ToDatetime(tzinfo=UTC)
