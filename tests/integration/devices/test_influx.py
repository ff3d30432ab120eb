"""History import: the query's text, what comes back, and a real InfluxDB where one is at hand."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from services.gateway.devices.base import DeviceUnavailable
from services.gateway.devices.influx import InfluxHistory, Source, flux, onto_grid
from tests.integration.influx_server import TOKEN, influx_server, write_lines

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


async def test_a_database_that_never_answers_is_given_up():
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        history = InfluxHistory(f"http://127.0.0.1:{mute.getsockname()[1]}", "token", "home", 0.2)
        with pytest.raises(DeviceUnavailable, match=r"timed out.*ask for a shorter time"):
            await asyncio.wait_for(history.series(SOURCE, START, STOP, 900), 20)
        await history.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with influx_server(tmp_path_factory.mktemp("influx")) as address:
        yield address


def seconds(minute: float) -> int:
    return int(START.timestamp() + 60 * minute)


async def test_a_real_influxdb_gives_back_what_was_written(url):
    write_lines(url, [
        f"meter,phase={phase} power={1.0 * minute} {seconds(minute)}"
        for minute in (0, 5, 10, 30) for phase in ("all", "L1")
    ])  # fmt: skip
    history = InfluxHistory(url, TOKEN, "home")
    await history.connect()
    found = await history.series(SOURCE, START, STOP, 900)
    np.testing.assert_array_equal(found.values, [5, np.nan, 30, *[np.nan] * 5])
    last = Source("home", "meter", "power", {"phase": "all"}, "last", 1_000)
    assert (await history.series(last, START, STOP, 900)).values[0] == 10_000
    with pytest.raises(ValueError, match="several series"):
        await history.series(Source("home", "meter", "power"), START, STOP, 900)
    with pytest.raises(DeviceUnavailable, match=r"bucket.*check the bucket's name"):
        await history.series(Source("cellar", "meter", "power"), START, STOP, 900)
    pieces = await history.matches(Source("home", "meter", "power"), START, STOP)
    assert [piece.tags for piece in pieces] == [{"phase": "L1"}, {"phase": "all"}]
    assert {piece.last for piece in pieces} == {START + timedelta(minutes=30)}
    assert await history.matches(Source("home", "meter", "voltage"), START, STOP) == []
    await history.close()
    stranger = InfluxHistory(url, "wrong", "home")
    with pytest.raises(DeviceUnavailable, match=r"unauthorized.*the token is not known"):
        await stranger.series(SOURCE, START, STOP, 900)
    await stranger.close()


async def test_states_come_as_written_in_words_or_numbers_and_counters_thinned(url):
    words = ("on", "off", "unavailable", "on")
    write_lines(url, [
        *(f'switch word="{word}" {seconds(10 * k)}' for k, word in enumerate(words)),
        *(f"switch truth={str(k % 2 == 0).lower()} {seconds(10 * k)}" for k in range(4)),
        *(f'switch strange="{word}" {seconds(k)}' for k, word in enumerate(("on", "ajar"))),
        *(f"switch count={k}i {seconds(k / 6)}" for k in range(60)),
    ])  # fmt: skip
    history = InfluxHistory(url, TOKEN, "home")
    times, values = await history.written(Source("home", "switch", "word", scale=2_400), START, STOP)
    np.testing.assert_array_equal(times, [seconds(10 * k) for k in range(4)])
    np.testing.assert_array_equal(values, [2_400, 0, np.nan, 2_400])
    _, values = await history.written(Source("home", "switch", "truth"), START, STOP)
    np.testing.assert_array_equal(values, [1, 0, 1, 0])
    with pytest.raises(ValueError, match=r"switch\.strange: ajar: wanted numbers, on or off"):
        await history.written(Source("home", "switch", "strange"), START, STOP)
    times, values = await history.written(Source("home", "switch", "count"), START, STOP, 60)
    np.testing.assert_array_equal(values, np.arange(5, 60, 6), "the last of each minute")
    np.testing.assert_array_equal(times, [seconds(k / 6) for k in range(5, 60, 6)], "at its own time")
    times, values = await history.written(Source("home", "switch", "none"), START, STOP)
    assert len(times) == len(values) == 0
    await history.close()
