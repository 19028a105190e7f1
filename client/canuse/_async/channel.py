"""The gRPC channels of an asyncio client.

Written by hand, as is `canuse._sync.channel`: this is where the two clients differ.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import grpc
import grpc.aio

Channel: TypeAlias = grpc.aio.Channel


def open_channel(
    target: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, Any]]
) -> Channel:
    """Open a channel, with TLS if there are credentials."""
    if credentials is None:
        return grpc.aio.insecure_channel(target, options)
    return grpc.aio.secure_channel(target, credentials, options)
