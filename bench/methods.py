"""The measured methods: their requests, and the checks of their responses."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from bench.event_ids import PLACEHOLDER
from bench.http2 import PREFIX_BYTES, AnswerCheck
from canuse import v1

FEATURE: Final = "api-calls"
DOMAIN: Final = "canuse"
BATCH: Final = 100
"""Default number of items of a batch."""
METADATA: Final = {"region": "eu-west-1", "plan": "team", "source": "web", "request": "5f2c81d09b"}
SERVICE: Final = "/canuse.v1.EntitlementService/"
RATE_LIMIT: Final = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

Request = Callable[[Sequence[str]], bytes]
"""Returns a request with one item per user; event ids are placeholders."""
Results = Callable[[bytes], list[bool]]
"""Returns for each item of a batch whether it was granted or recorded."""

first_field_is_1: Final[AnswerCheck] = re.compile(rb"\0....\x08\x01", re.DOTALL).match
"""Matches a message whose first field is 1: `access`, `recorded`, or OK in Envoy's `overall_code`."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method. `counts` is the amount that an item adds to a counter; `results` is None unless it is a batch; `base`
    is the name of the method to which the cost of an item is compared."""

    name: str
    path: str
    request: Request
    counts: int = 0
    results: Results | None = None
    items: int = 1
    base: str = ""

    @property
    def check(self) -> AnswerCheck:
        """The check that a response grants every item."""
        return partial(_all_granted, self.results, self.items) if self.results else first_field_is_1

    def with_batch(self, size: int) -> "Method":
        """Return the method with another batch size; unchanged unless it is a batch."""
        return replace(self, items=size) if self.results else self

    def messages(self, users: Sequence[str]) -> list[bytes]:
        """Return requests that cover all users once."""
        size = self.items
        padded = [*users, *users[: -len(users) % size]] if len(users) >= size else [*users] * size
        return [self.request(padded[first : first + size]) for first in range(0, len(padded) - size + 1, size)]


def _all_granted(results: Results, items: int, body: bytes) -> bool:
    granted = results(body[PREFIX_BYTES:])
    return len(granted) == items and all(granted)


def _checks(message: bytes) -> list[bool]:
    return [result.response.access for result in v1.BatchCanUseResponse.FromString(message).results]


def _records(message: bytes) -> list[bool]:
    return [result.response.recorded for result in v1.BatchCreateUsageEventsResponse.FromString(message).results]


def _checked_uses(message: bytes) -> list[bool]:
    return [result.response.access for result in v1.BatchUseFeatureResponse.FromString(message).results]


def _one(message: Callable[..., Any], **fields: object) -> Request:
    """Return the request function of a method for one user."""
    return lambda users: bytes(message(user_id=users[0], **fields).SerializeToString())


def _many(batch: Callable[..., Any], message: Callable[..., Any], **fields: object) -> Request:
    """Return the request function of a batch."""
    return lambda users: bytes(batch(requests=[message(user_id=user, **fields) for user in users]).SerializeToString())


def _uses(
    name: str, request: Callable[..., Request], *, base: str = "", results: Results | None = None
) -> Iterator[Method]:
    """Yield the variants of a recording method: plain, with a new event id per use, and with metadata."""
    items = BATCH if results else 1
    for suffix, fields in (("", {}), ("+id", {"event_id": PLACEHOLDER}), ("+metadata", {"metadata": METADATA})):
        variant_base = f"{base}{suffix}" if base else name if suffix else ""
        yield Method(name + suffix, SERVICE + name, request(**fields), 1, results, items, variant_base)


def _should_rate_limit(users: Sequence[str]) -> bytes:
    return rate_limit_request({"user_id": users[0], "feature_id": FEATURE})


def rate_limit_request(entries: dict[str, str]) -> bytes:
    """Return Envoy's request in wire format: the domain (1), and one descriptor (2) with entries (1), each with a key
    (1) and a value (2)."""
    packed = [_field(1, _field(1, key.encode()) + _field(2, value.encode())) for key, value in entries.items()]
    return _field(1, DOMAIN.encode()) + _field(2, b"".join(packed))


def _field(number: int, content: bytes) -> bytes:
    if len(content) > 127:
        raise ValueError(f"{content!r} is longer than 127 bytes")
    return bytes((number << 3 | 2, len(content))) + content


CAN_USE: Final = Method("CanUse", SERVICE + "CanUse", _one(v1.CanUseRequest, feature_id=FEATURE))
_CREATE_USAGE_EVENT: Final = tuple(
    _uses("CreateUsageEvent", partial(_one, v1.CreateUsageEventRequest, feature_id=FEATURE))
)
CREATE_USAGE_EVENT: Final = _CREATE_USAGE_EVENT[0]
_USE_FEATURE: Final = tuple(_uses("UseFeature", partial(_one, v1.UseFeatureRequest, feature_id=FEATURE)))
USE_FEATURE: Final = _USE_FEATURE[0]
_USE_FEATURES: Final = tuple(
    _uses("UseFeatures", partial(_one, v1.UseFeaturesRequest, charges=[v1.Charge(feature_id=FEATURE)]))
)
BATCH_CAN_USE: Final = Method(
    "BatchCanUse",
    SERVICE + "BatchCanUse",
    _many(v1.BatchCanUseRequest, v1.CanUseRequest, feature_id=FEATURE),
    results=_checks,
    items=BATCH,
    base=CAN_USE.name,
)
_BATCH_CREATE_USAGE_EVENTS: Final = tuple(
    _uses(
        "BatchCreateUsageEvents",
        partial(_many, v1.BatchCreateUsageEventsRequest, v1.CreateUsageEventRequest, feature_id=FEATURE),
        base=CREATE_USAGE_EVENT.name,
        results=_records,
    )
)
_BATCH_USE_FEATURE: Final = tuple(
    _uses(
        "BatchUseFeature",
        partial(_many, v1.BatchUseFeatureRequest, v1.UseFeatureRequest, feature_id=FEATURE),
        base=_USE_FEATURE[0].name,
        results=_checked_uses,
    )
)
BATCH_WITH_EVENT_IDS: Final = _BATCH_CREATE_USAGE_EVENTS[1]
SHOULD_RATE_LIMIT: Final = Method("ShouldRateLimit", RATE_LIMIT, _should_rate_limit, counts=1)
METHODS: Final = (
    CAN_USE,
    *_CREATE_USAGE_EVENT,
    *_USE_FEATURE,
    *_USE_FEATURES,
    BATCH_CAN_USE,
    *_BATCH_CREATE_USAGE_EVENTS,
    *_BATCH_USE_FEATURE,
    SHOULD_RATE_LIMIT,
)
BY_DEFAULT: Final = tuple(
    method.name
    for method in METHODS
    if not method.name.endswith("+metadata") and method not in (*_USE_FEATURES, *_BATCH_USE_FEATURE)
)
"""The methods that are measured by default."""
