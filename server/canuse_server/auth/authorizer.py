"""The authorizer: every call passes it, on every transport, before its request is read.

What a key may call is worked out once, so that to let a call pass is one look into a dictionary.
"""

import time
from collections.abc import Iterable
from typing import Final, NamedTuple

import structlog

from canuse_server.api.environment import Environment, Environments
from canuse_server.api.errors import ApiError, ErrorReason, store_error
from canuse_server.api.scopes import SCOPES, paths_for
from canuse_server.api.tokens.api_key import digest, read_credentials
from canuse_server.domain.api_keys import ENVIRONMENTS, TEST, ApiKey, Scope
from canuse_server.domain.principal import Principal
from canuse_server.store.errors import StoreUnavailableError

log = structlog.get_logger(__name__)

_ALL_SCOPES: Final = frozenset(Scope)


class Caller:
    """A caller that the authorizer knows: the holder of an API key, or anybody, where no key is required."""

    __slots__ = ("env", "expires_at_ms", "paths", "principal", "used")

    def __init__(
        self,
        env: Environment,
        paths: frozenset[str],
        principal: Principal | None = None,
        expires_at_ms: int | None = None,
    ) -> None:
        self.env = env
        self.paths = paths
        """The methods that it may call."""
        self.principal = principal
        """None: anonymous."""
        self.expires_at_ms = expires_at_ms
        self.used = False
        """Whether it made a call since `take_used`."""


class _Callers(NamedTuple):
    """All callers known at a time. It is replaced as a whole, so that nothing of a revoked key can be left over."""

    by_header: dict[bytes | None, Caller]
    """By the value of the header. None is for callers without one, and is there only where no key is required."""
    by_digest: dict[bytes, Caller]


