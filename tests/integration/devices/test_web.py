"""Weather and prices over HTTP: the twin's server, and answers as the real services give them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from services.gateway.devices.base import DeviceUnavailable
from services.gateway.devices.prices import (
    EnergyCharts,
    OteCz,
    newest_stretch,
    read_energy_charts,
    read_ote,
)
from services.gateway.devices.weather import OpenMeteo, read_forecast
from tests.integration.devices.conftest import START, free_port
from twin.devices.http import HttpServer
from twin.devices.web import WebTwin

PRAGUE = ZoneInfo("Europe/Prague")
NOW = START + timedelta(minutes=58)  # 06:58 UTC


@dataclass
class FakeForecast:
    times_s: np.ndarray
    temperature_c: np.ndarray
    ghi_w_m2: np.ndarray
    wind_m_s: np.ndarray


@dataclass
class FakeTable:
    start_s: int
    step_s: int
    columns: dict[str, np.ndarray]


def forecast_at(issued: datetime) -> FakeForecast:
    first = int(issued.timestamp()) // 3_600 * 3_600
    hours = np.arange(72)
    return FakeForecast(
        first + 3_600 * hours,
        np.linspace(-5, 5, 72),
        np.maximum(0, 500 * np.sin(hours / 24 * 2 * np.pi)),
        np.full(72, 3.0),
    )


def prices_at(at: datetime) -> FakeTable:
    local = at.astimezone(PRAGUE)
    days = 2 if local.hour >= 13 else 1
    end = datetime.combine(local.date() + timedelta(days=days), datetime.min.time(), PRAGUE)
    start = datetime(2026, 1, 5, tzinfo=PRAGUE)
    count = int((end - start).total_seconds()) // 900
    return FakeTable(int(start.timestamp()), 900, {"eur_per_mwh": 80 + np.arange(count) % 96 / 10})


@pytest.fixture
async def web():
    twin = WebTwin(forecast_at, prices_at)
    await twin.connect()
    yield twin
    await twin.close()


async def test_the_twin_s_forecast_comes_through(web):
    web.set_time(NOW)
    service = OpenMeteo(50.05, 14.65, url=web.url)
    event = await service.forecast(NOW)
    wanted = forecast_at(NOW)
    assert (event.issued, event.start, event.step_s) == (NOW, START, 3_600)
    assert len(event.temperature_c) == len(event.ghi_w_m2) == 72
    assert event.ghi_w_m2 == pytest.approx(wanted.ghi_w_m2, abs=0.06)
    assert event.temperature_c == pytest.approx(wanted.temperature_c, abs=0.06)
    assert event.wind_m_s == pytest.approx(wanted.wind_m_s)
    assert (event.dni_w_m2, event.cloud_cover_percent) == ((), ()), "not forecast, not zero"
    await service.close()


async def test_the_twin_s_prices_come_through_as_they_are_published(web):
    service = EnergyCharts(url=web.url)
    since = NOW - timedelta(days=8)
    web.set_time(NOW)
    morning = await service.prices(NOW, since)
    assert morning.step_s == 900
    assert morning.start == since.replace(minute=0) + timedelta(hours=1)
    assert morning.start + timedelta(seconds=900 * len(morning.eur_per_mwh)) == datetime(
        2026, 1, 16, tzinfo=PRAGUE
    )
    web.set_time(NOW + timedelta(hours=6))
    noon = await service.prices(NOW + timedelta(hours=6), since)
    assert len(noon.eur_per_mwh) == len(morning.eur_per_mwh) + 96
    assert noon.eur_per_mwh[: len(morning.eur_per_mwh)] == morning.eur_per_mwh
    assert service.faults() == {}
    await service.close()


async def test_a_service_that_is_away_or_refuses_is_named(web):
    port = free_port()
    weather = OpenMeteo(50, 14, url=f"http://127.0.0.1:{port}")
    with pytest.raises(DeviceUnavailable, match=f"open-meteo at http://127.0.0.1:{port}"):
        await weather.forecast(NOW)
    early = OpenMeteo(50, 14, url=web.url)
    with pytest.raises(DeviceUnavailable, match="400 the simulation has not begun"):
        await early.forecast(NOW)
    nowhere = EnergyCharts(url=web.url + "/s")
    web.set_time(NOW)
    assert await nowhere.prices(NOW, NOW) is None
    for service in (weather, early, nowhere):
        await service.close()


def open_meteo(**changes) -> dict:
    """An answer in the documented form, four hours."""
    hourly = {
        "time": [f"2026-01-15T{h:02d}:00" for h in range(5, 10)],
        "temperature_2m": [0.0, 1.0, 3.0, 5.0, None],
        "cloud_cover": [100, 50, 50, 0, 0],
        "wind_speed_10m": [2.0, 2.0, 4.0, 4.0, 4.0],
        "shortwave_radiation": [0.0, 0.0, 10.0, 120.0, 240.0],
        "direct_normal_irradiance": [0.0, 0.0, 1.0, 2.0, 3.0],
        "diffuse_radiation": [0.0, 0.0, 9.0, 90.0, 120.0],
    }
    units = {name: "W/m²" for name in hourly} | {
        "time": "iso8601", "temperature_2m": "°C", "cloud_cover": "%", "wind_speed_10m": "m/s",
    }  # fmt: skip
    body = {"utc_offset_seconds": 0, "hourly_units": units, "hourly": hourly}
    for path, value in changes.items():
        where, name = path.split("__") if "__" in path else ("", path)
        (body[where] if where else body)[name] = value
    return body


def test_instants_become_hourly_means_and_radiation_moves_to_its_own_hour():
    event = read_forecast(open_meteo(), NOW)
    assert event.start == START
    assert event.temperature_c == (2.0, 4.0, None)
    assert event.ghi_w_m2 == (10.0, 120.0, 240.0), "the value at 07:00 is the mean of 06 to 07"
    assert event.dni_w_m2 == (1.0, 2.0, 3.0)
    assert event.wind_m_s == (3.0, 4.0, 4.0)
    assert event.cloud_cover_percent == (50.0, 25.0, 0.0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"utc_offset_seconds": 3_600}, "utc_offset_seconds"),
        ({"hourly": None}, "hourly"),
        ({"hourly__time": ["2026-01-15T05:00"]}, "time"),
        ({"hourly__time": [1768453200 + 3600 * i for i in range(5)]}, "iso8601"),
        ({"hourly__time": [f"2026-01-15T{h:02d}:00" for h in (5, 6, 8, 9, 10)]}, "next hour"),
        ({"hourly__temperature_2m": [1.0]}, "temperature_2m"),
        ({"hourly__temperature_2m": None}, "temperature_2m"),
        ({"hourly__temperature_2m": [None] * 5}, "no value at all"),
        ({"hourly__temperature_2m": [0, 0, 280.0, 0, 0]}, "temperature_2m: 280.0 is outside"),
        ({"hourly__shortwave_radiation": [0, 0, "9", 0, 0]}, "shortwave_radiation"),
        ({"hourly__shortwave_radiation": [0, 0, -1, 0, 0]}, "shortwave_radiation"),
        ({"hourly_units__wind_speed_10m": "km/h"}, "wind_speed_10m: 'km/h'"),
        ({"hourly_units__temperature_2m": "°F"}, "temperature_2m: '°F'"),
    ],
)
def test_an_answer_of_another_form_is_refused_by_name(change, field):
    with pytest.raises(ValueError, match=field):
        read_forecast(open_meteo(**change), NOW)


def test_an_old_forecast_is_refused():
    with pytest.raises(ValueError, match="before the next hour"):
        read_forecast(open_meteo(), NOW + timedelta(days=1))


def energy_charts(times, prices, unit="EUR / MWh") -> dict:
    return {"unix_seconds": times, "price": prices, "unit": unit, "deprecated": False}


def day_times(day: date, step_s: int) -> list[int]:
    start = int(datetime(day.year, day.month, day.day, tzinfo=PRAGUE).timestamp())
    after = day + timedelta(days=1)
    end = int(datetime(after.year, after.month, after.day, tzinfo=PRAGUE).timestamp())
    return list(range(start, end, step_s))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (energy_charts([0, 900], [1, 2], "EUR / kWh"), "unit"),
        (energy_charts([0, 900], [1, 2], None), "unit"),
        (energy_charts([0, 900], [1]), "one length"),
        (energy_charts(None, [1]), "two lists"),
        (energy_charts([0, 100], [1, 2]), "quarter hour"),
        (energy_charts([900, 0], [1, 2]), "rising"),
        (energy_charts([0, 900], [1, "2"]), "price"),
        (energy_charts([0, 900], [1, 20_000]), "price"),
    ],
)
def test_prices_of_another_form_are_refused_by_name(body, field):
    with pytest.raises(ValueError, match=field):
        read_energy_charts(body)


@pytest.mark.parametrize("step_s", [900, 3_600])
@pytest.mark.parametrize(
    ("day", "hours"),
    [(date(2026, 3, 29), 23), (date(2026, 1, 15), 24), (date(2026, 10, 25), 25)],
)
def test_days_have_23_24_or_25_hours(day, hours, step_s):
    count = hours * 3_600 // step_s
    body = {"data": {"dataLine": [
        {"title": "Volume (MWh)", "point": [{"x": "1", "y": 5}]},
        {"title": "15min price (EUR/MWh)" if step_s == 900 else "Price (EUR/MWh)",
         "point": [{"x": str(i + 1), "y": i - 5.5} for i in range(count)]},
        {"title": "60min price (EUR/MWh)", "point": []},
    ]}}  # fmt: skip
    points = read_ote(body, day)
    assert sorted(points) == day_times(day, step_s)
    faults: Counter[str] = Counter()
    event = newest_stretch(points, "CZ", NOW, PRAGUE, faults)
    assert (event.step_s, len(event.eur_per_mwh), event.eur_per_mwh[0]) == (step_s, count, -5.5)
    assert not faults
    body["data"]["dataLine"][1]["point"].pop()
    with pytest.raises(ValueError, match=f"{count - 1} points, but {day} has {hours} hours"):
        read_ote(body, day)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "dataLine"),
        ({"data": {"dataLine": [{"title": "Price (CZK/MWh)", "point": []}]}}, "EUR/MWh"),
        ({"data": {"dataLine": [{"title": "Price (EUR/MWh)", "point": None}]}}, "list"),
        ({"data": {"dataLine": [{"title": "Price (EUR/MWh)",
                                 "point": [{"x": "2", "y": 1}] * 24}]}}, "x=1"),
        ({"data": {"dataLine": [{"title": "Price (EUR/MWh)",
                                 "point": [{"x": str(i + 1), "y": "1"} for i in range(24)]}]}},
         "point.y"),
    ],
)  # fmt: skip
def test_ote_data_of_another_form_is_refused_by_name(body, field):
    with pytest.raises(ValueError, match=field):
        read_ote(body, date(2026, 1, 15))


def test_an_unpublished_day_is_nothing_and_no_error():
    assert read_ote({"data": {"dataLine": []}}, date(2026, 1, 15)) == {}
    empty = {"data": {"dataLine": [{"title": "15min price (EUR/MWh)", "point": []}]}}
    assert read_ote(empty, date(2026, 1, 15)) == {}


def test_a_gap_or_a_new_step_begins_a_new_stretch_and_is_counted():
    hourly = dict.fromkeys(day_times(date(2025, 9, 30), 3_600), 50.0)
    quarters = dict.fromkeys(day_times(date(2025, 10, 1), 900), 60.0)
    faults: Counter[str] = Counter()
    event = newest_stretch(hourly | quarters, "CZ", NOW, PRAGUE, faults)
    assert (event.step_s, len(event.eur_per_mwh), set(event.eur_per_mwh)) == (900, 96, {60.0})
    assert faults == {"gap or change of step": 1}
    two = day_times(date(2026, 1, 14), 900) + day_times(date(2026, 1, 15), 900)
    points = dict.fromkeys(two, 70.0)
    del points[two[10]]
    event = newest_stretch(points, "CZ", NOW, PRAGUE, Counter())
    assert event.start.timestamp() == two[11]


def test_a_day_in_publication_is_left_out_until_it_is_complete():
    known = day_times(date(2026, 1, 15), 900)
    half = day_times(date(2026, 1, 16), 900)[:40]
    faults: Counter[str] = Counter()
    event = newest_stretch(dict.fromkeys(known + half, 1.0), "CZ", NOW, PRAGUE, faults)
    assert len(event.eur_per_mwh) == 96
    assert faults == {"day not complete": 1}
    assert newest_stretch(dict.fromkeys(half, 1.0), "CZ", NOW, PRAGUE, faults) is None
    assert newest_stretch({}, "CZ", NOW, PRAGUE, faults) is None


async def test_ote_is_asked_day_by_day_and_only_once():
    asked = []

    def serve(path, query):
        day = date.fromisoformat(query["report_date"])
        asked.append(day)
        if day > date(2026, 1, 15):
            return 200, {"data": {"dataLine": []}}
        points = [{"x": str(i + 1), "y": float(day.day)} for i in range(96)]
        line = {"title": "15min price (EUR/MWh)", "point": points}
        return 200, {"axis": {}, "data": {"dataLine": [line]}}

    server = HttpServer(serve)
    await server.connect()
    service = OteCz(url=server.url)
    since = datetime(2026, 1, 13, tzinfo=PRAGUE).astimezone(UTC)
    event = await service.prices(NOW, since)
    assert event.start == since
    assert event.eur_per_mwh == (13.0,) * 96 + (14.0,) * 96 + (15.0,) * 96
    assert [day.day for day in asked] == [13, 14, 15, 16]
    assert await service.prices(NOW, since) == event
    assert [day.day for day in asked] == [13, 14, 15, 16, 16]
    await service.close()
    await server.close()


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [(200, [1], "no JSON object"), (200, None, "no JSON object"), (429, {}, "429")],
)
async def test_what_is_no_answer_is_an_unavailable_service(status, body, reason):
    server = HttpServer(lambda path, query: (status, body))
    await server.connect()
    service = EnergyCharts(url=server.url)
    with pytest.raises(DeviceUnavailable, match=reason):
        await service.prices(NOW, NOW)
    await service.close()
    await server.close()
