"""Requests of Envoy's rate limit service as bytes: too many of them, and strings that are no UTF-8.

Envoy passes on the bytes of a header as they came, and protobuf's parser takes none that are no UTF-8 for a string.
Where it refuses a request, the request is read with `bytes` in the place of each string, and what is no UTF-8 becomes a
text that nobody can have for an id.
"""

from collections.abc import Iterable
from typing import Any, Final

from google.protobuf import duration_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from canuse_server.api.bounds import MAX_DESCRIPTOR_ENTRIES, MAX_DESCRIPTORS, accepted_bytes
from canuse_server.api.hotpath.method import AnsweredError, parse
from canuse_server.api.ratelimit.responses import impossible
from canuse_server.envoy import descriptor_pb2, rate_limit_service_pb2
from canuse_server.envoy.rate_limit_service_pb2 import RateLimitRequest

MAX_BYTES: Final = accepted_bytes(RateLimitRequest.DESCRIPTOR)
"""Requests beyond it are refused unread: what a caller puts into headers must not hold up others."""
_NO_ID: Final = b"\0"
"""Ids have no control characters."""


def parse_request(payload: bytes) -> RateLimitRequest:
    """Read a request, whatever bytes its strings have.

    Raises:
        AnsweredError: it is too large.
        ApiError: it is no such message.
    """
    if len(payload) > MAX_BYTES:
        raise AnsweredError(impossible(()))
    try:
        return RateLimitRequest.FromString(payload)
    except DecodeError:
        return _with_good_strings(payload)


def _with_good_strings(payload: bytes) -> RateLimitRequest:
    request: Any = parse(_OF_BYTES, payload)
    # One more than is looked at shows that there are too many.
    del request.descriptors[MAX_DESCRIPTORS + 1 :]
    request.domain = _good(request.domain)
    for descriptor in request.descriptors:
        del descriptor.entries[MAX_DESCRIPTOR_ENTRIES + 1 :]
        for entry in descriptor.entries:
            entry.key, entry.value = _good(entry.key), _good(entry.value)
    return RateLimitRequest.FromString(request.SerializeToString())


def _good(text: bytes) -> bytes:
    try:
        text.decode()
    except UnicodeDecodeError:
        return _NO_ID
    return text


def _of_bytes() -> Any:
    """Return the class of requests with `bytes` in the place of each string."""
    pool = DescriptorPool()
    for module in (wrappers_pb2, duration_pb2, descriptor_pb2, rate_limit_service_pb2):
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        _replace_strings(file.message_type)
        pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(RateLimitRequest.DESCRIPTOR.full_name))


def _replace_strings(messages: Iterable[DescriptorProto]) -> None:
    for message in messages:
        for field in message.field:
            if field.type == FieldDescriptorProto.TYPE_STRING:
                field.type = FieldDescriptorProto.TYPE_BYTES
        _replace_strings(message.nested_type)


_OF_BYTES: Final = _of_bytes()
