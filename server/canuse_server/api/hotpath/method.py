"""Hot methods: each consists of two pure functions with one round trip to the store between them.

`plan` parses a request and returns the command to send; `respond` parses the reply and returns the response. The event
loop executes the command of one call, the batch lane those of many calls at once; neither knows the rules. If one
command is not enough, a retryable error is raised: the executor repairs its cause and starts again.
"""

from typing import Final, NamedTuple, Protocol, TypeVar, cast

from google.protobuf.message import DecodeError, Message

from canuse.v1.reason_pb2 import Reason as ReasonMessage
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError
from canuse_server.api.last_known import LastKnown
from canuse_server.api.validation import malformed
from canuse_server.domain.model import Feature, Reason
from canuse_server.store.redis.command import Command
from canuse_server.store.repositories.usage_commands import LeasesDueError, StaleError, UserMissingError

Request = TypeVar("Request", bound=Message)
PREFIX: Final = "/canuse.v1.EntitlementService/"


class FeatureUnknownError(Exception):
    """The feature is not in memory, but may be in the store. If it is not, the call fails with `refusal`, if given."""

    def __init__(self, feature_id: str, refusal: ApiError | None = None) -> None:
        super().__init__(feature_id)
        self.feature_id = feature_id
        self.refusal = refusal


class Plan(NamedTuple):
    """The plan of a call: its command, and the data that `respond` needs."""

    command: Command
    user_id: str
    features: tuple[Feature, ...]
    delta: int
    event_id: str = ""
    cacheable: bool = False
    """Whether a request with the same bytes has the same plan, and one with other ids of the user and the event differs
    only in these. It has one feature."""
    lease_id: str = ""
    last_known: LastKnown | None = None
    """The cache for the store's reply, for a check whose feature uses it."""
    charge_indexes: tuple[int, ...] = ()
    """Of a rate limit request: the index in `features` of each descriptor."""


class ExplanationWantedError(Exception):
    """The caller requests an explanation, for which the user's complete state must be read."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan


class StoreNotNeededError(Exception):
    """The response is known without the store."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.answer = answer


RETRYABLE: Final = (
    FeatureUnknownError,
    UserMissingError,
    LeasesDueError,
    StaleError,
    ExplanationWantedError,
    StoreNotNeededError,
)
"""Raised if one command is not enough: see `executor.py` for the repairs."""


class HotMethod(Protocol):
    """A method that the batch lane can serve."""

    path: str
    writes: bool
    user_tag: int
    """The tag of the user id in a request, one byte; 0 if a plan is not reused for other users."""
    event_tag: int
    """The tag of the event id in a request, one byte; 0 if a plan is not reused for other event ids."""

    def plan(self, payload: bytes, env: Environment) -> Plan:
        """Parse a request.

        Raises:
            ApiError: the request is invalid.
            FeatureUnknownError: the feature is not in memory.
            ExplanationWantedError: the caller requests an explanation.
            StoreNotNeededError: the response is known without the store.
        """

    def respond(self, plan: Plan, reply: object, now_ms: int) -> bytes:
        """Return the response; raise ApiError, or one of RETRYABLE if the reply is not enough."""

    def without_store(self, plan: Plan) -> bytes | None:
        """Return the response while the store is unavailable, or None if the call fails then. Raises ApiError."""

    def holds_until_ms(self, response: bytes, reply: object, now_ms: int) -> int:
        """Return the time before which the same reply gives the same response; 0: only now."""


def parse(request_class: type[Request], payload: bytes) -> Request:
    """Parse a request; raise INVALID_FIELD if the bytes are not a valid message."""
    try:
        return request_class.FromString(payload)
    except DecodeError:
        raise malformed(request_class.DESCRIPTOR.full_name) from None


def known_feature(env: Environment, feature_id: str) -> Feature:
    """Return a feature from memory; raise FeatureUnknownError if it is not there."""
    feature = env.cache.features.get(feature_id)
    if feature is None:
        raise FeatureUnknownError(feature_id)
    return feature


def reason_message(reason: Reason) -> ReasonMessage.ValueType:
    """Return a reason in the API's enum, which has the same numbers."""
    return cast("ReasonMessage.ValueType", int(reason))
