"""Cuts that fractions of relays break and whole relays keep, step by step.

Where a step's relays take more than the sun leaves, or a fuse, something must give: the grid, the battery, a
penalty. Fractions of relays add up to exactly what is left, whole ones do not. A cut says

    what gives in this step  >=  a + b @ relays

for every whole relay vector (`step_hull.py`) and, as all else in the step only takes more, in every plan.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.house import House
from services.optimizer.core.site_rows import SiteRows
from services.optimizer.core.step_hull import FRACTION, steepest

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BROKEN_KW = 0.01
"""How far a cut must be broken to be worth a row."""


@dataclass(frozen=True)
class Kink:
    """What gives where relays take more than a step leaves.

    In every plan `gives` (columns per step, weights) sum to at least max(0, `level_kw` + `power_kw` @ relays).
    Columns of `also` (-1 where there is no choice) take their power like relays: the least of cars that charge.
    """

    level_kw: Floats
    power_kw: Floats
    gives: list[tuple[Ints, float]]
    also: list[tuple[Ints, Floats]]


@dataclass(frozen=True)
class Cut:
    """columns @ values - slope @ relays of `step` >= base."""

    step: int
    slope: Floats
    base: float
    columns: Ints
    values: Floats


def kinks(house: House, site: SiteRows, import_high: list[Floats]) -> list[Kink]:
    """Where the steps of a house bend: at the sun left over and at the fuse."""
    battery = house.problem.battery
    power = np.array([room.power_kw for room in house.rooms])
    also: list[tuple[Ints, Floats]] = []
    ordered = np.zeros(house.steps)
    for ev, columns in zip(house.evs, site.evs, strict=True):
        fixed = np.nan_to_num(ev.fixed_kw)
        ordered += fixed
        high = np.where(np.isfinite(ev.fixed_kw), 0.0, ev.share * ev.session.max_power_w)
        choice = np.full(house.steps, -1, dtype=np.int64)
        choice[np.flatnonzero(high > 0)] = columns.on
        also.append((choice, ev.share * ev.session.min_power_w / 1000.0))
    found = []
    for scenario, here, high in zip(house.scenarios, site.scenarios, import_high, strict=True):
        net = scenario.base_kw - scenario.pv_kw + ordered
        if battery is not None:
            net = net + battery.standby_w / 1000.0
        gives = [(here.over_import, 1.0)]
        if here.discharge is not None:
            gives.append((here.discharge, 1.0))
        found.append(Kink(net - high, power, gives, also))
        found.append(Kink(net, power, [(here.grid_import, 1.0), *gives], also))
    return found


def broken(bends: list[Kink], relays: Floats, values: Floats) -> list[Cut]:
    """The most broken cut of every kink and step, for fractions of `relays` (rooms, steps) and the site's
    `values`."""
    cuts = []
    steps = relays.shape[1]
    for kink in bends:
        power, fraction, chosen = kink.power_kw[:, None], relays, np.zeros((len(kink.also), steps))
        if kink.also:
            columns = np.array([c[:steps] for c, _ in kink.also])
            chosen = np.where(columns >= 0, [kw[:steps] for _, kw in kink.also], 0.0)
            power = np.vstack([np.broadcast_to(power, relays.shape), chosen])
            fraction = np.vstack([relays, np.clip(values[columns], 0.0, 1.0)])
        power = np.broadcast_to(power, fraction.shape)
        given = np.sum([weight * values[c[:steps]] for c, weight in kink.gives], axis=0)
        level = kink.level_kw[:steps]
        # between what the relays take that are almost on, and what those take that are not almost off
        least = level + (power * (fraction > 1.0 - FRACTION)).sum(axis=0)
        most = level + (power * (fraction > FRACTION)).sum(axis=0)
        for step in np.flatnonzero((least < 0.0) & (most > 0.0)):
            base, slope = steepest(
                float(level[step]), np.ascontiguousarray(power[:, step]),
                np.ascontiguousarray(fraction[:, step]),
            )
            if base + slope @ fraction[:, step] - given[step] > BROKEN_KW:
                cuts.append(_cut(kink, int(step), base, slope))
    return cuts


def _cut(kink: Kink, step: int, base: float, slope: Floats) -> Cut:
    """The cut over the columns of a kink; those of cars that have no choice are left out."""
    rooms = kink.power_kw.size
    also = np.array([c[step] for c, _ in kink.also], dtype=np.int64)
    columns = np.append([c[step] for c, _ in kink.gives], also[also >= 0])
    weights = np.array([weight for _, weight in kink.gives])
    return Cut(step, slope[:rooms], base, columns, np.append(weights, -slope[rooms:][also >= 0]))


def site_entries(cuts: list[Cut], first: int) -> tuple[Ints, Ints, Floats]:
    """(rows, columns, values) of the site's columns in cuts that are rows from `first` on."""
    return (
        np.repeat(np.arange(first, first + len(cuts)), [cut.columns.size for cut in cuts]),
        np.concatenate([cut.columns for cut in cuts]),
        np.concatenate([cut.values for cut in cuts]),
    )
