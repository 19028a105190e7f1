"""The client of the process, and the user of a request."""

from functools import cache

from django.conf import settings
from django.http import HttpRequest
from django.utils.module_loading import import_string

from canuse import Client


@cache
def client() -> Client:
    """Return the client of this process, by CANUSE_SERVER, CANUSE_API_KEY and CANUSE_CLIENT_TLS_CA.

    It is made with the first call. Async views use it in other threads: one connection serves all event loops.
    """
    return Client()


def user_id_of(request: HttpRequest) -> str | None:
    """Return the id of the request's user, as the setting CANUSE_USER_ID finds it. None: nobody."""
    path: str | None = getattr(settings, "CANUSE_USER_ID", None)
    if path is not None:
        found: str | None = import_string(path)(request)
        return found
    user = getattr(request, "user", None)
    return str(user.pk) if user is not None and user.is_authenticated else None
