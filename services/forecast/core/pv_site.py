"""What the data tell about a PV site: where it is, how the modules lie, and which days were not normal."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from services.forecast.core.bands import BoolArray, FloatArray, IntArray
from services.forecast.core.calendar import DAY_S
from services.forecast.core.pv_physics import PvArray, pv_power
from services.forecast.core.solar import Location, SunPath, sun_path
from services.forecast.core.weather import Irradiance, irradiance

CLOCK_SEARCH_S = 7200
FAR_WRONG = 0.15
"""Share of steps in the wrong light at the best of near shifts from which the whole day is searched."""


def believable_capacity(stated_w: float | None, power_w: FloatArray) -> float:
    """The stated capacity in W, or what was measured where none is stated or the two have different units.

    Twice what is stated has been measured, or less than a hundredth of it: one of them is in kW or a share.
    """
    most = float(np.nanquantile(power_w, 0.999)) if not np.isnan(power_w).all() else 0.0
    if stated_w and (most <= 0.0 or stated_w / 100.0 <= most <= 2.0 * stated_w):
        return stated_w
    return most if most > 0.0 else 1.0


def estimate_location(times_s: IntArray, step_s: int, light: FloatArray) -> Location | None:
    """Latitude and longitude from when it is light: the pair whose days fit the zeros of `light` best.

    `light` is irradiance or PV power, zero at night. Coarse (about 1 degree): good for sun features, not for
    a physics baseline. A clock whose values stand for the hour before shows up as a shift in longitude,
    which is what the features need. None with fewer than 60 days.
    """
    known = ~np.isnan(light)
    times, values = times_s[known], light[known]
    if len(times) < 60 * DAY_S // step_s:
        return None
    stride = max(1, len(times) // 6000)
    times, values = times[::stride], values[::stride]
    lit = values > 0.001 * float(np.quantile(values, 0.995))
    days = times / DAY_S
    # Declination and equation of time after Spencer (1971); a tenth of a degree is ample here.
    year = 2 * np.pi * ((days - 0.5) % 365.2425) / 365.2425
    declination = (
        0.006918 - 0.399912 * np.cos(year) + 0.070257 * np.sin(year)
        - 0.006758 * np.cos(2 * year) + 0.000907 * np.sin(2 * year)
    )  # fmt: skip
    equation_h = 3.8197 * (
        0.000075 + 0.001868 * np.cos(year) - 0.032077 * np.sin(year)
        - 0.014615 * np.cos(2 * year) - 0.04089 * np.sin(2 * year)
    )  # fmt: skip
    hour_utc = ((times + step_s / 2) % DAY_S) / 3600.0

    def misfit(latitude: float, longitude: float) -> float:
        phi = np.radians(latitude)
        highest = np.full(len(times), -1.0)
        for hour_off in (-0.5, 0.0, 0.5):
            angle = 15.0 * (hour_utc + hour_off * step_s / 3600.0 + equation_h - 12.0) + longitude
            height = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(
                np.radians(angle)
            )
            highest = np.maximum(highest, height)
        return float(np.mean((highest > 0.0) != lit))

    best = (1.0, 0.0, 0.0)
    for width, count in ((60.0, 5), (15.0, 7), (4.0, 9), (1.2, 7)):
        spans = (
            (np.linspace(-60, 60, 9), np.linspace(-180, 165, 24))
            if width == 60.0
            else (
                np.linspace(best[1] - width, best[1] + width, count),
                np.linspace(best[2] - width, best[2] + width, count),
            )
        )
        candidates = [
            (misfit(float(a), float(b)), float(a), float(b)) for a in spans[0] for b in spans[1]
        ]
        # The middle of all equally good pairs: zeros only bound the truth.
        lowest = min(c[0] for c in candidates)
        good = [c for c in candidates if c[0] <= lowest + 1e-3]
        best = (lowest, float(np.mean([c[1] for c in good])), float(np.mean([c[2] for c in good])))
    longitude = (best[2] + 180.0) % 360.0 - 180.0
    return Location(float(np.clip(best[1], -66.0, 66.0)), longitude)


def clock_error(times_s: IntArray, step_s: int, light: FloatArray, location: Location) -> int:
    """By how many seconds to move time stamps so that it is light when the sun is up; 0 when they are right.

    `light`: irradiance or, where there is none, PV power. Recorders are set to local or summer time and
    exported as UTC. A shift counts only when it is at least half an hour and a whole step, and puts three of
    ten wrong steps right: twilight and hills move sunrise too.
    """
    known = np.nonzero(~np.isnan(light))[0]
    if len(known) * step_s < 20 * DAY_S:
        return 0
    known = known[:: max(1, len(known) // 6000)]
    lit = light[known] > 0.001 * float(np.quantile(light[known], 0.995))

    def misfit(shifts: IntArray) -> FloatArray:
        return np.array(
            [np.mean(sun_path(times_s[known] + s, step_s, location).up != lit) for s in shifts]
        )

    shifts = np.arange(-CLOCK_SEARCH_S, CLOCK_SEARCH_S + 1, 900)
    wrong = misfit(shifts)
    as_it_is = wrong[shifts == 0][0]
    if wrong.min() > FAR_WRONG:
        hours = np.arange(-DAY_S // 2, DAY_S // 2, 3600)
        shifts = shifts + hours[np.argmin(misfit(hours))]
        wrong = misfit(shifts)
    shift = int(np.mean(shifts[wrong <= wrong.min() + 1e-3]))
    clear = wrong.min() < 0.7 * as_it_is
    return shift if clear and abs(shift) >= max(1800, step_s) else 0


@dataclass(frozen=True, slots=True)
class Plane:
    """An effective plane of modules, and by how much the clock of the data lies beside the step's start."""

    array: PvArray
    shift_s: int
    fit: float


