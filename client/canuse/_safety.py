"""Which calls may be made again although the first attempt may have been processed."""

from collections.abc import Mapping
from enum import Enum
from types import ModuleType
from typing import Final

from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from canuse import v1
from canuse._requests import takes_event_ids


class Safety(Enum):
    """Why a call may be repeated."""

    READS = "it changes nothing"
    EVENT_ID = "its event id counts once"
    REPEATABLE = "once it is done, nothing is left to do"
    NONE = "it may not"


REPEATABLE: Final = frozenset({"CreateGrant", "EnsureUser", "RevokeGrant", "RevokeUserTokens"})
"""Methods without an event id that change nothing when the same call is made again."""


def methods() -> list[MethodDescriptor]:
    """Return the methods of the API, ordered by name."""
    modules = (
        module for module in vars(v1).values() if isinstance(module, ModuleType) and hasattr(module, "DESCRIPTOR")
    )
    services = [service for module in modules for service in module.DESCRIPTOR.services_by_name.values()]
    return sorted((method for service in services for method in service.methods), key=lambda method: method.full_name)


def _safety(method: MethodDescriptor) -> Safety:
    if method.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS:
        return Safety.READS
    if takes_event_ids(method.input_type):
        return Safety.EVENT_ID
    return Safety.REPEATABLE if method.name in REPEATABLE else Safety.NONE


SAFETY: Final[Mapping[Descriptor, Safety]] = {method.input_type: _safety(method) for method in methods()}
"""By the type of the request: each method has one of its own."""
