"""What visitors of the console do: each is a form that says what it will do, and a call of the API when it is sent."""

from typing import Final

from canuse_server.transport.http.console.actions import grants, keys, subscriptions, tokens, usage, users
from canuse_server.transport.http.console.actions.catalog import features, losses, migration, packages
from canuse_server.transport.http.console.endpoint import Handlers

ACTIONS: Final = {
    "/user/subscribe": subscriptions.SUBSCRIBE,
    "/user/change-package": subscriptions.CHANGE_PACKAGE,
    "/user/cancel": subscriptions.CANCEL,
    "/user/record": usage.RECORD,
    "/user/take-back": usage.TAKE_BACK,
    "/user/grant": grants.GRANT,
    "/user/revoke-grant": grants.REVOKE,
    "/user/disable": users.DISABLE,
    "/user/enable": users.ENABLE,
    "/user/delete": users.DELETE,
    "/user/edit": users.EDIT,
    "/user/new": users.CREATE,
    "/user/token": tokens.GENERATE,
    "/user/revoke-tokens": tokens.REVOKE,
    "/feature/new": features.CREATE,
    "/feature/edit": features.EDIT,
    "/feature/archive": features.ARCHIVE,
    "/package/new": packages.CREATE,
    "/package/edit": packages.EDIT,
    "/package/publish": packages.PUBLISH,
    "/package/archive": packages.ARCHIVE,
    "/package/migrate": migration.BEGIN,
    "/package/migration": migration.GO_ON,
    "/keys/new": keys.CREATE,
    "/keys/revoke": keys.REVOKE,
}
"""Each action by its path below /console."""
PAGES: Final = {
    **{path: action.handlers() for path, action in ACTIONS.items()},
    "/package/losses": Handlers(read=losses.of_package),
    "/feature/losses": Handlers(read=losses.of_feature),
}
