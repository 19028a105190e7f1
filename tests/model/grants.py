"""The part of the model that is about grants."""

from model.observations import GrantView, Refused, Wanted
from model.sources import Grant
from model.subscribers import Customers
from model.user import Person


class Gifts(Customers):
    """Grants."""

    def create_grant(self, user: str, wanted: Wanted) -> GrantView:
        """CreateGrant."""
        feature = self.feature(wanted.feature)
        if feature.binary and wanted.amount is not None:
            raise Refused("INVALID_FIELD")
        person = self.person(user)
        for known in person.grants():
            if known.id == wanted.id:
                return self._again(person, known, wanted)
        if feature.archived:
            raise Refused("FEATURE_ARCHIVED")
        effective = self.now if wanted.effective is None else wanted.effective
        if wanted.expires is not None and wanted.expires <= effective:
            raise Refused("INVALID_FIELD")
        grant = Grant(
            id=wanted.id,
            feature=wanted.feature,
            amount=wanted.amount,
            effective=effective,
            expires=wanted.expires,
            priority=wanted.priority,
            note=wanted.note,
            created=self.now,
            left=wanted.amount,
        )
        account = person.account(wanted.feature)
        account.grants = sorted([*account.grants, grant], key=order)
        person.look(self.now)
        return show(person, grant)

    def revoke_grant(self, user: str, grant_id: str) -> GrantView:
        """RevokeGrant."""
        person = self.person(user)
        found = [grant for grant in person.grants() if grant.id == grant_id]
        if not found:
            raise Refused("GRANT_NOT_FOUND")
        if found[0].revoked is None:
            found[0].revoked = self.now
            person.look(self.now)
        return show(person, found[0])

    def list_grants(self, user: str) -> list[GrantView]:
        """ListGrants."""
        person = self.person(user)
        return [show(person, grant) for grant in person.grants()]

    def _again(self, person: Person, known: Grant, wanted: Wanted) -> GrantView:
        """Answer for a grant that is there already: it has to be the same."""
        effective = known.effective if wanted.effective is None else wanted.effective
        there = (known.feature, known.amount, known.effective, known.expires, known.priority, known.note)
        if there != (wanted.feature, wanted.amount, effective, wanted.expires, wanted.priority, wanted.note):
            raise Refused("GRANT_EXISTS")
        return show(person, known)


def order(grant: Grant) -> tuple[int, bool, int, str]:
    """Order grants as they are drawn from: by priority, then what expires first, then by id."""
    return grant.priority, grant.expires is None, grant.expires or 0, grant.id


def show(person: Person, grant: Grant) -> GrantView:
    """Return a grant as it is shown."""
    return GrantView(
        grant.id,
        person.id,
        grant.feature,
        grant.amount,
        grant.effective,
        grant.expires,
        grant.priority,
        grant.note,
        grant.revoked,
        grant.created,
    )
