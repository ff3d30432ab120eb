"""What tells how wrong a forecast will be: the features of `correction`, for many origins at once.

Row t of a history holds the temperatures at t and the inputs from t to t + 1. A feature of a
forecast from t reads temperatures up to t only; weather and heating after t are those that came
(evaluation) or are expected (service). Lags are hours, rounded to rows of the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.thermal.core.drive import held_temperatures
from services.thermal.core.hindcast import Bank
from services.thermal.core.history import History, hour_basis

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

ISSUED_HOURS = (1, 3, 6, 12, 24)
"""Ages of the forecasts whose errors at present are looked at."""
DAYS = 7
OWN_LAG_HOURS = (1, 2, 3, 6, 12, 18, 23, 24, 25)
PAST_HOURS = (1, 4, 8, 16, 24)
INPUT_BLOCKS, SUN_BLOCKS = 8, 4
"""A lead is cut into so many blocks at most, of three and six hours at least."""


@dataclass(frozen=True)
class View:
    """A history as the features read it: `held_c` (T, rooms) is held over two hours at most."""

    history: History
    bank: Bank
    held_c: Array
    sums: dict[str, tuple[Array, Array]]
    hour: Array

    def rows_of(self, hours: float) -> int:
        """Rows in so many hours, at least one."""
        return max(1, round(hours * 3600 / self.history.step_s))

    def at(self, rows: IntArray) -> Array:
        """(len(rows), rooms) temperatures, NaN before the history begins and after it ends."""
        inside = (rows >= 0) & (rows < len(self.held_c))
        found = self.held_c[np.clip(rows, 0, len(self.held_c) - 1)]
        return np.where(inside[:, None], found, np.nan)

    def mean(self, name: str, first: IntArray, last: IntArray) -> Array:
        """Mean of an input over rows first..last - 1, NaN where none is known."""
        total, count = self.sums[name]
        first, last = np.clip(first, 0, len(total) - 1), np.clip(last, 0, len(total) - 1)
        number = count[last] - count[first]
        return np.where(number > 0, (total[last] - total[first]) / np.maximum(number, 1.0), np.nan)


def view_of(history: History, bank: Bank, time_zone: str) -> View:
    """`history` must be complete in irradiance and without samples that must not teach."""
    assert history.ghi_w_m2 is not None and history.dni_w_m2 is not None
    series = {"outside": history.outside_c, "ghi": history.ghi_w_m2, "dni": history.dni_w_m2}
    series |= dict(history.heat_w)
    sums = {}
    for name, values in series.items():
        # In steps of 1/1024 sums are exact: a mean is the same whenever the history begins.
        values = np.round(values * 1024.0) / 1024.0
        finite = np.isfinite(values)
        sums[name] = (
            np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))]),
            np.concatenate([[0.0], np.cumsum(finite)]),
        )
    return View(history, bank, held_temperatures(history), sums, hour_basis(time_zone, history.epoch_s))


def issue_rows(step_s: int, origins: IntArray, longest_lead_s: int) -> IntArray:
    """Rows from which forecasts must be at hand to correct those from `origins`."""
    first_day = -(-longest_lead_s // 86400)
    hours = (0, *ISSUED_HOURS, *(24 * k for k in range(1, first_day + DAYS)))
    offsets = np.array([0 if h == 0 else max(1, round(h * 3600 / step_s)) for h in hours])
    rows = np.unique(origins[:, None] - offsets[None, :])
    return np.asarray(rows[rows >= 0])


def bank_leads(step_s: int, leads: Sequence[int]) -> IntArray:
    """Rows ahead that a bank must hold to correct forecasts at `leads` (rows)."""
    ages = [max(1, round(h * 3600 / step_s)) for h in ISSUED_HOURS]
    return np.unique(np.array([*ages, *leads], dtype=np.int64))


def earlier_days(view: View, rows: IntArray, lead: int) -> list[IntArray]:
    """Origins on the seven last days whose forecasts for the same hours have come true."""
    day = view.rows_of(24)
    first = -(-lead // day)
    return [rows - day * k for k in range(first, first + DAYS)]


def _nanmean(stack: Array) -> Array:
    finite = np.isfinite(stack)
    count = finite.sum(axis=0)
    total = np.where(finite, stack, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _recent_days(stack: Array) -> list[Array]:
    """The last day, means of the last three and of all days; axis 0 the days, newest first."""
    return [stack[0], _nanmean(stack[:3]), _nanmean(stack)]


def same_time_yesterday(view: View, rows: IntArray, lead: int) -> Array:
    """(len(rows), rooms) change from now to the newest known temperature of the target's hour."""
    return view.at(earlier_days(view, rows, lead)[0] + lead) - view.at(rows)


