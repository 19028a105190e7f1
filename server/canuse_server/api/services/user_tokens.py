"""GenerateUserToken and RevokeUserTokens of UserService."""

from canuse.v1 import user_service_pb2 as pb
from canuse_server.api.context import CallContext
from canuse_server.api.convert import timestamp
from canuse_server.api.environment import Environment
from canuse_server.api.errors import user_not_found
from canuse_server.api.tokens.user_token import UserTokens
from canuse_server.api.users.changes import create_default_user
from canuse_server.api.users.state import MAX_REPAIRS
from canuse_server.api.validation import Violations, require_id
from canuse_server.domain.user_tokens import DEFAULT_TTL_MS, MAX_TTL_MS, MIN_TTL_MS, UserToken
from canuse_server.store.errors import StoreUnavailableError


class UserTokenMethods:
    """The methods about user tokens. `tokens` signs them; without it none can be generated."""

    def __init__(self, tokens: UserTokens | None = None) -> None:
        self._tokens = tokens or UserTokens()

    async def generate_user_token(
        self, request: pb.GenerateUserTokenRequest, context: CallContext
    ) -> pb.GenerateUserTokenResponse:
        """Generate a token for a user, who is created if there is a default package."""
        violations, ttl_ms = Violations(), DEFAULT_TTL_MS
        violations.id("user_id", request.user_id)
        if request.HasField("ttl"):
            ttl_ms = violations.duration_ms("ttl", request.ttl, MIN_TTL_MS, MAX_TTL_MS)
        violations.check()
        env, user_id = context.env, request.user_id
        generation = await _generation(env, user_id)
        now_ms = await env.store.now_ms()
        token = UserToken(env.environment, user_id, generation, now_ms + ttl_ms)
        signed = self._tokens.sign(token, now_ms)
        return pb.GenerateUserTokenResponse(token=signed, expires_at=timestamp(token.expires_at_ms))

    async def revoke_user_tokens(
        self, request: pb.RevokeUserTokensRequest, context: CallContext
    ) -> pb.RevokeUserTokensResponse:
        """Revoke all tokens of a user."""
        user_id = require_id("user_id", request.user_id)
        if not await context.env.token_generations.end(user_id):
            raise user_not_found(user_id)
        return pb.RevokeUserTokensResponse()


async def _generation(env: Environment, user_id: str) -> bytes:
    """Return the generation for a new token; raise ApiError if the user does not exist."""
    for _ in range(MAX_REPAIRS):
        generation = await env.token_generations.get_or_begin(user_id)
        if generation is not None:
            return generation
        await create_default_user(env, user_id)
    raise StoreUnavailableError("a user was deleted repeatedly")
