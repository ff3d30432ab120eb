"""Which prices to ask the rooms for next: between the best ones so far and the master's own.

The master's duals jump from round to round, most of all where a limit binds (Kelley's method). Prices
near the best known ones are safer, the master's own bring more that is new; the share follows success
(smoothing after Wentges 1997, its share by itself as in Pessoa, Sadykov, Uchoa and Vanderbeck 2018).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST, MOST = 0.3, 0.9
"""Share of the best prices so far in the next prices."""

EASED = 0.1
"""What the share loses when the prices asked for were the best so far."""

HELD = 0.3
"""Part of the way to 1 that the share gains when they were not."""


class Stabilised:
    """`duals` are the prices to ask for; `best` is the best priced value, reached at `best_duals`."""

    def __init__(self, duals: Floats) -> None:
        self.duals = self.best_duals = duals
        self.best = -np.inf
        self._share = LEAST

    def heard(self, value: float) -> None:
        """The rooms' answer: the priced value at `duals`, EUR."""
        if value > self.best:
            self.best, self.best_duals = value, self.duals
            self._share = max(LEAST, self._share - EASED)
        else:
            self._share = min(MOST, self._share + HELD * (1.0 - self._share))

    def move(self, master_duals: Floats) -> None:
        """Choose the next prices."""
        self.duals = self._share * self.best_duals + (1.0 - self._share) * master_duals

    def forget_value(self) -> None:
        """Values to come are not comparable with those so far (a finer search); prices stay."""
        self.best = -np.inf
