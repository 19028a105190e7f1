"""Resume tokens of dry runs of ApplyCatalog. They contain the place among the users, and identify the request."""

from hashlib import sha256
from typing import Final, NamedTuple

from canuse.v1 import catalog_service_pb2 as pb
from canuse_server.api.errors import invalid
from canuse_server.api.tokens import base64url
from canuse_server.store.keys import BUCKETS

_DIGEST_CHARACTERS: Final = 16


class Place(NamedTuple):
    """A place among the users: all up to the `bucket` and id of the `last` one are counted."""

    bucket: int = 0
    last: str = ""


def encode(request: pb.ApplyCatalogRequest, place: Place) -> str:
    """Return the token with which a dry run resumes."""
    return base64url.encode_json([_identity(request), *place])


def decode(request: pb.ApplyCatalogRequest, max_length: int) -> Place:
    """Return the place in a request's token; raise ApiError if it is invalid or belongs to another request."""
    if not (token := request.resume_token):
        return Place()
    try:
        found = base64url.decode_json(token, max_length)
    except ValueError:
        found = None
    match found:
        case [identity, int(bucket), str(last)] if (
            request.dry_run and identity == _identity(request) and 0 <= bucket < BUCKETS
        ):
            return Place(bucket, last)
    accepted = "must be a resume_token for the same document and dry_run, or empty"
    raise invalid([("resume_token", f"{accepted}; {token[:40]!r} was sent")])


def _identity(request: pb.ApplyCatalogRequest) -> str:
    """Return a digest of the document, whatever the etag is and however many losses are to be named."""
    document = pb.ApplyCatalogRequest()
    document.CopyFrom(request)
    document.ClearField("etag")
    document.ClearField("resume_token")
    document.ClearField("max_user_losses")
    return sha256(document.SerializeToString(deterministic=True)).hexdigest()[:_DIGEST_CHARACTERS]
