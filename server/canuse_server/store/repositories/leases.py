"""Leases: the commands that reserve and settle an amount, their replies, and the sweep of expired leases."""

from struct import Struct
from typing import Final, NamedTuple, cast

from canuse_server.runtime.call_state import unconfirmed
from canuse_server.store.codec.packed import ChargeOutcome, Outcome
from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError
from canuse_server.store.keys import Keys, bucket_of
from canuse_server.store.redis.client import Store
from canuse_server.store.redis.command import Command
from canuse_server.store.repositories.usage_commands import STATUS_ERRORS, Retention
from canuse_server.store.scripts.loader import RESERVE, SETTLE, SWEEP_LEASES

TOKEN_BYTES: Final = 8
SWEPT_AT_A_TIME: Final = 500
"""Maximum number of leases that one script processes, to keep other calls from waiting long."""

# granted, expires at, token; an outcome follows
_RESERVED: Final = Struct("<qq8s")


class LeaseMissingError(Exception):
    """The lease does not exist or has ended."""


class ReserveParams(NamedTuple):
    """Parameters of a reservation. The token is new and random; `ttl_ms` is the lifetime of the lease."""

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
    event_id: str
    fingerprint: bytes


class Settled(NamedTuple):
    """Result of a settlement, made by an earlier call if `replayed`. `late`: the lease had expired."""

    late: bool
    charge: ChargeOutcome
    replayed: bool


def reserve_command(keys: Keys, params: ReserveParams, retention: Retention, manual_now: str) -> Command:
    """Return the command that reserves an amount; `manual_now` is empty if the store's clock is used."""
    user_id = params.user_id
    names = (keys.user(user_id), keys.history(user_id), *keys.dedupe(user_id))
    return Command(
        (
            *("EVALSHA", RESERVE.sha, "6", *names, keys.leases(user_id), keys.leases_due(user_id)),
            *(manual_now, params.event_id, params.fingerprint, retention.dedupe_ttl, str(retention.past_periods_kept)),
            *(params.feature_id, _flag(params.archived)),
            *(str(params.amount), str(params.min_amount), str(params.ttl_ms), params.token),
        ),
        RESERVE,
    )


def reserved(reply: object) -> Reserved:
    """Read the reply to `reserve_command`; raises as `usage_commands.outcome` does."""
    value = _checked(reply)
    granted, expires_at_ms, token = _RESERVED.unpack_from(value, 1)
    (charge,) = Outcome.unpack(value, 1 + _RESERVED.size).charges
    return Reserved(granted, expires_at_ms, token, charge, value[:1] == b"R")


def settle_command(keys: Keys, params: SettleParams, retention: Retention, manual_now: str) -> Command:
    """Return the command that settles a lease; `manual_now` is empty if the store's clock is used."""
    user_id = params.user_id
    names = (keys.user(user_id), keys.ledger(bucket_of(user_id)), keys.history(user_id), *keys.dedupe(user_id))
    return Command(
        (
            *("EVALSHA", SETTLE.sha, "7", *names, keys.leases(user_id), keys.leases_due(user_id)),
            *(manual_now, params.event_id, params.fingerprint, retention.dedupe_ttl, retention.packed),
            *(params.token, params.feature_id, _flag(params.archived), str(params.used), params.entry),
        ),
        SETTLE,
    )


def settled(reply: object) -> Settled:
    """Read the reply to `settle_command`; raises as `usage_commands.outcome` does, and LeaseMissingError."""
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


def _checked(reply: object) -> bytes:
    """Return a reply with an outcome; raise the error that another reply stands for."""
    value = cast("bytes", reply)
    status = value[:1]
    if status in (b"K", b"R"):
        return value
    raise LeaseMissingError if status == b"N" else STATUS_ERRORS[status]


def _flag(value: bool) -> str:
    return "1" if value else ""
