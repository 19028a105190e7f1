"""What a request of Envoy's rate limit service asks for."""

from typing import Final, NamedTuple, NoReturn

from canuse_server.api.errors import ApiError, ErrorReason, invalid
from canuse_server.api.rate_limit_rules import RateLimitRules
from canuse_server.api.uses import CHARGES_AT_MOST
from canuse_server.api.validation import Violations, shown
from canuse_server.api.world import World
from canuse_server.domain.model import MAX_AMOUNT
from canuse_server.envoy import rate_limit_service_pb2 as pb

LIMITS_NOTHING: Final = -1
"""The place of a descriptor that no charge belongs to."""
FIRST: Final = (0,)
"""The places of the one descriptor that there usually is."""


class Asked(NamedTuple):
    """Hits by feature, and the feature of each descriptor: None where it does not name a user and a feature."""

    user_id: str
    hits: dict[str, int]
    features: list[str | None]


def world_of(domain: str, world: World) -> World:
    """Return the world that a domain stands for: that of the caller's key, or with no key any; raise ApiError."""
    rules = world.rate_limits
    if domain == rules.domain:
        return world
    if domain != rules.other_domain:
        domains = repr(rules.domain) if world.elsewhere is None else f"{rules.domain!r} or {rules.other_domain!r}"
        raise invalid([("domain", f"must be {domains}; {shown(domain)} was sent")])
    if world.elsewhere is None:
        text = f"the domain {domain!r} is not that of the API key's environment, {world.environment}: {rules.domain!r}"
        raise ApiError(ErrorReason.ENVIRONMENT_MISMATCH, text, {"environment": world.environment})
    return world.elsewhere


def read(request: pb.RateLimitRequest, rules: RateLimitRules) -> Asked:
    """Return what a request asks for; raise ApiError where that can't be done."""
    user_key, feature_key = rules.user_key, rules.feature_key
    plain = True
    user_id = None
    hits: dict[str, int] = {}
    features: list[str | None] = []
    for descriptor in request.descriptors:
        user = feature = None
        for entry in descriptor.entries:
            key = entry.key
            if key == user_key:
                user = entry.value
            elif key == feature_key:
                feature = entry.value
        if user is None or feature is None:
            features.append(None)
            continue
        features.append(feature)
        amount = descriptor.hits_addend.value if descriptor.HasField("hits_addend") else request.hits_addend or 1
        hits[feature] = amount = hits.get(feature, 0) + amount
        if amount > MAX_AMOUNT or descriptor.is_negative_hits or (user_id is not None and user != user_id):
            plain = False
        user_id = user
    if not plain or len(hits) > CHARGES_AT_MOST:
        _refuse(request, rules, hits)
    return Asked(user_id or "", hits, features)


def _refuse(request: pb.RateLimitRequest, rules: RateLimitRules, hits: dict[str, int]) -> NoReturn:
    """Raise ApiError, saying what is wrong with a request."""
    violations = Violations()
    users: set[str] = set()
    for index, descriptor in enumerate(request.descriptors):
        entries = {entry.key: entry.value for entry in descriptor.entries}
        if not {rules.user_key, rules.feature_key} <= entries.keys():
            continue
        users.add(entries[rules.user_key])
        if descriptor.is_negative_hits:
            violations.add(f"descriptors[{index}].is_negative_hits", "must be false; CreateUsageEvent takes uses back")
    if len(users) > 1:
        violations.add("descriptors", f"must be of one user, to be used all or none; {len(users)} users were sent")
    if len(hits) > CHARGES_AT_MOST:
        violations.add("descriptors", f"must be of at most {CHARGES_AT_MOST} features; {len(hits)} were sent")
    violations.amount("hits_addend", max(hits.values(), default=0), 0)
    raise invalid(violations.found)


def places(asked: Asked) -> tuple[int, ...]:
    """Return for each descriptor which of the hits it belongs to, or LIMITS_NOTHING."""
    if len(asked.features) == 1:
        return FIRST
    found = {feature_id: place for place, feature_id in enumerate(asked.hits)}
    return tuple([LIMITS_NOTHING if name is None else found.get(name, LIMITS_NOTHING) for name in asked.features])
