"""Envoy's rate limit service as a caller sees it."""

from typing import Final

import grpc

from canuse._channel import call_metadata
from canuse_server.envoy import descriptor_pb2, rate_limit_service_pb2, rate_limit_service_pb2_grpc
from support.wire import TIMEOUT_SECONDS

Descriptor = descriptor_pb2.RateLimitDescriptor
Request = rate_limit_service_pb2.RateLimitRequest
Response = rate_limit_service_pb2.RateLimitResponse
Status = Response.DescriptorStatus
Unit = Response.RateLimit.Unit

MOST: Final = 2**32 - 1


def descriptor(user_id: str, feature_id: str, **others: str) -> Descriptor:
    """Return the descriptor of a use, with more entries if any are given."""
    entries = {**others, "user_id": user_id, "feature_id": feature_id}
    return Descriptor(entries=[Descriptor.Entry(key=key, value=value) for key, value in entries.items()])


class RateLimits:
    """Asks a server as Envoy does."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.stub = rate_limit_service_pb2_grpc.RateLimitServiceStub(channel)

    def ask(
        self, *descriptors: Descriptor, hits: int = 0, domain: str = "canuse", api_key: str | None = None
    ) -> Response:
        """Make one request."""
        request = Request(domain=domain, descriptors=descriptors, hits_addend=hits)
        return self.stub.ShouldRateLimit(request, timeout=TIMEOUT_SECONDS, metadata=call_metadata(api_key))

    def use(self, user_id: str, feature_id: str, hits: int = 0) -> Response:
        """Make one request of one descriptor."""
        return self.ask(descriptor(user_id, feature_id), hits=hits)


def gist(response: Response) -> str:
    """Return the codes of a response: of the whole, and of each descriptor."""
    name = Response.Code.Name
    return " ".join([name(response.overall_code) + ":", *(name(status.code) for status in response.statuses)])


def left(response: Response) -> list[int]:
    """Return what is left of each descriptor."""
    return [status.limit_remaining for status in response.statuses]
