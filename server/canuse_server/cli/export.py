"""The command that gives everything about a user."""

from collections.abc import Iterator
from typing import Any, Final

import canuse
from canuse import v1
from canuse_server.cli import output as out
from canuse_server.cli.connection import Connection, with_connection
from canuse_server.cli.options import User

PAGE: Final = 1000


@with_connection
def export_user(connection: Connection, user: User) -> None:
    """Print everything that is kept about a user as one JSON document, for them to keep before they are deleted.

    Events are listed as far back as the ledger is kept. What is recorded while it is read may be left out.
    """
    with connection.client() as client:
        document = _document(client, user)
    out.print_json(document)


def _document(client: canuse.Client, user: str) -> dict[str, Any]:
    """Return the document; every list in it has an order of its own, so that it is the same as long as the user is."""
    return {
        "user": out.as_json(client.get_user(user)),
        "subscriptions": [out.as_json(each) for each in client.list_subscriptions(user, page_size=PAGE)],
        "grants": [out.as_json(each) for each in client.list_grants(user, page_size=PAGE)],
        "entitlements": [out.as_json(each.message) for each in client.list_entitlements(user, page_size=PAGE)],
        "usage": [{"feature_id": feature_id} | out.as_json(shown) for feature_id, shown in _usage(client, user)],
        "usage_events": [out.as_json(each) for each in client.list_usage_events(user, page_size=PAGE)],
    }


def _usage(client: canuse.Client, user: str) -> Iterator[tuple[str, v1.ShowUsageResponse]]:
    """Yield what was used, by feature id.

    A user can have past periods of a feature that nothing gives them any more, so that all features are looked at.
    """
    for feature in client.list_features(page_size=PAGE):
        if feature.type == v1.FEATURE_TYPE_CONSUMABLE:
            shown = client.show_usage(user, feature.id).message
            if shown.ListFields():
                yield feature.id, shown
