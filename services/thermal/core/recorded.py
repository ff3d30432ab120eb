"""From events to the `History` that identification reads: five-minute rows of a whole log.

Heating is the rated power for the share of each row during which the read-back confirmed the relay
on; a row of which less than half is confirmed has none. Missing stays missing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.base import Record
from contracts.events.measurement import OutdoorSampled, RoomSampled
from contracts.site import SiteConfig
from services.thermal.core.history import History

Array = NDArray[np.float64]

STEP_S = 300
KEEP_DAYS = 90
"""What identification reads at most; older rows are dropped."""
LONGEST_HOLD_S = 900
"""A relay's state is taken to hold until the next sample, for this long at most."""


class Recorder:
    """Collects room samples with confirmed relays, outdoor temperature and irradiance."""

    def __init__(self) -> None:
        self._temperature: dict[str, dict[int, float]] = {}
        self._on_s: dict[str, dict[int, list[float]]] = {}
        self._relay: dict[str, tuple[datetime, bool | None]] = {}
        self._outdoor: dict[int, float] = {}
        self._ghi: dict[int, list[float]] = {}

    def take(self, data: Record) -> None:
        """Fold one payload of the log; others than the two it knows are ignored."""
        if isinstance(data, RoomSampled):
            self._room(data)
        elif isinstance(data, OutdoorSampled):
            slot = int(data.time.timestamp()) // STEP_S
            if data.temperature_c is not None:
                self._outdoor.setdefault(slot, data.temperature_c)
            if data.ghi_w_m2 is not None:
                # what a meter shows at an instant stands for the step that ended then
                self._ghi.setdefault(slot - 1, []).append(data.ghi_w_m2)

    def _room(self, data: RoomSampled) -> None:
        slot = int(data.time.timestamp()) // STEP_S
        if data.temperature_c is not None:
            self._temperature.setdefault(data.room, {}).setdefault(slot, data.temperature_c)
            self._forget(slot)
        before = self._relay.get(data.room)
        if before is not None and data.time < before[0]:
            return
        self._relay[data.room] = (data.time, data.relay_on)
        if before is None or before[1] is None:
            return
        begin, end = int(before[0].timestamp()), int(data.time.timestamp())
        if end - begin > LONGEST_HOLD_S:
            return
        rows = self._on_s.setdefault(data.room, {})
        while begin < end:
            edge = min(end, (begin // STEP_S + 1) * STEP_S)
            row = rows.setdefault(begin // STEP_S, [0.0, 0.0])
            row[0] += (edge - begin) if before[1] else 0.0
            row[1] += edge - begin
            begin = edge

    def _forget(self, slot: int) -> None:
        """Once a day drop rows that nobody will read."""
        if slot % (86_400 // STEP_S) != 0:
            return
        oldest = slot - KEEP_DAYS * 86_400 // STEP_S
        tables: list[dict[int, Any]] = [
            *self._temperature.values(), *self._on_s.values(), self._outdoor, self._ghi,
        ]  # fmt: skip
        for table in tables:
            for old in [s for s in table if s < oldest]:
                del table[old]

    def history(self, site: SiteConfig) -> History:
        """All rows from the first to the last sample; raises ValueError when there is none."""
        slots = [slot for rows in self._temperature.values() for slot in rows]
        if not slots:
            raise ValueError("the log holds no room temperature yet")
        last = max(slots)
        first = max(min(slots), last - KEEP_DAYS * 86_400 // STEP_S)
        epoch = np.arange(first, last + 1, dtype=np.int64) * STEP_S

        def column(values: dict[int, float]) -> Array:
            result = np.full(len(epoch), np.nan)
            for slot, value in values.items():
                if first <= slot <= last:
                    result[slot - first] = value
            return result

        heat = {
            f"heat_{room.id}": column(
                {
                    slot: room.heater_w * on / known
                    for slot, (on, known) in self._on_s.get(room.id, {}).items()
                    if known >= STEP_S / 2
                }
            )
            for room in site.rooms
            if room.heater_w > 0
        }
        ghi = column({slot: sum(seen) / len(seen) for slot, seen in self._ghi.items()})
        rooms = tuple(room.id for room in site.rooms)
        return History(
            epoch_s=epoch, step_s=STEP_S, rooms=rooms,
            temperature_c=np.column_stack([column(self._temperature.get(r, {})) for r in rooms]),
            outside_c=column(self._outdoor), heat_w=heat,
            ghi_w_m2=ghi if np.isfinite(ghi).any() else None,
        )  # fmt: skip
