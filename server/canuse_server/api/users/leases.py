"""ListLeases: the open leases of a user."""

from typing import Final

from canuse.v1 import usage_service_pb2 as pb
from canuse_server.api.context import CallContext
from canuse_server.api.convert import timestamp
from canuse_server.api.errors import feature_not_found
from canuse_server.api.tokens import lease as lease_tokens
from canuse_server.api.tokens import page as page_tokens
from canuse_server.api.tokens.lease import LeaseName
from canuse_server.api.users.changes import create_default_user
from canuse_server.api.validation import Violations, page_size
from canuse_server.store.repositories.leases import TOKEN_BYTES, LeasePlace, OpenLease

_MAX_MS: Final = 2**53


class LeaseListMethods:
    """The method of UsageService for leases."""

    async def list_leases(self, request: pb.ListLeasesRequest, context: CallContext) -> pb.ListLeasesResponse:
        """List the open leases of a user, in the order in which they expire."""
        size, after = page_size(request.page_size), _place(request)
        user_id, feature_id = request.user_id, request.feature_id
        violations = Violations()
        violations.id("user_id", user_id)
        if feature_id:
            violations.id("feature_id", feature_id)
        violations.check()
        env = context.env
        if (await env.users.describe([user_id]))[0] is None:
            await create_default_user(env, user_id)
        if feature_id and await env.cache.find_feature(feature_id) is None:
            raise feature_not_found(feature_id)
        page = await env.leases.page(user_id, feature_id, after, size)
        leases, token = await page_tokens.fill(
            request, page.leases, lambda found: _message(user_id, found[1]), lambda found: (_text(found[0]), 0)
        )
        if not token and page.after is not None:
            token = page_tokens.encode(request, _text(page.after))
        return pb.ListLeasesResponse(leases=leases, next_page_token=token)


def _message(user_id: str, lease: OpenLease) -> pb.Lease:
    return pb.Lease(
        id=lease_tokens.encode(LeaseName(user_id, lease.feature_id, lease.token)),
        feature_id=lease.feature_id,
        amount=lease.amount,
        expires_at=timestamp(lease.expires_at_ms),
    )


def _text(place: LeasePlace) -> str:
    return f"{place.due_ms}-{place.token.hex()}"


def _place(request: pb.ListLeasesRequest) -> LeasePlace | None:
    """Return the place after which the page starts, or None to start at the lease that expires first."""
    group, last = page_tokens.decode(request)
    if not request.page_token:
        return None
    due, _, token = last.partition("-")
    try:
        place = LeasePlace(int(due), bytes.fromhex(token))
    except ValueError:
        raise page_tokens.unknown(request.page_token) from None
    is_place = group == 0 and 0 <= place.due_ms <= _MAX_MS and len(place.token) == TOKEN_BYTES
    if not is_place or _text(place) != last:
        raise page_tokens.unknown(request.page_token)
    return place
