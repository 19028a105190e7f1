"""Parsing of rate limit requests.

Envoy's callers choose the values of headers, and so of descriptor entries. So every combination of entries has an
answer; only an unknown domain is an error.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple, TypeGuard

from canuse_server.api.bounds import MAX_CHARGES, MAX_DESCRIPTOR_ENTRIES, MAX_DESCRIPTORS
from canuse_server.api.environment import Environment
from canuse_server.api.errors import ApiError, ErrorReason, invalid
from canuse_server.api.ratelimit.config import RateLimitRules
from canuse_server.api.validation import id_problem, is_plain_id, shown
from canuse_server.domain.model import MAX_AMOUNT
from canuse_server.envoy import rate_limit_service_pb2 as pb
from canuse_server.envoy.descriptor_pb2 import RateLimitDescriptor

# Charge indexes of descriptors without a charge.
LIMITS_NOTHING: Final = -1
REFUSED: Final = -2
NOT_CHECKED: Final = -3
FIRST: Final = (0,)
"""The charge indexes of a request with one descriptor, the usual case."""
FACT: Final = "fact"
"""The value of the entry `record_key` that marks a use as a fact: it has already happened."""
UNKNOWN: Final = ""
"""The feature of a descriptor whose user or feature is not a valid id. No feature has this id."""


class ParsedRequest(NamedTuple):
    """A request as hits by feature, and the feature of each descriptor: None if it names neither user nor feature.

    The uses of the features in `facts` have already happened. `problem` is the reason to refuse the request, or empty.
    """

    user_id: str
    hits: dict[str, int]
    facts: set[str]
    features: list[str | None]
    problem: str = ""

    @property
    def is_clear(self) -> bool:
        """Whether each hit can be recorded, provided that user and features exist."""
        if self.problem or not self.hits or UNKNOWN in self.features:
            return False
        return max(map(abs, self.hits.values())) <= MAX_AMOUNT


def environment_of(domain: str, env: Environment) -> Environment:
    """Return the environment of a domain: that of the caller's key, or any without a key; raise ApiError."""
    rules = env.rate_limits
    if domain == rules.domain:
        return env
    if domain != rules.other_domain:
        domains = repr(rules.domain) if env.sibling is None else f"{rules.domain!r} or {rules.other_domain!r}"
        raise invalid([("domain", f"must be {domains}; {shown(domain)} was sent")])
    if env.sibling is None:
        text = f"the API key belongs to {env.environment}, whose domain is {rules.domain!r}; {domain!r} was sent"
        raise ApiError(ErrorReason.ENVIRONMENT_MISMATCH, text, {"environment": env.environment})
    return env.sibling


def read(request: pb.RateLimitRequest, rules: RateLimitRules) -> ParsedRequest:
    """Parse a request."""
    if len(request.descriptors) > MAX_DESCRIPTORS:
        return _unprocessable(f"it has more than {MAX_DESCRIPTORS} descriptors")
    users: set[str] = set()
    hits: dict[str, int] = {}
    facts: set[str] = set()
    features: list[str | None] = []
    for descriptor in request.descriptors:
        entries = descriptor.entries
        if len(entries) > MAX_DESCRIPTOR_ENTRIES:
            return _unprocessable(f"a descriptor has more than {MAX_DESCRIPTOR_ENTRIES} entries")
        user, feature, record = _find_entries(entries, rules)
        if user is None and feature is None:
            features.append(None)
            continue
        if not (_is_valid(user) and _is_valid(feature)):
            features.append(UNKNOWN)
            continue
        users.add(user)
        features.append(feature)
        amount = descriptor.hits_addend.value if descriptor.HasField("hits_addend") else request.hits_addend or 1
        negative = descriptor.is_negative_hits
        hits[feature] = hits.get(feature, 0) + (-amount if negative else amount)
        if negative or record == FACT:
            facts.add(feature)
    return ParsedRequest(users.pop() if len(users) == 1 else "", hits, facts, features, _problem(users, hits))


def _unprocessable(problem: str) -> ParsedRequest:
    return ParsedRequest("", {}, set(), [], problem)


def _problem(users: Collection[str], hits: Collection[str]) -> str:
    """Return why the request cannot be one step; empty if it can."""
    if len(users) > 1:
        return f"its descriptors name {len(users)} users"
    return f"its descriptors name more than {MAX_CHARGES} features" if len(hits) > MAX_CHARGES else ""


def _find_entries(
    entries: Iterable[RateLimitDescriptor.Entry], rules: RateLimitRules
) -> tuple[str | None, str | None, str | None]:
    """Return the values of a descriptor's entries for the user, the feature and the record."""
    user_key, feature_key, record_key = rules.user_key, rules.feature_key, rules.record_key
    user = feature = record = None
    for entry in entries:
        key = entry.key
        if key == user_key:
            user = entry.value
        elif key == feature_key:
            feature = entry.value
        elif key == record_key:
            record = entry.value
    return user, feature, record


def _is_valid(value: str | None) -> TypeGuard[str]:
    """Whether a value is given and is a valid id."""
    return value is not None and (is_plain_id(value) or id_problem(value) is None)


def charge_indexes(parsed: ParsedRequest, others: Mapping[str, int]) -> tuple[int, ...]:
    """Return the index of the hit of each descriptor; `others` are the indexes of features without a hit."""
    indexes = {feature_id: index for index, feature_id in enumerate(parsed.hits)}
    return tuple(
        [
            LIMITS_NOTHING if name is None else indexes[name] if name in indexes else others[name]
            for name in parsed.features
        ]
    )
