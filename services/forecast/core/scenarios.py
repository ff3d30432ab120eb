"""Scenarios: paths through the bands that stay together in time as real days do."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr
from scipy.stats import norm

from services.forecast.core.bands import Bands, FloatArray


def from_uniform(bands: Bands, level: FloatArray, *, lowest: float | None = None) -> FloatArray:
    """Values of the bands at probability levels (k, n), strictly between 0 and 1.

    Each side of the median is half a normal distribution whose 10 % or 90 % point is the band's edge (a
    split normal: Wallis 2014); `lowest` bounds from below (0 W for power).
    """
    z = norm.ppf(np.clip(level, 1e-6, 1 - 1e-6)) / norm.ppf(0.9)
    low, high = bands.p50 - bands.p10, bands.p90 - bands.p50
    values = bands.p50 + np.where(z < 0, z * low, z * high)
    return np.asarray(values if lowest is None else np.maximum(values, lowest), dtype=np.float64)


def scenarios(
    bands: Bands, count: int, seed: int, *, step_s: int, correlation_h: float,
    lowest: float | None = None,
) -> FloatArray:  # fmt: skip
    """`count` equally likely paths, shape (count, n), whose marginals are the bands.

    A Gaussian copula with correlation exp(-|dt| / correlation_h) (Pinson et al. 2009), drawn in antithetic
    pairs so that few paths already have the right middle. Same seed, same paths.

    Raises
    ------
    ValueError
        when `count` is below 1 or `correlation_h` is not positive.
    """
    if count < 1:
        raise ValueError(f"count: {count} must be at least 1")
    if not correlation_h > 0:
        raise ValueError(f"correlation_h: {correlation_h} must be above 0 hours")
    n = len(bands)
    pairs = (count + 1) // 2
    draws = np.random.default_rng(seed).standard_normal((pairs, n))
    keep = float(np.exp(-step_s / 3600.0 / correlation_h))
    noise = np.sqrt(1.0 - keep**2)
    path = np.empty((pairs, n))
    if n:
        path[:, 0] = draws[:, 0]
    for i in range(1, n):
        path[:, i] = keep * path[:, i - 1] + noise * draws[:, i]
    both = np.empty((2 * pairs, n))
    both[0::2], both[1::2] = path, -path
    return from_uniform(bands, ndtr(both[:count]), lowest=lowest)


def correlation_hours(z: FloatArray, step_s: int, default_h: float = 6.0) -> float:
    """Correlation time in hours from standardised errors of consecutive steps (issues, n); NaN-aware."""
    a, b = z[:, :-1].ravel(), z[:, 1:].ravel()
    known = ~np.isnan(a) & ~np.isnan(b)
    if known.sum() < 100:
        return default_h
    rho = float(np.corrcoef(a[known], b[known])[0, 1])
    if not 0.01 < rho < 0.999:
        return default_h
    return float(-step_s / 3600.0 / np.log(rho))