def physics_features(view: View, rows: IntArray, lead: int, i: int) -> Array:
    """(len(rows), k) what bears on the error of the physics model in room i."""
    now, ahead = view.at(rows), view.bank.at(rows, lead)
    before = earlier_days(view, rows, lead)
    changes = np.array([view.at(t + lead)[:, i] - view.at(t)[:, i] for t in before])
    errors = np.array([view.bank.at(t, lead)[:, i] - view.at(t + lead)[:, i] for t in before])
    others = [j for j in range(now.shape[1]) if j != i]
    columns = [ahead[:, i] - now[:, i], *_recent_days(changes), *_recent_days(errors)]
    columns.append(same_time_yesterday(view, rows, lead)[:, i])
    for hours in ISSUED_HOURS:
        age = view.rows_of(hours)
        columns.append(view.bank.at(rows - age, age)[:, i] - now[:, i])
    columns += [now[:, j] - now[:, i] for j in others]
    columns += [ahead[:, j] - now[:, j] for j in others]
    return np.column_stack([*columns, view.hour[rows]])


def direct_features(view: View, rows: IntArray, lead: int, i: int) -> Array:
    """(len(rows), k) what bears on the change of room i, without the physics model."""
    now = view.at(rows)
    own = now[:, i]
    before = earlier_days(view, rows, lead)[:3]
    columns = [view.at(rows - view.rows_of(h))[:, i] - own for h in OWN_LAG_HOURS]
    columns += [view.at(t + lead)[:, i] - view.at(t)[:, i] for t in before]
    columns += [same_time_yesterday(view, rows, lead)[:, i], own]
    columns += [now[:, j] - own for j in range(now.shape[1]) if j != i]
    outside = view.mean("outside", rows, rows + 1)
    columns.append(outside)
    heats = _heats(view, i)
    for hours in PAST_HOURS:
        ago = rows - view.rows_of(hours)
        columns.append(view.mean("outside", ago, rows) - outside)
        columns += [_sum(view, names, ago, rows) for names in heats]
    for first, last in _blocks(lead, view.rows_of(3), INPUT_BLOCKS):
        columns.append(view.mean("outside", rows + first, rows + last) - outside)
        columns += [_sum(view, names, rows + first, rows + last) for names in heats]
    for first, last in _blocks(lead, view.rows_of(6), SUN_BLOCKS):
        columns += [view.mean(name, rows + first, rows + last) for name in ("ghi", "dni")]
    return np.column_stack([*columns, view.hour[rows]])


def _heats(view: View, i: int) -> list[tuple[str, ...]]:
    """Series of the room's own heating, and those of all others together; only what exists."""
    names = set(view.history.heat_w)
    own = f"heat_{view.history.rooms[i]}"
    groups = [tuple(sorted(names & {own})), tuple(sorted(names - {own}))]
    return [group for group in groups if group]


def _sum(view: View, names: tuple[str, ...], first: IntArray, last: IntArray) -> Array:
    return np.asarray(sum(view.mean(name, first, last) for name in names))


def _blocks(lead: int, shortest: int, most: int) -> list[tuple[int, int]]:
    """The rows 0..lead cut into blocks of equal length (the last may be shorter)."""
    length = max(shortest, -(-lead // most))
    return [(first, min(first + length, lead)) for first in range(0, lead, length)]
