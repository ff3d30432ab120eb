"""What the physics model gets wrong again and again, learnt from its own past forecasts.

For each room and lead two ridge regressions: one of the physics model's error on its recent errors
and the changes of earlier days, one of the temperature change itself on past and coming inputs. The
forecast is a mean of physics, both regressions, persistence, same time yesterday and an ARX model,
weighted by their errors on stretches that none of them has seen (`stacking`). The 90 % band is the
conformal quantile of the same held-out errors. All of it adds to the physics model's forecast at the
reference heating: as a drift that does not depend on the plan, it leaves the planner's model linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from contracts.thermal_model import HouseModel
from services.thermal.core.arx import Arx, behind_curve, fit_arx, room_series, run_arx
from services.thermal.core.drive import Drive, drive_of
from services.thermal.core.features import (
    Cases,
    View,
    bank_leads,
    centre_and_scale,
    direct_features,
    issue_rows,
    physics_features,
    view_of,
)
from services.thermal.core.hindcast import Bank, free_runs, run_filter
from services.thermal.core.history import History
from services.thermal.core.stacking import (
    ALL_MEMBERS,
    MEMBERS,
    PLANNED,
    UNDER_THERMOSTATS,
    Stacking,
    conformal_quantile,
    follow,
    habit,
    stack,
)
from services.thermal.core.task import season_weights
from services.thermal.core.thermostat import Thermostats, find_thermostats

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

LEAD_HOURS = (1, 2, 3, 6, 9, 12, 18, 24, 36, 48)
PENALTY = 100.0
"""Of the squared weights of standardised features, in samples an hour apart."""
CLIP = 4.0
HUBER_K = 0.4
ROUNDS = 3
FOLDS = 4
FEWEST = 24
FIRST_LEARNT_S = 86400
APART_S = 6 * 3600
"""After which errors count as independent even where their runs overlap: by the autocorrelation of
being outside the band of 24 h, four to nine a day are independent on the twin and two in Belgium."""


@dataclass(frozen=True)
class Ridge:
    """Robust linear regression of clipped standardised features; missing ones count as the mean."""

    mean: Array
    scale: Array
    weight: Array

    def __call__(self, features: Array) -> Array:
        return _design(features, self.mean, self.scale) @ self.weight


def _design(features: Array, mean: Array, scale: Array) -> Array:
    z = np.clip(np.nan_to_num((features - mean) / scale), -CLIP, CLIP)
    return np.column_stack([np.ones(len(z)), z])


def fit_ridge(features: Array, target: Array, weight: Array) -> Ridge:
    """Huber loss by reweighting, the intercept shrunk like any weight."""
    mean, scale = centre_and_scale(features)
    design = _design(features, mean, scale)
    found: Array = np.zeros(design.shape[1])
    now = weight
    for _ in range(ROUNDS):
        scaled = design * now[:, None]
        normal = scaled.T @ design + PENALTY * np.eye(design.shape[1])
        found = np.asarray(np.linalg.solve(normal, scaled.T @ target))
        now = weight / np.sqrt(1.0 + ((target - design @ found) / HUBER_K) ** 2)
    return Ridge(mean, scale, found)


@dataclass(frozen=True)
class RoomLead:
    """One room at one lead: the regressions, weight by member, half width of the 90 % band in K."""

    corrected: Ridge
    direct: Ridge | None
    weight: Array
    half_width_c: float


@dataclass(frozen=True)
class Correction:
    """By lead (rows of the grid it was learnt on) and room; None where too little was seen.

    `arx` by room, empty where that member is not stacked; `thermostats` where the house has any.
    """

    step_s: int
    lead_rows: tuple[int, ...]
    leads: tuple[tuple[RoomLead | None, ...], ...]
    arx: tuple[Arx | None, ...] = ()
    thermostats: Thermostats | None = None

    @property
    def stacking(self) -> Stacking:
        """What was stacked."""
        if self.thermostats is not None:
            return UNDER_THERMOSTATS
        return ALL_MEMBERS if self.arx else PLANNED


def lead_grid(step_s: int, longest_s: int) -> tuple[int, ...]:
    """Rows of the leads at which a correction is learnt, up to the first that holds `longest_s`."""
    rows = sorted({max(1, round(hours * 3600 / step_s)) for hours in LEAD_HOURS})
    last = next((r for r in rows if r * step_s >= longest_s), rows[-1])
    return tuple(r for r in rows if r <= last)


def first_origin(step_s: int) -> int:
    """First row of a history from which a correction is used: two days after its start."""
    return 2 * max(1, round(86400 / step_s))


def learn(
    model: HouseModel, history: History, usable: NDArray[np.bool_], longest_lead_s: int,
    stacking: Stacking = ALL_MEMBERS,
) -> Correction:  # fmt: skip
    """Learn from the forecasts that `model` would have issued along `history`.

    `history` must be complete in irradiance; `usable` (T, rooms) is False where a sample must not
    teach. Rooms are learnt one by one, so that a spoilt one costs the others a feature only.
    """
    masked = replace(history, temperature_c=np.where(usable, history.temperature_c, np.nan))
    step = history.step_s
    hour = max(1, round(3600 / step))
    grid = lead_grid(step, longest_lead_s)
    first = max(1, round(FIRST_LEARNT_S / step))
    origins = np.arange(first, len(history.epoch_s) - grid[0], hour)
    drive = drive_of(model, masked)
    rows = issue_rows(step, origins, longest_lead_s)
    rows = rows[rows > 0]
    means = run_filter(model, masked, drive, 0, rows).means
    thermostats = find_thermostats(masked, model.time_zone) if stacking is ALL_MEMBERS else None
    if thermostats is not None:
        stacking = UNDER_THERMOSTATS
    view = look_back(model, masked, drive, rows, means, grid, thermostats)
    warmth = season_weights(masked)
    season = warmth[:, None] * settled(masked, drive.known)
    days_each = hour * step / 86400
    arx: tuple[Arx | None, ...] = ()
    unseen = np.full((len(grid), len(origins), len(model.rooms)), np.nan)
    if MEMBERS.index("arx") in stacking.members:
        arx = tuple(
            _learn_arx(view, i, behind_curve(room), origins, grid, warmth, unseen[..., i])
            for i, room in enumerate(model.rooms)
        )
    return Correction(
        step,
        grid,
        tuple(
            tuple(
                _learn_one(view, origins, lead, i, season, days_each, stacking, unseen[n, :, i])
                for i in range(len(model.rooms))
            )
            for n, lead in enumerate(grid)
        ),
        arx,
        thermostats,
    )


def _learn_arx(
    view: View, i: int, curve: bool, origins: IntArray, grid: Sequence[int], warmth: Array,
    unseen: Array,
) -> Arx | None:  # fmt: skip
    """The recursion of room i; fills `unseen` (leads, origins) with what it would have said in each
    quarter of the history if fitted on the others."""
    series = room_series(view, i, curve)
    rows = np.arange(len(warmth))
    for first, last in pairwise(np.linspace(0, len(warmth), FOLDS + 1)):
        inside = (origins >= first) & (origins < last)
        fitted = fit_arx(series, warmth * ((rows < first) | (rows >= last + grid[-1])))
        if fitted is not None:
            unseen[:, inside] = run_arx(fitted, series, origins[inside], grid)
    return fit_arx(series, warmth)


def settled(history: History, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(T, rooms) where the last day's `known` inputs are all and half of its temperatures: after a gap
    the filter has not found the room yet, and its errors are not those of the model."""
    day = max(1, round(86400 / history.step_s))

    def of_last_day(flags: NDArray[np.bool_]) -> NDArray[np.int64]:
        count = np.cumsum(np.vstack([np.zeros((day, flags.shape[1]), dtype=bool), flags]), axis=0)
        return np.asarray(count[day:] - count[:-day])

    measured = of_last_day(np.isfinite(history.temperature_c))
    return np.asarray((measured >= day / 2) & (of_last_day(~known) == 0))


