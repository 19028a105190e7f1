"""Resume tokens of migrations. They contain the progress and identify the request; callers do not read them."""

from typing import Final, NamedTuple

from canuse.v1 import catalog_service_pb2 as pb
from canuse_server.api.errors import invalid
from canuse_server.api.tokens import base64url
from canuse_server.domain.model import MAX_AMOUNT

LENGTH: Final = 4096
"""Maximum length; tokens of `encode` are shorter, even with two escaped ids of 128 bytes."""


class Progress(NamedTuple):
    """The progress of a migration: all users up to the `bucket` and id of the `last` one are done."""

    to_version: int
    bucket: int = 0
    last: str = ""
    users: int = 0
    migrated: int = 0
    shrinking_users: int = 0


def encode(request: pb.MigrateSubscriptionsRequest, progress: Progress) -> str:
    """Return the token with which a request resumes."""
    return base64url.encode_json([*_identity(request), *progress])


def decode(request: pb.MigrateSubscriptionsRequest) -> Progress | None:
    """Return the progress in a request's token, or None if the request has none.

    Raises:
        ApiError: the token is invalid or belongs to another request.
    """
    if not (token := request.resume_token):
        return None
    identity, fields = _read(token)
    if identity != _identity(request) or (progress := _progress(fields)) is None:
        accepted = "must be a resume_token for the same package_id, from_version, to_version and dry_run, or empty"
        raise invalid([("resume_token", f"{accepted}; {token[:40]!r} was sent")])
    return progress


def _identity(request: pb.MigrateSubscriptionsRequest) -> list[object]:
    return [request.package_id, request.from_version, request.to_version, request.dry_run]


def _read(token: str) -> tuple[list[object], list[object]]:
    """Return the identity of the request and the progress fields of a token; both are empty if it is invalid."""
    try:
        found = base64url.decode_json(token, LENGTH)
    except ValueError:
        found = None
    return (found[:4], found[4:]) if isinstance(found, list) else ([], [])


def _progress(fields: list[object]) -> Progress | None:
    match fields:
        case [int(to_version), int(bucket), str(last), int(users), int(migrated), int(shrinking_users)]:
            progress = Progress(to_version, bucket, last, users, migrated, shrinking_users)
            numbers = (to_version, bucket, users, migrated, shrinking_users)
            return progress if all(0 <= number <= MAX_AMOUNT for number in numbers) else None
    return None
