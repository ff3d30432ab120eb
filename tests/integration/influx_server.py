"""A real InfluxDB 2 for tests, where its binary is at hand; skipped by name where it is not."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

TOKEN = "test-token"


def influxd() -> Path:
    """The real server: PEMS_INFLUXD, or where the shared tools keep what they built."""
    named = os.environ.get("PEMS_INFLUXD")
    if named:
        return Path(named)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "real-servers"
    found = sorted(cache.glob("influxd-*"))
    if not found or not os.access(found[-1], os.X_OK):
        pytest.skip("no influxd: set PEMS_INFLUXD to the binary of InfluxDB 2")
    return found[-1]


@contextmanager
def influx_server(folder: Path) -> Iterator[str]:
    """The address of an InfluxDB with the organisation and bucket `home` and the token above."""
    binary = influxd()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [binary, "--http-bind-address", f"127.0.0.1:{port}", "--reporting-disabled",
         "--bolt-path", folder / "bolt", "--engine-path", folder / "engine",
         "--sqlite-path", folder / "sqlite", "--log-level", "error"],
    )  # fmt: skip
    try:
        until = time.monotonic() + 30
        while True:
            try:
                if httpx.get(f"{url}/ping").status_code == 204:
                    break
            except httpx.TransportError:
                pass
            assert time.monotonic() < until, "influxd did not start within 30 s"
            time.sleep(0.1)
        setup = {"username": "u", "password": "password", "org": "home", "bucket": "home", "token": TOKEN}
        assert httpx.post(f"{url}/api/v2/setup", json=setup, timeout=30).status_code == 201
        yield url
    finally:
        server.kill()
        server.wait()


def write_lines(url: str, lines: list[str]) -> None:
    """Points in line protocol, times in seconds."""
    where = {"org": "home", "bucket": "home", "precision": "s"}
    with httpx.Client(headers={"Authorization": f"Token {TOKEN}"}, timeout=60) as web:
        for k in range(0, len(lines), 100_000):
            body = "\n".join(lines[k : k + 100_000]).encode()
            web.post(f"{url}/api/v2/write", params=where, content=body).raise_for_status()
