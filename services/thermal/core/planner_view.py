"""The house as the planner sees it: each room's own air and mass, and its neighbours' air. Pure.

The exact matrices of the coupled house are cut to that; everything else (rooms further away,
weather, sun, disturbance) becomes a drift that makes the cut model exact on the reference
trajectory. A neighbour's air stands for its mass, too: over a long step heat comes mostly from
there, and were it in the drift, a plan would find the heating of the last one there for nothing
(one that heats much would be followed by one that heats little, for ever).
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
    """One room: start temperatures, 2x2 gains and heat gains by step length, drift (steps, 2).

    `neighbours` holds by room and step length what a kelvin of that room's air adds to air and mass.
    """

    room: str
    start_c: tuple[float, float]
    gains: dict[int, tuple[Array, Array]]
    drift_k: Array
    neighbours: dict[str, dict[int, Array]]


def room_views(
    model: HouseModel, state: FilterState, forecast: Forecast, step_s: Sequence[int], added_c: Array
) -> tuple[RoomView, ...]:
    """Cut the coupled house into rooms.

    Parameters
    ----------
    forecast : inputs and reference heating, one row per step of ``step_s`` (seconds)
    added_c : (steps, rooms) what is to be added to the air at the end of each step, K; the masses
        follow that air as the model says
    """
    layout = layout_of(model)
    matrices = planner_matrices(model, state, forecast, step_s)
    power = np.array([room.heater_power_w for room in model.rooms])
    used = np.where(power > 0, forecast.heat_w / np.where(power > 0, power, 1.0), 0.0)
    steps = len(step_s)
    full = np.empty((steps + 1, layout.size))
    full[0] = matrices.start
    shift = np.zeros_like(full)
    for k in range(steps):
        full[k + 1] = matrices.A[k] @ full[k] + matrices.B[k] @ used[k] + matrices.d[k]
        shift[k + 1] = matrices.A[k] @ shift[k]
        shift[k + 1, layout.air] = added_c[k]
    full += shift
    names = [room.name for room in model.rooms]
    neighbours: dict[str, list[str]] = {name: [] for name in names}
    for coupling in model.couplings:
        neighbours[coupling.room_a].append(coupling.room_b)
        neighbours[coupling.room_b].append(coupling.room_a)
    views = []
    for i, room in enumerate(model.rooms):
        mass = layout.mass[i] if layout.mass[i] != ABSENT else layout.air[i]
        own = np.array([layout.air[i], mass])
        others = [names.index(other) for other in neighbours[room.name]]
        felt: dict[str, dict[int, Array]] = {names[j]: {} for j in others}
        gains: dict[int, tuple[Array, Array]] = {}
        drift = np.empty((steps, 2))
        for k, seconds in enumerate(step_s):
            block = matrices.A[k][np.ix_(own, own)].copy()
            if layout.mass[i] == ABSENT:
                block[0, 1] = block[1, 0] = 0.0
            heat = matrices.B[k][own, i]
            gains.setdefault(int(seconds), (block, heat))
            drift[k] = full[k + 1][own] - block @ full[k][own] - heat * used[k, i]
            for j in others:
                gain = matrices.A[k][own, layout.air[j]]
                if layout.mass[j] != ABSENT:
                    gain = gain + matrices.A[k][own, layout.mass[j]]
                felt[names[j]].setdefault(int(seconds), gain)
                drift[k] -= gain * full[k][layout.air[j]]
        start = full[0][own]
        start_c = (float(start[0]), float(start[1]))
        views.append(RoomView(room.name, start_c, gains, drift, felt))
    return tuple(views)
