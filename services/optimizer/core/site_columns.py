"""Column and row numbers of the site: how its parts find each other in the linear model."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass
class ScenarioColumns:
    """Column numbers (one per step unless said otherwise) of one scenario.

    `directions` holds (choices, powers allowed by 1, powers allowed by 0) where only one way goes.
    """

    balance: Ints
    grid_import: Ints
    grid_export: Ints
    curtailed: Ints
    over_import: Ints
    over_export: Ints
    charge: Ints | None = None
    discharge: Ints | None = None
    stored: Ints | None = None
    over_phase: list[Ints] = field(default_factory=list)
    phase_rows: list[Ints] = field(default_factory=list)
    peak: int = -1
    peak_rows: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    directions: list[tuple[Ints, Ints, Ints]] = field(default_factory=list)


@dataclass
class EvColumns:
    """Columns of one session: power per step, on-state, missing and extra energy (one each)."""

    power: Ints
    on: Ints
    missing: int
    extra: int


@dataclass
class LoadColumns:
    """Columns of one deferrable load: a start (or an on-step) each, its power shape, skipping.

    `starts` holds the step that each choice begins in.
    """

    choice: Ints
    starts: Ints
    power_kw: Floats
    skip: int
