"""The one shape of a forecast: P10, P50 and P90 on a grid of steps, with flags for what was missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

LEVELS = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True)
class Bands:
    """Quantiles of one quantity at n steps.

    Attributes
    ----------
    p10, p50, p90
        float64 arrays of shape (n,), never crossing, in the unit of the forecast quantity (W, or EUR/MWh).
    mean
        The expected value, shape (n,); None where a method has only a median. A sum over steps (a
        day's energy) wants the mean, a single step wants the median.
    flags
        Names of what was missing or done by rule, sorted, e.g. ``("cloud-cover-only",)``.
    correlation_h
        Hours after which the correlation of the errors of two steps has fallen to 1/e; None where no
        errors were seen.
    """

    p10: FloatArray
    p50: FloatArray
    p90: FloatArray
    mean: FloatArray | None = None
    flags: tuple[str, ...] = ()
    correlation_h: float | None = None

    def __len__(self) -> int:
        return len(self.p50)

    @property
    def expected(self) -> FloatArray:
        """The mean where there is one, else the median."""
        return self.p50 if self.mean is None else self.mean


def make_bands(
    p10: FloatArray,
    p50: FloatArray,
    p90: FloatArray,
    flags: set[str] | tuple[str, ...] = (),
    mean: FloatArray | None = None,
) -> Bands:
    """Bands from three raw quantile arrays; crossings are repaired by sorting (rearrangement).

    Sorting never increases the pinball loss (Chernozhukov, Fernandez-Val and Galichon 2010).
    """
    ordered = np.sort(np.stack([p10, p50, p90]), axis=0)
    return Bands(ordered[0], ordered[1], ordered[2], mean, tuple(sorted(flags)))


def epoch_seconds(name: str, values: ArrayLike) -> IntArray:
    """`values` as int64 epoch seconds (UTC), strictly increasing.

    Raises
    ------
    ValueError
        when the array is not one-dimensional or not strictly increasing.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected a one-dimensional array, got shape {array.shape}")
    times = array.astype(np.int64)
    if len(times) > 1 and not bool(np.all(np.diff(times) > 0)):
        raise ValueError(f"{name}: must increase strictly; sort and drop duplicate times first")
    return times


def like_times(name: str, values: ArrayLike, times_s: IntArray) -> FloatArray:
    """`values` as float64 of the same length as `times_s`; raises ValueError naming the field."""
    array = np.asarray(values, dtype=np.float64)
    if array.shape != times_s.shape:
        raise ValueError(
            f"{name}: {array.shape} values for {times_s.shape} times; give one per time"
        )
    return array


def step_of(times_s: IntArray, default_s: int = 900) -> int:
    """The most common distance between neighbouring times in seconds."""
    if len(times_s) < 2:
        return default_s
    steps, counts = np.unique(np.diff(times_s), return_counts=True)
    return int(steps[np.argmax(counts)])
