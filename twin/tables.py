"""Evenly spaced time series with named columns: what a scenario is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Table:
    """Columns on an even grid; the value at time t belongs to the interval [t, t + step).

    start_s : int epoch seconds (UTC) of the first interval
    step_s : length of an interval, s
    columns : name -> array of shape (n,)
    """

    start_s: int
    step_s: int
    columns: Mapping[str, FloatArray]

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.columns.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns must have one length, got {lengths}")
        if self.step_s <= 0:
            raise ValueError(f"step_s must be positive, got {self.step_s}")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, column: str) -> FloatArray:
        return self.columns[column]

    @property
    def end_s(self) -> int:
        """Epoch seconds of the end of the last interval."""
        return self.start_s + len(self) * self.step_s

    @property
    def times_s(self) -> IntArray:
        """Epoch seconds of every interval's start, shape (n,)."""
        return self.start_s + self.step_s * np.arange(len(self), dtype=np.int64)

    def index(self, time_s: int) -> int:
        """Index of the interval that holds an instant; ValueError outside the table."""
        if not self.start_s <= time_s < self.end_s:
            raise ValueError(
                f"time {time_s} lies outside the table ({self.start_s} to {self.end_s}); "
                "use a scenario that covers it"
            )
        return (time_s - self.start_s) // self.step_s

    def hold(self, column: str, times_s: IntArray) -> FloatArray:
        """Value of the interval that holds each time (edges repeat outside), shape of times_s."""
        position = np.clip((times_s - self.start_s) // self.step_s, 0, len(self) - 1)
        return self.columns[column][position]

    def linear(self, column: str, times_s: IntArray) -> FloatArray:
        """Interval means taken as values at mid-interval, joined by straight lines."""
        return np.interp(times_s, self.times_s + 0.5 * self.step_s, self.columns[column])

    def between(self, start_s: int, end_s: int) -> Table:
        """The intervals that start in [start_s, end_s)."""
        first = max(0, -(-(start_s - self.start_s) // self.step_s))
        last = max(first, min(len(self), -(-(end_s - self.start_s) // self.step_s)))
        return Table(
            self.start_s + first * self.step_s,
            self.step_s,
            {name: values[first:last] for name, values in self.columns.items()},
        )
