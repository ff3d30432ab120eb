"""Rooms whose thermostat is at work: neither off nor at full power, they are at the set point.

A valve that is half open says what the room's temperature is. Set points are found in the history as
the temperatures that a room keeps whenever its heating modulates; along a forecast, which is given the
heating that comes, each such half hour is then taken for a measurement of the nearest set point. That
is knowledge of what a regulator did: it says nothing about a plan, which no regulator has made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.thermal_model import HouseModel
from services.thermal.core.discretise import discretise
from services.thermal.core.history import History
from services.thermal.core.solar import local_hour

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

OFF, FULL = 0.005, 0.98
"""Of the most that a room's heating gave: between them it modulates."""
AT_WORK_S = 1800
WIDTH_K = 0.2
APART_K = 1.0
FEWEST_ROWS = 6
LEAST_SHARE, LEAST_KEPT = 0.3, 0.6
"""Of the modulating rows not yet explained, how many a set point must hold; and of all, all of them."""
ERROR_SD_K = 1.0
"""Of a forecast that a set point is to be matched with."""
RICCATI_STEPS = 300


@dataclass(frozen=True)
class Thermostats:
    """By room: its set points in degC (empty: none seen), the logarithm of how often each was kept at
    every local hour (points, 24), and the most that its heating gave, W."""

    set_points_c: tuple[tuple[float, ...], ...]
    log_share: tuple[Array, ...]
    full_w: tuple[float, ...]
    time_zone: str

    def at_work(self, history: History) -> tuple[NDArray[np.bool_], IntArray]:
        """(T + 1, rooms) whether a room's heating modulated in all rows of the half hour before a row,
        and (T + 1,) the local hour."""
        steps = max(1, AT_WORK_S // history.step_s)
        ends = np.append(history.epoch_s, history.epoch_s[-1] + history.step_s)
        found = np.zeros((len(ends), len(self.full_w)), dtype=bool)
        for i, (room, full) in enumerate(zip(history.rooms, self.full_w, strict=True)):
            if full > 0.0:
                share = history.heat_w[f"heat_{room}"] / full
                inside = np.cumsum(np.append(0, (share > OFF) & (share < FULL)))
                found[steps:, i] = inside[steps:] - inside[:-steps] == steps
        return found, local_hour(ends, self.time_zone)

    def pull(self, at_work: NDArray[np.bool_], hour: IntArray, air_c: Array) -> Array:
        """(runs, rooms) K from the air to the likeliest set point of the rooms that are `at_work`."""
        pulled = np.zeros_like(air_c)
        for i, points in enumerate(self.set_points_c):
            if points:
                apart = np.array(points)[:, None] - air_c[:, i]
                likely = self.log_share[i][:, hour] - 0.5 * (apart / ERROR_SD_K) ** 2
                chosen = apart[likely.argmax(axis=0), np.arange(len(air_c))]
                pulled[:, i] = np.where(at_work[:, i], chosen, 0.0)
        return pulled


def find_thermostats(history: History, time_zone: str) -> Thermostats | None:
    """From a history; None where no room has a set point."""
    full = []
    for room in history.rooms:
        seen = history.heat_w.get(f"heat_{room}", np.zeros(1))
        full.append(float(np.nanmax(seen)) if np.isfinite(seen).any() else 0.0)
    at_work, hour = Thermostats((), (), tuple(full), time_zone).at_work(history)
    kept = np.where(at_work[:-1], history.temperature_c, np.nan)
    own = [_set_points(column) for column in kept.T]
    if not any(own):
        return None
    points = tuple(_with_neighbours(mine, own) for mine in own)
    shares = []
    for mine in points:
        near = np.array([(np.abs(kept - point) < WIDTH_K).sum(axis=1) for point in mine])
        counts = np.array([np.bincount(hour[:-1], of, 24) + 1.0 for of in near]).reshape(-1, 24)
        shares.append(np.log(counts / counts.sum(axis=0)))
    return Thermostats(points, tuple(shares), tuple(full), time_zone)


def _with_neighbours(mine: tuple[float, ...], points: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Rooms that share a set point follow the same schedule: they share the others, too."""
    found = list(mine)
    for others in points:
        if any(abs(a - b) < WIDTH_K for a in mine for b in others):
            found += [b for b in others if all(abs(a - b) > APART_K for a in found)]
    return tuple(found)


def _set_points(seen_c: Array) -> tuple[float, ...]:
    """Medians of the densest stretches of WIDTH_K, as long as there are dense ones."""
    left = np.sort(seen_c[np.isfinite(seen_c)])
    total, kept, points = len(left), 0, []
    while len(left) >= FEWEST_ROWS:
        ends = np.searchsorted(left, left + WIDTH_K, side="right")
        first = int(np.argmax(ends - np.arange(len(left))))
        held = left[first : ends[first]]
        if len(held) < max(FEWEST_ROWS, LEAST_SHARE * len(left)):
            break
        kept += len(held)
        points.append(float(np.median(held)))
        left = left[np.abs(left - points[-1]) > APART_K]
    return tuple(points) if total and kept >= LEAST_KEPT * total else ()


def gain_of(model: HouseModel, step_s: int) -> Array:
    """(states, rooms) of the steady filter for which a thermostat at work is a sensor."""
    dynamics = discretise(model, step_s)
    air = dynamics.layout.air
    noise = np.diag([max(room.noise.measurement_sd_c, WIDTH_K / 2) ** 2 for room in model.rooms])
    covariance = np.array(dynamics.Q)
    gain = np.zeros((len(covariance), len(air)))
    for _ in range(RICCATI_STEPS):
        covariance = dynamics.A @ covariance @ dynamics.A.T + dynamics.Q
        gain = covariance[:, air] @ np.linalg.inv(covariance[np.ix_(air, air)] + noise)
        covariance = covariance - gain @ covariance[air]
    return gain
