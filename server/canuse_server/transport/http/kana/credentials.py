"""Credentials as Kana's clients send them: a key with or without the word Bearer before it."""

from typing import Final

from starlette.requests import Request

from canuse_server.api.dispatch import Dispatcher
from canuse_server.api.errors import ApiError
from canuse_server.api.metadata import AUTHORIZATION, Metadata, authorization

BEARER: Final = "bearer "


def metadata_of(request: Request) -> Metadata:
    """Return the headers of a request as the metadata of its calls."""
    return [(name, _credentials(value) if name == AUTHORIZATION else value) for name, value in request.headers.items()]


def _credentials(sent: str) -> str:
    return sent if sent.lower().startswith(BEARER) else f"Bearer {sent}"


def check_credentials(dispatcher: Dispatcher, methods: tuple[str, ...], metadata: Metadata, door: str) -> None:
    """Raise ApiError, before a body is read, if the caller may call none of these methods.

    The error is about the path that was called, `door`: the caller has named none of the methods.
    """
    for path in methods[1:]:
        try:
            dispatcher.authorizer.authorize(path, authorization(metadata))
        except ApiError:
            continue
        return
    try:
        dispatcher.open(methods[0], metadata)
    except ApiError as error:
        message = error.message.replace(f"{methods[0].rpartition('/')[2]} needs", f"{door} needs", 1)
        raise ApiError(error.reason, message, error.metadata, error.violations, error.retry_after_seconds) from None
