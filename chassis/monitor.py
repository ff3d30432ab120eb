"""What the broker says of itself over HTTP."""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import Any
from urllib.request import urlopen


def ask(monitor_url: str, path: str, timeout_s: float) -> dict[str, Any]:
    """One page of the monitoring port, such as ``varz`` or ``connz?limit=1024``.

    Source: NATS documentation, "Monitoring NATS".

    Raises
    ------
    OSError
        when there is no whole answer. A broker that dies while it answers sends a part of one,
        which Python reports as neither an ``OSError`` nor always the same error.
    """
    try:
        with urlopen(f"{monitor_url}/{path}", timeout=timeout_s) as answer:
            page = json.load(answer)
    except (HTTPException, ValueError) as error:
        raise ConnectionError(f"{monitor_url}/{path}: no whole answer ({error!r})") from error
    if not isinstance(page, dict):
        raise ConnectionError(f"{monitor_url}/{path}: an object was expected, not {page!r}")
    return page
