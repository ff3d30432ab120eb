"""Bands that follow what the issued ones have held.

A forecast that has come due says how many half widths of its band it was off. The band is scaled so
that nine tenths of these would have been inside: weighted conformal prediction (R. Barber et al., Annals
of Statistics 51(2), 2023), with weights by recency. Since few are due at first and errors of one day
come together, the scale is drawn: a room's at a lead to that of all rooms there, this to the one of all
leads, and this to 1, each as if some days of errors had been seen that the wider scale fits (half normal).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from services.thermal.core.predict import Z_90

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

COVERAGE = 0.90
HALF_LIFE_DAYS = 5.0
REMEMBERED_DAYS = 40
HOUSE_DAYS, LEAD_DAYS, ROOM_DAYS = 1.0, 3.0, 3.0
"""Worth of 1, of the scale of all leads, and of the scale of all rooms at the lead."""
TRIED = np.geomspace(0.2, 5.0, 161)
"""Scales between which the one that holds is interpolated."""
DAY_S = 86_400


def recalibrated(
    lead_s: Sequence[int], origin_epoch_s: IntArray, error_c: Array, half_width_c: Array
) -> Array:
    """Half widths of the 90 % bands, K, each scaled by what had come due before its forecast.

    Parameters
    ----------
    lead_s : of each forecast, in the order of axis 0
    origin_epoch_s : issue times, evenly apart and increasing
    error_c, half_width_c : (leads, origins, rooms), NaN where unknown. A row of `error_c` is read for
        a later origin only when its outcome was measured before that
    """
    with np.errstate(divide="ignore", invalid="ignore"):  # a band without width, of a room that stood still
        off = np.abs(error_c) / half_width_c
    days_each = float(np.median(np.diff(origin_epoch_s))) / DAY_S if len(origin_epoch_s) > 1 else 0.0
    found = half_width_c.copy()
    for k, now in enumerate(origin_epoch_s.tolist()):
        found[:, k] *= scales_at(now, lead_s, origin_epoch_s, off, days_each)
    return found


def scales_at(
    now: int, lead_s: Sequence[int], origin_epoch_s: IntArray, off: Array, days_each: float
) -> Array:
    """(leads, rooms) by what to stretch a band of now, from forecasts whose truth came before `now`.

    `off` (leads, origins, rooms) how many half widths each was off, NaN where unknown; `days_each` the
    days from one origin to the next.
    """
    seen, held = [], []
    for n, lead in enumerate(lead_s):
        span = now - lead - DAY_S * REMEMBERED_DAYS, now - lead
        due = slice(*np.searchsorted(origin_epoch_s, span))
        age_days = (now - lead - origin_epoch_s[due]) / DAY_S
        weight = days_each * np.exp2(-age_days / HALF_LIFE_DAYS)
        seen.append(weight @ np.isfinite(off[n, due]))
        held.append(np.tensordot(weight, off[n, due, :, None] <= TRIED, axes=1))
    return scales(np.array(seen), np.array(held))


def scales(seen_days: Array, held_days: Array) -> Array:
    """(leads, rooms) by what to stretch each band; 1 where nothing was seen.

    `seen_days` (leads, rooms) are days of forecasts that have come due, `held_days` (leads, rooms,
    TRIED) those that a band stretched so far would have held.
    """
    nothing = np.ones(())
    house = _drawn(seen_days.mean(), held_days.mean(axis=(0, 1)), nothing, HOUSE_DAYS)
    lead = _drawn(seen_days.mean(axis=1), held_days.mean(axis=1), house, LEAD_DAYS)
    return _drawn(seen_days, held_days, lead[:, None], ROOM_DAYS)


def _drawn(seen: Array, held: Array, towards: Array, days: float) -> Array:
    """The scale that holds COVERAGE of `seen` days and of `days` of errors that `towards` fits."""
    expected = erf(TRIED * Z_90 / np.sqrt(2.0) / towards[..., None])
    excess = held + days * expected - COVERAGE * (seen[..., None] + days)
    enough = excess >= 0.0
    enough[..., -1] = True  # errors beyond the widest scale get that one
    above = np.clip(np.argmax(enough, axis=-1), 1, len(TRIED) - 1)
    high = np.take_along_axis(excess, above[..., None], axis=-1)[..., 0]
    low = np.take_along_axis(excess, above[..., None] - 1, axis=-1)[..., 0]
    share = np.clip(-low / np.maximum(high - low, 1e-12), 0.0, 1.0)
    scale = TRIED[above - 1] + share * (TRIED[above] - TRIED[above - 1])
    return np.asarray(np.where(seen > 0.0, scale, towards))