def estimate_plane(
    times_s: IntArray,
    step_s: int,
    power_w: FloatArray,
    ghi: FloatArray | None,
    location: Location,
    capacity_w: float,
) -> Plane | None:
    """Tilt, azimuth, size and clock shift whose physics power fits the measured power best.

    With irradiance: squared error on all steps; without: on clear steps only, taken as those in the top fifth
    at their time of day within two weeks. Least squares over a coarse grid all around the compass (south of
    the equator modules face north), then a finer one around the best. None with fewer than 20 days of daylight.
    """  # fmt: skip
    known = ~np.isnan(power_w) if ghi is None else ~np.isnan(power_w) & ~np.isnan(ghi)
    if known.sum() < 20 * DAY_S // step_s // 2:
        return None
    if ghi is None:
        known &= _clear_steps(times_s, step_s, power_w)
    index = np.nonzero(known)[0]
    index = index[:: max(1, len(index) // 6000)]
    times, actual = times_s[index], power_w[index]
    clock = clock_error(times_s, step_s, power_w if ghi is None else ghi, location)
    coarse = [(tilt, azimuth) for tilt in range(10, 71, 20) for azimuth in range(0, 360, 30)]
    best: Plane | None = None
    for near in sorted({-step_s, -step_s // 2, 0, step_s // 2}, key=abs):
        shift = clock + near
        sun = sun_path(times + shift, step_s, location)
        bright = sun.elevation_deg > 3.0
        if bright.sum() < 100:
            continue
        source = sun.clear_ghi_wm2 if ghi is None else ghi[index]
        light, _ = irradiance({"ghi": source}, sun)
        found = _best_plane(sun, light, bright, actual, int(shift), [(0, 180), *coarse])
        tilt, azimuth = int(found.array.tilt_deg), int(found.array.azimuth_deg)
        around = [
            (max(0, tilt + up), azimuth + aside) for up in (-10, -5, 0, 5, 10)
            for aside in (-20, -10, 0, 10, 20)
        ]  # fmt: skip
        found = _best_plane(sun, light, bright, actual, int(shift), around)
        if best is None or found.fit > best.fit + 1e-4:
            best = found
    if best is None:
        return None
    peak = float(np.clip(best.array.peak_power_w, 0.3 * capacity_w, 3.0 * capacity_w))
    return replace(best, array=replace(best.array, peak_power_w=peak))


def _best_plane(
    sun: SunPath, light: Irradiance, rows: BoolArray, actual: FloatArray, shift_s: int,
    candidates: list[tuple[int, int]],
) -> Plane:  # fmt: skip
    """The (tilt, azimuth) whose scaled physics power comes closest to `actual` on `rows`."""
    y = actual[rows]
    total = max(float(np.sum((y - y.mean()) ** 2)), 1e-9)
    planes = []
    for tilt, azimuth in candidates:
        array = PvArray(float(tilt), float(azimuth % 360), 1000.0)
        shape = pv_power(sun, light, 15.0, 1.5, [array])[rows]
        size = max(float(shape @ y / max(float(shape @ shape), 1e-9)), 1e-6)
        fit = 1.0 - float(np.sum((y - size * shape) ** 2)) / total
        planes.append(Plane(replace(array, peak_power_w=1000.0 * size), shift_s, fit))
    return max(planes, key=lambda plane: plane.fit)


def _clear_steps(times_s: IntArray, step_s: int, power_w: FloatArray) -> BoolArray:
    """Steps in the top fifth of their time of day within half-months."""
    slots = DAY_S // step_s
    slot = (times_s % DAY_S) // step_s
    cell = times_s // (15 * DAY_S) * slots + slot
    clear = np.zeros(len(times_s), dtype=np.bool_)
    order = np.argsort(cell, kind="stable")
    for rows in np.split(order, np.nonzero(np.diff(cell[order]))[0] + 1):
        values = power_w[rows]
        if np.isnan(values).all():
            continue
        clear[rows] = values >= np.nanquantile(values, 0.8)
    return clear & (power_w > 0)


def unusual_days(
    times_s: IntArray,
    step_s: int,
    power_w: FloatArray,
    expected_w: FloatArray,
    temp_air_c: FloatArray | None,
) -> dict[str, IntArray]:
    """UTC days on which the modules did not do what the light allowed, by reason.

    expected_w is what the weather (or a clear sky dimmed by half) allows. outage: under 3 % of an
    expected day of more than a fifth of the best; snow: under 25 % of it, at a mean temperature below
    3 degC; curtailment: at least 2 h on one exact value, away from the maximum, while the expectation is
    30 % above it.
    Such days teach nothing about the sky and are kept out of training.
    """  # fmt: skip
    day = times_s // DAY_S
    first = int(day[0])
    size = int(day[-1]) - first + 1
    both = ~np.isnan(power_w) & ~np.isnan(expected_w)
    index = (day - first)[both]
    got = np.bincount(index, weights=power_w[both], minlength=size)
    wanted = np.bincount(index, weights=expected_w[both], minlength=size)
    counts = np.bincount(index, minlength=size)
    complete = counts >= 0.3 * DAY_S / step_s
    worthwhile = complete & (wanted > 0.2 * float(np.quantile(wanted, 0.95)))
    ratio = np.where(wanted > 0, got / np.maximum(wanted, 1e-9), 1.0)
    outage = worthwhile & (ratio < 0.03)
    snow = np.zeros(size, dtype=np.bool_)
    if temp_air_c is not None and not np.isnan(temp_air_c).all():
        warm = both & ~np.isnan(temp_air_c)
        heat = np.bincount((day - first)[warm], weights=temp_air_c[warm], minlength=size)
        number = np.bincount((day - first)[warm], minlength=size)
        mean_c = np.where(number > 0, heat / np.maximum(number, 1), 99.0)
        snow = worthwhile & (ratio < 0.25) & (mean_c < 3.0) & ~outage
    run = max(3, 7200 // step_s)
    top = float(np.nanmax(power_w)) if both.any() else 0.0
    flat = np.ones(len(power_w), dtype=np.bool_)
    for back in range(1, run):
        moved = np.full(len(power_w), np.nan)
        moved[back:] = power_w[:-back]
        flat &= power_w == moved
    held = flat & (power_w > 0.05 * top) & (power_w < 0.97 * top) & (expected_w > 1.3 * power_w)
    curtailed = np.bincount((day - first)[held], minlength=size) > 0
    return {
        "outage": first + np.nonzero(outage)[0],
        "snow": first + np.nonzero(snow)[0],
        "curtailment": first + np.nonzero(curtailed & ~outage)[0],
    }
