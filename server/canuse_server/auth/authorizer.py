"""The authorizer of every call, on every transport, before its request is read.

The methods that a key may call are computed once, so authorizing a call is one dictionary look-up. Of a user token, the
signature and the expiry are checked here. Whether the request names the user of the token, and whether the token was
revoked, is checked by the dispatcher (`api/users/tokens.py`).
"""

import time
from collections.abc import Iterable
from typing import Final, NamedTuple

import structlog

from canuse_server.api.environment import Environment, Environments
from canuse_server.api.errors import ApiError, publishable_keys_not_allowed, store_error
from canuse_server.api.scopes import PUBLIC_METHODS, paths_for
from canuse_server.api.tokens import user_token
from canuse_server.api.tokens.api_key import KeyId, digest, read_credentials
from canuse_server.api.tokens.user_token import UserTokens
from canuse_server.auth import refusals
from canuse_server.domain.api_keys import ENVIRONMENTS, TEST, ApiKey, KeyType, Scope
from canuse_server.domain.principal import CredentialKind, Principal
from canuse_server.store.errors import StoreUnavailableError

log = structlog.get_logger(__name__)

_ALL_SCOPES: Final = frozenset(Scope)
_PUBLIC_PATHS: Final = frozenset(PUBLIC_METHODS)
_TOKEN_PREFIX: Final = user_token.PREFIX.encode()


class Caller:
    """A caller: the holder of an API key or a user token, or any caller if no key is required."""

    __slots__ = ("env", "expires_at_ms", "has_token", "paths", "principal", "used")

    def __init__(
        self,
        env: Environment,
        paths: frozenset[str],
        principal: Principal | None = None,
        expires_at_ms: int | None = None,
    ) -> None:
        self.env = env
        self.paths = paths
        """The methods that the caller may call."""
        self.principal = principal
        """None: anonymous."""
        self.has_token = principal is not None and principal.kind is CredentialKind.USER_TOKEN
        """Whether the caller has a user token: then the dispatcher has to check the request."""
        self.expires_at_ms = expires_at_ms
        self.used = False
        """Whether the caller has made a call since `take_used`."""


class _Callers(NamedTuple):
    """All known callers. It is replaced as a whole, so that nothing remains of a revoked key."""

    by_header: dict[bytes | None, Caller]
    """By the value of the header. The entry for None, callers without the header, exists only if no key is required."""
    by_digest: dict[bytes, Caller]
    by_key_id: dict[bytes, Caller]