def _learn_one(
    view: View, origins: IntArray, lead: int, i: int, season: Array, days_each: float,
    stacking: Stacking, arx_c: Array,
) -> RoomLead | None:  # fmt: skip
    within = origins + lead < len(season)
    rows = origins[within]
    truth = change_c(view, rows, lead, i)
    good = np.isfinite(truth) & np.isfinite(view.bank.at(rows, lead)[:, i]) & (season[rows, i] > 0.0)
    rows = rows[good]
    if len(rows) < FEWEST:
        return None
    truth = truth[good]
    weight = season[rows, i]
    cases = Cases(view, rows, lead)
    direct = MEMBERS.index("direct") in stacking.members
    tables = physics_features(cases, i), direct_features(cases, i) if direct else None
    physics = cases.ahead[:, i] - cases.now[:, i]
    regulated = cases.regulated[:, i] - cases.now[:, i]
    yesterday = cases.yesterday[:, i]
    recursive = arx_c[within][good] - cases.now[:, i]

    def of(kept: NDArray[np.bool_]) -> tuple[Array, Array | None]:
        return tables[0][kept], None if tables[1] is None else tables[1][kept]

    def fitted(kept: NDArray[np.bool_]) -> tuple[Ridge, Ridge | None]:
        first, second = of(kept)
        return (
            fit_ridge(first, (truth - physics)[kept], weight[kept]),
            None if second is None else fit_ridge(second, truth[kept], weight[kept]),
        )

    edges = np.linspace(rows[0], rows[-1] + 1, FOLDS + 1)
    errors = []
    for first, last in pairwise(edges):
        inside = (rows >= first) & (rows < last)
        kept = (rows + lead < first) | (rows >= last + lead)
        if inside.any() and kept.sum() >= FEWEST / 2:
            both = fitted(kept)
            found = _members(
                physics[inside], yesterday[inside], both, of(inside), recursive[inside],
                regulated[inside],
            )  # fmt: skip
            errors.append(np.column_stack([found - truth[inside, None], weight[inside]]))
    if not errors:
        return None
    unseen = np.vstack(errors)
    days = float(unseen[:, -1].sum()) * days_each
    lead_s = lead * view.history.step_s
    share, stacked = np.zeros(len(MEMBERS)), list(stacking.members)
    share[stacked] = stack(unseen[:, stacked], unseen[:, -1], days, lead_s, stacking)
    half = conformal_quantile(
        np.abs(unseen[:, :-1] @ share), unseen[:, -1], independent_errors(days, lead_s)
    )
    return RoomLead(*fitted(np.ones(len(rows), dtype=bool)), share, half)


