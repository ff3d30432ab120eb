"""Weights of several forecasts of the same, by their errors on stretches that none of them has seen.

Stacking: D. Wolpert, Neural Networks 5, 1992; L. Breiman, Machine Learning 24, 1996. Where few runs
were seen the weights are drawn to what needs little history (physics and ARX, whole days ahead the
same time yesterday, too; physics with thermostats at work, where there are any), where many were to
the regressions that have learnt from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Array = NDArray[np.float64]

MEMBERS = ("physics", "corrected", "direct", "persistence", "yesterday", "arx", "thermostat")


@dataclass(frozen=True)
class Stacking:
    """Places in MEMBERS of those that are stacked, and the shares to which their weights are drawn
    after `few` and after `many` runs; `few_days` after few where the lead is whole days."""

    members: tuple[int, ...]
    few: tuple[float, ...]
    few_days: tuple[float, ...]
    many: tuple[float, ...]


ALL_MEMBERS = Stacking(
    (0, 1, 2, 3, 4, 5),
    (0.5, 0.0, 0.0, 0.0, 0.0, 0.5),
    (0.4, 0.0, 0.0, 0.0, 0.2, 0.4),
    (0.0, 0.5, 0.5, 0.0, 0.0, 0.0),
)
UNDER_THERMOSTATS = Stacking(
    (0, 1, 2, 3, 4, 5, 6),
    (0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.9),
    (0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.9),
    (0.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0),
)
"""Where rooms have set points (`thermostat`): few days teach physics little of days that are colder."""
PLANNED = Stacking((0, 1), (0.5, 0.5), (0.5, 0.5), (0.0, 1.0))
"""Members that answer to heating as physics does. The others have taken the heating into account
themselves, less than physics would: added to a plan that heats otherwise than expected they are wrong."""
PRIOR_DAYS, TRUSTED_RUNS = 50.0, 70.0
HALF_LIFE_DAYS, FEW_DAYS = 14.0, 12.0
HABIT_DAYS, HABIT_REMEMBERED_DAYS = 8.0, 56
WHOLE_DAYS_S = 1800
"""Within which a lead counts as whole days."""
WORST_K = 2.0
COVERAGE = 0.90


def stack(
    errors: Array, weight: Array, days: float, lead_s: int, stacking: Stacking = ALL_MEMBERS
) -> Array:
    """(members,) shares, 0 or more and 1 together, that minimise the squared held-out errors.

    The errors are those of `days` at a lead of `lead_s`. The shares are drawn to a prior as if it had
    been seen best for PRIOR_DAYS days: the stacking's for few runs of the lead's length, those for
    many after TRUSTED_RUNS.
    """
    runs = days * 86400 / lead_s
    whole_days = round(lead_s / 86400)
    same_hour = whole_days > 0 and abs(lead_s - 86400 * whole_days) <= WHOLE_DAYS_S
    few = stacking.few_days if same_hour else stacking.few
    many = runs**2 / (runs**2 + TRUSTED_RUNS**2)
    prior = many * np.array(stacking.many) + (1.0 - many) * np.array(few)
    return _shares(errors, weight, prior, PRIOR_DAYS / days)


def follow(
    errors: Array, rows: NDArray[np.int64], lead: int, day: int, shares: Array
) -> Array:
    """(origins, members) shares that follow what the forecasts issued before have come to.

    `errors` (origins, members) are of forecasts from `rows`, evenly spaced, `lead` rows ahead, `day`
    rows a day. At each origin those count that have come due, in whole days since the first, since the
    hours of a day differ; half as much after HALF_LIFE_DAYS. After one day the shares stay all but
    what they were, after FEW_DAYS what was seen has a third of the say, in the end half.
    """
    found = np.tile(shares, (len(rows), 1))
    full_days = np.maximum(rows - rows[:1] - lead, 0) // day
    for days in range(1, int(full_days.max(initial=0)) + 1):
        due = (rows < rows[0] + days * day) & np.isfinite(errors).all(axis=1)
        if due.any():
            age = days - (rows[due] - rows[0]) / day
            found[full_days == days] = _shares(
                errors[due], 0.5 ** (age / HALF_LIFE_DAYS), shares, 1.0 + (FEW_DAYS / days) ** 2
            )
    return found


def habit(errors: Array, rows: NDArray[np.int64], lead: int, day: int) -> Array:
    """(origins,) what forecasts issued at the same hour of earlier days were wrong by, where that was known.

    `errors` (origins,) are of forecasts from `rows`, evenly spaced, `lead` rows ahead, `day` rows a day.
    Their mean, half as much after HALF_LIFE_DAYS, drawn to none as if HABIT_DAYS days had had no error.
    """
    total, weight = np.zeros(len(rows)), np.full(len(rows), HABIT_DAYS)
    stride = int(rows[1] - rows[0]) if len(rows) > 1 else day
    clean = np.clip(np.nan_to_num(errors), -WORST_K, WORST_K)
    for days in range(1, HABIT_REMEMBERED_DAYS + 1):
        back = max(1, round(days * day / stride))
        if back >= len(rows):
            break
        if back * stride >= lead:
            share = 0.5 ** (days / HALF_LIFE_DAYS) * np.isfinite(errors[:-back])
            total[back:] += share * clean[:-back]
            weight[back:] += share
    return np.asarray(total / weight)


def _shares(errors: Array, weight: Array, prior: Array, trust: float) -> Array:
    """Shares that minimise the squared errors, drawn to `prior` as if it had been seen best in `trust`
    times as many."""
    clean = np.clip(errors, -WORST_K, WORST_K)
    moment = (clean * weight[:, None]).T @ clean / weight.sum()
    mean_square = np.maximum(np.diag(moment), 1e-8)
    strength = trust * float(mean_square.min())
    upper = np.linalg.cholesky(moment + strength * np.eye(len(prior))).T
    target = np.linalg.solve(upper.T, strength * prior)
    sum_weight = 1e3 * float(np.sqrt(mean_square.max() + strength))
    found, _ = nnls(
        np.vstack([upper, np.full((1, len(prior)), sum_weight)]), np.append(target, sum_weight)
    )
    return np.asarray(found / found.sum())


def conformal_quantile(values: Array, weight: Array, runs: float) -> float:
    """Weighted 90 % quantile, raised for few independent runs as in conformal prediction
    (V. Vovk et al., Algorithmic Learning in a Random World, 2005)."""
    level = min(1.0, COVERAGE * (1.0 + 1.0 / runs))
    order = np.argsort(values)
    share = np.cumsum(weight[order]) / weight.sum()
    place = min(int(np.searchsorted(share, level)), len(order) - 1)
    return float(values[order][place])
