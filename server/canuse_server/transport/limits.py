"""How large what callers send may be: the same on both transports."""

from typing import Final

from canuse_server.api.bounds import REQUEST_BYTES

MESSAGE_BYTES: Final = REQUEST_BYTES
"""The largest request, in bytes."""
OPEN_REQUEST_BYTES: Final = 1024
"""The largest request that is looked at of the methods that need no key, health and reflection: more than any name of a
service or a symbol takes. A health check that waits stays in memory as long as the call, and reflection repeats what it
was asked."""
METADATA_BYTES_READ: Final = 512 << 10
"""How much of it is read, so that the call can be answered with what is wrong. For more than that HTTP/2 has no answer
but its own: on `native` it ends the connection, with all the calls on it, at some multiple of this."""
STREAMS: Final = 1024
"""How many calls may be open on one connection; clients keep back those beyond them. gRPC has no bound of its own, and
drops calls of others, too, where thousands are waiting: calls that are taken back as soon as they are made did that."""
PENDING: Final = 1 << 16
"""How many calls of all connections gRPC keeps that canuse has not taken yet. Beyond its own bound of 1,000 it drops
some at random, before canuse can answer that there are too many."""
UNCOMPRESSED: Final = 1
"""The set of compressions that has `identity` only."""
PING_MS: Final = 1_000
"""How much time there has to be between the pings of a client. gRPC's own is five minutes, and two hours without a
call; whoever pings more often is cut off. Clients ping every few seconds to find out that a connection is dead."""

GRPC_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    # A few KiB that unpack to the largest request would cost a thousand times what they cost who sends them.
    ("grpc.compression_enabled_algorithms_bitset", UNCOMPRESSED),
    # Between two different ones grpcio would refuse some calls at random.
    ("grpc.max_metadata_size", METADATA_BYTES_READ),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES_READ),
    ("grpc.max_concurrent_streams", STREAMS),
    ("grpc.server.max_pending_requests", PENDING),
    ("grpc.server.max_pending_requests_hard_limit", PENDING),
    ("grpc.http2.min_ping_interval_without_data_ms", PING_MS),
    ("grpc.keepalive_permit_without_calls", 1),
)
