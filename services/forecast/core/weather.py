"""Weather columns on a grid of steps: which are there, and how the missing ones are derived."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from pvlib.irradiance import erbs

from services.forecast.core.bands import BoolArray, FloatArray, IntArray, like_times
from services.forecast.core.solar import SunPath

DEFAULT_TEMPERATURE_C = 12.0
DEFAULT_WIND_M_S = 1.5


@dataclass(frozen=True, slots=True)
class Weather:
    """Weather over n steps; each column is an array of shape (n,) with NaN where missing, or None.

    ghi, dni, dhi: W/m2, mean of the step; temp_air: degC; wind_speed: m/s; cloud_cover and
    relative_humidity: 0..100 %.
    """

    ghi: FloatArray | None = None
    dni: FloatArray | None = None
    dhi: FloatArray | None = None
    temp_air: FloatArray | None = None
    wind_speed: FloatArray | None = None
    cloud_cover: FloatArray | None = None
    relative_humidity: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class Irradiance:
    """Global, direct normal and diffuse irradiance in W/m2, and where no weather spoke at all."""

    ghi: FloatArray
    dni: FloatArray
    dhi: FloatArray
    unknown: BoolArray


def check_weather(weather: Weather, times_s: IntArray) -> dict[str, FloatArray]:
    """Columns that are present, as float64 of the grid's length.

    Raises
    ------
    ValueError
        on a wrong length, or a cloud cover that looks like a fraction above 100 %.
    """
    columns: dict[str, FloatArray] = {}
    for field in fields(weather):
        values = getattr(weather, field.name)
        if values is not None:
            columns[field.name] = like_times(field.name, values, times_s)
    cover = columns.get("cloud_cover")
    if cover is not None and bool(np.any(cover > 100.5)):
        raise ValueError("cloud_cover: values above 100; give percent, 0..100")
    return columns


def irradiance(columns: dict[str, FloatArray], sun: SunPath) -> tuple[Irradiance, set[str]]:
    """GHI, DNI and DHI at every step, by the best source that is there.

    In order: measured or forecast components; Erbs' split of GHI (Erbs, Klein and Duffie 1982,
    pvlib.irradiance.erbs); clear sky attenuated by cloud cover (Kasten and Czeplak 1980:
    GHI = clear x (1 - 0.75 N^3.4)); and, where nothing is known, half of clear sky, marked unknown.
    Returns the irradiance and the flags of the rules that were used while the sun was up.
    """
    n = len(sun.zenith_deg)
    flags: set[str] = set()
    nothing = np.full(n, np.nan)
    ghi = columns.get("ghi", nothing).copy()
    dni = columns.get("dni", nothing).copy()
    dhi = columns.get("dhi", nothing).copy()
    cosine = np.maximum(np.cos(np.radians(sun.zenith_deg)), 0.0)

    rebuilt = np.isnan(ghi) & ~np.isnan(dni) & ~np.isnan(dhi)
    ghi[rebuilt] = (dni * cosine + dhi)[rebuilt]

    clouded = np.isnan(ghi)
    if clouded.any() and "cloud_cover" in columns:
        cover = np.clip(columns["cloud_cover"], 0.0, 100.0) / 100.0
        ghi = np.where(clouded, sun.clear_ghi_wm2 * (1.0 - 0.75 * cover**3.4), ghi)
        if bool(np.any(clouded & ~np.isnan(ghi) & sun.up)):
            flags.add("cloud-cover-only")
    unknown = np.isnan(ghi)
    if bool(np.any(unknown & sun.up)):
        flags.add("weather-missing")
    ghi = np.where(unknown, 0.5 * sun.clear_ghi_wm2, ghi)
    ghi = np.maximum(ghi, 0.0)

    split = np.isnan(dni) & np.isnan(dhi)
    if split.any():
        parts = erbs(ghi, sun.zenith_deg, sun.day_of_year.astype(np.float64))
        dni = np.where(split, np.asarray(parts["dni"]), dni)
        dhi = np.where(split, np.asarray(parts["dhi"]), dhi)
        if bool(np.any(split & ~unknown & ~clouded & sun.up)):
            flags.add("diffuse-derived")
    safe_cosine = np.maximum(cosine, 0.0523)  # 87 degrees, as in erbs
    dni = np.where(np.isnan(dni), np.where(cosine > 0.0523, (ghi - dhi) / safe_cosine, 0.0), dni)
    dhi = np.where(np.isnan(dhi), ghi - dni * cosine, dhi)
    return (
        Irradiance(
            ghi, np.clip(dni, 0.0, 1367.0), np.clip(dhi, 0.0, np.maximum(ghi, dhi)), unknown
        ),
        flags,
    )


def filled(
    columns: dict[str, FloatArray], name: str, default: float, flags: set[str]
) -> FloatArray | float:
    """A column with NaN replaced by `default`; flags `<name>-default` when anything was replaced."""
    values = columns.get(name)
    if values is None:
        flags.add(f"{name}-default")
        return default
    missing = np.isnan(values)
    if missing.any():
        flags.add(f"{name}-default")
        return np.where(missing, default, values)
    return values
