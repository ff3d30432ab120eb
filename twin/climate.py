"""Weather for a place near Prague made from a typical year that ships inside pvlib.

Honest provenance: pvlib carries no European year. The file used is 723170TYA.CSV, the TMY3 of
Greensboro, North Carolina (36 N; NREL, public domain), because of the three files shipped it is the
only one of an inland climate with frontal weather in every season; the others are an Alaskan island
(Sand Point) and Miami. It is moved to Prague in three documented steps:

1. temperature: hour-to-hour anomalies of Greensboro are kept; its smoothed monthly means are
   replaced by the WMO normals of Prague, and the mean daily swing is scaled to Prague's (the mean
   of the normals' daily high minus daily low);
2. radiation: Greensboro's clear-sky index (GHI over Ineichen clear sky) is carried to the same hour
   of local standard time at the new place and raised to one power a month, so that the monthly mean
   equals the Angstrom-Prescott estimate H/H0 = 0.25 + 0.50 n/N (FAO-56, eq. 35) of Prague's normal
   sunshine hours n;
3. wind: taken as it is.

What that does not give: Prague's own weather of any date, long inversions, snow on modules.
Normals: World Meteorological Organization, World Weather Information Service, Prague.
"""

from __future__ import annotations

import datetime as dt
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import pvlib

from twin.calendar import utc
from twin.sun import clear_ghi_means, sun_path
from twin.tables import FloatArray, IntArray, Table

TMY_FILE = "723170TYA.CSV"
PROVENANCE = (
    "TMY3 723170 Greensboro NC (ships inside pvlib; NREL, public domain), moved to Prague's WMO "
    "temperature and sunshine normals as documented in twin/climate.py; not a record of Prague"
)
DAILY_HIGH_C = (1.0, 3.2, 8.5, 14.2, 18.7, 22.0, 24.7, 24.5, 20.0, 13.6, 6.9, 2.6)
DAILY_LOW_C = (-4.6, -3.8, -0.5, 3.1, 8.4, 11.2, 13.5, 13.3, 9.5, 5.1, 0.9, -2.1)
SUNSHINE_H = (49.6, 73.5, 124.0, 168.0, 213.9, 219.0, 226.3, 210.8, 162.0, 120.9, 54.0, 46.5)
MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
YEAR_HOURS = 8760
STANDARD_OFFSET_S = 3600
"""Central European standard time: the typical year runs on standard time all year."""


@lru_cache(maxsize=1)
def _typical_year() -> tuple[FloatArray, FloatArray, FloatArray]:
    """Temperature (degC), clear-sky index and wind (m/s) of the typical year, shape (8760,)."""
    path = Path(pvlib.__file__).parent / "data" / TMY_FILE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame, place = pvlib.iotools.read_tmy3(path, coerce_year=2025, map_variables=True)
    # A TMY3 row is the hour that ends at its time stamp, so row 0 is 00:00-01:00.
    start = int(frame.index[0].timestamp()) - 3600
    clear = clear_ghi_means(
        start, 3600, YEAR_HOURS, place["latitude"], place["longitude"], place["altitude"]
    )
    ghi = frame["ghi"].to_numpy(dtype=np.float64)
    day = clear > 50.0
    where = np.flatnonzero(day)
    index = np.interp(np.arange(YEAR_HOURS), where, np.clip(ghi[where] / clear[where], 0.03, 1.05))
    return (
        frame["temp_air"].to_numpy(dtype=np.float64),
        index,
        frame["wind_speed"].to_numpy(dtype=np.float64),
    )


def _smooth_months(monthly: FloatArray) -> FloatArray:
    """Monthly values joined by straight lines between mid-months, for every hour of the year."""
    edges = np.concatenate(([0.0], np.cumsum(MONTH_DAYS))) * 24
    middles = (edges[:-1] + edges[1:]) / 2
    around = np.concatenate(([middles[-1] - YEAR_HOURS], middles, [middles[0] + YEAR_HOURS]))
    values = np.concatenate(([monthly[-1]], monthly, [monthly[0]]))
    return np.asarray(np.interp(np.arange(YEAR_HOURS) + 0.5, around, values), dtype=np.float64)


