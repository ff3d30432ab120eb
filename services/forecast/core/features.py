"""The table that every predictor learns from and forecasts with, and what a stored model says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.forecast.core.bands import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Features:
    """One table for training and live, a row for each pair of issue and target.

    names, x: the columns (n, f), NaN where missing; linear: the columns the linear member uses; scale
    and centre (n,): the target is learnt as (value - centre) / scale; slot, group (n,): model slot and
    calibration group; base: (n, b, 4) forecasts of members that need no fitting, already scaled;
    dark (n,): the target is 0 for certain; widen (n,): factor of the band for disagreeing weather runs.
    """

    names: list[str]
    x: FloatArray
    linear: FloatArray
    scale: FloatArray
    slot: IntArray
    group: IntArray
    base: FloatArray
    dark: BoolArray
    widen: FloatArray
    flags: tuple[str, ...] = ()
    centre: FloatArray | float = 0.0

    def take(self, rows: BoolArray | IntArray) -> Features:
        """The same table with only some rows."""
        return Features(
            self.names, self.x[rows], self.linear[rows], self.scale[rows], self.slot[rows],
            self.group[rows], self.base[rows], self.dark[rows], self.widen[rows], self.flags,
            self.centre if isinstance(self.centre, float) else self.centre[rows],
        )  # fmt: skip


@dataclass(frozen=True)
class ModelMetadata:
    """What a stored model is: enough to know where it came from and whether to trust it."""

    kind: str
    code_version: int
    trained_from: str
    trained_to: str
    rows: int
    features: list[str]
    parameters: dict[str, Any]
    scores: dict[str, float]
    data_hash: str
    left_out: dict[str, int]
