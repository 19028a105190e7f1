"""Leases in a store without a server: reserve, settle, sweep, and the invariants of what is stored."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar, cast

from canuse_server.domain.decision import FeatureState, Reservation
from canuse_server.store.codec.user_values import unpack_moment, unpack_reservation
from canuse_server.store.repositories import leases, usage_commands
from canuse_server.store.repositories.leases import (
    SWEPT_AT_A_TIME,
    Extended,
    ExtendParams,
    Reserved,
    ReserveParams,
    Settled,
    SettleParams,
)
from canuse_server.store.repositories.usage_commands import LeasesDueError, Retention
from canuse_server.store.scripts.loader import SWEEP_LEASES
from support.database import KEYS, RETENTION, Database, packed_event

T = TypeVar("T")
MINUTE_MS: Final = 60_000
OPEN: Final = 0
EXPIRED: Final = 1


@dataclass(frozen=True)
class Lease:
    """A lease as it is stored."""

    state: int
    epoch: int
    amount: int
    expires_at_ms: int
    feature_id: str


@dataclass(frozen=True)
class UserLeases:
    """The leases of one user."""

    database: Database
    user_id: str = "124"
    retention: Retention = RETENTION

    def reserve(
        self,
        now_ms: int,
        token: bytes,
        amount: int = 1,
        *,
        min_amount: int = 1,
        ttl_ms: int = MINUTE_MS,
        archived: bool = False,
        feature_id: str = "calls",
        event_id: str = "",
        fingerprint: bytes = b"",
    ) -> Reserved:
        """Reserve an amount; raise what `leases.reserved` raises."""
        event = packed_event(event_id, fingerprint, self.retention)
        params = ReserveParams(self.user_id, feature_id, archived, amount, min_amount, ttl_ms, token, event)
        command = leases.reserve_command(KEYS, params, self.retention, str(now_ms))
        return leases.reserved(self.database.call(*command.command))

    def settle(
        self,
        now_ms: int,
        token: bytes,
        used: int,
        *,
        archived: bool = False,
        feature_id: str = "calls",
        event_id: str = "",
        fingerprint: bytes = b"",
        final: bool = True,
    ) -> Settled:
        """Settle a lease; raise what `leases.settled` raises."""
        event = packed_event(event_id, fingerprint, self.retention)
        params = SettleParams(self.user_id, feature_id, archived, token, used, b"", event, final)
        command = leases.settle_command(KEYS, params, self.retention, str(now_ms))
        return leases.settled(self.database.call(*command.command), used)

    def extend(
        self, now_ms: int, token: bytes, *, ttl_ms: int = 0, amount: int = 0, archived: bool = False
    ) -> Extended:
        """Extend a lease; raise what `leases.extended` raises."""
        params = ExtendParams(self.user_id, "calls", archived, token, ttl_ms, amount)
        command = leases.extend_command(KEYS, params, str(now_ms))
        return leases.extended(self.database.call(*command.command))

    def sweep(self, now_ms: int, limit: int = SWEPT_AT_A_TIME) -> int:
        """Process the leases that are due; return how many there were."""
        user_id = self.user_id
        names = [KEYS.user(user_id), KEYS.leases(user_id), KEYS.leases_due(user_id)]
        late_ms = str(self.retention.dedupe_ttl_ms)
        return cast("int", self.database.run(SWEEP_LEASES, names, str(now_ms), late_ms, str(limit)))

    def swept(self, now_ms: int, call: Callable[[], T]) -> T:
        """Make a call as the server does: after a sweep, if leases are due."""
        try:
            return call()
        except LeasesDueError:
            assert self.sweep(now_ms)
            return call()

    def feature_state(self, now_ms: int, *, feature_id: str = "calls", archived: bool = False) -> FeatureState:
        """Read the state of a feature as a check does."""
        reply = self.database.call(*usage_commands.check_command(KEYS, self.user_id, feature_id).command)
        return usage_commands.feature_state(reply, now_ms, archived=archived)

    def all(self) -> dict[bytes, Lease]:
        """Return the leases by token."""
        found = cast("dict[bytes, bytes]", self.database.redis.hgetall(KEYS.leases(self.user_id)))
        return {
            token: Lease(
                state=value[0],
                epoch=int.from_bytes(value[1:5], "little"),
                amount=int.from_bytes(value[5:12], "little"),
                expires_at_ms=int.from_bytes(value[12:18], "little"),
                feature_id=value[18:].decode(),
            )
            for token, value in found.items()
        }

    def reservation(self, feature_id: str = "calls") -> Reservation | None:
        """Return the sum that the leases of a feature reserve."""
        value = cast("bytes | None", self.database.redis.hget(KEYS.user(self.user_id), f"r:{feature_id}"))
        return None if value is None else unpack_reservation(value)

    def due_ms(self) -> int | None:
        """Return when the next lease is due, according to the user's hash."""
        value = cast("bytes | None", self.database.redis.hget(KEYS.user(self.user_id), "x"))
        return None if value is None else unpack_moment(value)

    def check(self) -> None:
        """Assert the invariants.

        The reserved sum is that of the open leases of the latest epoch. Each lease is due at its expiry or, after it,
        when it is forgotten. The user's hash has the first of these moments.
        """
        found = self.all()
        names = cast("list[bytes]", self.database.redis.hkeys(KEYS.user(self.user_id)))
        reserved = {name[2:].decode() for name in names if name.startswith(b"r:")}
        for feature_id in reserved | {lease.feature_id for lease in found.values()}:
            own = [lease for lease in found.values() if lease.feature_id == feature_id]
            reservation = self.reservation(feature_id)
            assert reservation is not None
            assert all(lease.epoch <= reservation.epoch for lease in own)
            held = [lease.amount for lease in own if lease.state == OPEN and lease.epoch == reservation.epoch]
            assert reservation.units == sum(held)
        late_ms = self.retention.dedupe_ttl_ms
        due = {token: lease.expires_at_ms + (lease.state == EXPIRED) * late_ms for token, lease in found.items()}
        assert dict(self._order()) == due
        assert self.due_ms() == min(due.values(), default=None)

    def _order(self) -> list[tuple[bytes, float]]:
        key = KEYS.leases_due(self.user_id)
        return cast("list[tuple[bytes, float]]", self.database.redis.zrange(key, 0, -1, withscores=True))


def pack_reservation(reservation: Reservation) -> bytes:
    """Return the value of the field `r:<feature>`."""
    parts = ((reservation.epoch, 4), (reservation.period_start_ms, 6), (reservation.units, 7))
    return b"".join(number.to_bytes(size, "little") for number, size in parts)


def token(number: int) -> bytes:
    """Return the token of a lease."""
    return number.to_bytes(8, "big")
