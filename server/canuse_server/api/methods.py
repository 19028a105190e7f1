"""What is known of each method, from its descriptor: nobody repeats it, and nobody guesses it from a method's name."""

from functools import cache
from typing import NamedTuple

from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.descriptor_pool import Default


class Method(NamedTuple):
    """A method of the API."""

    path: str
    """`/package.Service/Method`."""
    writes: bool
    """Whether it changes something: unless its `idempotency_level` says NO_SIDE_EFFECTS."""
    paged: bool
    """Whether it answers with a page of a list."""
    large: bool
    """Whether its answers may be large: pages, and answers to batches."""
    input_type: Descriptor


@cache
def method_at(path: str) -> Method:
    """Return the method at a path; raise KeyError where there is none."""
    _, service, name = path.split("/")
    return method_of(Default().FindServiceByName(service).methods_by_name[name])


def method_of(descriptor: MethodDescriptor) -> Method:
    """Return what a descriptor says of its method."""
    reads = descriptor.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
    paged = "next_page_token" in descriptor.output_type.fields_by_name
    return Method(
        path=f"/{descriptor.containing_service.full_name}/{descriptor.name}",
        writes=not reads,
        paged=paged,
        large=paged or "requests" in descriptor.input_type.fields_by_name,
        input_type=descriptor.input_type,
    )
