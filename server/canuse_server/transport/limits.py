"""The limits of both transports on what callers send."""

from typing import Final

from canuse_server.api.bounds import MAX_REQUEST_BYTES

MAX_MESSAGE_BYTES: Final = MAX_REQUEST_BYTES
"""Maximum size of a request."""
MAX_PUBLIC_REQUEST_BYTES: Final = 1024
"""Maximum size of a request of health and reflection, which require no key: more than any name of a service or symbol
needs. The request of `Watch` stays in memory as long as the call, and reflection returns it in its response."""
MAX_PARSED_METADATA_BYTES: Final = 512 << 10
"""Maximum metadata of a call that is read, so that a call with too much can be answered with an error. Beyond it HTTP/2
itself refuses the call; at some multiple of it, `native` closes the connection with all its calls."""
MAX_STREAMS: Final = 1024
"""Maximum number of open calls on a connection; clients queue further ones. gRPC has no limit by default, and drops
calls of other clients when thousands are waiting, for example from a client that cancels its calls at once."""
MAX_PENDING_CALLS: Final = 1 << 16
"""Maximum number of calls of all connections that wait in gRPC. Beyond its default of 1,000 gRPC drops calls at random,
before canuse can answer that the server is overloaded."""
NO_COMPRESSION: Final = 1
"""The bit set of compression algorithms that contains only `identity`."""
MIN_PING_INTERVAL_MS: Final = 1_000
"""Minimum interval between pings of a client; gRPC closes the connection of a client that pings more often. Its default
is five minutes, and two hours without calls, but clients ping every few seconds to detect a dead connection."""

GRPC_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A few compressed KiB can expand to the largest request, and then cost the server a thousand times more than the
    # client.
    ("grpc.compression_enabled_algorithms_bitset", NO_COMPRESSION),
    # Equal values: between two different ones grpcio refuses calls at random.
    ("grpc.max_metadata_size", MAX_PARSED_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_PARSED_METADATA_BYTES),
    ("grpc.max_concurrent_streams", MAX_STREAMS),
    ("grpc.server.max_pending_requests", MAX_PENDING_CALLS),
    ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_CALLS),
    ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
    ("grpc.keepalive_permit_without_calls", 1),
)
