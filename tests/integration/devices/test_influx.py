"""History import: the query's text, what comes back, and a real InfluxDB where one is at hand."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from services.gateway.devices.base import DeviceUnavailable
from services.gateway.devices.influx import InfluxHistory, Source, flux, onto_grid

START = datetime(2026, 1, 15, tzinfo=UTC)
STOP = START + timedelta(hours=2)
SOURCE = Source("home", "meter", "power", {"phase": "all"})


def test_names_are_quoted_and_cannot_become_code():
    query = flux(Source('a"b', "m", "${drop}", {"t": '") |> to(bucket: "x'}), START, STOP, 900)
    assert 'from(bucket: "a\\"b")' in query
    assert 'r["_field"] == "\\${drop}"' in query
    assert 'r["t"] == "\\") |> to(bucket: \\"x"' in query
    assert query.count("|>") == 4, "the fourth is inside a string"
    with pytest.raises(ValueError, match="control characters"):
        flux(Source("a\nb", "m", "f"), START, STOP, 900)


@pytest.mark.parametrize(
    ("start", "stop", "step_s"),
    [
        (STOP, START, 900),
        (START, START, 900),
        (START, STOP, 0),
        (START + timedelta(1, 5), STOP, 900),
    ],
)
def test_a_range_off_the_grid_is_refused(start, stop, step_s):
    with pytest.raises(ValueError, match="start"):
        flux(SOURCE, start, stop, step_s)


def row(minute, value, table=0):
    return {"_time": START + timedelta(minutes=minute), "_value": value, "table": table}


def test_missing_steps_are_nan_and_units_are_scaled():
    source = Source("home", "meter", "power", scale=1_000)
    history = onto_grid([row(0, 1.5), row(30, 2)], source, START, STOP, 900)
    assert history.times_s[0] == START.timestamp()
    assert len(history.values) == 8
    np.testing.assert_array_equal(history.values[:4], [1_500, np.nan, 2_000, np.nan])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(0, 1), row(15, 1, table=1)], "several series"),
        ([row(0, "on")], "not a number"),
        ([row(0, True)], "not a number"),
        ([row(7, 1)], "not on the grid"),
        ([row(-15, 1)], "not on the grid"),
        ([{"_value": 1, "table": 0}], "no time"),
    ],
)
def test_what_is_no_series_of_numbers_is_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        onto_grid(rows, SOURCE, START, STOP, 900)


async def test_a_database_that_is_away_is_named():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    history = InfluxHistory(url, "token", "home")
    with pytest.raises(DeviceUnavailable, match=f"influxdb at {url}"):
        await history.connect()
    with pytest.raises(DeviceUnavailable, match=f"influxdb at {url}"):
        await history.series(SOURCE, START, STOP, 900)
    await history.close()


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


async def test_a_real_influxdb_gives_back_what_was_written(tmp_path):
    from influxdb_client import InfluxDBClient, Point
    from influxdb_client.client.write_api import SYNCHRONOUS

    binary = influxd()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [binary, "--http-bind-address", f"127.0.0.1:{port}", "--reporting-disabled",
         "--bolt-path", tmp_path / "bolt", "--engine-path", tmp_path / "engine",
         "--sqlite-path", tmp_path / "sqlite", "--log-level", "error"],
    )  # fmt: skip
    try:
        history = InfluxHistory(url, "test-token", "home")
        until = time.monotonic() + 30
        while True:
            try:
                await history.connect()
                break
            except DeviceUnavailable:
                assert time.monotonic() < until, "influxd did not start within 30 s"
                await asyncio.sleep(0.2)
        import httpx

        setup = {"username": "u", "password": "password", "org": "home", "bucket": "home",
                 "token": "test-token"}  # fmt: skip
        assert httpx.post(f"{url}/api/v2/setup", json=setup).status_code == 201
        with InfluxDBClient(url=url, token="test-token", org="home") as client:
            writer = client.write_api(write_options=SYNCHRONOUS)
            for minute in (0, 5, 10, 30):
                at = START + timedelta(minutes=minute)
                for phase in ("all", "L1"):
                    point = Point("meter").tag("phase", phase).field("power", 1.0 * minute)
                    writer.write(bucket="home", record=point.time(at))
        found = await history.series(SOURCE, START, STOP, 900)
        np.testing.assert_array_equal(found.values, [5, np.nan, 30, *[np.nan] * 5])
        last = Source("home", "meter", "power", {"phase": "all"}, "last", 1_000)
        assert (await history.series(last, START, STOP, 900)).values[0] == 10_000
        with pytest.raises(ValueError, match="several series"):
            await history.series(Source("home", "meter", "power"), START, STOP, 900)
        with pytest.raises(DeviceUnavailable, match="bucket"):
            await history.series(Source("cellar", "meter", "power"), START, STOP, 900)
        await history.close()
    finally:
        server.kill()
        server.wait()
