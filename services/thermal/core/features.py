"""What tells how wrong a forecast will be: the features of `correction`, for many origins at once.

Row t of a history holds the temperatures at t and the inputs from t to t + 1. A feature of a
forecast from t reads temperatures up to t only; weather and heating after t are those that came
(evaluation) or are expected (service). Lags are hours, rounded to rows of the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from services.thermal.core.drive import held_temperatures
from services.thermal.core.gains import SOME_ON
from services.thermal.core.hindcast import Bank
from services.thermal.core.history import History, hour_basis
from services.thermal.core.solar import weekend

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
    """A history as the features read it: `held_c` (T, rooms) is held over two hours at most.

    `total` and `count` (T + 1, inputs) are running sums of the inputs named in `inputs`: outdoor
    temperature, ghi, dni, and the heating series. `held` are the forecasts of `bank` with thermostats
    at work, where there are any.
    """

    history: History
    bank: Bank
    held: Bank | None
    held_c: Array
    inputs: tuple[str, ...]
    total: Array
    count: Array
    hour: Array
    weekend: Array

    def rows_of(self, hours: float) -> int:
        """Rows in so many hours, at least one."""
        return max(1, round(hours * 3600 / self.history.step_s))

    def at(self, rows: IntArray) -> Array:
        """(len(rows), rooms) temperatures, NaN before the history begins and after it ends."""
        inside = (rows >= 0) & (rows < len(self.held_c))
        found = self.held_c[np.clip(rows, 0, len(self.held_c) - 1)]
        return np.where(inside[:, None], found, np.nan)

    def means(self, first: IntArray, last: IntArray) -> Array:
        """(len(first), inputs) means over rows first..last - 1, NaN where none is known."""
        first, last = np.clip(first, 0, len(self.total) - 1), np.clip(last, 0, len(self.total) - 1)
        number = self.count[last] - self.count[first]
        known = (self.total[last] - self.total[first]) / np.maximum(number, 1.0)
        return np.where(number > 0, known, np.nan)


def view_of(
    history: History, bank: Bank, time_zone: str, held: Bank | None = None
) -> View:
    """`history` must be complete in irradiance and without samples that must not teach."""
    assert history.ghi_w_m2 is not None and history.dni_w_m2 is not None
    series = {"outside": history.outside_c, "ghi": history.ghi_w_m2, "dni": history.dni_w_m2}
    series |= dict(history.heat_w)
    # In steps of 1/1024 sums are exact: a mean is the same wherever the history begins.
    values = np.round(np.column_stack(list(series.values())) * 1024.0) / 1024.0
    finite = np.isfinite(values)
    nothing = np.zeros((1, values.shape[1]))
    return View(
        history,
        bank,
        held,
        held_temperatures(history),
        tuple(series),
        np.concatenate([nothing, np.cumsum(np.where(finite, values, 0.0), axis=0)]),
        np.concatenate([nothing, np.cumsum(finite, axis=0)]),
        hour_basis(time_zone, history.epoch_s),
        weekend(history.epoch_s, time_zone).astype(np.float64),
    )


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


def _nanmean(stack: Array) -> Array:
    finite = np.isfinite(stack)
    count = finite.sum(axis=0)
    total = np.where(finite, stack, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _recent_days(stack: Array) -> list[Array]:
    """The last day, means of the last three and of all days; axis 0 the days, newest first."""
    return [stack[0], _nanmean(stack[:3]), _nanmean(stack)]


@dataclass(frozen=True)
class Cases:
    """Forecasts from `rows` for `lead` rows ahead, and what their features share over the rooms.

    Temperatures and changes are (..., len(rows), rooms), inputs (blocks, len(rows), inputs).
    """

    view: View
    rows: IntArray
    lead: int

    @cached_property
    def targets(self) -> IntArray:
        """Rows forecast for, the last one known for those beyond."""
        return np.asarray(np.minimum(self.rows + self.lead, len(self.view.weekend) - 1))

    @cached_property
    def now(self) -> Array:
        """Temperatures at the origins."""
        return self.view.at(self.rows)

    @cached_property
    def ahead(self) -> Array:
        """What the physics model says."""
        return self.view.bank.at(self.rows, self.lead)

    @cached_property
    def regulated(self) -> Array:
        """The same with thermostats at work."""
        held = self.view.held
        return self.ahead if held is None else held.at(self.rows, self.lead)

    @cached_property
    def _earlier(self) -> list[tuple[Array, Array, Array]]:
        """Temperatures at the origin and the target of forecasts on the seven last days that have
        come true for the same hours, and those forecasts; newest first."""
        day = self.view.rows_of(24)
        first = -(-self.lead // day)
        origins = [self.rows - day * k for k in range(first, first + DAYS)]
        return [
            (self.view.at(t), self.view.at(t + self.lead), self.view.bank.at(t, self.lead))
            for t in origins
        ]

    @cached_property
    def changes(self) -> Array:
        """Of those days."""
        return np.array([after - before for before, after, _ in self._earlier])

    @cached_property
    def errors(self) -> Array:
        """Of those days' forecasts."""
        return np.array([said - after for _, after, said in self._earlier])

    @cached_property
    def yesterday(self) -> Array:
        """Change from now to the newest known temperature of the target's hour."""
        return self._earlier[0][1] - self.now

    @cached_property
    def present_errors(self) -> Array:
        """Of forecasts for now, issued ISSUED_HOURS ago."""
        ages = [self.view.rows_of(hours) for hours in ISSUED_HOURS]
        return np.array([self.view.bank.at(self.rows - age, age) - self.now for age in ages])

    @cached_property
    def lags(self) -> Array:
        """Differences of earlier temperatures from now."""
        return np.array([self.view.at(self.rows - self.view.rows_of(h)) - self.now for h in OWN_LAG_HOURS])

    @cached_property
    def present(self) -> Array:
        """(len(rows), inputs) of the row that begins at the origin."""
        return self.view.means(self.rows, self.rows + 1)

    @cached_property
    def past(self) -> Array:
        """Means of the inputs over the last PAST_HOURS."""
        ago = [self.rows - self.view.rows_of(hours) for hours in PAST_HOURS]
        return np.array([self.view.means(first, self.rows) for first in ago])

    def blocks(self, hours: float, most: int) -> Array:
        """Means of the inputs over 0..lead cut into at most so many blocks, of so many hours at
        least and of equal length (the last may be shorter)."""
        length = max(self.view.rows_of(hours), -(-self.lead // most))
        return np.array([
            self.view.means(self.rows + first, self.rows + min(first + length, self.lead))
            for first in range(0, self.lead, length)
        ])  # fmt: skip

    @cached_property
    def heat_blocks(self) -> Array:
        """Inputs ahead as the heating and the outdoor temperature are read."""
        return self.blocks(3, INPUT_BLOCKS)

    @cached_property
    def sun_blocks(self) -> Array:
        """Inputs ahead as the sun is read."""
        return self.blocks(6, SUN_BLOCKS)


def physics_features(cases: Cases, i: int) -> Array:
    """(len(rows), k) what bears on the error of the physics model in room i."""
    now, ahead = cases.now, cases.ahead
    others = [j for j in range(now.shape[1]) if j != i]
    columns = [ahead[:, i] - now[:, i], *_recent_days(cases.changes[..., i])]
    columns += [*_recent_days(cases.errors[..., i]), cases.yesterday[:, i]]
    columns += list(cases.present_errors[..., i])
    columns += [now[:, j] - now[:, i] for j in others]
    columns += [ahead[:, j] - now[:, j] for j in others]
    return np.column_stack([*columns, cases.view.hour[cases.rows]])


def direct_features(cases: Cases, i: int) -> Array:
    """(len(rows), k) what bears on the change of room i, without the physics model."""
    now, view = cases.now, cases.view
    own = now[:, i]
    outside, ghi, dni = (view.inputs.index(name) for name in ("outside", "ghi", "dni"))
    heats = heat_groups(view, i)
    columns = [*cases.lags[..., i], *cases.changes[:3, :, i], cases.yesterday[:, i], own]
    columns += [now[:, j] - own for j in range(now.shape[1]) if j != i]
    columns.append(cases.present[:, outside])
    for block in (*cases.past, *cases.heat_blocks):
        columns.append(block[:, outside] - cases.present[:, outside])
        columns += [block[:, group].sum(axis=1) for group in heats]
    for block in cases.sun_blocks:
        columns += [block[:, ghi], block[:, dni]]
    hour, free = view.hour[cases.rows], view.weekend[cases.targets]
    columns += [view.weekend[cases.rows], free]
    return np.column_stack([*columns, hour, free[:, None] * hour])


def heat_groups(view: View, i: int) -> list[list[int]]:
    """Places in `view.inputs` of the room's own heating, and those of all others together; only what exists."""
    names = sorted(set(view.history.heat_w) - {SOME_ON})
    own = f"heat_{view.history.rooms[i]}"
    groups = [
        [view.inputs.index(name) for name in names if (name == own) == mine] for mine in (True, False)
    ]
    return [group for group in groups if group]


def centre_and_scale(table: Array) -> tuple[Array, Array]:
    """(k,) mean and standard deviation of what is known in each column of (n, k), never zero."""
    finite = np.isfinite(table)
    count = np.maximum(finite.sum(axis=0), 1)
    mean = np.where(finite, table, 0.0).sum(axis=0) / count
    spread = np.where(finite, table - mean, 0.0)
    return mean, np.asarray(np.sqrt((spread**2).sum(axis=0) / count) + 1e-6)
