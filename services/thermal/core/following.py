"""Bands in service follow what the issued ones have held in this house, once a day (`recalibrate`).

Only what is not the weather forecast's: that has a record of its own (`weather_errors`). A band holds an
error if its rest, stretched, joined with the weather's part reaches it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from services.thermal.core.accuracy import DAY_ROWS, KEPT_S, LEADS_S, Due
from services.thermal.core.dynamics import lead_s
from services.thermal.core.memory import ROW_S
from services.thermal.core.recalibrate import DAY_S, scales_at

Array = NDArray[np.float64]

KEPT_DAYS = 15
"""Three half lives of an error's weight."""


class Following(BaseModel):
    """How far off forecasts were, and by what the rest of the bands is stretched since the last scores.

    `off` by the row at which a forecast began, then lead and room: by what its rest would have had to be
    stretched; None where not known. `scale` by lead and room, empty as long as nothing was seen. Forecasts
    that began before row `first` do not count: what the site file's bands missed says nothing of those that
    come with a learnt model. From one learnt model to the next the record goes on.
    """

    first: int = 0
    off: dict[int, tuple[tuple[float | None, ...], ...]] = {}
    scale: tuple[tuple[float, ...], ...] = ()

    def take(self, due: Due, last: int) -> None:
        """Learn from what has come due up to row `last`."""
        with np.errstate(divide="ignore", invalid="ignore"):  # a rest without width
            found = np.sqrt(np.maximum(due.error_k**2 - due.weather_k**2, 0.0)) / due.rest_k
        for n, row in enumerate(due.rows.tolist()):
            if row < self.first:
                continue
            before = np.array(self.off.get(row, np.full(found[:, n].shape, np.nan)), dtype=np.float64)
            known = np.isfinite(found[:, n])
            if known.any():
                self.off[row] = _listed(np.where(known, found[:, n], before))
        self._follow(last)

    def _follow(self, last: int) -> None:
        """Forget what is too old, and scale by the rest."""
        self.off = {row: off for row, off in self.off.items() if row > last - KEPT_DAYS * DAY_ROWS}
        self.scale = ()
        if self.off:
            rows = np.array(sorted(self.off), dtype=np.int64)
            table = np.array([self.off[row] for row in rows.tolist()], dtype=np.float64)
            scale = scales_at(
                (last + 1) * ROW_S, LEADS_S, rows * ROW_S, table.transpose(1, 0, 2), KEPT_S / DAY_S
            )
            self.scale = tuple(tuple(row) for row in np.round(scale, 3).tolist())

    def stretch(self, rooms: int) -> Array:
        """(steps, rooms) by what to stretch the rest on the planner's grid; linear between the leads."""
        scale = np.array(self.scale) if self.scale else np.ones((len(LEADS_S), rooms))
        return np.column_stack([np.interp(lead_s(), LEADS_S, column) for column in scale.T])


def _listed(off: Array) -> tuple[tuple[float | None, ...], ...]:
    return tuple(
        tuple(round(value, 2) if np.isfinite(value) else None for value in row) for row in off.tolist()
    )
