"""What the audit log says about a change of a user: ids and names of fields, no values."""

from typing import TYPE_CHECKING, Final

from canuse_server.domain.model import Profile
from canuse_server.store.codec.audit_pb2 import AuditEntry
from canuse_server.store.repositories.audit.writing import changed_fields
from canuse_server.store.repositories.users.state import UserState

if TYPE_CHECKING:
    from canuse_server.api.users.changes import Edit

_DISABLED: Final = "disabled"


def entry_of(state: UserState, edit: "Edit") -> AuditEntry | None:
    """Return the entry for an edit of a user as read, or None if it changes nothing."""
    entry = AuditEntry(user_id=state.user_id, user_created=not state.exists)
    if edit.profile is not None:
        entry.fields.extend(changed_fields(edit.profile.old, edit.profile.new))
    if edit.disabled is not None and edit.disabled != state.meta.disabled:
        entry.fields.append(_DISABLED)
    before = {subscription.token: subscription for subscription in (*edit.replaced, *state.subscriptions)}
    changed = [item for item in edit.subscriptions if before.get(item.token) != item]
    entry.subscription_tokens.extend(item.token for item in changed)
    entry.package_ids.extend(dict.fromkeys(item.package_id for item in changed))
    old = [(before[item.token], item) for item in changed if item.token in before]
    entry.fields.extend(dict.fromkeys(name for pair in old for name in changed_fields(*pair)))
    if edit.grant is not None:
        entry.grant_ids.append(edit.grant.id)
        entry.feature_ids.append(edit.grant.feature_id)
    return entry if entry.user_created or entry.fields or entry.subscription_tokens or entry.grant_ids else None


def entry_of_new(user_id: str, profile: Profile, *, disabled: bool) -> AuditEntry:
    """Return the entry for the creation of a user."""
    fields = [*changed_fields(Profile(), profile), *([_DISABLED] if disabled else [])]
    return AuditEntry(user_id=user_id, user_created=True, fields=fields)
