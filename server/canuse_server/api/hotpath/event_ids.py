"""The event id of a request: its validation, and its form as the argument of a script."""

from typing import TYPE_CHECKING, Final

from canuse_server.api.environment import Environment
from canuse_server.api.validation import Violations
from canuse_server.domain.periods import DAY_MS, SECOND_MS
from canuse_server.store.codec.user_values import pack_event

if TYPE_CHECKING:
    from canuse.v1 import entitlement_service_pb2 as pb
    from canuse.v1.subscription_service_pb2 import ChangePackageRequest, SubscribeRequest

    Request = (
        pb.CreateUsageEventRequest
        | pb.UseFeatureRequest
        | pb.UseFeaturesRequest
        | pb.ReserveRequest
        | pb.SettleRequest
        | pb.ExtendLeaseRequest
        | SubscribeRequest
        | ChangePackageRequest
    )

MIN_TTL_MS: Final = SECOND_MS
MAX_TTL_MS: Final = 3650 * DAY_MS


def check_event_id(violations: Violations, request: "Request") -> None:
    """Check the event id of a request and its `event_id_ttl`."""
    violations.event_id("event_id", request.event_id)
    if request.HasField("event_id_ttl"):
        violations.duration_ms("event_id_ttl", request.event_id_ttl, MIN_TTL_MS, MAX_TTL_MS)


def is_plain_ttl(request: "Request") -> bool:
    """Whether `event_id_ttl` is certainly valid. A fast check for most requests; False only means: check it in full."""
    if not request.HasField("event_id_ttl"):
        return True
    ttl = request.event_id_ttl
    return 0 < ttl.seconds < MAX_TTL_MS // SECOND_MS and ttl.nanos == 0


def event_argument(env: Environment, request: "Request", fingerprint: bytes) -> bytes:
    """Return the event id of a validated request as a script's argument. `fingerprint` identifies its content."""
    longest_ms = ttl_ms = env.retention.dedupe_ttl_ms
    if request.HasField("event_id_ttl"):
        ttl = request.event_id_ttl
        ttl_ms = min(ttl.seconds * SECOND_MS + ttl.nanos // 1_000_000, longest_ms)
    return pack_event(env.store.event_key.digest(request.event_id.encode()), fingerprint, ttl_ms, longest_ms)
