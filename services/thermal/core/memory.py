"""The last days of the house in rows of half an hour: what the correction is learnt from and reads.

The service keeps nine days in its state, the trainer 90 of the same log; one code folds both, so the
features of a forecast are the same in training and in service. A row is closed by the first sweep in
it; a sample that comes later belongs to the next one, so no row ever changes and none knows more than
the service did. What was silent is missing, the weather is what the filter was given.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from contracts.base import Record
from contracts.events.measurement import SweepCompleted
from contracts.thermal_model import HouseModel
from services.thermal.core.history import History, with_irradiance
from services.thermal.core.intake import Intake, RelayTime
from services.thermal.core.solar import clear_sky_ghi, sun_path

Array = NDArray[np.float64]

ROW_S = 1_800
SAMPLE_MAX_AGE = timedelta(minutes=5)
SERVICE_DAYS = 9
"""The features look back eight days; one more lets the filter settle under a new model."""

Column = list[float | None]


@dataclass(frozen=True)
class Ahead:
    """What is expected from the newest row on: `outside_c` (rows,) at the beginning of each row,
    `ghi_w_m2` (rows,) and `duty` (rows, rooms in the model's order, 0..1) on average over it."""

    outside_c: Array
    ghi_w_m2: Array
    duty: Array


class Memory(BaseModel):
    """Rows `first` (epoch / ROW_S) and after; the inputs of the last one are not known yet."""

    keep_days: int = SERVICE_DAYS
    intake: Intake = Intake()
    first: int = 0
    temperature_c: dict[str, Column] = {}
    duty: dict[str, Column] = {}
    """Share of each row during which the read-back confirmed the relay on; None below half a row."""
    outside_c: Column = []
    ghi_w_m2: Column = []

    def take(self, data: Record, event: str = "") -> None:
        """Fold one payload of the log."""
        self.intake.take(data, event)
        if isinstance(data, SweepCompleted):
            self._close(data.time)

    @property
    def last(self) -> int:
        """Number of the newest row; `first` - 1 when there is none."""
        return self.first + len(self.outside_c) - 1

    def _close(self, now: datetime) -> None:
        row = int(now.timestamp()) // ROW_S
        if self.outside_c and row <= self.last:
            return
        intake = self.intake
        if self.outside_c and row == self.last + 1:
            for name, room in intake.rooms.items():
                self._column(self.duty, name)[-1] = room.row.share(ROW_S / 2)
            middle = now - timedelta(seconds=ROW_S / 2)
            told = intake.told("ghi_w_m2", middle)
            self.ghi_w_m2[-1] = intake.ghi_sum / intake.ghi_count if intake.ghi_count else told
        if not self.outside_c or row - self.last > self.keep_days * 86_400 // ROW_S:
            self.first, self.outside_c, self.ghi_w_m2 = row, [], []
            self.temperature_c, self.duty = {}, {}
        silent = row - self.last  # rows to add, all but the last without a sweep
        for name in intake.rooms:  # a room unknown so far
            self._column(self.temperature_c, name)
            self._column(self.duty, name)
        for column in (
            *self.temperature_c.values(),
            *self.duty.values(),
            self.outside_c,
            self.ghi_w_m2,
        ):
            column.extend([None] * silent)
        self.outside_c[-1] = intake.outside_c(now)
        for name, room in intake.rooms.items():
            if room.at is not None and now - room.at < SAMPLE_MAX_AGE:
                self.temperature_c[name][-1] = room.temperature_c
            room.row = RelayTime()
        intake.ghi_sum, intake.ghi_count = 0.0, 0
        self._forget()

    def _column(self, table: dict[str, Column], name: str) -> Column:
        return table.setdefault(name, [None] * len(self.outside_c))

    def _forget(self) -> None:
        old = len(self.outside_c) - 1 - self.keep_days * 86_400 // ROW_S
        if old > 0:
            self.first += old
            for column in (
                *self.temperature_c.values(),
                *self.duty.values(),
                self.outside_c,
                self.ghi_w_m2,
            ):
                del column[:old]

    def history(self, model: HouseModel, ahead: Ahead | None = None) -> History:
        """All rows, irradiance complete, and what is expected `ahead`; ValueError when there is none.

        Irradiance that was neither measured nor forecast is half of clear sky.
        """
        rows = len(self.outside_c)
        if not rows:
            raise ValueError("no sweep of the gateway has been seen yet")

        def inputs(column: Column | None, expected: Array | None) -> Array:
            known = np.array(column if column is not None else [None] * rows, dtype=np.float64)
            return known if expected is None else np.concatenate([known[:-1], expected])

        later = 0 if ahead is None else len(ahead.ghi_w_m2) - 1
        epoch = (self.first + np.arange(rows + later, dtype=np.int64)) * ROW_S
        temperature = np.full((rows + later, len(model.rooms)), np.nan)
        heat = {}
        for i, room in enumerate(model.rooms):
            temperature[:rows, i] = inputs(self.temperature_c.get(room.name), None)
            if room.heater_power_w > 0:
                duty = None if ahead is None else ahead.duty[:, i]
                heat[f"heat_{room.name}"] = room.heater_power_w * inputs(
                    self.duty.get(room.name), duty
                )
        outside = inputs(self.outside_c, None)
        if ahead is not None:
            outside = np.concatenate([outside, ahead.outside_c[1:]])
        ghi = inputs(self.ghi_w_m2, None if ahead is None else ahead.ghi_w_m2)
        sun = sun_path(epoch + ROW_S / 2, model.latitude_deg, model.longitude_deg)
        history = History(
            epoch_s=epoch, step_s=ROW_S, rooms=model.room_names, temperature_c=temperature,
            outside_c=outside,
            heat_w=heat, ghi_w_m2=np.where(np.isfinite(ghi), ghi, 0.5 * clear_sky_ghi(sun)),
            filled=True,
        )  # fmt: skip
        return with_irradiance(history, model.latitude_deg, model.longitude_deg)
