"""The names of fields in errors as callers write them in JSON: `userId` for the field `user_id`."""

import re
from collections.abc import Sequence
from typing import Any, Final

from google.protobuf.descriptor import Descriptor
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status

from canuse_server.api.errors import ApiError
from canuse_server.runtime.thread_pauses import pause_if_due

_STEP: Final = re.compile(r"(\w+)((?:\[\d+\])?)(?:\.(.*))?", re.DOTALL)
"""A field of a path, its index, and the path in that field."""


def error_in_json(error: ApiError, request: Descriptor) -> ApiError:
    """Return the error of a method with the names that a request in JSON has."""
    message, violations = _renamed(error.message, error.violations, request)
    metadata = dict(error.metadata)
    if field := metadata.get("field"):
        metadata["field"] = path_in_json(field, request)
    return ApiError(error.reason, message, metadata, violations, error.retry_after_seconds)


def item_of(request: Descriptor, answer: Descriptor) -> Descriptor | None:
    """Return what a batch consists of, if its answer has a status for each item that fails."""
    results, requests = answer.fields_by_name.get("results"), request.fields_by_name.get("requests")
    if results is None or requests is None or results.message_type is None:
        return None
    return requests.message_type if "status" in results.message_type.fields_by_name else None


def results_in_json(answer: Any, item: Descriptor) -> None:
    """Give the statuses in the answer to a batch of items the names that the items have in JSON."""
    for result in answer.results:
        pause_if_due()
        if result.HasField("status"):
            _status_in_json(result.status, item)


def _status_in_json(status: Status, item: Descriptor) -> None:
    for detail in status.details:
        if detail.Is(BadRequest.DESCRIPTOR):
            bad = BadRequest()
            detail.Unpack(bad)
            violations = [(each.field, each.description) for each in bad.field_violations]
            status.message, renamed = _renamed(status.message, violations, item)
            for each, (field, _) in zip(bad.field_violations, renamed, strict=True):
                each.field = field
            detail.Pack(bad)


def path_in_json(path: str, message: Descriptor | None) -> str:
    """Return the path of a field in a message, as JSON has it. What is no field, such as the key of a map, stays."""
    found = _STEP.fullmatch(path)
    field = message.fields_by_name.get(found[1]) if message and found else None
    if found is None or field is None:
        return path
    name = f"{field.json_name}{found[2]}"
    return name if found[3] is None else f"{name}.{path_in_json(found[3], field.message_type)}"


def _renamed(
    message: str, violations: Sequence[tuple[str, str]], request: Descriptor
) -> tuple[str, list[tuple[str, str]]]:
    """Return a message that begins with violations, and these, with other names."""
    renamed = [(path_in_json(field, request), text) for field, text in violations]
    begin = _listed(violations)
    return (_listed(renamed) + message[len(begin) :] if message.startswith(begin) else message), renamed


def _listed(violations: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{field}: {text}" for field, text in violations)
