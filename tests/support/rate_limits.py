"""Envoy's rate limit service, called as Envoy does."""

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

PATH: Final = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
MAX_UINT32: Final = 2**32 - 1


def descriptor(user_id: str, feature_id: str, **others: str) -> Descriptor:
    """Return the descriptor of a use, with further entries if given."""
    entries = {**others, "user_id": user_id, "feature_id": feature_id}
    return Descriptor(entries=[Descriptor.Entry(key=key, value=value) for key, value in entries.items()])


def amount(descriptor: Descriptor, hits: int, *, negative: bool = False) -> Descriptor:
    """Return a copy of a descriptor with its own number of hits."""
    own = Descriptor()
    own.CopyFrom(descriptor)
    own.hits_addend.value, own.is_negative_hits = hits, negative
    return own


def fact(user_id: str, feature_id: str, hits: int) -> Descriptor:
    """Return the descriptor of a use that has already happened."""
    return amount(descriptor(user_id, feature_id, record="fact"), hits)


class RateLimits:
    """Calls the service as Envoy does."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self.stub = rate_limit_service_pb2_grpc.RateLimitServiceStub(channel)

    def ask(
        self, *descriptors: Descriptor, hits: int = 0, domain: str = "canuse", api_key: str | None = None
    ) -> Response:
        """Make one request."""
        request = Request(domain=domain, descriptors=descriptors, hits_addend=hits)
        return self.stub.ShouldRateLimit(request, timeout=TIMEOUT_SECONDS, metadata=call_metadata(api_key))

    def ask_bytes(self, text: str, raw: bytes, *descriptors: Descriptor, domain: str = "canuse") -> Response:
        """Make one request with a text replaced by as many bytes, which need not be UTF-8."""
        request = Request(domain=domain, descriptors=descriptors).SerializeToString()
        assert text.encode() in request
        assert len(text) == len(raw)
        method: grpc.UnaryUnaryMultiCallable[bytes, Response] = self._channel.unary_unary(
            PATH, response_deserializer=Response.FromString
        )
        return method(request.replace(text.encode(), raw), timeout=TIMEOUT_SECONDS)

    def use(self, user_id: str, feature_id: str, hits: int = 0) -> Response:
        """Make one request with one descriptor."""
        return self.ask(descriptor(user_id, feature_id), hits=hits)


def summary(response: Response) -> str:
    """Return the codes of a response: the overall one, and one per descriptor."""
    name = Response.Code.Name
    return " ".join([name(response.overall_code) + ":", *(name(status.code) for status in response.statuses)])


def left(response: Response) -> list[int]:
    """Return the remaining limit of each descriptor."""
    return [status.limit_remaining for status in response.statuses]
