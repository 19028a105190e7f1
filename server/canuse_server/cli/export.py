"""The command that exports all data about a user."""

from collections.abc import Iterator
from typing import Any, Final

import canuse
from canuse import v1
from canuse_server.cli import output as out
from canuse_server.cli.connection import Connection, with_connection
from canuse_server.cli.options import User

PAGE_SIZE: Final = 1000


@with_connection
def export_user(connection: Connection, user: User) -> None:
    """Print all data about a user as one JSON document, for example before the user is deleted.

    Events go as far back as the ledger. Events recorded during the export may be missing.
    """
    with connection.client() as client:
        document = _document(client, user)
    out.print_json(document)


def _document(client: canuse.Client, user: str) -> dict[str, Any]:
    """Return the document. Every list has a fixed order, so the document is the same while the user is unchanged."""
    return {
        "user": out.as_json(client.get_user(user)),
        "subscriptions": [out.as_json(each) for each in client.list_subscriptions(user, page_size=PAGE_SIZE)],
        "grants": [out.as_json(each) for each in client.list_grants(user, page_size=PAGE_SIZE)],
        "entitlements": [out.as_json(each.message) for each in client.list_entitlements(user, page_size=PAGE_SIZE)],
        "usage": [{"feature_id": feature_id} | out.as_json(usage) for feature_id, usage in _usage(client, user)],
        "leases": [out.as_json(each) for each in client.list_leases(user, page_size=PAGE_SIZE)],
        "usage_events": [out.as_json(each) for each in client.list_usage_events(user, page_size=PAGE_SIZE)],
    }


def _usage(client: canuse.Client, user: str) -> Iterator[tuple[str, v1.ShowUsageResponse]]:
    """Yield the usage of each feature that has any, by feature id.

    All features are read: a user can have past periods of a feature without an entitlement to it now.
    """
    for feature in client.list_features(page_size=PAGE_SIZE):
        if feature.type == v1.FEATURE_TYPE_CONSUMABLE:
            usage = client.show_usage(user, feature.id).message
            if usage.ListFields():
                yield feature.id, usage
