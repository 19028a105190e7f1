"""The methods that the batch lane serves."""

from typing import Final

from canuse_server.api.hotpath.can_use import CanUse
from canuse_server.api.hotpath.leases import ExtendLease, Reserve, Settle
from canuse_server.api.hotpath.method import HotMethod
from canuse_server.api.hotpath.record import CreateUsageEvent, UseFeature, UseFeatures
from canuse_server.api.ratelimit.method import ShouldRateLimit

_METHODS: Final[tuple[HotMethod, ...]] = (
    CanUse(),
    CreateUsageEvent(),
    UseFeature(),
    UseFeatures(),
    Reserve(),
    Settle(),
    ExtendLease(),
    ShouldRateLimit(),
)
HOT_METHODS: Final = {method.path: method for method in _METHODS}
"""The hot methods by path."""
