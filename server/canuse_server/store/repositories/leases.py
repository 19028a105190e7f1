"""Leases: the commands that reserve, extend and settle an amount, their replies, and the sweep of expired leases."""

from struct import Struct
from typing import Final, NamedTuple, cast

from canuse_server.runtime.call_state import unconfirmed
from canuse_server.store.codec.user_values import ChargeOutcome, Outcome
from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError
from canuse_server.store.keys import Keys
from canuse_server.store.redis.client import Store
from canuse_server.store.redis.command import Command
from canuse_server.store.repositories.usage_commands import STATUS_ERRORS, Retention
from canuse_server.store.scripts.loader import EXTEND_LEASE, RESERVE, SETTLE, SWEEP_LEASES

TOKEN_BYTES: Final = 8
SWEPT_AT_A_TIME: Final = 500
"""Maximum number of leases that one script processes, to keep other calls from waiting long."""

CHUNK: Final = 1000
"""Number of leases read at a time."""
MAX_CHUNKS: Final = 5
"""Maximum number of reads with further leases for one page: those that have expired are kept for a while."""
OPEN: Final = 0
"""The state of a lease that is not settled and has not expired; it is the first byte of a stored lease."""
LEASE_BYTES: Final = 18
"""Size of a stored lease before the id of its feature: state, epoch (32 bits), amount (56 bits), expiry (48 bits)."""

# granted (56 bits), expires at (48 bits), token; an outcome follows
_RESERVED: Final = Struct("<IHBIH8s")
# units that the lease holds (56 bits), expires at (48 bits); an outcome follows
_EXTENDED: Final = Struct("<IHBIH")


class LeaseMissingError(Exception):
    """The lease does not exist or has ended."""


class LeasePeriodEndedError(Exception):
    """The period of the lease has ended, so that no units can be added to it."""


class ReserveParams(NamedTuple):
    """Parameters of a reservation. The token is new and random; `ttl_ms` is the lifetime of the lease."""

    user_id: str
    feature_id: str
    archived: bool
    amount: int
    min_amount: int
    ttl_ms: int
    token: bytes
    event: bytes = b""


class Reserved(NamedTuple):
    """Result of a reservation, made by an earlier call if `replayed`. `granted` 0: there is no lease."""

    granted: int
    expires_at_ms: int
    token: bytes
    charge: ChargeOutcome
    replayed: bool


class SettleParams(NamedTuple):
    """Parameters of a settlement. `entry` is the ledger entry without the fields that the script adds."""

    user_id: str
    feature_id: str
    archived: bool
    token: bytes
    used: int
    entry: bytes
    event: bytes = b""
    final: bool = True
    """Whether the lease ends; otherwise it keeps what was not used."""


class Settled(NamedTuple):
    """Result of a settlement, made by an earlier call if `replayed`. `late`: the lease had expired."""

    late: bool
    charge: ChargeOutcome
    replayed: bool


class ExtendParams(NamedTuple):
    """Parameters of an extension. `ttl_ms` 0 leaves the expiry as it is, `amount` 0 the units."""

    user_id: str
    feature_id: str
    archived: bool
    token: bytes
    ttl_ms: int
    amount: int
    event: bytes = b""


class Extended(NamedTuple):
    """Result of an extension, made by an earlier call if `replayed`. `amount` is what the lease holds."""

    extended: bool
    amount: int
    expires_at_ms: int
    charge: ChargeOutcome
    replayed: bool


def reserve_command(keys: Keys, params: ReserveParams, retention: Retention, manual_now: str) -> Command:
    """Return the command that reserves an amount; `manual_now` is empty if the store's clock is used."""
    user_id = params.user_id
    names = (keys.user(user_id), keys.history(user_id), *keys.events(user_id))
    return Command(
        (
            *("EVALSHA", RESERVE.sha, "8", *names, keys.leases(user_id), keys.leases_due(user_id)),
            *(manual_now, params.event, str(retention.past_periods_max_age_days)),
            *(params.feature_id, _flag(params.archived)),
            *(str(params.amount), str(params.min_amount), str(params.ttl_ms), params.token),
        ),
        RESERVE,
    )


def reserved(reply: object) -> Reserved:
    """Read the reply to `reserve_command`; raises as `usage_commands.outcome` does."""
    value = _checked(reply)
    granted, middle, high, expires, expires_high, token = _RESERVED.unpack_from(value, 1)
    charge, replayed = _charge(value, 1 + _RESERVED.size, 0)
    return Reserved(granted | middle << 32 | high << 48, expires | expires_high << 32, token, charge, replayed)


def settle_command(keys: Keys, params: SettleParams, retention: Retention, manual_now: str) -> Command:
    """Return the command that settles a lease; `manual_now` is empty if the store's clock is used."""
    user_id = params.user_id
    names = keys.of_event(user_id)
    return Command(
        (
            *("EVALSHA", SETTLE.sha, "9", *names, keys.leases(user_id), keys.leases_due(user_id)),
            *(manual_now, params.event, retention.packed),
            *(params.token, params.feature_id, _flag(params.archived), str(params.used), params.entry),
            _flag(params.final),
        ),
        SETTLE,
    )


def settled(reply: object, used: int) -> Settled:
    """Read the reply to `settle_command` for `used` units; raises as `outcome` does, and LeaseMissingError."""
    value = _checked(reply)
    charge, replayed = _charge(value, 2, used)
    return Settled(value[1] == 1, charge, replayed)


