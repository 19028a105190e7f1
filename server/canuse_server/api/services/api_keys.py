"""ApiKeyService: creating, listing and revoking API keys."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from canuse.v1 import api_key_service_pb2 as pb
from canuse_server.api.context import CallContext
from canuse_server.api.convert import timestamp
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError, ErrorReason, invalid, publishable_keys_not_allowed
from canuse_server.api.tokens import page as page_tokens
from canuse_server.api.tokens.api_key import PREFIXES, digest, new_id, new_secret
from canuse_server.api.users.retry import retry_on_conflict
from canuse_server.api.validation import Violations, require_id, shown
from canuse_server.domain.api_keys import (
    LIVE,
    MAX_API_KEYS,
    PUBLISHABLE_SCOPES,
    TEST,
    ApiKey,
    KeyType,
    Scope,
    is_manageable,
    may_manage,
)
from canuse_server.store.errors import OutcomeUnknownError, StoreUnavailableError
from canuse_server.store.repositories.api_keys import ApiKeys, KeysRead

_ENVIRONMENTS: Final = {pb.ENVIRONMENT_LIVE: LIVE, pb.ENVIRONMENT_TEST: TEST}
_MESSAGES: Final = {name: number for number, name in _ENVIRONMENTS.items()}
_TYPES: Final = {
    pb.API_KEY_TYPE_UNSPECIFIED: KeyType.SECRET,
    pb.API_KEY_TYPE_SECRET: KeyType.SECRET,
    pb.API_KEY_TYPE_PUBLISHABLE: KeyType.PUBLISHABLE,
}
_TYPE_MESSAGES: Final[Mapping[str, pb.ApiKeyType.ValueType]] = {
    KeyType.SECRET: pb.API_KEY_TYPE_SECRET,
    KeyType.PUBLISHABLE: pb.API_KEY_TYPE_PUBLISHABLE,
}


class ApiKeyServicer:
    """ApiKeyService. `refresh` is awaited after a change, so that the change is effective here before the response.

    `publishable_keys`: publishable keys may be created.
    """

    def __init__(
        self, keys: ApiKeys, refresh: Callable[[], Awaitable[None]], *, publishable_keys: bool = False
    ) -> None:
        self._keys = keys
        self._refresh = refresh
        self._publishable_keys = publishable_keys

    async def create_api_key(self, request: pb.CreateApiKeyRequest, context: CallContext) -> pb.CreateApiKeyResponse:
        """Create a key and return its secret, which is not shown again."""
        requested = request.api_key
        expires_at_ms = _check(requested, await context.env.store.now_ms())
        environment = _ENVIRONMENTS[requested.environment]
        if not may_manage(context.env.environment, environment):
            raise _not_yours(context.env.environment, environment)
        key_type = _TYPES[requested.type]
        is_publishable = key_type is KeyType.PUBLISHABLE
        if is_publishable and not self._publishable_keys:
            raise publishable_keys_not_allowed()
        secret = new_secret(environment, key_type)

        async def create() -> ApiKey:
            read = await self._read(context)
            key = ApiKey(
                id=new_id(),
                name=requested.name,
                environment=environment,
                scopes=PUBLISHABLE_SCOPES if is_publishable else frozenset(map(Scope, requested.scopes)),
                created_at_ms=read.now_ms,
                expires_at_ms=expires_at_ms,
                digest=digest(secret.encode()),
                type=key_type,
            )
            if read.total >= MAX_API_KEYS:
                raise ApiError(ErrorReason.TOO_MANY_API_KEYS, f"the maximum of {MAX_API_KEYS} API keys is reached")
            _keep_manageable([*read.keys, key])
            await self._keys.put(read.stamp, key)
            return key

        key = await self._change(create)
        return pb.CreateApiKeyResponse(api_key=_message(key, None), secret=secret)

    async def list_api_keys(self, request: pb.ListApiKeysRequest, context: CallContext) -> pb.ListApiKeysResponse:
        """List keys in the order of their creation."""
        after = page_tokens.decode(request)
        read, used = await self._read(context), await self._keys.used()
        manageable = [key for key in read.keys if may_manage(context.env.environment, key.environment)]
        manageable.sort(key=_place)
        found = [key for key in manageable if _place(key) > after]
        api_keys, token = await page_tokens.fill(
            request, found, lambda key: _message(key, used.get(key.id)), lambda key: (key.id, key.created_at_ms)
        )
        return pb.ListApiKeysResponse(api_keys=api_keys, next_page_token=token)

    async def revoke_api_key(self, request: pb.RevokeApiKeyRequest, context: CallContext) -> pb.RevokeApiKeyResponse:
        """Revoke a key."""
        key_id = require_id("api_key_id", request.api_key_id)
        if key_id.startswith(tuple(PREFIXES.values())):
            raise invalid([("api_key_id", "must be the id of a key; what was sent looks like its secret")])

        async def revoke() -> ApiKey:
            read = await self._read(context)
            key = _find(read, key_id, context.env)
            _keep_manageable([other for other in read.keys if other is not key])
            await self._keys.remove(read.stamp, key)
            return key

        key = await self._change(revoke)
        return pb.RevokeApiKeyResponse(api_key=_message(key, None))

    async def _read(self, context: CallContext) -> KeysRead:
        """Return all keys. A call without a key is refused once any key exists."""
        read = await self._keys.read()
        if read.ever_existed and context.principal is None:
            # Another server has created the first key, and this server has not read it yet.
            raise ApiError(ErrorReason.API_KEY_MISSING, "an API key exists by now, so this call needs one")
        return read

    async def _change(self, change: Callable[[], Awaitable[ApiKey]]) -> ApiKey:
        """Make a change of the keys and load the keys again; return the changed key."""
        key = await retry_on_conflict(change, "the API keys")
        try:
            await self._refresh()
        except StoreUnavailableError as error:
            raise OutcomeUnknownError(str(error)) from error  # It was written.
        return key


def _check(requested: pb.ApiKey, now_ms: int) -> int | None:
    """Check a new key; return its expiry in milliseconds, or None. Raises ApiError."""
    violations = Violations()
    violations.id("api_key.name", requested.name)
    if requested.environment not in _ENVIRONMENTS:
        accepted = "must be ENVIRONMENT_LIVE or ENVIRONMENT_TEST"
        violations.add("api_key.environment", f"{accepted}; {requested.environment} was sent")
    known, is_publishable = [str(scope) for scope in Scope], False
    if requested.type in _TYPES:
        is_publishable = _TYPES[requested.type] is KeyType.PUBLISHABLE
    else:
        accepted = "must be API_KEY_TYPE_SECRET or API_KEY_TYPE_PUBLISHABLE"
        violations.add("api_key.type", f"{accepted}; {requested.type} was sent")
    if is_publishable:
        known = [str(scope) for scope in PUBLISHABLE_SCOPES]
    elif not requested.scopes:
        violations.add("api_key.scopes", f"must be at least one of {', '.join(known)}; none was sent")
    for index, scope in enumerate(requested.scopes):
        if scope not in known:
            violations.add(f"api_key.scopes[{index}]", f"must be one of {', '.join(known)}; {shown(scope)} was sent")
    expires_at_ms = None
    if requested.HasField("expires_at"):
        expires_at_ms = violations.time_ms("api_key.expires_at", requested.expires_at)
        if not violations.found and expires_at_ms <= now_ms:
            sent = requested.expires_at.ToJsonString()
            violations.add("api_key.expires_at", f"must be after now; {sent} was sent")
    violations.check()
    return expires_at_ms


def _find(read: KeysRead, key_id: str, env: Environment) -> ApiKey:
    for key in read.keys:
        if key.id == key_id and may_manage(env.environment, key.environment):
            return key
    raise ApiError(ErrorReason.API_KEY_NOT_FOUND, f"API key {key_id!r} does not exist", {"api_key_id": key_id})


def _keep_manageable(keys: list[ApiKey]) -> None:
    """Raise ApiError for a change after which no key could manage keys."""
    if not is_manageable(keys):
        text = f"one live key with the scope {Scope.KEYS_ADMIN} and no expiry must remain"
        raise ApiError(ErrorReason.ADMIN_KEY_NEEDED, f"{text}; without it nobody could create or revoke keys")


def _not_yours(manager: str, environment: str) -> ApiError:
    text = f"a key of the environment {manager} manages only keys of {manager}, not keys of {environment}"
    return ApiError(ErrorReason.ENVIRONMENT_MISMATCH, text, {"environment": manager})


def _place(key: ApiKey) -> tuple[int, str]:
    return key.created_at_ms, key.id


def _message(key: ApiKey, used_at_ms: int | None) -> pb.ApiKey:
    return pb.ApiKey(
        id=key.id,
        name=key.name,
        environment=_MESSAGES.get(key.environment, pb.ENVIRONMENT_UNSPECIFIED),
        scopes=sorted({*key.scopes, *key.unknown_scopes}),
        created_at=timestamp(key.created_at_ms),
        expires_at=None if key.expires_at_ms is None else timestamp(key.expires_at_ms),
        type=_TYPE_MESSAGES.get(key.type, pb.API_KEY_TYPE_UNSPECIFIED),
        last_used_at=None if used_at_ms is None else timestamp(used_at_ms),
    )