class Authorizer:
    """Authorizes calls by their API keys or user tokens.

    `never_required`: keys are never required. `open_without_keys`: they are not required until one exists. `keys_seen`:
    one has existed before. Once a key has existed, keys stay required even if all are gone: a store that lost its data
    or was flushed does not open access. `publishable_keys`: publishable keys are accepted.
    """

    def __init__(
        self,
        environments: Environments,
        *,
        never_required: bool,
        open_without_keys: bool,
        keys_seen: bool = False,
        publishable_keys: bool = False,
    ) -> None:
        self._environments = environments
        both = (environments.live, environments.test)
        self._readers = {env.environment: env.without_default_package() for env in both}
        """The environments for callers who only read."""
        self._never_required = never_required
        self._open_without_keys = open_without_keys
        self.keys_seen = keys_seen
        self._publishable_keys = publishable_keys
        self.tokens = UserTokens()
        self._clock_offset_ms = 0.0
        self._callers: _Callers | None = None
        self._by_header: dict[bytes | None, Caller] = {}

    @property
    def is_open(self) -> bool:
        """Whether calls without a key are authorized."""
        return self._callers is not None and None in self._callers.by_header

    @property
    def is_always_open(self) -> bool:
        """Whether calls without a key are authorized even if keys exist."""
        return self._never_required

    def authorize(self, path: str, authorization: bytes | None) -> Caller:
        """Authorize a call by its path and the value of its `authorization` header.

        Raises:
            ApiError: the call is not authorized.
        """
        caller = self._by_header.get(authorization)
        # The hot path: no further function is called for a key without an expiry.
        if (
            caller is None
            or path not in caller.paths
            or (caller.expires_at_ms is not None and self._is_expired(caller))
        ):
            caller = self._authorize_uncached(path, authorization)
        caller.used = True
        return caller

    def identify(self, authorization: bytes | None) -> Caller | None:
        """Return whose credentials these are, whatever they permit; None if that is not known."""
        callers = self._callers
        if callers is None:
            return None
        if (caller := callers.by_header.get(authorization)) is not None:
            return caller
        if isinstance(authorization, KeyId):
            return callers.by_key_id.get(authorization)
        secret = None if authorization is None else read_credentials(authorization)
        if secret is None:
            return callers.by_header.get(None)
        return self._token_caller(secret) if secret.startswith(_TOKEN_PREFIX) else callers.by_digest.get(digest(secret))

    def holder(self, authorization: bytes) -> Caller:
        """Return the holder of a secret API key that is valid now, whatever it permits.

        Raises:
            ApiError: these are not the credentials of one.
        """
        if self._callers is None:
            raise _no_keys_read()
        caller = self.identify(authorization)
        if caller is None or caller.principal is None:
            raise refusals.unknown_key()
        if caller.principal.kind is not CredentialKind.SECRET_KEY:
            raise refusals.no_secret_key()
        if self._is_expired(caller):
            raise refusals.expired_key(_key_id(caller))
        return caller

    def _authorize_uncached(self, path: str, authorization: bytes | None) -> Caller:
        """Authorize a call whose header value is not known, or raise the ApiError that refuses it."""
        callers = self._callers
        if callers is None:
            raise _no_keys_read()
        anonymous = callers.by_header.get(None)
        if isinstance(authorization, KeyId):
            return self._check(path, callers.by_key_id.get(authorization))
        secret = None if authorization is None else read_credentials(authorization)
        if secret is None:
            # Other credentials may be for a proxy; if no key is required, they are ignored.
            if anonymous is not None and path in anonymous.paths:
                return anonymous
            raise refusals.key_required(path, sent=authorization is not None)
        if secret.startswith(_TOKEN_PREFIX):
            return self._authorize_token(path, secret)
        caller = self._check(path, callers.by_digest.get(digest(secret)))
        if authorization == b"Bearer " + secret:
            # Only this spelling is cached: the number of others is unlimited.
            callers.by_header[authorization] = caller
        return caller

    def _check(self, path: str, caller: Caller | None) -> Caller:
        """Return the holder of an API key, if there is one and the key permits the call; else raise ApiError."""
        if caller is None:
            raise refusals.unknown_key()
        if self._is_expired(caller):
            raise refusals.expired_key(_key_id(caller))
        if caller.principal and caller.principal.kind is CredentialKind.PUBLISHABLE_KEY:
            if not self._publishable_keys:
                raise publishable_keys_not_allowed()
            if path not in caller.paths:
                raise refusals.secret_key_needed(path, "a publishable one")
        if path not in caller.paths:
            raise refusals.scope_missing(path, _key_id(caller))
        return caller

    def _authorize_token(self, path: str, text: bytes) -> Caller:
        """Authorize a call with a user token, as far as the token itself tells; raise the ApiError that refuses it."""
        caller = self._token_caller(text)
        if caller is None:
            raise refusals.invalid_token()
        if self._is_expired(caller):
            raise refusals.expired_token()
        if path not in caller.paths:
            raise refusals.secret_key_needed(path, "a user token")
        return caller

    def _token_caller(self, text: bytes) -> Caller | None:
        """Return the holder of a user token; None if the token is not valid."""
        token = self.tokens.verify(text)
        if token is None:
            return None
        principal = Principal("", token.environment, CredentialKind.USER_TOKEN, token.user_id, token.generation)
        return Caller(self._readers[token.environment], _PUBLIC_PATHS, principal, token.expires_at_ms)

    def _is_expired(self, caller: Caller) -> bool:
        expires_at_ms = caller.expires_at_ms
        return expires_at_ms is not None and self._now_ms() >= expires_at_ms

    def _now_ms(self) -> float:
        manual_now_ms = self._environments.live.store.manual_now_ms
        return time.monotonic() * 1000 + self._clock_offset_ms if manual_now_ms is None else manual_now_ms

    def set_clock(self, now_ms: int) -> None:
        """Set the current time of the store's clock, by which keys expire."""
        self._clock_offset_ms = now_ms - time.monotonic() * 1000

    def set_keys(self, keys: Iterable[ApiKey], *, keys_seen: bool = False) -> None:
        """Accept these keys from now on, and no others. `keys_seen`: a key exists or existed, readable or not."""
        by_digest = {key.digest: self._caller(key) for key in keys}
        self.keys_seen = self.keys_seen or keys_seen or bool(by_digest)
        by_header: dict[bytes | None, Caller] = {}
        if self._never_required or (self._open_without_keys and not self.keys_seen):
            # Another server may require the same keys, so even here they cannot be created without a key.
            scopes = _ALL_SCOPES - {Scope.KEYS_ADMIN} if self.keys_seen else _ALL_SCOPES
            by_header[None] = Caller(self._environments.open, paths_for(scopes))
        if self.keys_seen and not by_digest and not self._never_required:
            log.warning("no API key exists any more: all calls are refused until one exists again (docs/security.md)")
        for key_id in self.take_used():
            for caller in by_digest.values():
                caller.used = caller.used or _key_id(caller) == key_id
        by_key_id = {_key_id(caller).encode(): caller for caller in by_digest.values()}
        was_open = self.is_open if self._callers else None
        self._callers = _Callers(by_header, by_digest, by_key_id)
        self._by_header = by_header
        if was_open is not self.is_open:
            _log_access(is_open=self.is_open, any_address=self._never_required)

    def _caller(self, key: ApiKey) -> Caller:
        env = self._environments.test if key.environment == TEST else self._environments.live
        paths, kind = paths_for(key.scopes), CredentialKind.SECRET_KEY
        if key.type == KeyType.PUBLISHABLE:
            kind, env = CredentialKind.PUBLISHABLE_KEY, self._readers[env.environment]
            paths &= _PUBLIC_PATHS
        # A key of a type or for an environment of a newer version of canuse may call nothing.
        if key.environment not in ENVIRONMENTS or key.type not in tuple(KeyType):
            paths = frozenset[str]()
        return Caller(env, paths, Principal(key.id, key.environment, kind), key.expires_at_ms)

    def take_used(self) -> list[str]:
        """Return the ids of the keys that were used since the last call of this method."""
        used = []
        for caller in self._callers.by_digest.values() if self._callers else ():
            if caller.used:
                caller.used = False
                used.append(_key_id(caller))
        return used


def _no_keys_read() -> ApiError:
    return store_error(StoreUnavailableError("no API keys have been read yet"))


def _key_id(caller: Caller) -> str:
    return caller.principal.key_id if caller.principal else ""


def _log_access(*, is_open: bool, any_address: bool) -> None:
    if not is_open:
        log.info("API keys are required")
    elif any_address:
        log.warning("open to every caller who can reach the port: API keys are not required")
    else:
        log.info("open to every caller on this machine until the first API key is created")
