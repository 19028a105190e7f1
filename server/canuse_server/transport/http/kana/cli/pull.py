"""`kana pull`: the catalogue as a file."""

from typing import Any

from starlette.responses import Response

from canuse_server.transport.http.kana.calls import Calls
from canuse_server.transport.http.kana.cli.endpoint import config_response
from canuse_server.transport.http.kana.cli.state import State


async def answer(calls: Calls, _: dict[str, Any] | None) -> Response:
    """Return the catalogue."""
    state = await State.read(calls)
    return config_response(await state.config())
