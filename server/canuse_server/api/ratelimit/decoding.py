"""Decoding of rate limit requests: their maximum size, and strings that are not UTF-8.

Envoy copies the bytes of headers, but protobuf's parser refuses strings that are not valid UTF-8. Such a request is
parsed again with `bytes` fields in place of strings, and invalid values are replaced by a text that is not a valid id.
"""

from collections.abc import Iterable
from typing import Any, Final

from google.protobuf import duration_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from canuse_server.api.bounds import MAX_DESCRIPTOR_ENTRIES, MAX_DESCRIPTORS, max_request_bytes
from canuse_server.api.hotpath.method import StoreNotNeededError, parse
from canuse_server.api.ratelimit.responses import refused_response
from canuse_server.envoy import descriptor_pb2, rate_limit_service_pb2
from canuse_server.envoy.rate_limit_service_pb2 import RateLimitRequest

MAX_BYTES: Final = max_request_bytes(RateLimitRequest.DESCRIPTOR)
"""Larger requests are refused before they are parsed: callers' headers must not delay other calls."""
_NO_ID: Final = b"\0"
"""Not a valid id: ids contain no control characters."""


def parse_request(payload: bytes) -> RateLimitRequest:
    """Parse a request, also with strings that are not UTF-8.

    Raises:
        StoreNotNeededError: the request is too large.
        ApiError: the bytes are not a valid message.
    """
    if len(payload) > MAX_BYTES:
        raise StoreNotNeededError(refused_response(()))
    try:
        return RateLimitRequest.FromString(payload)
    except DecodeError:
        return _with_valid_strings(payload)


def _with_valid_strings(payload: bytes) -> RateLimitRequest:
    request: Any = parse(_BytesRequest, payload)
    # One more than the maximum, so that the check of the number still fails.
    del request.descriptors[MAX_DESCRIPTORS + 1 :]
    request.domain = _valid(request.domain)
    for descriptor in request.descriptors:
        del descriptor.entries[MAX_DESCRIPTOR_ENTRIES + 1 :]
        for entry in descriptor.entries:
            entry.key, entry.value = _valid(entry.key), _valid(entry.value)
    return RateLimitRequest.FromString(request.SerializeToString())


def _valid(text: bytes) -> bytes:
    """Return a text, or _NO_ID in place of one that is not UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return _NO_ID
    return text


def _bytes_request_class() -> Any:
    """Return the class of requests with `bytes` fields in place of strings."""
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


_BytesRequest: Final = _bytes_request_class()
