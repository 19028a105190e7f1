"""The table of methods: the properties of each, from its descriptor and never from its name."""

from functools import cache
from typing import NamedTuple

from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.descriptor_pool import Default

from canuse_server.api.scopes import PUBLIC_METHODS, SCOPES
from canuse_server.domain.api_keys import Scope


class Method(NamedTuple):
    """A method of the API."""

    path: str
    """`/package.Service/Method`."""
    scopes: tuple[Scope, ...]
    """The scopes, of which an API key needs one."""
    writes: bool
    """Whether its `idempotency_level` is other than NO_SIDE_EFFECTS."""
    audited: bool
    """Whether its changes have entries in the audit log: it writes, and does not record use."""
    paged: bool
    """Whether its response is a page of a list."""
    large: bool
    """Whether its responses may be large: pages, and responses to batches."""
    streams: bool
    """Whether its response is a stream of messages."""
    input_type: Descriptor
    output_type: Descriptor
    user_field: str
    """The field that names the user, for a method that publishable keys and user tokens may call; empty for others."""


@cache
def method_at(path: str) -> Method:
    """Return the method at a path; raise KeyError if there is none."""
    _, service, name = path.split("/")
    return method_of(Default().FindServiceByName(service).methods_by_name[name])


def method_of(descriptor: MethodDescriptor) -> Method:
    """Return the method of a descriptor; raise LookupError if `api/scopes.py` is wrong about it."""
    path = f"/{descriptor.containing_service.full_name}/{descriptor.name}"
    scopes = SCOPES.get(path)
    if scopes is None:
        raise LookupError(f"api/scopes.py has no scope for {path}")
    reads = descriptor.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
    paged = "next_page_token" in descriptor.output_type.fields_by_name
    user_field = PUBLIC_METHODS.get(path, "")
    if user_field and (not reads or descriptor.server_streaming):
        raise LookupError(f"api/scopes.py opens {path} to user tokens, which only read, and call no streams")
    return Method(
        path=path,
        scopes=scopes,
        writes=not reads,
        audited=not reads and Scope.USAGE_WRITE not in scopes,
        paged=paged,
        large=paged or "requests" in descriptor.input_type.fields_by_name,
        streams=descriptor.server_streaming,
        input_type=descriptor.input_type,
        output_type=descriptor.output_type,
        user_field=user_field,
    )
