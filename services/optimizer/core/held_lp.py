"""The master's LP that goes on from its last optimum: its site's rows, a row a room, then the cuts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.growing_lp import GrowingLp
from services.optimizer.core.linear_model import LinearModel, Solution
from services.optimizer.core.step_cuts import Cut, site_entries

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ASTRAY = 2.0
"""An LP that took so many times the pivots of the first, which began from nothing (and one a cut), goes on
no more: where limits bind hard, beginning anew takes fewer."""


@dataclass(frozen=True)
class Entries:
    """A schedule as the model holds it: own cost, and what it puts into which rows of the base."""

    cost_eur: float
    rows: Ints
    values: Floats


class HeldLp:
    """Schedules and cuts are handed over as they come. In the base cuts come right behind its `own` rows; here
    the rows of the rooms, which are there from the start, lie between."""

    def __init__(self, own: LinearModel, rooms: int) -> None:
        model = own.clone()
        model.add_rows(rooms, 1.0, 1.0)
        self._lp = GrowingLp(model)
        self._own, self._rooms, self._cuts = own, rooms, 0
        self._low, self._high = model.vectors()[:2]
        self._numbers: list[Ints] = [np.zeros(0, dtype=np.int64) for _ in range(rooms)]
        """Columns of each room's schedules."""

    @property
    def astray(self) -> bool:
        """Whether the last solve took longer than one from nothing would."""
        return self._lp.pivots > ASTRAY * (self._lp.first_pivots + self._cuts)

    def hand_over(self, entries: list[list[Entries]], cuts: list[Cut]) -> None:
        """Take the cuts and the rooms' schedules that are new."""
        if len(cuts) > self._cuts:
            self._take_cuts(entries, cuts)
        self._take_schedules(entries)

    def solve(
        self, picked: dict[int, int], whole: dict[int, float]
    ) -> tuple[Solution, list[Ints]] | None:
        """The optimum, with duals as in the base and the rooms' behind them, and columns of each room's
        schedules; None where GLOP fails.

        The rooms in `picked` are fixed to one schedule, columns of the site to `whole`.
        """
        count = self._lp.columns - self._low.size
        low = np.concatenate([self._low, np.zeros(count)])
        high = np.concatenate([self._high, np.ones(count)])
        for column, value in whole.items():
            low[column] = high[column] = value
        chosen = list(self._numbers)
        for room, pick in picked.items():
            chosen[room] = self._numbers[room][pick : pick + 1]
            high[self._numbers[room]] = 0.0
            high[chosen[room]] = 1.0
        solution = self._lp.solve(low, high)
        if solution is None:
            return None
        own, rooms, cuts = np.split(solution.duals, [self._own.rows, self._own.rows + self._rooms])
        return replace(solution, duals=np.concatenate([own, cuts, rooms])), chosen

    def _here(self, rows: Ints) -> Ints:
        """Numbers here of rows of the base."""
        return np.where(rows < self._own.rows, rows, rows + self._rooms)

    def _take_cuts(self, entries: list[list[Entries]], cuts: list[Cut]) -> None:
        """Cuts, with the entries of the schedules that are here already."""
        first, fresh = self._own.rows + self._cuts, cuts[self._cuts :]
        self._cuts = len(cuts)
        parts = [site_entries(fresh, first)]
        for numbers, known in zip(self._numbers, entries, strict=True):
            for number, entry in zip(numbers, known, strict=False):
                new = entry.rows >= first
                parts.append((entry.rows[new], np.full(int(new.sum()), number), entry.values[new]))
        rows, columns, values = (np.concatenate(part) for part in zip(*parts, strict=True))
        low = np.array([cut.base for cut in fresh])
        self._lp.add_cuts(first + self._rooms, low, self._here(rows), columns, values)

    def _take_schedules(self, entries: list[list[Entries]]) -> None:
        cost: list[float] = []
        rows: list[Ints] = []
        values: list[Floats] = []
        for room, known in enumerate(entries):
            fresh = known[self._numbers[room].size :]
            first = self._lp.columns + len(cost)
            self._numbers[room] = np.append(
                self._numbers[room], np.arange(first, first + len(fresh))
            )
            for entry in fresh:
                keep = entry.rows < self._own.rows + self._cuts
                cost.append(entry.cost_eur)
                rows.append(np.append(self._here(entry.rows[keep]), self._own.rows + room))
                values.append(np.append(entry.values[keep], 1.0))
        if cost:
            columns = np.arange(self._lp.columns, self._lp.columns + len(cost))
            self._lp.grow(
                np.array(cost), np.concatenate(rows),
                np.repeat(columns, [part.size for part in rows]), np.concatenate(values),
            )
