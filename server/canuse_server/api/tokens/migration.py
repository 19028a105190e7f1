"""Resume tokens of migrations: how far one is, and which request it belongs to; opaque to callers."""

from typing import Final, NamedTuple

from canuse.v1 import catalog_service_pb2 as pb
from canuse_server.api.errors import invalid
from canuse_server.api.tokens import base64url
from canuse_server.domain.model import MAX_AMOUNT

LENGTH: Final = 4096
"""More than any token that `encode` makes: two ids of 128 bytes, escaped and encoded, and some numbers are below it."""


class Progress(NamedTuple):
    """How far a migration is: all users up to the `bucket` and id of the `last` one have been looked at."""

    to_version: int
    bucket: int = 0
    last: str = ""
    users: int = 0
    migrated: int = 0
    shrinking_users: int = 0


def encode(request: pb.MigrateSubscriptionsRequest, progress: Progress) -> str:
    """Return the token with which a request goes on from where it is."""
    return base64url.encode_json([*_identity(request), *progress])


def decode(request: pb.MigrateSubscriptionsRequest) -> Progress | None:
    """Return how far a request was when its token was made, or None where it comes without one.

    Raises:
        ApiError: it is no token, or one of another request.
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
    """Return what a token says about its request, and the rest; both empty where it is none of ours."""
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
