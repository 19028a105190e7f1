"""What a request of Envoy's rate limit service asks for.

Envoy's own callers choose the values of headers, and with them the entries of descriptors. So whatever the entries are,
there is something that the request asks for; only a domain that stands for no environment is an error.
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

# Places of descriptors that no charge belongs to.
LIMITS_NOTHING: Final = -1
REFUSED: Final = -2
NOT_LOOKED_AT: Final = -3
FIRST: Final = (0,)
"""The places of the one descriptor that there usually is."""
FACT: Final = "fact"
"""The value of the entry `record_key` for a use that has happened already."""
NOT_KNOWN: Final = ""
"""Stands for the feature of a descriptor whose user or feature nobody can have: no feature has this id."""


class ParsedRequest(NamedTuple):
    """Hits by feature, and the feature of each descriptor: None where it names neither a user nor a feature.

    Of the features in `facts` the use has happened already. `problem` is why nothing can be used; empty: it can.
    """

    user_id: str
    hits: dict[str, int]
    facts: set[str]
    features: list[str | None]
    problem: str = ""

    @property
    def is_clear(self) -> bool:
        """Whether each hit can be recorded, if user and feature are known."""
        if self.problem or not self.hits or NOT_KNOWN in self.features:
            return False
        return max(map(abs, self.hits.values())) <= MAX_AMOUNT


def environment_of(domain: str, env: Environment) -> Environment:
    """Return the environment that a domain stands for: that of the caller's key, or with no key any; raise ApiError."""
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
    """Return what a request asks for."""
    if len(request.descriptors) > MAX_DESCRIPTORS:
        return _unread(f"it has more than {MAX_DESCRIPTORS} descriptors")
    users: set[str] = set()
    hits: dict[str, int] = {}
    facts: set[str] = set()
    features: list[str | None] = []
    for descriptor in request.descriptors:
        entries = descriptor.entries
        if len(entries) > MAX_DESCRIPTOR_ENTRIES:
            return _unread(f"a descriptor has more than {MAX_DESCRIPTOR_ENTRIES} entries")
        user, feature, record = _named(entries, rules)
        if user is None and feature is None:
            features.append(None)
            continue
        if not (_can_be(user) and _can_be(feature)):
            features.append(NOT_KNOWN)
            continue
        users.add(user)
        features.append(feature)
        amount = descriptor.hits_addend.value if descriptor.HasField("hits_addend") else request.hits_addend or 1
        negative = descriptor.is_negative_hits
        hits[feature] = hits.get(feature, 0) + (-amount if negative else amount)
        if negative or record == FACT:
            facts.add(feature)
    return ParsedRequest(users.pop() if len(users) == 1 else "", hits, facts, features, _problem(users, hits))


def _unread(problem: str) -> ParsedRequest:
    return ParsedRequest("", {}, set(), [], problem)


def _problem(users: Collection[str], hits: Collection[str]) -> str:
    """Say why so many users or features can't be used in one step; empty: they can."""
    if len(users) > 1:
        return f"its descriptors name {len(users)} users"
    return f"its descriptors name more than {MAX_CHARGES} features" if len(hits) > MAX_CHARGES else ""


def _named(
    entries: Iterable[RateLimitDescriptor.Entry], rules: RateLimitRules
) -> tuple[str | None, str | None, str | None]:
    """Return the entries of a descriptor that matter: the user, the feature, and how it is recorded."""
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


def _can_be(name: str | None) -> TypeGuard[str]:
    """Whether a user or a feature can have an id."""
    return name is not None and (is_plain_id(name) or id_problem(name) is None)


def charge_indexes(asked: ParsedRequest, others: Mapping[str, int]) -> tuple[int, ...]:
    """Return for each descriptor which of the hits it belongs to; `others` has the places of features without one."""
    found = {feature_id: place for place, feature_id in enumerate(asked.hits)}
    return tuple(
        [LIMITS_NOTHING if name is None else found[name] if name in found else others[name] for name in asked.features]
    )
