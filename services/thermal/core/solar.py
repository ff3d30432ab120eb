"""Sun on the facades: solar position once, then every plane by transposition. pvlib, UTC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from pvlib import irradiance, spa

from contracts.thermal_model import HouseModel

Array = NDArray[np.float64]

EPOCH_WEEKDAY, SATURDAY = 3, 5
"""1 January 1970 was a Thursday; days are counted from Monday."""
ALBEDO = 0.2
SOLAR_CONSTANT_W_M2 = 1366.1


@dataclass(frozen=True)
class SunPath:
    """Apparent position of the sun, degrees; arrays over time. Azimuth clockwise from north."""

    zenith_deg: Array
    azimuth_deg: Array
    extraterrestrial_w_m2: Array


def sun_path(
    epoch_s: NDArray[np.floating[Any]] | NDArray[np.int64],
    latitude_deg: float,
    longitude_deg: float,
) -> SunPath:
    """Solar position at `epoch_s` (float or int seconds, UTC), NREL SPA through pvlib."""
    seconds = np.asarray(epoch_s, dtype=np.float64)
    result = spa.solar_position(
        seconds, latitude_deg, longitude_deg, 0.0, 1013.25, 12.0, 67.0, 0.5667, numthreads=1
    )
    day = 2.0 * np.pi * (((seconds / 86400.0) % 365.2425) / 365.2425)
    extraterrestrial = SOLAR_CONSTANT_W_M2 * (1.0 + 0.033 * np.cos(day))
    return SunPath(np.asarray(result[0]), np.asarray(result[4]), extraterrestrial)


def split_ghi(sun: SunPath, ghi_w_m2: Array) -> tuple[Array, Array]:
    """Direct normal and diffuse horizontal irradiance from global (Erbs et al. 1982), W/m2."""
    cosine = np.cos(np.radians(sun.zenith_deg))
    up = cosine > 0.065
    clearness = np.where(
        up, ghi_w_m2 / np.where(up, sun.extraterrestrial_w_m2 * cosine, 1.0), 0.0
    )
    kt = np.clip(clearness, 0.0, 1.0)
    middle = 0.9511 - 0.1604 * kt + 4.388 * kt**2 - 16.638 * kt**3 + 12.336 * kt**4
    diffuse_fraction = np.where(kt <= 0.22, 1.0 - 0.09 * kt, np.where(kt > 0.80, 0.165, middle))
    dhi = np.where(up, ghi_w_m2 * diffuse_fraction, ghi_w_m2)
    dni = np.where(up, (ghi_w_m2 - dhi) / np.where(up, cosine, 1.0), 0.0)
    return np.clip(dni, 0.0, 1100.0), dhi


def clear_sky_ghi(sun: SunPath) -> Array:
    """Haurwitz (1945) clear-sky global irradiance, W/m2, from the zenith alone."""
    zenith = np.radians(sun.zenith_deg)
    cosine = np.cos(zenith)
    up = cosine > 0.0
    safe = np.where(up, cosine, 1.0)
    return np.where(up, 1098.0 * safe * np.exp(-0.059 / safe), 0.0)


def plane_irradiance(
    sun: SunPath,
    ghi_w_m2: Array,
    dni_w_m2: Array,
    dhi_w_m2: Array,
    planes: Sequence[tuple[float, float]],
) -> Array:
    """Irradiance (times, planes) in W/m2 on planes given as (azimuth_deg, tilt_deg).

    Isotropic sky, ground albedo 0.2. NaN irradiance stays NaN.
    """
    columns = []
    for azimuth_deg, tilt_deg in planes:
        projection = irradiance.aoi_projection(
            tilt_deg, azimuth_deg, sun.zenith_deg, sun.azimuth_deg
        )
        beam = np.maximum(np.asarray(projection), 0.0) * dni_w_m2
        beam = np.where(sun.zenith_deg < 90.0, beam, 0.0 * dni_w_m2)
        sky = dhi_w_m2 * (1.0 + np.cos(np.radians(tilt_deg))) / 2.0
        ground = ghi_w_m2 * ALBEDO * (1.0 - np.cos(np.radians(tilt_deg))) / 2.0
        columns.append(beam + sky + ground)
    return np.column_stack(columns) if columns else np.zeros((len(ghi_w_m2), 0))


def solar_gains(
    model: HouseModel,
    epoch_s: NDArray[np.floating[Any]] | NDArray[np.int64],
    ghi_w_m2: Array,
    dni_w_m2: Array | None = None,
    dhi_w_m2: Array | None = None,
    sun: SunPath | None = None,
) -> tuple[Array, Array]:
    """Solar heat in W to the air and to the mass of every room: two arrays (times, rooms).

    `epoch_s` marks the middle of each interval for best accuracy. Without dni and dhi, ghi is
    split by Erbs. Pass `sun` to reuse a position computed before.
    """
    ghi = np.asarray(ghi_w_m2, dtype=np.float64)
    if sun is None:
        sun = sun_path(epoch_s, model.latitude_deg, model.longitude_deg)
    if dni_w_m2 is None or dhi_w_m2 is None:
        dni, dhi = split_ghi(sun, ghi)
    else:
        dni, dhi = np.asarray(dni_w_m2, float), np.asarray(dhi_w_m2, float)
    planes = sorted(
        {(p.azimuth_deg, p.tilt_deg) for room in model.rooms for p in room.solar_apertures}
    )
    columns = {plane: i for i, plane in enumerate(planes)}
    area_m2 = np.zeros((len(planes), len(model.rooms)))
    for i, room in enumerate(model.rooms):
        for p in room.solar_apertures:
            area_m2[columns[(p.azimuth_deg, p.tilt_deg)], i] += p.area_m2
    total = plane_irradiance(sun, ghi, dni, dhi, planes) @ area_m2
    share = np.array([room.solar_to_mass_fraction for room in model.rooms])
    return total * (1.0 - share), total * share


@lru_cache(maxsize=64)
def _offset_table(time_zone: str, first_hour: int, last_hour: int) -> NDArray[np.int64]:
    zone = ZoneInfo(time_zone)
    offsets = []
    for hour in range(first_hour, last_hour + 1):
        offset = datetime.fromtimestamp(hour * 3600, UTC).astimezone(zone).utcoffset()
        offsets.append(0 if offset is None else int(offset.total_seconds()))
    return np.array(offsets, dtype=np.int64)


def local_hour(epoch_s: NDArray[np.int64], time_zone: str) -> NDArray[np.int64]:
    """Local clock hour 0..23 at each epoch second (UTC), daylight saving time included."""
    return np.asarray(_local_seconds(epoch_s, time_zone) // 3600 % 24)


def weekend(epoch_s: NDArray[np.int64], time_zone: str) -> NDArray[np.bool_]:
    """Whether it is Saturday or Sunday on the local calendar at each epoch second (UTC)."""
    days = _local_seconds(epoch_s, time_zone) // 86400
    return np.asarray((days + EPOCH_WEEKDAY) % 7 >= SATURDAY)


def _local_seconds(epoch_s: NDArray[np.int64], time_zone: str) -> NDArray[np.int64]:
    """What a local clock shows, in seconds since its 1 January 1970."""
    seconds = np.asarray(epoch_s).astype(np.int64)
    if seconds.size == 0:
        return seconds
    hours = seconds // 3600
    offsets = _offset_table(time_zone, int(hours.min()), int(hours.max()))
    return np.asarray(seconds + offsets[hours - hours.min()])


def internal_gains(model: HouseModel, epoch_s: NDArray[np.int64]) -> Array:
    """Mean internal gain in W by room at each epoch second: (times, rooms)."""
    table = np.array([room.internal_gain_w for room in model.rooms], dtype=np.float64)
    return np.ascontiguousarray(table[:, local_hour(epoch_s, model.time_zone)].T)