def change_c(view: View, rows: IntArray, lead: int, i: int) -> Array:
    """(rows,) measured change of room i from `rows` on, K; NaN where either end is unknown."""
    measured = view.history.temperature_c[:, i]
    later = rows + lead
    known = later < len(measured)
    return np.asarray(
        np.where(known, measured[np.where(known, later, 0)], np.nan) - view.at(rows)[:, i]
    )


def independent_errors(days: float, lead_s: float) -> float:
    """How many independent errors the forecasts of some days at a lead have made."""
    return days * 86400 / min(lead_s, APART_S)


def _members(
    physics: Array, yesterday: Array, both: tuple[Ridge, Ridge | None],
    tables: tuple[Array, Array | None], recursive: Array, regulated: Array,
) -> Array:  # fmt: skip
    """(origins, members) changes from now, in the order of MEMBERS; an unknown yesterday is now, an
    unknown recursion is physics, and what is not stacked counts as none."""
    return np.column_stack(
        [
            physics,
            physics + both[0](tables[0]),
            both[1](tables[1]) if both[1] is not None and tables[1] is not None else 0.0 * physics,
            np.zeros(len(physics)),
            np.nan_to_num(yesterday),
            np.where(np.isfinite(recursive), recursive, physics),
            regulated,
        ]
    )