class Authorizer:
    """Says who may call what.

    `never_demand`: no key is ever demanded; `open_without_keys`: none until there is one. `keys_seen`: there was one
    already. Where there was one, keys stay demanded when they are gone: a store that lost its state, or that somebody
    emptied, opens nothing.
    """

    def __init__(
        self, environments: Environments, *, never_demand: bool, open_without_keys: bool, keys_seen: bool = False
    ) -> None:
        self._environments = environments
        self._never_demand = never_demand
        self._open_without_keys = open_without_keys
        self.keys_seen = keys_seen
        self._clock_offset_ms = 0.0
        self._known: _Callers | None = None
        self._by_header: dict[bytes | None, Caller] = {}

    @property
    def is_open(self) -> bool:
        """Whether calls pass without a key."""
        return self._known is not None and None in self._known.by_header

    @property
    def is_open_for_good(self) -> bool:
        """Whether they will pass even when there are keys."""
        return self._never_demand

    def authorize(self, path: str, authorization: bytes | None) -> Caller:
        """Let a call pass, by its path and the value of its `authorization` header.

        Raises:
            ApiError: it may not pass.
        """
        caller = self._by_header.get(authorization)
        # Every call comes by here: no function is called for a key without an expiry.
        if caller is None or path not in caller.paths or (caller.expires_at_ms is not None and self._is_over(caller)):
            caller = self._look_closely(path, authorization)
        caller.used = True
        return caller

    def _look_closely(self, path: str, authorization: bytes | None) -> Caller:
        """Let a call pass that is not of the usual kind, or say why it may not."""
        known = self._known
        if known is None:
            raise store_error(StoreUnavailableError("no API keys have been read yet"))
        anonymous = known.by_header.get(None)
        secret = None if authorization is None else read_credentials(authorization)
        if secret is None:
            # Other credentials may be meant for a proxy; where no key is required they are not looked at.
            if anonymous is not None and path in anonymous.paths:
                return anonymous
            raise _no_key(path, sent=authorization is not None)
        caller = known.by_digest.get(digest(secret))
        if caller is None:
            raise ApiError(ErrorReason.API_KEY_INVALID, "the API key is unknown: it is mistyped or was revoked")
        if self._is_over(caller):
            raise ApiError(ErrorReason.API_KEY_EXPIRED, "the API key has expired", {"key_id": _key_id(caller)})
        if path not in caller.paths:
            raise _lacks_scope(path, _key_id(caller))
        if authorization == b"Bearer " + secret:
            # Only this spelling: there may be any number of others.
            known.by_header[authorization] = caller
        return caller

    def _is_over(self, caller: Caller) -> bool:
        expires_at_ms = caller.expires_at_ms
        return expires_at_ms is not None and self._now_ms() >= expires_at_ms

    def _now_ms(self) -> float:
        manual_now_ms = self._environments.live.store.manual_now_ms
        return time.monotonic() * 1000 + self._clock_offset_ms if manual_now_ms is None else manual_now_ms

    def set_clock(self, now_ms: int) -> None:
        """Go by the store's clock, which shows a time now."""
        self._clock_offset_ms = now_ms - time.monotonic() * 1000

    def set_keys(self, keys: Iterable[ApiKey], *, demanded: bool = False) -> None:
        """Let these keys pass from now on, and no others. `demanded`: some are or were there, readable or not."""
        by_digest = {key.digest: self._caller(key) for key in keys}
        self.keys_seen = self.keys_seen or demanded or bool(by_digest)
        by_header: dict[bytes | None, Caller] = {}
        if self._never_demand or (self._open_without_keys and not self.keys_seen):
            # Another server may require the same keys, so that even here they can't be made without one.
            scopes = _ALL_SCOPES - {Scope.KEYS_ADMIN} if self.keys_seen else _ALL_SCOPES
            by_header[None] = Caller(self._environments.open, paths_for(scopes))
        if self.keys_seen and not by_digest and not self._never_demand:
            log.warning("no API key exists any more: all calls are refused until one exists again (docs/security.md)")
        for key_id in self.take_used():
            for caller in by_digest.values():
                caller.used = caller.used or _key_id(caller) == key_id
        was_open, self._known = self.is_open if self._known else None, _Callers(by_header, by_digest)
        self._by_header = by_header
        if was_open is not self.is_open:
            _log_access(is_open=self.is_open, any_address=self._never_demand)

    def _caller(self, key: ApiKey) -> Caller:
        env = self._environments.test if key.environment == TEST else self._environments.live
        # Of an environment that only a newer canuse knows nothing is shown.
        paths = paths_for(key.scopes) if key.environment in ENVIRONMENTS else frozenset[str]()
        return Caller(env, paths, Principal(key.id, key.environment), key.expires_at_ms)

    def take_used(self) -> list[str]:
        """Return the ids of the keys that calls came with since this was last asked."""
        used = []
        for caller in self._known.by_digest.values() if self._known else ():
            if caller.used:
                caller.used = False
                used.append(_key_id(caller))
        return used


def _key_id(caller: Caller) -> str:
    return caller.principal.key_id if caller.principal else ""


def _no_key(path: str, *, sent: bool) -> ApiError:
    text = f"{path.rpartition('/')[2]} needs an API key in the metadata: `authorization: Bearer sk_…`"
    if sent:
        return ApiError(ErrorReason.API_KEY_INVALID, f"{text}; the value that was sent is not an API key")
    return ApiError(ErrorReason.API_KEY_MISSING, text)


def _lacks_scope(path: str, key_id: str) -> ApiError:
    scope = SCOPES[path]
    text = f"{path.rpartition('/')[2]} needs an API key with the scope {scope}; this key does not have it"
    return ApiError(ErrorReason.SCOPE_MISSING, text, {"scope": scope, "key_id": key_id})


def _log_access(*, is_open: bool, any_address: bool) -> None:
    if not is_open:
        log.info("API keys are required")
    elif any_address:
        log.warning("open to every caller who can reach the port: API keys are not required")
    else:
        log.info("open to every caller on this machine until the first API key is created")
