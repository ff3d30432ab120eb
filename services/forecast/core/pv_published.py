"""Somebody else's PV forecast, followed: what it was worth lately at this time of day.

Its maker may change it at any time, so the correction is learnt anew at each issue from the weeks just past,
with exponential forgetting, by a linear regression local in the time of day (Cleveland 1979).
"""

from __future__ import annotations

import numpy as np

from services.forecast.core.bands import LEVELS, FloatArray, IntArray
from services.forecast.core.calendar import DAY_S

MEMORY_DAYS = 40
FORGET_DAYS = 30.0
"""After this time a day weighs a third (e-folding)."""
LEARNT_DAYS = 28.0
"""Of d days fewer than these the square of d / LEARNT_DAYS is believed, else all."""
NEAR_H = 2.0
RIDGE = 0.1
"""In rows of full capacity: what holds coefficients to the pooled ones, and those to the forecast itself."""
ROUNDS = 6
SMALLEST_ERROR = 0.02
LEAST_ROWS = 20
SMALLEST_CLEAR = 0.05
"""Of capacity: below it a share of clear sky says nothing."""
MOST_SHARE = 1.5


def followed_columns(columns: dict[str, FloatArray]) -> FloatArray:
    """What `followed` looks at (n, k), of capacity: `others`, `others_day`, `clear_power` if there is one.

    The published forecast times its own share of clear sky: what it hides of sun and of cloud differs.
    """
    told = columns["others"]
    taken = [told, columns["others_day"]]
    if "clear_power" in columns:
        clear = columns["clear_power"]
        share = np.clip(told / np.maximum(clear, SMALLEST_CLEAR), 0.0, MOST_SHARE)
        taken += [clear, told * share]
    return np.column_stack(taken)


def followed(
    issue_s: IntArray, target_s: IntArray, x: FloatArray, past_s: IntArray, past_x: FloatArray,
    actual: FloatArray,
) -> FloatArray:  # fmt: skip
    """P10, P50, P90 and mean (n, 4) for rows of issue and target, in the unit of `actual`.

    x (n, k) and past_x (p, k): the published forecast in the first column, what may correct it in the others,
    relative to capacity; actual (p,): what was measured at `past_s`. Only steps before each issue are used. NaN
    where a column is; with too short a past the published forecast as it is, with a wide band; with a short
    one it is corrected by less than was learnt.
    """
    known = ~np.isnan(actual) & ~np.isnan(past_x).any(axis=1)
    past_s, past_x, actual = past_s[known], past_x[known], actual[known]
    past_hour, slot = past_s % DAY_S / 3600.0, target_s % DAY_S // 3600
    result = np.full((len(issue_s), 4), np.nan)
    start = np.zeros(x.shape[1])
    start[0] = 1.0
    for issue in np.unique(issue_s).tolist():
        mine = issue_s == issue
        first, last = np.searchsorted(past_s, [issue - MEMORY_DAYS * DAY_S, issue])
        a, y = past_x[first:last], actual[first:last]
        if len(y) < LEAST_ROWS:
            told = x[mine, 0]
            result[mine] = np.column_stack([0.4 * told, told, 1.6 * told, told])
            continue
        age = np.exp((past_s[first:last] - issue) / (FORGET_DAYS * DAY_S))
        trust = min(1.0, (issue - int(past_s[first])) / (LEARNT_DAYS * DAY_S)) ** 2
        pooled = _median_line(a, y, age, start)
        for hour in np.unique(slot[mine]).tolist():
            off = np.abs(past_hour[first:last] - (hour + 0.5))
            weight = age * np.exp(-0.5 * (np.minimum(off, 24.0 - off) / NEAR_H) ** 2)
            line = _median_line(a, y, weight, pooled)
            error = y - a @ line
            order = np.argsort(error, kind="stable")
            mass = np.cumsum(weight[order])
            at = np.searchsorted(mass, np.array(LEVELS) * mass[-1])
            shifts = np.append(error[order][at], weight @ error / mass[-1])
            rows = mine & (slot == hour)
            found = (x[rows] @ line)[:, None] + shifts
            back = (1.0 - trust) * (x[rows, :1] - found[:, [1, 3]])
            result[rows] = found + back[:, [0, 0, 0, 1]]
    return np.asarray(np.maximum(result, 0.0))


def _median_line(a: FloatArray, y: FloatArray, weight: FloatArray, prior: FloatArray) -> FloatArray:
    """Coefficients (k,) of least absolute error, by reweighted ridge around `prior` (Schlossmacher 1973)."""
    line = prior
    hold = RIDGE * np.eye(a.shape[1])
    for _ in range(ROUNDS):
        pull = weight * 0.05 / np.maximum(np.abs(y - a @ line), SMALLEST_ERROR)
        gram = (a * pull[:, None]).T
        line = np.asarray(np.linalg.solve(gram @ a + hold, gram @ y + hold @ prior))
    return line
