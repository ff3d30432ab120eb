"""Scenarios: paths through the bands that stay together in time as real days do."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr
from scipy.stats import norm

from services.forecast.core.bands import Bands, FloatArray, IntArray

HOUR_S = 3_600


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
    bands: Bands, count: int, seed: int, *, step_s: int, lowest: float | None = None
) -> FloatArray:
    """`count` equally likely paths, shape (count, n), whose marginals are the bands.

    A Gaussian copula with correlation exp(-|dt| / bands.correlation_h) (Pinson et al. 2009; 6 h where the bands
    do not say), drawn in antithetic pairs so that few paths already have the right middle. Same seed, same
    paths.

    Raises
    ------
    ValueError
        when `count` is below 1.
    """
    if count < 1:
        raise ValueError(f"count: {count} must be at least 1")
    n = len(bands)
    pairs = (count + 1) // 2
    draws = np.random.default_rng(seed).standard_normal((pairs, n))
    keep = float(np.exp(-step_s / HOUR_S / (bands.correlation_h or 6.0)))
    noise = np.sqrt(1.0 - keep**2)
    path = np.empty((pairs, n))
    if n:
        path[:, 0] = draws[:, 0]
    for i in range(1, n):
        path[:, i] = keep * path[:, i - 1] + noise * draws[:, i]
    both = np.empty((2 * pairs, n))
    both[0::2], both[1::2] = path, -path
    return from_uniform(bands, ndtr(both[:count]), lowest=lowest)


def correlation_hours(z: FloatArray, target_s: IntArray) -> float | None:
    """Hours after which the correlation of errors has fallen to 1/e, from errors one hour apart.

    Parameters
    ----------
    z : errors in widths of their bands, shape (n,), one issue after the other
    target_s : beginning of the step that each belongs to, epoch seconds, ascending within an issue

    Returns
    -------
    None when fewer than 100 pairs are known or their correlation is not between 0.02 and 0.98.
    """
    gaps = np.diff(target_s)
    if not (gaps > 0).any():
        return None
    lag = max(1, int(HOUR_S // gaps[gaps > 0].min()))
    pairs = target_s[lag:] - target_s[:-lag] == HOUR_S
    if pairs.sum() < 100:
        return None
    z = np.clip(z, -4.0, 4.0)  # or a few misses of a narrow band would decide alone
    with np.errstate(invalid="ignore"):  # errors that never change have no correlation
        rho = float(np.corrcoef(z[:-lag][pairs], z[lag:][pairs])[0, 1])
    return float(-1.0 / np.log(rho)) if 0.02 < rho < 0.98 else None
