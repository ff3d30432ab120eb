"""Watching a forecast at work: accuracy by lead time, drift of its inputs, and when to train again."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from services.forecast.core.bands import Bands, FloatArray, IntArray
from services.forecast.core.calendar import DAY_S
from services.forecast.core.scores import Scores, score

WORSE_FACTOR = 1.25
COVERAGE_LOW, COVERAGE_HIGH = 0.70, 0.90
DRIFT_LIMIT = 0.25


def accuracy_by_lead(
    actual: FloatArray,
    bands: Bands,
    lead_s: IntArray,
    edges_h: tuple[int, ...] = (0, 6, 12, 24, 48),
) -> dict[str, Scores]:
    """Scores of settled forecasts within lead-time bounds in hours; empty bounds are left out."""
    result: dict[str, Scores] = {}
    for low, high in pairwise(edges_h):
        rows = (lead_s >= low * 3600) & (lead_s < high * 3600) & ~np.isnan(actual)
        if rows.any():
            mean = None if bands.mean is None else bands.mean[rows]
            part = Bands(bands.p10[rows], bands.p50[rows], bands.p90[rows], mean)
            result[f"{low}-{high}h"] = score(actual[rows], part)
    return result


def population_stability(reference: FloatArray, recent: FloatArray, bins: int = 10) -> float:
    """Population stability index of one feature: 0 the same, above 0.25 a clear shift; NaN is a bin of its own.

    Bins hold equal shares of the reference (Siddiqi 2006). Raises ValueError on an empty sample.
    """
    if len(reference) == 0 or len(recent) == 0:
        raise ValueError("reference/recent: empty sample; wait for data")
    known = reference[~np.isnan(reference)]
    edges = np.empty(0)
    if len(known):
        edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1]))

    def shares(values: FloatArray) -> FloatArray:
        missing = np.isnan(values)
        cell = np.where(missing, len(edges) + 1, np.searchsorted(edges, np.nan_to_num(values)))
        counts = np.bincount(cell, minlength=len(edges) + 2).astype(np.float64)
        return np.asarray((counts + 0.5) / (counts.sum() + 0.5 * len(counts)))

    before, now = shares(reference), shares(recent)
    return float(np.sum((now - before) * np.log(now / before)))


@dataclass(frozen=True, slots=True)
class Retraining:
    """What to do now and why: nothing, a light refresh (weights and bands), or a full fit."""

    action: Literal["none", "light", "full"]
    reason: str


def decide_retraining(
    now_s: int, last_light_s: int, last_full_s: int, recent: Scores | None, usual: Scores | None,
    drift: float = 0.0,
) -> Retraining:  # fmt: skip
    """Light every night, full every week; full at once when accuracy, coverage or inputs have gone astray.

    recent and usual: scores of the last days and of the window the model was promoted on; drift: the
    largest stability index over the features. A full fit is asked for at most once a day.
    """
    if now_s - last_full_s >= 7 * DAY_S:
        return Retraining("full", "a week since the last full training")
    rested = now_s - last_full_s >= DAY_S
    if rested and recent is not None and recent.n >= 24:
        if (
            usual is not None and recent.pinball is not None and usual.pinball is not None
            and recent.pinball > WORSE_FACTOR * usual.pinball
        ):  # fmt: skip
            return Retraining(
                "full",
                f"pinball {recent.pinball:.3g} is above {WORSE_FACTOR} x the usual {usual.pinball:.3g}",
            )
        covered = recent.coverage_80
        if covered is not None and recent.n >= 96 and not COVERAGE_LOW <= covered <= COVERAGE_HIGH:
            return Retraining("full", f"coverage {covered:.2f} is outside 0.70..0.90")
    if rested and drift > DRIFT_LIMIT:
        return Retraining("full", f"inputs have drifted (stability index {drift:.2f})")
    if now_s - last_light_s >= DAY_S:
        return Retraining("light", "a day since the last refresh")
    return Retraining("none", "nothing is due")
