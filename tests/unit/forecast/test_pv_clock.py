"""PV whose time stamps are an hour wrong: found by when it is light, and put right for the sun."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from services.forecast.core.bands import FloatArray, IntArray
from services.forecast.core.place import Place
from services.forecast.core.pv import PvPredictor
from services.forecast.core.pv_physics import PvArray, pv_power
from services.forecast.core.pv_site import clock_error, estimate_plane
from services.forecast.core.series import Dataset, Series
from services.forecast.core.solar import Location, sun_path
from services.forecast.core.weather import irradiance

START = int(dt.datetime(2025, 3, 3, tzinfo=dt.UTC).timestamp())
PRAGUE = Location(50.08, 14.43)
QUARTER_S = 900


def roof(days: int) -> tuple[IntArray, FloatArray, FloatArray]:
    """Times, irradiance and power by the quarter hour."""
    times = START + np.arange(days * 96, dtype=np.int64) * QUARTER_S
    sun = sun_path(times, QUARTER_S, PRAGUE)
    cloud = np.repeat(np.random.default_rng(0).uniform(0.2, 1.0, days), 96)
    ghi = sun.clear_ghi_wm2 * cloud
    light, _ = irradiance({"ghi": ghi}, sun)
    return times, ghi, pv_power(sun, light, 15.0, 1.5, [PvArray(30, 200, 5000)])


@pytest.mark.parametrize("late_s", [-25_200, -3600, 3600, 7200])
def test_a_clock_that_is_hours_wrong_is_put_right(late_s: int) -> None:
    times, ghi, power = roof(40)
    found = clock_error(times + late_s, QUARTER_S, ghi, PRAGUE)
    assert found == pytest.approx(-late_s, abs=900)
    plane = estimate_plane(times + late_s, QUARTER_S, power, ghi, PRAGUE, 5000.0)
    assert plane is not None
    assert plane.shift_s == pytest.approx(-late_s, abs=900)
    assert plane.array.azimuth_deg == pytest.approx(200, abs=20)
    assert plane.fit > 0.97


def test_without_irradiance_the_power_tells_when_it_was_light() -> None:
    times, _, power = roof(40)
    assert clock_error(times, QUARTER_S, power, PRAGUE) == 0
    plane = estimate_plane(times + 7200, QUARTER_S, power, None, PRAGUE, 5000.0)
    assert plane is not None
    assert plane.shift_s == pytest.approx(-7200, abs=900)
    assert plane.array.azimuth_deg == pytest.approx(200, abs=20)
    data = Dataset(Series(START + 7200, QUARTER_S, power))
    known = PvPredictor(Place(50.08, 14.43, arrays=(PvArray(30, 200, 5000),)))
    known.prepare(data)
    assert known.shift_s == pytest.approx(-7200, abs=900)


def test_right_clocks_small_shifts_short_histories_and_noise_are_left_alone() -> None:
    times, ghi, _ = roof(40)
    assert clock_error(times, QUARTER_S, ghi, PRAGUE) == 0
    assert clock_error(times + 1300, QUARTER_S, ghi, PRAGUE) == 0
    assert clock_error(times[: 10 * 96] + 3600, QUARTER_S, ghi[: 10 * 96], PRAGUE) == 0
    noise = np.random.default_rng(1).permutation(ghi)
    assert clock_error(times, QUARTER_S, noise, PRAGUE) == 0
    assert clock_error(times, QUARTER_S, np.full(len(ghi), np.nan), PRAGUE) == 0
