"""Scores of a forecast, all out of sample by construction of the caller."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.forecast.core.bands import LEVELS, Bands, BoolArray, FloatArray


@dataclass(frozen=True, slots=True)
class Scores:
    """n: steps scored; rmse and bias: of the mean forecast; mae and rmse_p50: of the median; pinball:
    mean over P10, P50, P90; coverage_80: share of actuals within P10..P90 (for PV: sun above the horizon).
    A method with a median only has pinball and coverage None. Unit of the target.

    Each figure is of the functional its loss is proper for (Gneiting 2011): squared error asks for
    the mean, absolute error for the median.
    """

    n: int
    rmse: float
    mae: float
    bias: float
    pinball: float | None
    coverage_80: float | None
    rmse_p50: float

    def as_dict(self) -> dict[str, float | int | None]:
        return {
            "n": self.n, "rmse": self.rmse, "mae": self.mae, "bias": self.bias, "pinball": self.pinball,
            "coverage_80": self.coverage_80, "rmse_p50": self.rmse_p50,
        }  # fmt: skip


def pinball(actual: FloatArray, quantiles: FloatArray) -> FloatArray:
    """Mean pinball loss over the three levels, per row; quantiles (n, 3)."""
    error = actual[:, None] - quantiles
    levels = np.array(LEVELS)
    return np.asarray(np.maximum(levels * error, (levels - 1.0) * error).mean(axis=1))


def score(actual: FloatArray, bands: Bands, counted: BoolArray | None = None) -> Scores:
    """Scores over the steps where actual and forecast exist; `counted` limits coverage alone."""
    known = ~np.isnan(actual) & ~np.isnan(bands.p50)
    n = int(known.sum())
    if n == 0:
        nan = float("nan")
        return Scores(0, nan, nan, nan, None, None, nan)
    y, median, mean = actual[known], bands.p50[known], bands.expected[known]
    losses: float | None = None
    coverage: float | None = None
    if not np.isnan(bands.p10[known]).any():
        low, high = bands.p10[known], bands.p90[known]
        losses = float(pinball(y, np.column_stack([low, median, high])).mean())
        inside = (y >= low) & (y <= high)
        where = inside if counted is None else inside[counted[known]]
        coverage = float(where.mean()) if len(where) else None
    return Scores(
        n=n,
        rmse=float(np.sqrt(np.mean((mean - y) ** 2))),
        mae=float(np.mean(np.abs(median - y))),
        bias=float(np.mean(mean - y)),
        pinball=losses,
        coverage_80=coverage,
        rmse_p50=float(np.sqrt(np.mean((median - y) ** 2))),
    )
