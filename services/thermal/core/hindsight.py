"""The correction in service: past states of the filter, and what this hour's forecast lacks.

The states are those of the model in force run along the memory's rows, as in training; the filter
behind `thermal.state-estimated` sees more (every sweep, each sample's age) and stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from contracts.thermal_model import HouseModel
from services.thermal.core.correction import (
    Correction,
    correct_filtered,
    first_origin,
    rows_to_filter,
    settled,
)
from services.thermal.core.drive import Drive, drive_of
from services.thermal.core.filter import FilterState
from services.thermal.core.hindcast import run_filter
from services.thermal.core.history import History
from services.thermal.core.memory import ROW_S

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

ROWS_PER_HOUR = 3_600 // ROW_S
APPLIED = "applied"
TOO_SHORT = "less than two days are remembered"
UNSETTLED = "no room and the inputs were known through the last day"


def _read_filter(value: Any) -> Any:
    return FilterState.from_dict(value) if isinstance(value, dict) else value


Filter = Annotated[
    FilterState, BeforeValidator(_read_filter), PlainSerializer(lambda state: state.to_dict())
]


class Track(BaseModel):
    """The filter's state at a memory's `row`, and its means at every hour before, newest last.

    `row` and the keys of `means` count from the epoch.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    model_hash: str = ""
    row: int = 0
    filter: Filter | None = None
    means: dict[int, tuple[float, ...]] = {}

    def follow(
        self, model: HouseModel, model_hash: str, history: History, drive: Drive, now: int
    ) -> None:
        """Go on to row `now` of a history; from its beginning when the model is new."""
        first = int(history.epoch_s[0]) // ROW_S
        if self.model_hash != model_hash or self.row < first:
            self.model_hash, self.row, self.filter, self.means = model_hash, first, None, {}
        start = self.row - first
        hours = np.arange(now, start, -ROWS_PER_HOUR, dtype=np.int64)[::-1]
        if not len(hours):
            return
        found = run_filter(model, history, drive, start, hours, state=self.filter)
        self.row, self.filter = first + now, found.states[-1]
        kept = {row: mean for row, mean in self.means.items() if row >= first}
        self.means = kept | {
            first + int(row): state.mean for row, state in zip(hours, found.states, strict=True)
        }


def added_c(
    correction: Correction, model: HouseModel, model_hash: str, track: Track, history: History,
    now: int, lead_s: Sequence[int],
) -> tuple[Array, Array, str]:  # fmt: skip
    """(leads, rooms) K to add to the physics forecast of row `now`, and half the width of the 90 % band
    of what results; NaN where a room is left to physics.

    `history` holds the memory's rows up to `now`, a full hour, and after it the inputs that are
    expected. The text is `APPLIED`, or why physics stands alone. `track` goes on to `now`.
    """
    drive = drive_of(model, history)
    track.follow(model, model_hash, history, drive, now)
    result = np.full((2, len(lead_s), len(model.rooms)), np.nan)
    if now < first_origin(ROW_S):
        return result[0], result[1], TOO_SHORT
    fit = settled(history, drive.known)[now]
    if not fit.any():
        return result[0], result[1], UNSETTLED
    first = int(history.epoch_s[0]) // ROW_S
    origin = np.array([now], dtype=np.int64)
    wanted = rows_to_filter(correction, ROW_S, origin, 0).tolist()
    rows = [row for row in wanted if first + row in track.means]
    found = correct_filtered(
        correction, model, history, drive, np.array(rows, dtype=np.int64),
        np.array([track.means[first + row] for row in rows]), origin,
        [seconds / ROW_S for seconds in lead_s],
    )  # fmt: skip
    result[:, :, fit] = np.stack(found)[:, :, 0][:, :, fit]
    for earlier, later in pairwise(range(len(lead_s))):  # too long to have been learnt: the longest's
        silent = ~np.isfinite(result[:, later])
        result[:, later][silent] = result[:, earlier][silent]
    return result[0], result[1], APPLIED if np.isfinite(result[0]).any() else UNSETTLED
