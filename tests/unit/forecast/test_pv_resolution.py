"""PV by the quarter hour from hourly weather, at a site whose modules are known."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from services.forecast.core.calendar import DAY_S
from services.forecast.core.first_depth import first_depth
from services.forecast.core.place import Place
from services.forecast.core.pv import PvPredictor
from services.forecast.core.pv_physics import PvArray, pv_power
from services.forecast.core.series import Dataset, Series, weather_runs
from services.forecast.core.solar import Location, sun_path
from services.forecast.core.weather import irradiance

START = int(dt.datetime(2025, 3, 3, tzinfo=dt.UTC).timestamp())
ROOF = (PvArray(35, 180, 5000),)
PRAGUE = Place(50.08, 14.43, altitude_m=200.0, arrays=ROOF, capacity_w=5000)


def test_coarse_runs_are_read_between_the_middles_of_their_steps() -> None:
    runs = weather_runs(np.arange(4) * 3600, {"ghi": np.array([0.0, 100.0, 300.0, np.nan])})
    issue = np.zeros(9, dtype=np.int64)
    quarters = np.arange(9, dtype=np.int64) * 900 + 3600
    expected = 100.0 + 200.0 * (quarters + 450 - 5400) / 3600
    expected[:2] = 100.0 * (quarters[:2] + 450 - 1800) / 3600
    expected[6:] = 300.0  # nothing is known beyond: as in its own step
    np.testing.assert_allclose(runs.between("ghi", issue, quarters, 900), expected)
    hours = np.arange(4, dtype=np.int64) * 3600
    for step_s in (3600, 7200):  # no finer than the runs: as they are
        np.testing.assert_array_equal(
            runs.between("ghi", issue[:4], hours, step_s), runs.as_of("ghi", issue[:4], hours)
        )


def quarter_hours(days: int) -> Dataset:
    """Quarter hours of power under a dull sky, and the hourly means of the light as weather."""
    times = START + np.arange(days * 96, dtype=np.int64) * 900
    rng = np.random.default_rng(0)
    sun = sun_path(times, 900, Location(50.08, 14.43, 200.0))
    ghi = sun.clear_ghi_wm2 * np.repeat(rng.uniform(0.1, 0.7, days), 96)
    light, _ = irradiance({"ghi": ghi}, sun)
    power = pv_power(sun, light, 12.0, 1.5, ROOF) * rng.uniform(0.5, 1.5, len(times))
    hourly = weather_runs(times[::4], {"ghi": ghi.reshape(-1, 4).mean(axis=1)})
    return Dataset(Series(START, 900, power), hourly)


def test_learnt_physics_is_that_of_the_untrained_method_where_modules_are_known() -> None:
    data = quarter_hours(25)
    model = PvPredictor(PRAGUE)
    model.prepare(data.before(START + 24 * DAY_S))
    assert model.shift_s == 0
    target = START + 24 * DAY_S + np.arange(96, dtype=np.int64) * 900
    issue = np.full(96, target[0])
    mine = model.physics(data, issue, target, model.sun(target, 900))
    plain = first_depth("pv", PRAGUE)(data, int(target[0]), target).p50
    np.testing.assert_allclose(mine, plain, rtol=1e-9)


def test_a_wrong_clock_counts_where_modules_are_known_and_is_stored() -> None:
    data = quarter_hours(40)
    assert data.weather is not None
    late = Dataset(
        replace(data.series, start_s=START + 7200),
        weather_runs(data.weather.valid_s + 7200, data.weather.columns),
    )
    model = PvPredictor(PRAGUE, lead_s=DAY_S, parameters={"rounds": 5})
    model.train(late, 0)
    assert model.shift_s == pytest.approx(-7200, abs=900)
    again = PvPredictor(PRAGUE, lead_s=DAY_S)
    again.load(model.save())
    assert again.shift_s == model.shift_s
