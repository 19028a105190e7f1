"""The methods that the batch lane serves."""

from typing import Final

from canuse_server.api.can_use import CanUse
from canuse_server.api.hot import HotMethod
from canuse_server.api.leases import Reserve, Settle
from canuse_server.api.rate_limits import ShouldRateLimit
from canuse_server.api.uses import CreateUsageEvent, UseFeature, UseFeatures

HOT_METHODS: Final[tuple[HotMethod, ...]] = (
    CanUse(),
    CreateUsageEvent(),
    UseFeature(),
    UseFeatures(),
    Reserve(),
    Settle(),
    ShouldRateLimit(),
)
