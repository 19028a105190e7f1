"""How large what callers send may be: the same on both transports."""

from typing import Final

from canuse_server.api.bounds import REQUEST_BYTES

MESSAGE_BYTES: Final = REQUEST_BYTES
"""The largest request, in bytes."""
METADATA_BYTES: Final = 16 << 10
"""The most metadata of a call, in bytes: names, values, and PAIR_BYTES for each pair."""
PAIR_BYTES: Final = 32
"""What a pair of metadata counts for besides its name and value, as in HTTP/2."""
STREAMS: Final = 1024
"""How many calls may be open on one connection; clients keep back those beyond them. gRPC has no bound of its own, and
drops calls of others, too, where thousands are waiting: calls that are taken back as soon as they are made did that."""
PENDING: Final = 1 << 16
"""How many calls of all connections gRPC keeps that canuse has not taken yet. Beyond its own bound of 1,000 it drops
some at random, before canuse can answer that there are too many."""

GRPC_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    # Between two different ones grpcio would refuse some calls at random.
    ("grpc.max_metadata_size", METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES),
    ("grpc.max_concurrent_streams", STREAMS),
    ("grpc.server.max_pending_requests", PENDING),
    ("grpc.server.max_pending_requests_hard_limit", PENDING),
)