def correct(
    correction: Correction, view: View, rows: IntArray, lead_rows: Sequence[float]
) -> tuple[Array, Array]:
    """What to add to the physics forecasts from `rows`, and the half width of the 90 % band.

    Both (lead_rows, rows, rooms) in K, linear between the leads of the correction's grid (whose
    forecasts `view.bank` must hold); NaN where the room's present temperature or the physics
    forecast is unknown or nothing was learnt. Along `rows` the members' shares follow their skill
    (`stacking.follow`) and what they join to leaves off its errors of the same hour (`stacking.habit`), unless
    what is stacked has to answer to a plan.
    """
    grid = correction.lead_rows
    stacked = list(correction.stacking.members)
    followed = correction.stacking is not PLANNED
    day = max(1, round(86400 / correction.step_s))
    added = np.full((len(grid), len(rows), view.held_c.shape[1]), np.nan)
    half = np.full_like(added, np.nan)
    recursive = np.full_like(added, np.nan)
    for i, fitted in enumerate(correction.arx):
        if fitted is not None:
            recursive[..., i] = run_arx(fitted, room_series(view, i, fitted.curve), rows, grid)
    for n, lead in enumerate(grid):
        cases = Cases(view, rows, lead)
        physics = cases.ahead - cases.now
        for i, learnt in enumerate(correction.leads[n]):
            if learnt is None:
                continue
            found = _members(
                physics[:, i],
                cases.yesterday[:, i],
                (learnt.corrected, learnt.direct),
                (
                    physics_features(cases, i),
                    None if learnt.direct is None else direct_features(cases, i),
                ),
                recursive[n, :, i] - cases.now[:, i],
                cases.regulated[:, i] - cases.now[:, i],
            )
            joined = found @ learnt.weight
            if followed:
                truth, share = change_c(view, rows, lead, i), learnt.weight[stacked]
                errors = (found - truth[:, None])[:, stacked]
                joined = (found[:, stacked] * follow(errors, rows, lead, day, share)).sum(axis=1)
                joined -= habit(joined - truth, rows, lead, day)
            added[n, :, i] = joined - physics[:, i]
            half[n, :, i] = np.where(np.isfinite(added[n, :, i]), learnt.half_width_c, np.nan)
    return (
        _between(grid, added, lead_rows, np.zeros_like(added[0])),
        _between(grid, half, lead_rows, half[0]),
    )


def rows_to_filter(
    correction: Correction | None, step_s: int, origins: IntArray, first: int
) -> IntArray:
    """Rows after `first` at which the filter's state is needed to forecast from `origins`."""
    if correction is None:
        return origins
    issued = issue_rows(step_s, origins, correction.lead_rows[-1] * step_s)
    return np.union1d(origins, issued[issued > first])


def look_back(
    model: HouseModel, history: History, drive: Drive, rows: IntArray, means: Array,
    lead_rows: Sequence[int], thermostats: Thermostats | None = None,
) -> View:  # fmt: skip
    """What the features of a correction at `lead_rows` are read from.

    `means` are those of the filter's states at `rows`, `history` is complete in irradiance.
    """
    leads, step = bank_leads(history.step_s, lead_rows), history.step_s
    bank = Bank(rows, leads, free_runs(model, drive, step, rows, means, leads))
    held = None
    if thermostats is not None:
        runs = free_runs(model, drive, step, rows, means, leads, (thermostats, history))
        held = Bank(rows, leads, runs)
    return view_of(history, bank, model.time_zone, held)


def correct_filtered(
    correction: Correction, model: HouseModel, history: History, drive: Drive, rows: IntArray,
    means: Array, origins: IntArray, lead_rows: Sequence[float],
) -> tuple[Array, Array]:  # fmt: skip
    """As `correct`, from the `means` of the filter's states at `rows_to_filter`."""
    view = look_back(
        model, history, drive, rows, means, correction.lead_rows, correction.thermostats
    )
    return correct(correction, view, origins, lead_rows)


def _between(
    grid: Sequence[int], table: Array, lead_rows: Sequence[float], at_once: Array
) -> Array:
    """Linear interpolation along axis 0 from `at_once` at lead 0; constant after the grid."""
    leads, values = (0, *grid), np.concatenate([at_once[None], table])
    place = np.interp(lead_rows, leads, np.arange(len(leads)))
    low = np.floor(place).astype(np.int64)
    share = (place - low)[:, None, None]
    high = np.minimum(low + 1, len(grid))
    return np.asarray(
        np.where(share > 0.0, (1.0 - share) * values[low] + share * values[high], values[low])
    )
