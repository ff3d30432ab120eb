"""One JSON document from a public web service: bounded in time and size, with honest errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx

from services.gateway.devices.base import DeviceUnavailable

TIMEOUT_S = 10.0
LARGEST_BYTES = 4_000_000


class WebService:
    """A service that answers GET with a JSON object."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.url = url
        self._client: httpx.AsyncClient | None = None

    async def connect(self) -> None:
        """Nothing to do ahead: every request stands alone."""

    async def close(self) -> None:
        """Close idle connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def get(self, parameters: Mapping[str, str]) -> dict[str, Any] | None:
        """The JSON object; None for 404, "there is none".

        Raises DeviceUnavailable after 10 s, for any other status (with the service's own reason),
        and when the answer is no JSON object.
        """
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=True)
        try:
            answer = await self._client.get(self.url, params=dict(parameters))
        except httpx.HTTPError as error:
            raise self.unavailable(f"{type(error).__name__}: {error}") from error
        if answer.status_code == 404:
            return None
        if len(answer.content) > LARGEST_BYTES:
            raise self.unavailable(f"{len(answer.content)} bytes is too much to be an answer")
        try:
            body = json.loads(answer.content)
        except (ValueError, RecursionError):
            body = None
        if answer.status_code != 200:
            reason = body.get("reason") if isinstance(body, dict) else None
            raise self.unavailable(f"status {answer.status_code} {reason or answer.reason_phrase}")
        if not isinstance(body, dict):
            raise self.unavailable("the answer is no JSON object")
        return body

    def unavailable(self, reason: str) -> DeviceUnavailable:
        """The error to raise."""
        return DeviceUnavailable(self.name, self.url, reason)
