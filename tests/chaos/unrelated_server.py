"""A minimal HTTP server that has nothing to do with canuse: `python -m chaos.unrelated_server`. It prints its port."""

import asyncio
import re
from typing import Final

ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
LENGTH: Final = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of a connection."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if length := LENGTH.search(head):
                await reader.readexactly(int(length[1]))
            writer.write(ANSWER)
            await writer.drain()
    except (OSError, EOFError, asyncio.LimitOverrunError):
        writer.close()


async def main() -> None:
    """Serve until the process is killed."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=1 << 17)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