def extend_command(keys: Keys, params: ExtendParams, manual_now: str) -> Command:
    """Return the command that extends a lease; `manual_now` is empty if the store's clock is used."""
    user_id = params.user_id
    names = (keys.user(user_id), *keys.events(user_id), keys.leases(user_id), keys.leases_due(user_id))
    return Command(
        (
            *("EVALSHA", EXTEND_LEASE.sha, "7", *names, manual_now, params.event),
            *(params.token, params.feature_id, _flag(params.archived), str(params.ttl_ms), str(params.amount)),
        ),
        EXTEND_LEASE,
    )


def extended(reply: object) -> Extended:
    """Read the reply to `extend_command`; raises as `settled` does, and LeasePeriodEndedError."""
    value = _checked(reply)
    amount, middle, high, expires, expires_high = _EXTENDED.unpack_from(value, 1)
    offset = 1 + _EXTENDED.size
    charge, replayed = _charge(value, offset, 0)
    is_refused = value[offset] > 0
    return Extended(not is_refused, amount | middle << 32 | high << 48, expires | expires_high << 32, charge, replayed)


class OpenLease(NamedTuple):
    """A lease that is neither settled nor expired."""

    token: bytes
    feature_id: str
    amount: int
    expires_at_ms: int


class LeasePlace(NamedTuple):
    """The place of a lease in the order in which something is due about leases."""

    due_ms: int
    token: bytes


class LeasePage(NamedTuple):
    """Open leases with their places. The next page starts after `after`; None: this is the last page."""

    leases: list[tuple[LeasePlace, OpenLease]]
    after: LeasePlace | None


class Leases:
    """The leases of one environment."""

    def __init__(self, store: Store, keys: Keys, late_ms: int) -> None:
        self._store = store
        self._keys = keys
        self._late_ms = late_ms

    async def page(self, user_id: str, feature_id: str, after: LeasePlace | None, size: int) -> LeasePage:
        """Return a user's open leases after a place, in the order in which they expire; an empty feature means all.

        A page reads a bounded number of leases, so it can have fewer than `size` although more follow.

        Raises:
            StoreUnavailableError: the store is unavailable.
        """
        due_key, leases_key = self._keys.leases_due(user_id), self._keys.leases(user_id)
        found = list[tuple[LeasePlace, OpenLease]]()
        chunks = skip = 0
        while chunks < MAX_CHUNKS:
            start = "-inf" if after is None else str(after.due_ms)
            limit = ("LIMIT", str(skip), str(CHUNK))
            (reply,), _ = await self._store.call(("ZRANGEBYSCORE", due_key, start, "+inf", "WITHSCORES", *limit))
            items = cast("list[bytes]", reply)
            places = [LeasePlace(int(float(due)), token) for token, due in zip(items[::2], items[1::2], strict=True)]
            # Several leases may be due at the same time: those of an earlier page are read again.
            following = [place for place in places if after is None or place > after]
            skip = 0 if following else skip + len(places)
            chunks += bool(following)
            values: list[bytes | None] = []
            now_ms = 0
            if following:
                tokens = [place.token for place in following]
                (reply,), now_ms = await self._store.call(("HMGET", leases_key, *tokens))
                values = cast("list[bytes | None]", reply)
            for place, value in zip(following, values, strict=True):
                after = place
                lease = None if value is None else _open_lease(place.token, value, now_ms)
                if lease is not None and feature_id in ("", lease.feature_id):
                    found.append((place, lease))
                    if len(found) > size:
                        return LeasePage(found[:size], found[size - 1][0])
            if len(places) < CHUNK:
                return LeasePage(found, None)
        return LeasePage(found, after)

    async def sweep(self, user_id: str) -> None:
        """Release the amounts of a user's expired leases, and delete leases that expired `late_ms` ago.

        It does not wait for a confirmation.

        Raises:
            StoreUnavailableError: the sweep is incomplete. It counts no use, and the next call completes it.
        """
        keys = self._keys
        names = [keys.user(user_id), keys.leases(user_id), keys.leases_due(user_id)]
        arguments = (self._store.manual_now, str(self._late_ms), str(SWEPT_AT_A_TIME))
        try:
            with unconfirmed():
                while await self._store.run(SWEEP_LEASES, names, *arguments) == SWEPT_AT_A_TIME:
                    continue
        except OutcomeUnknownError as error:
            raise StoreUnavailableError(str(error)) from error


def _open_lease(token: bytes, value: bytes, now_ms: int) -> OpenLease | None:
    """Read the value of a lease; return None if it has expired."""
    amount, expires_at_ms = (int.from_bytes(value[start:end], "little") for start, end in ((5, 12), (12, LEASE_BYTES)))
    if value[0] != OPEN or expires_at_ms <= now_ms:
        return None
    return OpenLease(token, value[LEASE_BYTES:].decode(), amount, expires_at_ms)


_LEASE_ERRORS: Final[dict[bytes, type[Exception]]] = {b"N": LeaseMissingError, b"P": LeasePeriodEndedError}


def _checked(reply: object) -> bytes:
    """Return a reply with an outcome; raise the error that another reply stands for."""
    value = cast("bytes", reply)
    status = value[:1]
    if status in (b"K", b"R"):
        return value
    raise _LEASE_ERRORS.get(status) or STATUS_ERRORS[status]


def _charge(value: bytes, offset: int, delta: int) -> tuple[ChargeOutcome, bool]:
    """Read the single charge of an outcome; return also whether it is that of an earlier call."""
    replayed = value[:1] == b"R"
    outcome = Outcome.unpack_kept(value, offset, (delta,)) if replayed else Outcome.unpack(value, offset)
    (charge,) = outcome.charges
    return charge, replayed


def _flag(value: bool) -> str:
    return "1" if value else ""
