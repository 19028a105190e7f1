"""The hot methods, each as two pure functions with one round trip to the store between them.

`plan` reads a request and says which command to send; `respond` reads the reply and makes the answer. The servicer
awaits the command, the batch lane sends those of many calls at once; neither knows the rules. What one command can't
answer is raised as a retryable error: the executor repairs what is missing and starts over.
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
    """The feature is not in memory; the store may know it. Where it does not, `refusal`, if given, is the answer."""

    def __init__(self, feature_id: str, refusal: ApiError | None = None) -> None:
        super().__init__(feature_id)
        self.feature_id = feature_id
        self.refusal = refusal


class Plan(NamedTuple):
    """A call on its way to the store and back."""

    command: Command
    user_id: str
    features: tuple[Feature, ...]
    delta: int
    event_id: str = ""
    repeatable: bool = False
    """Whether the same bytes would give the same plan again."""
    lease_id: str = ""
    last_known: LastKnown | None = None
    """Of a check whose feature asks for it: where what the store replies is remembered."""
    charge_indexes: tuple[int, ...] = ()
    """Of a rate limit request: which of the features each descriptor is about."""


class ExplanationWantedError(Exception):
    """The answer is to be explained, for which everything about the user has to be read."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan


class AnsweredError(Exception):
    """The answer is known without the store."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.answer = answer


RETRYABLE: Final = (
    FeatureUnknownError,
    UserMissingError,
    LeasesDueError,
    StaleError,
    ExplanationWantedError,
    AnsweredError,
)
"""What one command can't answer: see `executor.py` for what repairs each."""


class HotMethod(Protocol):
    """A method that the batch lane can serve."""

    path: str
    writes: bool

    def plan(self, payload: bytes, env: Environment) -> Plan:
        """Read a request.

        Raises:
            ApiError: it is bad.
            FeatureUnknownError: the feature is not in memory.
            ExplanationWantedError: the answer is to be explained.
            AnsweredError: there is nothing to ask the store about.
        """

    def respond(self, plan: Plan, reply: object, now_ms: int) -> bytes:
        """Make the answer; raise ApiError, or one of RETRYABLE where the reply does not tell."""

    def without_store(self, plan: Plan) -> bytes | None:
        """Make the answer while the store is unavailable; None: there is none, the call fails. Raise ApiError, too."""

    def holds_until_ms(self, reply: object, now_ms: int) -> int:
        """Return up to when, exclusive, the same reply gives the same answer as now; 0: only now."""


def parse(kind: type[Request], payload: bytes) -> Request:
    """Read a request; raise INVALID_FIELD where the bytes are no such message."""
    try:
        return kind.FromString(payload)
    except DecodeError:
        raise malformed(kind.DESCRIPTOR.full_name) from None


def known_feature(env: Environment, feature_id: str) -> Feature:
    """Return a feature from memory; raise FeatureUnknownError where it is not there."""
    feature = env.cache.features.get(feature_id)
    if feature is None:
        raise FeatureUnknownError(feature_id)
    return feature


def reason_message(reason: Reason) -> ReasonMessage.ValueType:
    """Return a reason as the API's enum; the numbers are the same."""
    return cast("ReasonMessage.ValueType", int(reason))
