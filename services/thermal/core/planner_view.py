"""The house as the planner sees it: each room alone, neighbours frozen at a reference. Pure.

The exact matrices of the coupled house are cut to each room's own air and mass; everything else
(neighbours, weather, sun, disturbance) becomes a drift that makes the cut model exact on the
reference trajectory. Near the reference the error is the neighbours' change times their coupling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.thermal_model import HouseModel
from services.thermal.core.discretise import ABSENT, layout_of
from services.thermal.core.filter import FilterState
from services.thermal.core.predict import Forecast, planner_matrices

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RoomView:
    """One room: start temperatures, 2x2 gains and heat gains by step length, drift (steps, 2)."""

    room: str
    start_c: tuple[float, float]
    gains: dict[int, tuple[Array, Array]]
    drift_k: Array


def room_views(
    model: HouseModel, state: FilterState, forecast: Forecast, step_s: Sequence[int]
) -> tuple[RoomView, ...]:
    """Cut the coupled house into rooms.

    Parameters
    ----------
    forecast : inputs and reference heating, one row per step of ``step_s`` (seconds)
    """
    layout = layout_of(model)
    matrices = planner_matrices(model, state, forecast, step_s)
    power = np.array([room.heater_power_w for room in model.rooms])
    used = np.where(power > 0, forecast.heat_w / np.where(power > 0, power, 1.0), 0.0)
    steps = len(step_s)
    full = np.empty((steps + 1, layout.size))
    full[0] = matrices.start
    for k in range(steps):
        full[k + 1] = matrices.A[k] @ full[k] + matrices.B[k] @ used[k] + matrices.d[k]
    views = []
    for i, room in enumerate(model.rooms):
        mass = layout.mass[i] if layout.mass[i] != ABSENT else layout.air[i]
        own = np.array([layout.air[i], mass])
        gains: dict[int, tuple[Array, Array]] = {}
        drift = np.empty((steps, 2))
        for k, seconds in enumerate(step_s):
            block = matrices.A[k][np.ix_(own, own)].copy()
            if layout.mass[i] == ABSENT:
                block[0, 1] = block[1, 0] = 0.0
            heat = matrices.B[k][own, i]
            gains.setdefault(int(seconds), (block, heat))
            drift[k] = full[k + 1][own] - block @ full[k][own] - heat * used[k, i]
        start = full[0][own]
        views.append(RoomView(room.name, (float(start[0]), float(start[1])), gains, drift))
    return tuple(views)
