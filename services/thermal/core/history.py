"""Recorded series of a house on a regular grid, and their way to training windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from contracts.thermal_model import COLD_SUFFIX
from services.thermal.core.gains import SOME_ON, cold_factor
from services.thermal.core.objective import Windows
from services.thermal.core.parametrise import HARMONICS
from services.thermal.core.solar import (
    clear_sky_ghi,
    local_hour,
    plane_irradiance,
    split_ghi,
    sun_path,
)

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

PLANES: Mapping[str, tuple[float, float]] = {
    "plane_east": (90.0, 90.0),
    "plane_south": (180.0, 90.0),
    "plane_west": (270.0, 90.0),
    "plane_horizontal": (180.0, 0.0),
}
HARGREAVES_K_PER_SQRT = 0.16
OUTSIDE_GAP_S = 3 * 3600
RECENT_S = 2 * 3600
ON_SHARE = 0.005
"""Of the most a heating gives: a valve that is open by less is shut."""
MOST_LOST = 0.25


@dataclass(frozen=True)
class History:
    """Regular grid: row t holds the state at `epoch_s[t]` and the inputs from there to t + 1.

    `temperature_c` (T, rooms); `outside_c` (T,); `heat_w` by series name (`heat_<room>` or
    `heat`); `metered_w` other measured gains; irradiance and wind optional. NaN where missing.
    `ghi_is_estimated` is True when no irradiance was recorded and the daily range of the outdoor
    temperature stands in. `filled` is True when what could be known at the time stands in every gap
    already: the rest is unknown, and nothing is filled from what came later.
    """

    epoch_s: IntArray
    step_s: int
    rooms: tuple[str, ...]
    temperature_c: Array
    outside_c: Array
    heat_w: Mapping[str, Array] = field(default_factory=dict)
    metered_w: Mapping[str, Array] = field(default_factory=dict)
    ghi_w_m2: Array | None = None
    dni_w_m2: Array | None = None
    dhi_w_m2: Array | None = None
    wind_m_s: Array | None = None
    ghi_is_estimated: bool = False
    filled: bool = False

    def __post_init__(self) -> None:
        steps = len(self.epoch_s)
        if self.temperature_c.shape != (steps, len(self.rooms)):
            raise ValueError(
                f"temperature_c must have shape {(steps, len(self.rooms))}, "
                f"got {self.temperature_c.shape}"
            )
        if steps > 1 and not (np.diff(self.epoch_s) == self.step_s).all():
            raise ValueError("epoch_s must be a regular grid of step_s; resample it first")

    def rows(self, start: int, stop: int) -> History:
        """Part of the history, by row."""

        def cut(values: Array | None) -> Array | None:
            return None if values is None else values[start:stop]

        return replace(
            self,
            epoch_s=self.epoch_s[start:stop],
            temperature_c=self.temperature_c[start:stop],
            outside_c=self.outside_c[start:stop],
            heat_w={k: v[start:stop] for k, v in self.heat_w.items()},
            metered_w={k: v[start:stop] for k, v in self.metered_w.items()},
            ghi_w_m2=cut(self.ghi_w_m2),
            dni_w_m2=cut(self.dni_w_m2),
            dhi_w_m2=cut(self.dhi_w_m2),
            wind_m_s=cut(self.wind_m_s),
        )

    def coarsen(self, factor: int) -> History:
        """Every `factor`-th temperature, means of the inputs in between (NaN if all are)."""
        if factor == 1:
            return self
        steps = len(self.epoch_s) // factor

        def mean(values: Array) -> Array:
            block = values[: steps * factor].reshape(steps, factor)
            count = np.isfinite(block).sum(axis=1)
            total = np.where(np.isfinite(block), block, 0.0).sum(axis=1)
            return np.where(count > 0, total / np.maximum(count, 1), np.nan)

        def optional(values: Array | None) -> Array | None:
            return None if values is None else mean(values)

        picked = self.temperature_c[: steps * factor : factor].copy()
        for shift in range(1, max(factor // 3, 1) + 1):
            near = self.temperature_c[shift : steps * factor : factor]
            if shift < factor and len(near) == len(picked):
                picked = np.where(np.isfinite(picked), picked, near)
        return replace(
            self,
            epoch_s=self.epoch_s[: steps * factor : factor],
            step_s=self.step_s * factor,
            temperature_c=picked,
            outside_c=mean(self.outside_c),
            heat_w={k: mean(v) for k, v in self.heat_w.items()},
            metered_w={k: mean(v) for k, v in self.metered_w.items()},
            ghi_w_m2=optional(self.ghi_w_m2),
            dni_w_m2=optional(self.dni_w_m2),
            dhi_w_m2=optional(self.dhi_w_m2),
            wind_m_s=optional(self.wind_m_s),
        )


def fill_short_gaps(values: Array, longest: int) -> Array:
    """Linear interpolation over gaps of at most `longest` samples; longer ones stay NaN."""
    finite = np.isfinite(values)
    if finite.all() or not finite.any():
        return values
    index = np.arange(len(values))
    filled = np.interp(index, index[finite], values[finite])
    last = np.maximum.accumulate(np.where(finite, index, -1))
    following = np.minimum.accumulate(np.where(finite, index, len(values))[::-1])[::-1]
    inside = (last >= 0) & (following < len(values)) & (following - last - 1 <= longest)
    return np.where(finite | inside, filled, np.nan)


def with_irradiance(history: History, latitude_deg: float, longitude_deg: float) -> History:
    """Complete the irradiance.

    Without ghi it is the sum of dni and dhi where both are there. Without those, too,
    the clearness of each day follows from its outdoor temperature range (Hargreaves
    and Samani, J. Irrig. Drain. Eng. 108, 1982: kt = 0.16 sqrt(range)). Where dni or dhi is missing both
    are split from ghi by Erbs.
    """
    sun = sun_path(history.epoch_s + 0.5 * history.step_s, latitude_deg, longitude_deg)
    ghi, estimated = history.ghi_w_m2, history.ghi_is_estimated
    dni, dhi = history.dni_w_m2, history.dhi_w_m2
    cosine = np.maximum(np.cos(np.radians(sun.zenith_deg)), 0.0)
    if ghi is None and dni is not None and dhi is not None:
        ghi = dni * cosine + dhi
    if ghi is None or not np.isfinite(ghi).any():
        estimated = True
        solar_day = np.floor(history.epoch_s / 86400.0 + longitude_deg / 360.0).astype(np.int64)
        day = solar_day - solar_day.min()
        high = np.full(day.max() + 1, -np.inf)
        low = np.full(day.max() + 1, np.inf)
        finite = np.isfinite(history.outside_c)
        np.maximum.at(high, day[finite], history.outside_c[finite])
        np.minimum.at(low, day[finite], history.outside_c[finite])
        spread = np.where(np.isfinite(high - low), high - low, 8.0)
        clearness = np.clip(HARGREAVES_K_PER_SQRT * np.sqrt(np.maximum(spread, 0.0)), 0.08, 0.75)
        clear = clear_sky_ghi(sun)
        ghi = np.minimum(clearness[day] * sun.extraterrestrial_w_m2 * cosine, clear)
    ghi = fill_short_gaps(ghi, max(1, int(OUTSIDE_GAP_S // history.step_s)))
    split = split_ghi(sun, ghi)
    if dni is None or dhi is None:
        dni, dhi = split
    else:
        both = np.isfinite(dni) & np.isfinite(dhi)
        dni, dhi = np.where(both, dni, split[0]), np.where(both, dhi, split[1])
    return replace(
        history, ghi_w_m2=ghi, dni_w_m2=dni, dhi_w_m2=dhi, ghi_is_estimated=estimated
    )


def with_some_on(history: History) -> History:
    """With the series SOME_ON if two rooms or more have heating of their own."""
    own = [values for name, values in history.heat_w.items() if name.startswith("heat_")]
    own = [values for values in own if np.isfinite(values).any()]
    if len(own) < 2:
        return history
    share = np.column_stack([values / max(float(np.nanmax(values)), 1e-9) for values in own])
    on = np.where(np.isfinite(share).any(axis=1), 1000.0 * (share > ON_SHARE).any(axis=1), np.nan)
    return replace(history, heat_w={**history.heat_w, SOME_ON: on})


def hour_basis(time_zone: str, epoch_s: IntArray) -> Array:
    """(T, 2 HARMONICS) sines and cosines of the local hour, constant within each hour."""
    return hour_table()[local_hour(epoch_s, time_zone)]


def hour_table() -> Array:
    """(24, 2 HARMONICS): cos k and sin k at the middle of each local hour."""
    angle = 2.0 * np.pi * (np.arange(24) + 0.5) / 24.0
    columns = []
    for k in range(1, HARMONICS + 1):
        columns += [np.cos(k * angle), np.sin(k * angle)]
    return np.column_stack(columns)


def training_inputs(
    history: History,
    input_names: Sequence[str],
    latitude_deg: float,
    longitude_deg: float,
    time_zone: str,
    ground_c: float = 10.0,
) -> tuple[Array, NDArray[np.bool_]]:
    """Input matrix (T, m) in the given order and (T,) where every input is known.

    Weather is averaged over each step (mean of both ends); unknown values are replaced by the
    series' mean and flagged. Input names: outside, one, ground, heat series, metered series,
    planes, hour_k and other rooms' temperatures by room name.
    """
    longest = max(1, int(OUTSIDE_GAP_S // history.step_s))
    steps = len(history.epoch_s)
    valid = np.ones(steps, dtype=bool)
    middle = history.epoch_s + 0.5 * history.step_s
    sun = sun_path(middle, latitude_deg, longitude_deg)
    planes = [name for name in input_names if name in PLANES]
    if planes:
        assert history.ghi_w_m2 is not None
        assert history.dni_w_m2 is not None
        assert history.dhi_w_m2 is not None
        sunlight = plane_irradiance(
            sun, history.ghi_w_m2, history.dni_w_m2, history.dhi_w_m2,
            [PLANES[name] for name in planes],
        )
    basis = hour_basis(time_zone, history.epoch_s)
    room_index = {name: i for i, name in enumerate(history.rooms)}
    columns = []
    for name in input_names:
        if name == "outside":
            series = ends_mean(fill_short_gaps(history.outside_c, longest))
        elif name == "one":
            series = np.ones(steps)
        elif name == "ground":
            series = np.full(steps, ground_c)
        elif name in PLANES:
            series = sunlight[:, planes.index(name)]
        elif name.startswith("hour_"):
            series = basis[:, int(name[5:]) - 1]
        elif name.endswith(COLD_SUFFIX):
            heat = fill_short_gaps(history.heat_w[name.removesuffix(COLD_SUFFIX)], 1)
            series = heat * cold_factor(fill_short_gaps(history.outside_c, longest))
        elif name in history.heat_w:
            series = fill_short_gaps(history.heat_w[name], 1)
        elif name in history.metered_w:
            series = fill_short_gaps(history.metered_w[name], longest)
        else:
            series = ends_mean(
                fill_short_gaps(history.temperature_c[:, room_index[name]], longest)
            )
        finite = np.isfinite(series)
        if name not in history.metered_w:
            valid &= finite
        mean = float(series[finite].mean()) if finite.any() else 0.0
        columns.append(np.where(finite, series, mean))
    return np.column_stack(columns), valid


def ends_mean(values: Array) -> Array:
    """Mean of each value and the next one: what acted between two instantaneous samples."""
    result = values.copy()
    result[:-1] = 0.5 * (values[:-1] + values[1:])
    result[:-1] = np.where(np.isfinite(result[:-1]), result[:-1], values[:-1])
    return result


def make_windows(
    history: History,
    inputs: Array,
    valid: NDArray[np.bool_],
    *,
    horizon_s: int,
    stride_s: int,
    skip_s: int,
    usable: NDArray[np.bool_] | None = None,
    first_origin: int = 0,
    last_origin: int | None = None,
) -> Windows:
    """Origins every `stride_s` after `skip_s` of spin-up, with each room's weight.

    A room counts at an origin when it was measured within the last two hours, and has been followed
    for most of the last day: after a gap the observer has not found its slow store yet. `usable`
    (T, rooms) takes further samples out (stuck or swapped sensors).
    """
    horizon = max(1, round(horizon_s / history.step_s))
    stride = max(1, round(stride_s / history.step_s))
    skip = round(skip_s / history.step_s)
    measured = history.temperature_c
    if usable is not None:
        measured = np.where(usable, measured, np.nan)
    last = len(history.epoch_s) - horizon
    if last_origin is not None:
        last = min(last, last_origin)
    origins = np.arange(max(skip, first_origin), max(last, 0), stride)
    recent = max(1, int(RECENT_S // history.step_s))
    seen = np.isfinite(measured)
    count = np.vstack([np.zeros((1, seen.shape[1])), np.cumsum(seen, axis=0)])
    rows = np.arange(len(seen))
    heard = count[rows + 1] - count[np.maximum(rows + 1 - recent, 0)] > 0
    lost = np.vstack([np.zeros((1, seen.shape[1])), np.cumsum(~(heard & valid[:, None]), axis=0)])
    day = max(1, round(86400 / history.step_s))
    settled = lost[origins + 1] - lost[np.maximum(origins + 1 - day, 0)] <= MOST_LOST * day
    # a room that is never followed for a day counts as it is
    settled |= ~settled[origins >= day].any(axis=0)
    weights = (heard[origins] & settled).astype(float)
    return Windows(history.step_s, inputs, measured, origins, weights, horizon, valid)
