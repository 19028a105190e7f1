"""The part of the model that is about grants."""

from model.observations import GrantRequest, GrantView, Refused
from model.package_changes import PackageChanges
from model.sources import Grant
from model.user import User


class Grants(PackageChanges):
    """Grants."""

    def create_grant(self, user_id: str, requested: GrantRequest) -> GrantView:
        """CreateGrant."""
        feature = self.feature(requested.feature)
        if feature.binary and requested.amount is not None:
            raise Refused("INVALID_FIELD")
        user = self.user(user_id)
        for known in user.grants():
            if known.id == requested.id:
                return self._repeat(user, known, requested)
        if feature.archived:
            raise Refused("FEATURE_ARCHIVED")
        effective = self.now if requested.effective is None else requested.effective
        if requested.expires is not None and requested.expires <= effective:
            raise Refused("INVALID_FIELD")
        grant = Grant(
            id=requested.id,
            feature=requested.feature,
            amount=requested.amount,
            effective=effective,
            expires=requested.expires,
            priority=requested.priority,
            note=requested.note,
            created=self.now,
            left=requested.amount,
        )
        account = user.account(requested.feature)
        account.grants = sorted([*account.grants, grant], key=draw_order)
        user.update(self.now)
        return view(user, grant)

    def revoke_grant(self, user_id: str, grant_id: str) -> GrantView:
        """RevokeGrant."""
        user = self.user(user_id)
        found = [grant for grant in user.grants() if grant.id == grant_id]
        if not found:
            raise Refused("GRANT_NOT_FOUND")
        if found[0].revoked is None:
            found[0].revoked = self.now
            user.update(self.now)
        return view(user, found[0])

    def list_grants(self, user_id: str) -> list[GrantView]:
        """ListGrants."""
        user = self.user(user_id)
        return [view(user, grant) for grant in user.grants()]

    def _repeat(self, user: User, known: Grant, requested: GrantRequest) -> GrantView:
        """Answer for a grant that exists already: the request must be the same."""
        effective = known.effective if requested.effective is None else requested.effective
        existing = (known.feature, known.amount, known.effective, known.expires, known.priority, known.note)
        if existing != (
            requested.feature,
            requested.amount,
            effective,
            requested.expires,
            requested.priority,
            requested.note,
        ):
            raise Refused("GRANT_EXISTS")
        return view(user, known)


def draw_order(grant: Grant) -> tuple[int, bool, int, str]:
    """Return the sort key for drawing: priority, then expiry, then id."""
    return grant.priority, grant.expires is None, grant.expires or 0, grant.id


def view(user: User, grant: Grant) -> GrantView:
    """Return a grant as the API shows it."""
    return GrantView(
        grant.id,
        user.id,
        grant.feature,
        grant.amount,
        grant.effective,
        grant.expires,
        grant.priority,
        grant.note,
        grant.revoked,
        grant.created,
    )
