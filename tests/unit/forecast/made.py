"""Series made from a seed: a house's load, its PV with weather forecasts that err, a market's prices."""

from __future__ import annotations

import datetime as dt

import numpy as np

from services.forecast.core.calendar import DAY_S, calendar
from services.forecast.core.place import Place
from services.forecast.core.pv_physics import PvArray, pv_power
from services.forecast.core.series import Dataset, Series, weather_runs
from services.forecast.core.solar import Location, sun_path
from services.forecast.core.weather import irradiance

START = int(dt.datetime(2025, 3, 3, tzinfo=dt.UTC).timestamp())
PRAGUE = Place(latitude=50.08, longitude=14.43, time_zone="Europe/Prague", country="CZ")
QUICK = {"rounds": 25}


def load_series(days: int, seed: int = 0, step_s: int = 3600) -> Series:
    """A house with a daily shape, weekends and gamma noise."""
    times = START + np.arange(days * DAY_S // step_s, dtype=np.int64) * step_s
    days_of = calendar(times, "Europe/Prague", "CZ")
    shape = (
        300 + 500 * np.exp(-0.5 * ((days_of.hour - 19) / 2.0) ** 2) + 150 * (days_of.day_kind > 0)
    )
    noise = np.random.default_rng(seed).gamma(4.0, 0.25, len(times))
    return Series(START, step_s, shape * noise)


def pv_data(
    days: int, seed: int = 0, arrays: tuple[PvArray, ...] = (), noise: float = 0.15
) -> Dataset:
    """PV from physics under random cloud, with a weather forecast that errs."""
    times = START + np.arange(days * 24, dtype=np.int64) * 3600
    rng = np.random.default_rng(seed)
    location = Location(50.08, 14.43)
    sun = sun_path(times, 3600, location)
    truth = sun.clear_ghi_wm2 * np.clip(np.repeat(rng.uniform(0.2, 1.0, days), 24), 0, 1)
    light, _ = irradiance({"ghi": truth}, sun)
    power = pv_power(sun, light, 12.0, 1.5, arrays or (PvArray(40, 210, 5000),))
    forecast = truth * np.exp(rng.normal(0, noise, len(times)))
    issued = times // DAY_S * DAY_S
    return Dataset(Series(START, 3600, power), weather_runs(times, {"ghi": forecast}, issued))


def price_series(days: int, step_s: int = 3600, seed: int = 0) -> Series:
    times = START + np.arange(days * DAY_S // step_s, dtype=np.int64) * step_s
    days_of = calendar(times, "Europe/Prague", "CZ")
    shape = 80 + 30 * np.sin((days_of.hour - 6) / 24 * 4 * np.pi) - 20 * (days_of.day_kind > 0)
    return Series(START, step_s, shape + np.random.default_rng(seed).normal(0, 8, len(times)))
