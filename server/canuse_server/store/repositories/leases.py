"""Leases: the commands that set an amount aside and settle it, what their replies say, and what is due about them."""

from struct import Struct
from typing import Final, NamedTuple, cast

from canuse_server.runtime.call_state import unconfirmed
from canuse_server.store.codec.packed import ChargeOutcome, Outcome
from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError
from canuse_server.store.keys import Keys, bucket_of
from canuse_server.store.redis.client import Store
from canuse_server.store.repositories.usage_commands import STATUS_ERRORS, Command, Retention
from canuse_server.store.scripts.loader import RESERVE, SETTLE, SWEEP_LEASES

TOKEN_BYTES: Final = 8
SWEPT_AT_A_TIME: Final = 500
"""How many leases one script does what is due about, so that no other call waits long for it."""

# granted, expires at, token; then an outcome
_RESERVED: Final = Struct("<qq8s")


class LeaseMissingError(Exception):
    """There is no such lease, or not any more."""


class ReserveParams(NamedTuple):
    """What to set aside. The token is new and random; `ttl_ms` is how long it is set aside."""

    user_id: str
    feature_id: str
    archived: bool
    amount: int
    min_amount: int
    ttl_ms: int
    token: bytes
    event_id: str
    fingerprint: bytes


class Reserved(NamedTuple):
    """What was set aside, on this call or, `replayed`, on an earlier one. `granted` 0: nothing; there is no lease."""

    granted: int
    expires_at_ms: int
    token: bytes
    charge: ChargeOutcome
    replayed: bool


class SettleParams(NamedTuple):
    """What was used of a lease. `entry` is the ledger entry as far as the caller knows it."""

    user_id: str
    feature_id: str
    archived: bool
    token: bytes
    used: int
    entry: bytes
    event_id: str
    fingerprint: bytes


class Settled(NamedTuple):
    """What became of a lease, on this call or, `replayed`, on an earlier one; `late`: it had expired."""

    late: bool
    charge: ChargeOutcome
    replayed: bool


def reserve_command(keys: Keys, wish: ReserveParams, retention: Retention, manual_now: str) -> Command:
    """Return the command that sets an amount aside; `manual_now` is empty where Redis's clock holds."""
    user_id = wish.user_id
    names = (keys.user(user_id), keys.history(user_id), *keys.dedupe(user_id))
    return Command(
        (
            *("EVALSHA", RESERVE.sha, "6", *names, keys.leases(user_id), keys.leases_due(user_id)),
            *(manual_now, wish.event_id, wish.fingerprint, retention.dedupe_ttl, str(retention.past_periods_kept)),
            *(wish.feature_id, _flag(wish.archived), str(wish.amount), str(wish.min_amount), str(wish.ttl_ms)),
            wish.token,
        ),
        RESERVE,
    )


def reserved(reply: object) -> Reserved:
    """Read what `reserve_command` brought; raise what `usage.outcome` does."""
    value = _checked(reply)
    granted, expires_at_ms, token = _RESERVED.unpack_from(value, 1)
    (charge,) = Outcome.unpack(value, 1 + _RESERVED.size).charges
    return Reserved(granted, expires_at_ms, token, charge, value[:1] == b"R")


def settle_command(keys: Keys, settling: SettleParams, retention: Retention, manual_now: str) -> Command:
    """Return the command that settles a lease; `manual_now` is empty where Redis's clock holds."""
    user_id = settling.user_id
    names = (keys.user(user_id), keys.ledger(bucket_of(user_id)), keys.history(user_id), *keys.dedupe(user_id))
    return Command(
        (
            *("EVALSHA", SETTLE.sha, "7", *names, keys.leases(user_id), keys.leases_due(user_id)),
            *(manual_now, settling.event_id, settling.fingerprint, retention.dedupe_ttl, retention.packed),
            *(settling.token, settling.feature_id, _flag(settling.archived), str(settling.used), settling.entry),
        ),
        SETTLE,
    )


def settled(reply: object) -> Settled:
    """Read what `settle_command` brought; raise what `usage.outcome` does, and LeaseMissingError."""
    value = _checked(reply)
    (charge,) = Outcome.unpack(value, 2).charges
    return Settled(value[1] == 1, charge, value[:1] == b"R")


class Leases:
    """The leases of one environment."""

    def __init__(self, store: Store, keys: Keys, late_ms: int) -> None:
        self._store = store
        self._keys = keys
        self._late_ms = late_ms

    async def sweep(self, user_id: str) -> None:
        """Give back what a user's leases hold that have expired, and forget those that expired `late_ms` ago.

        It does not wait for a confirmation.

        Raises:
            StoreUnavailableError: not all of it was done. It counts nothing, and is done by the next call.
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


def _checked(reply: object) -> bytes:
    """Return a reply that holds an outcome; raise what another says."""
    value = cast("bytes", reply)
    status = value[:1]
    if status in (b"K", b"R"):
        return value
    raise LeaseMissingError if status == b"N" else STATUS_ERRORS[status]


def _flag(value: bool) -> str:
    return "1" if value else ""
