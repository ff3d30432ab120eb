"""Sunlight on the roof and on the facades, from hourly global radiation, with pvlib.

The twin uses pvlib's full models (SPA sun position, Ineichen clear sky, Erbs decomposition,
Hay-Davies transposition, Faiman module temperature, angle-of-incidence losses) so that a forecast
service with a simpler chain is not tested on its own equations.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pvlib

from contracts.site import Inverter, PvArray
from twin.tables import FloatArray, IntArray

ALBEDO = 0.2
SYSTEM_LOSS = 0.08
"""Soiling, mismatch, wiring: share of the DC power."""
POWER_COEFFICIENT_PER_K = -0.0035
"""Crystalline silicon, per K above 25 degC."""
TREE_AZIMUTH_DEG = (228.0, 262.0)
TREE_ELEVATION_DEG = 9.0
"""A neighbour's trees hide the low sun in the south-west: no forecast knows about them at first."""


@dataclass(frozen=True, eq=False)
class SunPath:
    """Sun and clear sky at n instants, each of shape (n,)."""

    index: pd.DatetimeIndex
    zenith_deg: FloatArray
    azimuth_deg: FloatArray
    clear_ghi_w_m2: FloatArray
    extra_w_m2: FloatArray


def _index(times_s: IntArray) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(pd.to_datetime(times_s, unit="s", utc=True))


def sun_path(times_s: IntArray, latitude: float, longitude: float, altitude_m: float) -> SunPath:
    """Sun position and Ineichen clear-sky GHI at epoch seconds (UTC), shape (n,)."""
    index = _index(times_s)
    position = pvlib.solarposition.get_solarposition(index, latitude, longitude, altitude_m)
    zenith = position["apparent_zenith"].to_numpy()
    turbidity = pvlib.clearsky.lookup_linke_turbidity(index, latitude, longitude).to_numpy()
    air_mass = pvlib.atmosphere.get_relative_airmass(np.minimum(zenith, 90.0))
    pressure = pvlib.atmosphere.alt2pres(altitude_m)
    absolute = pvlib.atmosphere.get_absolute_airmass(air_mass, pressure)
    extra = pvlib.irradiance.get_extra_radiation(index).to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        clear = pvlib.clearsky.ineichen(zenith, absolute, turbidity, altitude_m, extra)
    return SunPath(
        index,
        zenith,
        position["azimuth"].to_numpy(),
        np.nan_to_num(np.asarray(clear["ghi"], dtype=np.float64)),
        extra,
    )


def clear_ghi_means(
    start_s: int, step_s: int, count: int, latitude: float, longitude: float, altitude_m: float
) -> FloatArray:
    """Clear-sky GHI averaged over each interval (5-minute samples), shape (count,), W/m2."""
    inner = max(1, step_s // 300)
    offsets = (np.arange(inner) + 0.5) * step_s / inner
    times = (start_s + step_s * np.arange(count)[:, None] + offsets).astype(np.int64).ravel()
    path = sun_path(times, latitude, longitude, altitude_m)
    return np.asarray(path.clear_ghi_w_m2.reshape(count, inner).mean(axis=1), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Sky:
    """Beam and diffuse radiation at n instants, W/m2, shape (n,)."""

    path: SunPath
    ghi_w_m2: FloatArray
    dni_w_m2: FloatArray
    dhi_w_m2: FloatArray


def split_sky(path: SunPath, ghi_w_m2: FloatArray) -> Sky:
    """Erbs decomposition of GHI; no beam below 2 degrees of elevation or behind the trees."""
    parts = pvlib.irradiance.erbs(ghi_w_m2, path.zenith_deg, path.index)
    dni = np.nan_to_num(np.asarray(parts["dni"], dtype=np.float64))
    dhi = np.nan_to_num(np.asarray(parts["dhi"], dtype=np.float64))
    elevation = 90.0 - path.zenith_deg
    left, right = TREE_AZIMUTH_DEG
    tree = (elevation < TREE_ELEVATION_DEG) & (path.azimuth_deg > left) & (path.azimuth_deg < right)
    dark = elevation < 2.0
    dhi = np.where(dark, ghi_w_m2, dhi)
    dni = np.where(dark | tree, 0.0, dni)
    return Sky(path, ghi_w_m2, np.maximum(dni, 0.0), np.maximum(dhi, 0.0))


def plane_w_m2(sky: Sky, tilt_deg: float, azimuth_deg: float, reflect_b: float) -> FloatArray:
    """Radiation that passes the glass of a plane, W/m2, shape (n,).

    Hay-Davies transposition; ASHRAE incidence-angle loss with parameter `reflect_b` on the beam
    and the same model at 60 degrees on the diffuse part (pvlib.iam.ashrae).
    """
    path = sky.path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        total = pvlib.irradiance.get_total_irradiance(
            tilt_deg,
            azimuth_deg,
            path.zenith_deg,
            path.azimuth_deg,
            sky.dni_w_m2,
            sky.ghi_w_m2,
            sky.dhi_w_m2,
            dni_extra=path.extra_w_m2,
            albedo=ALBEDO,
            model="haydavies",
        )
        angle = pvlib.irradiance.aoi(tilt_deg, azimuth_deg, path.zenith_deg, path.azimuth_deg)
        beam_share = np.nan_to_num(pvlib.iam.ashrae(angle, reflect_b))
    diffuse_share = float(pvlib.iam.ashrae(60.0, reflect_b))
    beam = np.nan_to_num(np.asarray(total["poa_direct"]))
    diffuse = np.nan_to_num(np.asarray(total["poa_diffuse"]))
    return np.asarray(np.maximum(beam * beam_share + diffuse * diffuse_share, 0.0))


def pv_power_w(
    sky: Sky,
    arrays: tuple[PvArray, ...],
    inverter: Inverter,
    temperature_c: FloatArray,
    wind_m_s: FloatArray,
) -> FloatArray:
    """AC power that the modules offer, W, shape (n,), limited by the inverter.

    PVWatts DC model with Faiman module temperature and the PVWatts inverter curve (Dobos 2014).
    """
    dc = np.zeros(len(sky.ghi_w_m2))
    for array in arrays:
        plane = plane_w_m2(sky, array.tilt_deg, array.azimuth_deg, 0.05)
        cell = pvlib.temperature.faiman(plane, temperature_c, wind_m_s)
        dc += (1 - SYSTEM_LOSS) * pvlib.pvsystem.pvwatts_dc(
            plane, cell, array.peak_w, POWER_COEFFICIENT_PER_K
        )
    return inverter_ac_w(dc, inverter)


def inverter_ac_w(dc_w: FloatArray, inverter: Inverter) -> FloatArray:
    """AC power of a DC power (PVWatts inverter curve), W, shape (n,); 0 below start-up."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ac = pvlib.inverter.pvwatts(
            dc_w, inverter.ac_limit_w / inverter.efficiency, inverter.efficiency
        )
    return np.asarray(np.clip(np.nan_to_num(ac), 0.0, inverter.ac_limit_w), dtype=np.float64)
