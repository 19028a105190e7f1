"""The stubs of all services on one channel."""

from canuse import v1
from canuse._async.channel import Channel


class Stubs:
    """The stubs of all services on one channel."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.entitlements = v1.EntitlementServiceStub(channel)
        self.usage = v1.UsageServiceStub(channel)
        self.catalog = v1.CatalogServiceStub(channel)
        self.users = v1.UserServiceStub(channel)
        self.subscriptions = v1.SubscriptionServiceStub(channel)
        self.api_keys = v1.ApiKeyServiceStub(channel)
        self.audit = v1.AuditServiceStub(channel)
