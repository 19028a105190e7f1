"""The methods of the API, taken from its descriptors, so that none is missed."""

from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from canuse import v1

TIMEOUT_SECONDS: Final = 30


class Method(NamedTuple):
    """A method of the API."""

    path: str
    descriptor: MethodDescriptor

    @property
    def writes(self) -> bool:
        """Whether it changes something."""
        return self.descriptor.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS

    def call(self, channel: grpc.Channel, request: Message, api_key: str) -> Any:
        """Call it; for a stream the last message is returned."""
        metadata = (("authorization", f"Bearer {api_key}"),)
        read = GetMessageClass(self.descriptor.output_type).FromString
        write = type(request).SerializeToString
        if self.descriptor.server_streaming:
            stream = channel.unary_stream(self.path, write, read)
            return list(stream(request, timeout=TIMEOUT_SECONDS, metadata=metadata))[-1]
        call = channel.unary_unary(self.path, write, read)
        return call(request, timeout=TIMEOUT_SECONDS, metadata=metadata, wait_for_ready=True)


def _methods() -> dict[str, Method]:
    found = {}
    for path in sorted(Path(str(v1.__file__)).parent.glob("*_pb2.py")):
        module = import_module(f"{v1.__name__}.{path.stem}")
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                found[method.name] = Method(f"/{service.full_name}/{method.name}", method)
    return found


METHODS: Final = _methods()
"""All methods by name."""
