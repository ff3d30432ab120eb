"""What a promotion of the rooms' model names: the model, and with it what it gets wrong again and again.

A model alone is its canonical JSON. With a correction the content is one JSON document of both, in
plain numbers; its hash names the pair, so the two come into force and go together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.thermal_model import HouseModel, from_json, to_json
from services.thermal.core.correction import Correction, Ridge, RoomLead, correct
from services.thermal.core.features import bank_leads, view_of
from services.thermal.core.hindcast import Bank
from services.thermal.core.history import History
from services.thermal.core.memory import ROW_S
from services.thermal.core.stacking import MEMBERS

Array = NDArray[np.float64]

DIGITS = 7
"""Significant digits that are kept of what was learnt: a third of the size."""
STORED_MEMBERS = MEMBERS.index("arx")
"""Members whose weights are written: the house stacks neither ARX, whose recursion is not stored, nor
its thermostats, which do not make its plans."""


def pack(model: HouseModel, correction: Correction | None = None) -> bytes:
    """The content; the same for the same model and correction. Raises ValueError for one with ARX."""
    if correction is None:
        return to_json(model).encode()
    if correction.arx:
        raise ValueError("a correction that stacks ARX is not stored")
    learnt = {
        "step_s": correction.step_s,
        "lead_rows": list(correction.lead_rows),
        "leads": [[_written(room) for room in rooms] for rooms in correction.leads],
    }
    text = json.dumps(learnt, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f'{{"correction":{text},"model":{to_json(model)}}}'.encode()


def unpack(content: bytes) -> tuple[HouseModel, Correction | None]:
    """Inverse of `pack`; raises ValueError when it is no model or its correction not one of its rooms."""
    try:
        found = json.loads(content)
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from error
    correction = None
    if isinstance(found, dict) and set(found) == {"correction", "model"}:
        try:
            correction = _read(found["correction"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"its correction cannot be read: {error!r}") from error
        model = from_json(json.dumps(found["model"]))
    else:
        model = from_json(content.decode())
    if correction is not None:
        _try(model, correction)
    return model, correction


def _written(room: RoomLead | None) -> dict[str, Any] | None:
    if room is None:
        return None

    def ridge(found: Ridge | None) -> dict[str, list[float]] | None:
        if found is None:
            return None
        return {k: _numbers(getattr(found, k)) for k in ("mean", "scale", "weight")}

    return {
        "corrected": ridge(room.corrected),
        "direct": ridge(room.direct),
        "half_width_c": _numbers(np.array([room.half_width_c]))[0],
        "weight": _numbers(room.weight[:STORED_MEMBERS]),
    }


def _numbers(values: Array) -> list[float]:
    return [float(f"{v:.{DIGITS}g}") for v in values.tolist()]


def _read(found: Mapping[str, Any]) -> Correction:
    def ridge(numbers: Mapping[str, Any]) -> Ridge:
        return Ridge(*(np.array(numbers[k], dtype=np.float64) for k in ("mean", "scale", "weight")))

    def room(numbers: Mapping[str, Any] | None) -> RoomLead | None:
        if numbers is None:
            return None
        return RoomLead(
            ridge(numbers["corrected"]),
            None if numbers["direct"] is None else ridge(numbers["direct"]),
            np.pad(numbers["weight"], (0, len(MEMBERS) - STORED_MEMBERS)), float(numbers["half_width_c"]),
        )  # fmt: skip

    return Correction(
        int(found["step_s"]), tuple(int(r) for r in found["lead_rows"]),
        tuple(tuple(room(item) for item in rooms) for rooms in found["leads"]),
    )  # fmt: skip


def _try(model: HouseModel, correction: Correction) -> None:
    """Correct one forecast of an unknown house: numbers of another house do not fit together."""
    if correction.step_s != ROW_S:
        raise ValueError(f"its correction was learnt on rows of {correction.step_s} s, not {ROW_S}")
    if [len(rooms) for rooms in correction.leads] != [len(model.rooms)] * len(correction.lead_rows):
        raise ValueError("its correction is not one of its rooms")
    nothing, row = np.full(1, np.nan), np.zeros(1, dtype=np.int64)
    history = History(
        row, ROW_S, model.room_names, np.full((1, len(model.rooms)), np.nan), nothing,
        {f"heat_{room.name}": nothing for room in model.rooms if room.heater_power_w > 0},
        ghi_w_m2=nothing, dni_w_m2=nothing,
    )  # fmt: skip
    leads = bank_leads(ROW_S, correction.lead_rows)
    bank = Bank(row, leads, np.full((1, len(leads), len(model.rooms)), np.nan))
    try:
        correct(correction, view_of(history, bank, model.time_zone), row, correction.lead_rows)
    except (ValueError, IndexError) as error:
        raise ValueError(f"its correction does not fit its rooms: {error}") from error
