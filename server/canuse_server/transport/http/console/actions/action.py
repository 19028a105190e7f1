"""An action: a form that says what it will do, and the call that it makes when it is sent."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from grpc import StatusCode

from canuse_server.api.errors import ApiError, ErrorReason
from canuse_server.transport.http.console.actions.form import Form
from canuse_server.transport.http.console.endpoint import Handlers
from canuse_server.transport.http.console.visit import Redirect, View, Visit
from canuse_server.transport.http.errors import code_of

_PAGES: Final = (StatusCode.PERMISSION_DENIED, StatusCode.UNAUTHENTICATED)
"""The errors that a page of their own says: no other input helps."""
ALREADY_SENT: Final = (
    "This form was sent before with other content, and that was done. If this is to be done as well, send it again."
)


@dataclass(frozen=True)
class Action:
    """Something that visitors do."""

    methods: tuple[str, ...]
    """The methods of the API without which it cannot be done: who may not call all of them is refused."""
    form: Callable[[Visit], Awaitable[Form]]
    """Makes the form, from what is stored. Raises ApiError."""
    send: Callable[[Visit, Form], Awaitable[Redirect | View | None]]
    """Does it. Returns where one sees what became of it; None: the form has a problem. Raises ApiError."""

    def handlers(self) -> Handlers:
        """Return what answers its path."""
        return Handlers(read=self._read, write=self._write)

    async def _read(self, visit: Visit) -> View:
        self._authorize(visit)
        return await _view(await self.form(visit))

    async def _write(self, visit: Visit) -> View | Redirect:
        self._authorize(visit)
        form = await self.form(visit)
        form.fill(visit.form)
        try:
            result = await self.send(visit, form)
        except ApiError as error:
            if error.reason.status in _PAGES and not form.names(error):
                raise
            form.refuse(error, code_of(error).http_status)
            if error.reason is ErrorReason.EVENT_ID_REUSED:
                form.problem = ALREADY_SENT
                form.renew()
            result = None
        return await _view(form) if result is None else result

    def _authorize(self, visit: Visit) -> None:
        for method in self.methods:
            visit.call.authorize(method)


async def _view(form: Form) -> View:
    more = await form.more() if form.more is not None else {}
    return View(form.template, {"form": form, **form.values, **more}, form.status)
