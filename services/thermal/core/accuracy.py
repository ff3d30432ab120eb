"""What the issued forecasts turned out to be worth, given the heating that came.

A forecast answers to any heating, so of one that waits for the truth only its air without heating is
kept, at a few leads: the model is linear, and what the heating that came adds follows from the rows
that the memory keeps anyway. The weather stays as it was expected: the planner was told no other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from contracts import grid
from contracts.events.thermal import AccuracyScored, AirScores
from contracts.thermal_model import HouseModel
from services.thermal.core.discretise import layout_of
from services.thermal.core.drive import drive_of
from services.thermal.core.dynamics import lead_s
from services.thermal.core.filter import FilterState
from services.thermal.core.hindcast import heating_c
from services.thermal.core.memory import ROW_S, Memory
from services.thermal.core.predict import Forecast, course

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

LEADS_S = (3_600, 6 * 3_600, 24 * 3_600, 48 * 3_600)
LEAD_ROWS = np.array(LEADS_S, dtype=np.int64) // ROW_S
KEPT_S = 3 * 3_600
"""Every third hour's forecast is kept: errors of neighbouring hours are nearly the same."""
DAY_ROWS = 86_400 // ROW_S

Table = tuple[tuple[float, ...], ...]


def at_leads(values: Array) -> Array:
    """Of (steps, rooms) on the planner's grid those at LEADS_S."""
    return values[[lead_s().index(lead) for lead in LEADS_S]]


def unheated_c(model: HouseModel, state: FilterState, forecast: Forecast) -> Array:
    """(steps, rooms) air at the end of each step of the planner's grid if nothing heats."""
    none = replace(forecast, heat_w=np.zeros_like(forecast.heat_w))
    states = course(model, state.mean_array(), none.input_matrix(model), grid.STEPS_S)
    bias = np.array([room.sensor_bias_c for room in model.rooms])
    return np.asarray(states[1:, layout_of(model).air] + bias)


class Issued(BaseModel):
    """What a forecast said at LEADS_S of each room, in the model's order: air without heating, degC,
    half the width of its 90 % band, K, of that what the weather forecast's errors give, and the rest
    before it was stretched (`following`)."""

    issued: datetime
    model_hash: str
    air_c: Table
    half_width_k: Table
    weather_k: Table
    rest_k: Table


@dataclass(frozen=True)
class Due:
    """Forecasts that have come due: predicted less measured, K, and half widths as in `Issued`.

    All four (leads, forecasts, rooms); the error is NaN where it is not due, or not known. `rows` of
    the memory at which the forecasts began.
    """

    rows: IntArray
    issued: tuple[Issued, ...]
    error_k: Array
    half_width_k: Array
    weather_k: Array
    rest_k: Array


