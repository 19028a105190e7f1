"""A request for a page, as the page's handler sees it, and what the handler returns."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from google.protobuf.message import Message
from starlette.requests import Request

from canuse_server.transport.http.console.calls import Calls
from canuse_server.transport.http.console.sessions import Visitor
from canuse_server.transport.http.console.site import Site

_Answer = TypeVar("_Answer", bound=Message)


@dataclass
class Visit:
    """A request by a visitor who may see the page."""

    site: Site
    request: Request
    visitor: Visitor
    call: Calls
    form: Mapping[str, str] = field(default_factory=dict)
    """The fields of a form that was sent, without its token."""

    def query(self, name: str) -> str:
        """Return a part of the query; empty where it is missing."""
        return self.request.query_params.get(name, "")

    def may(self, method: str) -> bool:
        """Whether the visitor may call a method: what they may not is not offered."""
        return self.call.may(method)

    def may_all(self, methods: Iterable[str]) -> bool:
        """Whether the visitor may call all of some methods."""
        return all(map(self.may, methods))

    async def call_if_may(self, method: str, request: Message, kind: type[_Answer]) -> _Answer | None:
        """Call a method; return None where the visitor may not. Raises ApiError."""
        return await self.call(method, request, kind) if self.may(method) else None

    @property
    def now_ms(self) -> int:
        """The time, in milliseconds since 1970: that of the manual clock, if there is one."""
        manual_now_ms = self.site.host.store.manual_now_ms
        return time.time_ns() // 1_000_000 if manual_now_ms is None else manual_now_ms

    @property
    def has_manual_clock(self) -> bool:
        """Whether the server's clock is one that callers set."""
        return self.site.host.store.manual_now_ms is not None


@dataclass
class View:
    """A page: its template, and the values in it."""

    template: str
    values: dict[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass
class Redirect:
    """The answer to a form: the page that shows what became of it."""

    address: str
    visitor: Visitor | None = None
    """Who the browser is from now on."""
    forget: bool = False
    """Whether the browser shall forget the visitor."""
