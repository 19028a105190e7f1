"""The gRPC channels of a client for threads.

Written by hand, as is `canuse._async.channel`: this is where the two clients differ.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import grpc

Channel: TypeAlias = grpc.Channel


def open_channel(
    target: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, Any]]
) -> Channel:
    """Open a channel, with TLS if there are credentials."""
    if credentials is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, credentials, options)
