"""A very small HTTP/1.1 server: GET only, one request a connection, JSON answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl, urlsplit

Handler = Callable[[str, Mapping[str, str]], tuple[int, object]]
"""(path, query) -> (status, JSON value)."""

REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}
TIMEOUT_S = 5.0


class HttpServer:
    """Serves a handler on ``host``:``port`` (0 takes a free one, see ``port``)."""

    def __init__(self, handler: Handler, host: str = "127.0.0.1", port: int = 0) -> None:
        self._handler = handler
        self._host = host
        self.port = port
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Address without a slash at the end."""
        return f"http://{self._host}:{self.port}"

    async def connect(self) -> None:
        """Open the port."""
        self._server = await asyncio.start_server(self._serve, self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Close the port."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
            parts = urlsplit(target)
            if method == "GET":
                status, value = self._handler(parts.path, dict(parse_qsl(parts.query)))
            else:
                status, value = 405, {"error": True, "reason": "only GET is served"}
            body = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
            writer.write(
                f"HTTP/1.1 {status} {REASONS.get(status, '')}\r\n"
                "Content-Type: application/json; charset=utf-8\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        except (TimeoutError, OSError, ValueError, EOFError, asyncio.LimitOverrunError):
            pass  # a client that does not speak HTTP, or has gone
        finally:
            writer.close()
