"""What the site's next kilowatts cost in a step: its ways to give power, the cheapest first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from services.optimizer.core.house import House
from services.optimizer.core.site_columns import ScenarioColumns
from services.optimizer.core.site_rows import SiteRows

Floats = NDArray[np.float64]


def cost_between(price: Floats, capacity: Floats, start: Floats, power: float) -> Floats:
    """Cost of `power` kW in each step, EUR, when the `start` cheapest kW are taken already.

    `price` (ways, steps) is EUR per kW, `capacity` (ways, steps) kW; beyond all of them the dearest
    way goes on.
    """
    order = np.argsort(price, axis=0, kind="stable")
    price = np.take_along_axis(price, order, axis=0)
    upper = np.cumsum(np.take_along_axis(capacity, order, axis=0), axis=0)
    lower = np.vstack([np.zeros((1, start.size)), upper[:-1]])
    lower[0], upper[-1] = -np.inf, np.inf
    taken = np.minimum(upper, start + power) - np.maximum(lower, start)
    return np.asarray((price * np.maximum(taken, 0.0)).sum(axis=0))


@dataclass(frozen=True)
class MeritOrder:
    """The site's ways to give power.

    `vectors` are (low, high, cost) and `matrix` the rows of its model; `whole` are choices made whole.
    """

    house: House
    site: SiteRows
    vectors: tuple[Floats, Floats, Floats]
    matrix: csr_matrix
    whole: dict[int, float]

    def worth(self, duals: Floats) -> Floats:
        """What one more unit of each of the site's columns costs outside balances, peaks and phases, EUR."""
        rest = duals.copy()
        for columns in self.site.scenarios:
            rest[columns.balance] = 0.0
            for rows in (columns.peak_rows, *columns.phase_rows):
                rest[rows] = 0.0
        return np.asarray(self.vectors[2] - self.matrix.T @ rest)

    def taking(
        self, columns: ScenarioColumns, values: Floats, worth: Floats, own: Floats, power: float
    ) -> Floats:
        """Cost of a relay's `power` kW in each step of a scenario, EUR; `own` of it is on in `values`."""
        low, high = self._limits(columns)
        gives = [columns.grid_import, columns.over_import]
        takes = [columns.grid_export, columns.over_export, columns.curtailed]
        takes += [ev.power for ev in self.site.evs]
        if columns.charge is not None and columns.discharge is not None:
            gives.append(columns.discharge)
            takes.append(columns.charge)
        way = np.array([part[: own.size] for part in (*gives, *takes)])
        sign = np.repeat([1.0, -1.0], [len(gives), len(takes)])[:, None]
        used = np.where(sign > 0, values[way] - low[way], high[way] - values[way])
        return cost_between(
            sign * worth[way], high[way] - low[way], used.sum(axis=0) - own, power
        )

    def _limits(self, columns: ScenarioColumns) -> tuple[Floats, Floats]:
        """(low, high) of the site's columns as the choices made whole leave them."""
        low, high = self.vectors[:2]
        if not self.whole:
            return low, high
        low, high = low.copy(), high.copy()
        for choices, forth, back in columns.directions:
            chosen = np.array([self.whole[int(choice)] for choice in choices])
            high[forth] *= chosen
            high[back] *= 1.0 - chosen
        for ev, arrays in zip(self.site.evs, self.house.evs, strict=True):
            free = np.flatnonzero(high[ev.power] > low[ev.power])
            chosen = np.array([self.whole[int(on)] for on in ev.on])
            high[ev.power[free]] *= chosen
            low[ev.power[free]] = chosen * arrays.share[free] * arrays.session.min_power_w / 1000.0
        return low, high
