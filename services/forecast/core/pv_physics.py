"""PV power from physics: sun, transposition, incidence, cell temperature, losses, inverter limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pvlib.iam import ashrae
from pvlib.irradiance import haydavies
from pvlib.pvsystem import pvwatts_dc
from pvlib.temperature import faiman

from services.forecast.core.bands import Bands, FloatArray, IntArray, epoch_seconds, make_bands
from services.forecast.core.solar import Location, SunPath, sun_path
from services.forecast.core.weather import (
    DEFAULT_TEMPERATURE_C,
    DEFAULT_WIND_M_S,
    Irradiance,
    Weather,
    check_weather,
    filled,
    irradiance,
)


@dataclass(frozen=True, slots=True)
class PvArray:
    """One plane of modules.

    tilt_deg: 0 flat, 90 upright; azimuth_deg: 180 south, 90 east; peak_power_w: DC at standard test
    conditions; temperature_coefficient_per_k: relative power per kelvin, negative; losses_fraction:
    soiling, wiring, mismatch and inverter together (14 % as in PVWatts); inverter_limit_w: AC limit of
    the inverter behind this plane, None for no limit; horizon: (azimuth_deg, elevation_deg) pairs
    below which the direct sun is hidden, interpolated around the compass.
    """

    tilt_deg: float
    azimuth_deg: float
    peak_power_w: float
    temperature_coefficient_per_k: float = -0.0037
    losses_fraction: float = 0.14
    inverter_limit_w: float | None = None
    horizon: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 <= self.tilt_deg <= 90.0:
            raise ValueError(f"tilt_deg: {self.tilt_deg} is not within 0..90")
        if not 0.0 <= self.azimuth_deg <= 360.0:
            raise ValueError(f"azimuth_deg: {self.azimuth_deg} is not within 0..360 (180 is south)")
        if not self.peak_power_w > 0.0:
            raise ValueError(f"peak_power_w: {self.peak_power_w} must be above 0 W")
        if not 0.0 <= self.losses_fraction < 1.0:
            raise ValueError(f"losses_fraction: {self.losses_fraction} is not within 0..1")


def pv_power(
    sun: SunPath,
    light: Irradiance,
    temp_air_c: FloatArray | float,
    wind_m_s: FloatArray | float,
    arrays: Sequence[PvArray],
    inverter_limit_w: float | None = None,
) -> FloatArray:
    """AC power in W, shape (n,), exactly 0 where the sun stays below the horizon.

    Hay-Davies transposition with albedo 0.2, ASHRAE incidence modifier on the beam, Faiman cell
    temperature, PVWatts DC model (all pvlib), flat losses, then the inverter limits.
    """
    total = np.zeros(len(sun.zenith_deg))
    zenith, azimuth = np.radians(sun.zenith_deg), np.radians(sun.azimuth_deg)
    cos_zenith = np.cos(zenith)
    safe_cosine = np.maximum(cos_zenith, 0.0523)
    for array in arrays:
        tilt, facing = np.radians(array.tilt_deg), np.radians(array.azimuth_deg)
        projection = cos_zenith * np.cos(tilt) + np.sin(zenith) * np.sin(tilt) * np.cos(
            azimuth - facing
        )
        projection = np.clip(projection, 0.0, 1.0)
        projection = np.where(cos_zenith > 0.0, projection, 0.0)
        dni, dhi = light.dni, light.dhi
        if array.horizon:
            dni = np.where(
                sun.elevation_deg < _horizon_at(array.horizon, sun.azimuth_deg), 0.0, dni
            )
        modifier = np.asarray(ashrae(np.degrees(np.arccos(projection))))
        sky = haydavies(
            array.tilt_deg, array.azimuth_deg, dhi, dni, sun.extra_dni_wm2,
            projection_ratio=np.minimum(projection / safe_cosine, 10.0),
        )  # fmt: skip
        ground = light.ghi * 0.2 * (1.0 - np.cos(tilt)) / 2.0
        effective = dni * projection * modifier + np.asarray(sky) + ground
        cell_c = faiman(effective, temp_air_c, wind_m_s)
        power = np.asarray(
            pvwatts_dc(effective, cell_c, array.peak_power_w, array.temperature_coefficient_per_k)
        ) * (1.0 - array.losses_fraction)
        if array.inverter_limit_w is not None:
            power = np.minimum(power, array.inverter_limit_w)
        total += np.maximum(power, 0.0)
    if inverter_limit_w is not None:
        total = np.minimum(total, inverter_limit_w)
    return np.where(sun.up, total, 0.0)


def _horizon_at(horizon: tuple[tuple[float, float], ...], azimuth_deg: FloatArray) -> FloatArray:
    points = sorted(horizon)
    return np.interp(azimuth_deg, [p[0] for p in points], [p[1] for p in points], period=360.0)


def pv_physics(
    times_s: IntArray,
    location: Location,
    arrays: Sequence[PvArray],
    weather: Weather,
    *,
    step_s: int = 900,
    inverter_limit_w: float | None = None,
    sun: SunPath | None = None,
) -> Bands:
    """Physics forecast of PV power in W for steps that begin at `times_s` (UTC epoch seconds).

    Parameters
    ----------
    times_s
        Beginnings of the steps, shape (n,), strictly increasing; every step lasts `step_s` seconds.
    location, arrays, inverter_limit_w
        The place, the planes of modules and a common AC limit in W.
    weather
        Columns of shape (n,); NaN or None where missing (see `weather.irradiance` for the order of rules).
    sun
        `sun_path(times_s, step_s, location)` when the caller has it already.

    Returns
    -------
    Bands
        p50 is the physics power with the weather as given. P10 and P90 move the clearness of the sky
        between its own value and clear or overcast by default fractions (day-ahead errors are larger
        under broken cloud than under clear or fully overcast sky); the learnt predictor replaces them.
        Flags: cloud-cover-only, diffuse-derived, weather-missing, temp_air-default, wind_speed-default.
    """
    times_s = epoch_seconds("times_s", times_s)
    columns = check_weather(weather, times_s)
    sun = sun_path(times_s, step_s, location) if sun is None else sun
    light, flags = irradiance(columns, sun)
    temp_air = filled(columns, "temp_air", DEFAULT_TEMPERATURE_C, flags)
    wind = filled(columns, "wind_speed", DEFAULT_WIND_M_S, flags)
    median = pv_power(sun, light, temp_air, wind, arrays, inverter_limit_w)

    clear_ghi = np.maximum(sun.clear_ghi_wm2, light.ghi)
    clear_light, _ = irradiance({"ghi": clear_ghi}, sun)
    ceiling = pv_power(sun, clear_light, temp_air, wind, arrays, inverter_limit_w)
    ceiling = np.maximum(ceiling, median)
    low, high = default_band(median, ceiling)
    low = np.where(light.unknown, 0.2 * median, low)
    high = np.where(light.unknown, median + 0.9 * (ceiling - median), high)
    return make_bands(low, median, high, flags)


def default_band(median: FloatArray, ceiling: FloatArray) -> tuple[FloatArray, FloatArray]:
    """P10 and P90 around a physics median below a clear sky's `ceiling`, where nothing was learnt yet."""
    clearness = np.where(ceiling > 0.0, median / np.maximum(ceiling, 1e-9), 0.0)
    return median * (0.50 + 0.35 * clearness**2), median + 0.45 * (ceiling - median)
