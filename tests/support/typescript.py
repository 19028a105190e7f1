"""The client for TypeScript in Node.js and in a page: `tests/web/programs/driver.ts` makes the calls."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.tools import tool

if TYPE_CHECKING:
    from playwright.async_api import Page

MAX_LINE = 1 << 20


class Caller(ABC):
    """A client somewhere, with `options`, which it is created with before its first call."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self._is_open = False

    async def run(self, method: str, *values: Any) -> dict[str, Any]:
        """Run a method of the driver or of its client; return `{"value": …}` or `{"error": …}`."""
        if not self._is_open and not method.startswith("open"):
            await self.open()
        self._is_open = True
        return await self._send([method, *values])

    @abstractmethod
    async def _send(self, call: list[Any]) -> dict[str, Any]:
        """Let the driver run a method."""

    async def open(self, **options: Any) -> None:
        """Create the client with further options; one of None takes away what it has."""
        given = {name: value for name, value in {**self.options, **options}.items() if value is not None}
        assert await self.run("open", given) == {"value": None}

    async def value(self, method: str, *values: Any) -> Any:
        """Run a method that succeeds; return its value."""
        outcome = await self.run(method, *values)
        assert "value" in outcome, outcome
        return outcome["value"]

    async def error(self, method: str, *values: Any) -> dict[str, Any]:
        """Run a method that fails; return its error."""
        outcome = await self.run(method, *values)
        assert "error" in outcome, outcome
        error: dict[str, Any] = outcome["error"]
        return error


class NodeCaller(Caller):
    """A client in a process of Node.js."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        super().__init__()
        self._process = process

    async def _send(self, call: list[Any]) -> dict[str, Any]:
        """Send a line, and read one."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(call).encode() + b"\n")
        await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        assert line, f"it ended with {await self._process.wait()}"
        outcome: dict[str, Any] = json.loads(line)
        return outcome


class PageCaller(Caller):
    """A client in a page."""

    def __init__(self, page: "Page", url: str) -> None:
        super().__init__()
        self._page = page
        self._url = url

    async def _send(self, call: list[Any]) -> dict[str, Any]:
        """Run the method in the page."""
        if self._page.url != self._url:
            await self._page.goto(self._url)
        outcome: dict[str, Any] = await self._page.evaluate("call => run(...call)", call)
        return outcome


@asynccontextmanager
async def node_caller(script: Path, env: dict[str, str]) -> AsyncIterator[NodeCaller]:
    """Run the program for Node.js until the block ends."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        tool("node"), script, stdin=pipe, stdout=pipe, env=env, limit=MAX_LINE
    )
    try:
        yield NodeCaller(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