def _month_of_hour() -> IntArray:
    return np.repeat(np.arange(12), np.array(MONTH_DAYS) * 24)


@lru_cache(maxsize=4)
def prague_year(
    latitude: float, longitude: float, altitude_m: float, shift_days: int = 0
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The moved typical year: temperature degC, clear-sky index, wind m/s, shape (8760,).

    `shift_days` takes Greensboro's weather of so many days later, before the monthly means are
    replaced: other weather in the same climate.
    """
    temperature, index, wind = (np.roll(one, -24 * shift_days) for one in _typical_year())
    month = _month_of_hour()
    daily = temperature.reshape(365, 24)
    day_mean = daily.mean(axis=1)
    swing = daily.max(axis=1) - daily.min(axis=1)
    day_month = month[::24]
    mean_of = np.array([day_mean[day_month == m].mean() for m in range(12)])
    swing_of = np.array([swing[day_month == m].mean() for m in range(12)])
    normal = (np.array(DAILY_HIGH_C) + np.array(DAILY_LOW_C)) / 2
    ratio = (np.array(DAILY_HIGH_C) - np.array(DAILY_LOW_C)) / swing_of
    slow = np.interp(np.arange(YEAR_HOURS), np.arange(365) * 24 + 11.5, day_mean)
    moved = (
        _smooth_months(normal)
        + (slow - _smooth_months(mean_of))
        + (temperature - slow) * _smooth_months(ratio)
    )
    for _ in range(4):  # straight lines between months do not keep a month's mean at once
        left = normal - np.array([moved[month == m].mean() for m in range(12)])
        moved = moved + _smooth_months(left)
    return moved, _fit_sunshine(index, month, latitude, longitude, altitude_m), wind


def _fit_sunshine(
    index: FloatArray, month: IntArray, latitude: float, longitude: float, altitude_m: float
) -> FloatArray:
    """Raise the clear-sky index to a power a month, to the radiation of the sunshine normals."""
    start = int(dt.datetime(2025, 1, 1, tzinfo=dt.UTC).timestamp()) - STANDARD_OFFSET_S
    clear = clear_ghi_means(start, 3600, YEAR_HOURS, latitude, longitude, altitude_m)
    path = sun_path(start + 1800 + 3600 * np.arange(YEAR_HOURS), latitude, longitude, altitude_m)
    up = np.maximum(np.cos(np.radians(path.zenith_deg)), 0.0)
    powers = np.empty(12)
    for m in range(12):
        chosen = month == m
        top_of_air = float((path.extra_w_m2 * up)[chosen].sum())
        daylight = float((up[chosen] > 0).sum())
        target = (0.25 + 0.50 * SUNSHINE_H[m] / daylight) * top_of_air
        low, high = 0.1, 8.0
        for _ in range(40):
            middle = (low + high) / 2
            if float((clear[chosen] * index[chosen] ** middle).sum()) > target:
                low = middle
            else:
                high = middle
        powers[m] = (low + high) / 2
    return np.asarray(index ** powers[month])


def typical_weather(
    start_s: int,
    end_s: int,
    latitude: float,
    longitude: float,
    altitude_m: float,
    shift_days: int = 0,
) -> Table:
    """Hourly weather table of [start_s, end_s) (whole UTC hours).

    `shift_days` as in `prague_year`. 29 February repeats the 28th.
    """
    temperature, index, wind = prague_year(latitude, longitude, altitude_m, shift_days)
    start = start_s // 3600 * 3600
    count = -(-(end_s - start) // 3600)
    hours = np.empty(count, dtype=np.int64)
    for k in range(count):
        moment = utc(start + 3600 * k + STANDARD_OFFSET_S)
        day = min(moment.day, 28) if moment.month == 2 else moment.day
        hours[k] = (dt.date(2025, moment.month, day).timetuple().tm_yday - 1) * 24 + moment.hour
    clear = clear_ghi_means(start, 3600, count, latitude, longitude, altitude_m)
    return Table(
        start,
        3600,
        {
            "temperature_c": np.round(temperature[hours], 2),
            "ghi_w_m2": np.round(clear * index[hours], 1),
            "wind_m_s": wind[hours],
        },
    )