class Waiting(BaseModel):
    """Forecasts by the memory's row that they began at, until the last of LEADS_S has come due."""

    forecasts: dict[int, Issued] = {}
    models: dict[str, HouseModel] = {}
    """Models that are no longer in force and have forecasts waiting, by hash."""
    seen: int = 0
    """Row up to which truth has been compared."""

    def keep(
        self, start: datetime, issued: datetime, model_hash: str, air_c: Array, half_width_k: Array,
        weather_k: Array, rest_k: Array,
    ) -> None:  # fmt: skip
        """Remember every third hour's forecast; all (steps, rooms) on the planner's grid."""
        if int(start.timestamp()) % KEPT_S == 0:
            self.forecasts[int(start.timestamp()) // ROW_S] = Issued(
                issued=issued, model_hash=model_hash, air_c=_table(at_leads(air_c)),
                half_width_k=_table(at_leads(half_width_k)), weather_k=_table(at_leads(weather_k)),
                rest_k=_table(at_leads(rest_k)),
            )  # fmt: skip

    def replaced(self, model: HouseModel, model_hash: str) -> None:
        """A model goes out of force; its forecasts are judged by it all the same."""
        if any(f.model_hash == model_hash for f in self.forecasts.values()):
            self.models[model_hash] = model

    def come_due(self, memory: Memory, model: HouseModel, model_hash: str) -> Due:
        """Hold against the memory what has come due since the last time, and forget what is done."""
        rows = np.array(sorted(self.forecasts), dtype=np.int64)
        mine = tuple(self.forecasts[row] for row in rows.tolist())
        shape = len(mine), len(LEADS_S), len(model.rooms)
        half, weather, rest = (
            np.array([getattr(f, name) for f in mine]).reshape(shape)
            for name in ("half_width_k", "weather_k", "rest_k")
        )
        error = np.full(shape, np.nan)
        for digest in {f.model_hash for f in mine}:
            used = model if digest == model_hash else self.models[digest]
            part = np.array([f.model_hash == digest for f in mine])
            said = np.array([f.air_c for f in mine if f.model_hash == digest])
            error[part] = _errors(used, memory, rows[part], said)
        ends = rows[:, None] + LEAD_ROWS
        error[(ends <= self.seen) | (ends > memory.last)] = np.nan
        self.seen = memory.last
        self.forecasts = {
            row: f for row, f in self.forecasts.items() if row + LEAD_ROWS[-1] > memory.last
        }
        left = {f.model_hash for f in self.forecasts.values()}
        self.models = {digest: old for digest, old in self.models.items() if digest in left}
        by_lead = (values.transpose(1, 0, 2) for values in (error, half, weather, rest))
        return Due(rows, mine, *by_lead)


def _errors(model: HouseModel, memory: Memory, rows: IntArray, said_c: Array) -> Array:
    """(forecasts, leads, rooms) predicted with the heating that came, less measured; NaN if unknown."""
    first = max(0, int(rows[0]) - memory.first)
    history = memory.history(model).rows(first, len(memory.outside_c))
    here = rows - memory.first - first
    known = here >= 0
    found = np.full(said_c.shape, np.nan)
    added = heating_c(model, drive_of(model, history), ROW_S, here[known], LEAD_ROWS)
    ends = np.minimum(here[known, None] + LEAD_ROWS, len(history.epoch_s) - 1)
    found[known] = said_c[known] + added - history.temperature_c[ends]
    return found


def scored(due: Due, rooms: tuple[str, ...], now: datetime) -> AccuracyScored | None:
    """The day's scores; None when nothing that was measured has come due."""
    known = np.asarray(np.isfinite(due.error_k).any(axis=(0, 2)))
    counted = [forecast for forecast, any_ in zip(due.issued, known, strict=True) if any_]
    if not counted:
        return None
    hashes = {f.model_hash for f in counted}
    return AccuracyScored(
        time=now, since=min(f.issued for f in counted), until=max(f.issued for f in counted),
        issues=len(counted), model_hash=hashes.pop() if len(hashes) == 1 else "",
        house=_by_lead(due.error_k, due.half_width_k),
        rooms={
            room: found
            for i, room in enumerate(rooms)
            if (found := _by_lead(due.error_k[..., i], due.half_width_k[..., i]))
        },
    )  # fmt: skip


def _by_lead(error_k: Array, half_width_k: Array) -> dict[str, AirScores]:
    """Scores by lead of what is known; leads without are left out."""
    found = {}
    for lead, errors, half in zip(LEADS_S, error_k, half_width_k, strict=True):
        known = np.isfinite(errors)
        if known.any():
            e, h = errors[known], half[known]
            found[f"{lead // 3_600}h"] = AirScores(
                n=int(known.sum()), mae_k=_round(np.abs(e).mean()), rmse_k=_round(np.sqrt((e**2).mean())),
                bias_k=_round(e.mean()), coverage_90=_round((np.abs(e) <= h).mean(), 4),
                half_width_k=_round(h.mean()),
            )  # fmt: skip
    return found


def _round(value: float, digits: int = 3) -> float:
    return round(float(value), digits)


def _table(values: Array) -> Table:
    return tuple(tuple(row) for row in np.round(values, 3).tolist())
