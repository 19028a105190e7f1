"""`kana validate`: what publishing a file would do, in lines for people. No line: nothing."""

from collections.abc import Iterator
from typing import Any, Final

from starlette.responses import Response

from canuse import v1
from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.transport.http.kana.applying import APPLY
from canuse_server.transport.http.kana.calls import Calls
from canuse_server.transport.http.kana.cli.document import problems_of, read_document
from canuse_server.transport.http.kana.cli.endpoint import ERROR, lines_response

WARNING: Final = "[WARNING]"
_OF_THE_FILE: Final = frozenset(
    {
        ErrorReason.INVALID_FIELD,
        ErrorReason.MESSAGE_TOO_LARGE,
        ErrorReason.FEATURE_NOT_FOUND,
        ErrorReason.FEATURE_ARCHIVED,
        ErrorReason.PACKAGE_NOT_FOUND,
        ErrorReason.PACKAGE_IMMUTABLE,
        ErrorReason.PACKAGE_ARCHIVED,
    }
)
"""Errors that say what is wrong with a file. Others are answered as such."""


async def answer(calls: Calls, sent: dict[str, Any] | None) -> Response:
    """Return the lines for a file."""
    document = await read_document(calls, sent or {})
    if document.problems:
        return lines_response([f"{ERROR} {problem}" for problem in document.problems])
    request = document.request
    request.dry_run = True
    try:
        planned = await calls(APPLY, request, v1.ApplyCatalogResponse)
    except ApiError as error:
        if error.reason not in _OF_THE_FILE:
            raise
        return lines_response([f"{ERROR} {problem}" for problem in problems_of(error, request)])
    missing = [f"{WARNING} {item} is not in the file; it stays as it is" for item in document.missing]
    return lines_response([*_changes(planned), *_losses(planned), *missing])


def _changes(planned: v1.ApplyCatalogResponse) -> Iterator[str]:
    for change in planned.changes:
        kind = change.WhichOneof("item")
        item = f"feature {change.feature_id!r}" if kind == "feature_id" else f"package {change.package_id!r}"
        if change.action == v1.CATALOG_ACTION_CREATE:
            yield f"{item} will be created"
        elif change.action == v1.CATALOG_ACTION_PUBLISH and change.version > 1:
            kept = "who is subscribed keeps the version before"
            yield f"{WARNING} {item}: version {change.version} will be published; {kept}"
        elif change.action == v1.CATALOG_ACTION_PUBLISH:
            yield f"{item} will be published"
        for field in change.fields:
            old, new = field.old_value or "nothing", field.new_value or "nothing"
            yield f"{item}: {field.field} will change from {old} to {new}"


def _losses(planned: v1.ApplyCatalogResponse) -> Iterator[str]:
    more = "at least " if planned.resume_token else ""
    for loss in planned.access_losses:
        users = f"{more}{loss.users} {'user' if loss.users == 1 else 'users'}"
        yield f"{WARNING} {users} would get less of {loss.feature_id!r} when package {loss.package_id!r} is migrated"
