"""Where a recording without a site file was made, as far as its sunlight tells."""

from __future__ import annotations

from collections.abc import Mapping
from zoneinfo import available_timezones

import numpy as np
from numpy.typing import NDArray
from pvlib.solarposition import equation_of_time_spencer71

from services.thermal.core.history import History

DEFAULT_LATITUDE_DEG, DEFAULT_LONGITUDE_DEG = 50.0, 10.0
DAYLIGHT_W_M2 = 10.0


def locate(history: History) -> tuple[float, float, str, str]:
    """Latitude, longitude, time zone and a note saying how they were found.

    With irradiance (diffuse without global) the solar noon (middle of each day's light) gives the longitude;
    the latitude is assumed. Without it the middle of Europe is assumed.
    """
    zone = "Europe/Berlin"
    light = history.dhi_w_m2 if history.ghi_w_m2 is None else history.ghi_w_m2
    if light is None or not np.isfinite(light).any():
        return (
            DEFAULT_LATITUDE_DEG, DEFAULT_LONGITUDE_DEG, zone,
            "no site file and no irradiance: 50 N 10 E and local time Europe/Berlin assumed; "
            "the sun is estimated from the daily range of the outdoor temperature",
        )
    noon_s, days = _solar_noon_s(history, light)
    day_of_year = (history.epoch_s / 86400.0) % 365.2425 + 1.0
    equation_s = 60.0 * float(np.mean(np.asarray(equation_of_time_spencer71(day_of_year))))
    longitude = float((43200.0 - equation_s - noon_s) / 240.0)
    longitude = (longitude + 180.0) % 360.0 - 180.0
    return (
        DEFAULT_LATITUDE_DEG, longitude, zone,
        f"no site file: 50 N assumed, longitude {longitude:.0f} E from the daylight of "
        f"{days} days, "
        "local time Europe/Berlin",
    )


def stated_place(site: Mapping[str, object]) -> tuple[float, float, str]:
    """Latitude, longitude and time zone of a site file that says no more; raises ValueError naming the key."""
    found = []
    for key, most in (("latitude", 90.0), ("longitude", 180.0)):
        value = site.get(key)
        if not isinstance(value, int | float) or not abs(value) <= most:
            raise ValueError(f"site file: {key}: {value!r} is no number up to {most:g} degrees")
        found.append(float(value))
    zone = str(site.get("time_zone", "UTC"))
    if zone not in available_timezones():
        raise ValueError(f"site file: time_zone: {zone!r} is no IANA name such as 'Europe/Prague'")
    return found[0], found[1], zone


def _solar_noon_s(history: History, light: NDArray[np.float64]) -> tuple[float, int]:
    """Median over days of the middle between the first and last daylight, seconds UTC."""
    seconds = history.epoch_s + 0.5 * history.step_s
    lit = np.flatnonzero(np.nan_to_num(light) > DAYLIGHT_W_M2)
    if lit.size == 0:
        return 43200.0 - 240.0 * DEFAULT_LONGITUDE_DEG, 0
    breaks = np.flatnonzero(np.diff(seconds[lit]) > 4 * 3600)
    first = seconds[lit[np.concatenate([[0], breaks + 1])]]
    last = seconds[lit[np.concatenate([breaks, [lit.size - 1]])]]
    middle = 0.5 * (first + last)
    return float(np.median(middle % 86400.0)), len(middle)

