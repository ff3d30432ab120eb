"""From wished temperatures to relays: follow them, never breaking minimum times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.house import FREE, House, RoomArrays

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def round_relays(
    house: House, target_air_c: Floats, bias: float = 0.5, begun: Floats | None = None
) -> Floats:
    """Relays (rooms, steps) whose simulated air stays near `target_air_c` (rooms, steps + 1).

    A relay is on when the air would otherwise end the step more than `1 - bias` of one full
    step's heat below its target; larger `bias` is warmer. Overrides, remaining minimum times,
    minimum on and off times and heating-group capacities are kept. Duty steps get the duty that
    reaches the target. The relays `begun` (rooms, first steps) are taken as they are.
    """
    rooms, steps = len(house.rooms), house.steps
    relays = np.zeros((rooms, steps))
    state = [room.start_c.copy() for room in house.rooms]
    on = np.array([room.initial_on for room in house.rooms], dtype=np.int64)
    locked = np.array([room.held_steps for room in house.rooms], dtype=np.int64)
    capacity = [group.capacity_w / 1000.0 for group in house.problem.heating_groups]
    known = 0 if begun is None else begun.shape[1]
    for step in range(steps):
        free = list(capacity)
        base = [
            room.transition[step] @ state[room.index] + room.drift_k[step]
            + sum(
                (gain[step] * state[other][0] for other, gain in room.neighbour_gain.items()),
                np.zeros(room.nodes),
            )
            for room in house.rooms
        ]
        need = np.array([
            (target_air_c[room.index, step + 1] - base[room.index][0])
            / max(room.heat_k[step, 0], 1e-9)
            for room in house.rooms
        ])
        forced = np.array([
            room.relay_fixed[step] == 1
            or (
                room.relay_fixed[step] == FREE and on[room.index] == 1
                and (locked[room.index] > 0 or _would_be_cut(room, step, 0))
            )
            for room in house.rooms
        ])
        for index in sorted(range(rooms), key=lambda r: (not forced[r], -need[r], r)):
            room = house.rooms[index]
            value = _choose(
                room, step, float(need[index]), bias, int(on[index]), int(locked[index])
            )
            if begun is not None and step < known:
                value = float(begun[index, step])
            elif room.group >= 0:
                left = max(0.0, free[room.group])  # forced relays may have taken more than there is
                if not forced[index] and value * room.power_kw > left + 1e-9:
                    # a locked-off relay never gets here; a free one waits for capacity
                    value = left / room.power_kw if room.duty_step[step] else 0.0
                free[room.group] -= value * room.power_kw
            relays[index, step] = value
            state[index] = base[index] + room.heat_k[step] * value
            _advance(room, step, value, on, locked)
    return relays


def _choose(
    room: RoomArrays, step: int, need: float, bias: float, on: int, locked: int
) -> float:
    if room.relay_fixed[step] != FREE:
        return float(room.relay_fixed[step])
    if room.duty_step[step]:
        return float(np.clip(need, 0.0, 1.0))
    if locked > 0:
        return float(on)
    wanted = int(need > 1.0 - bias)
    if wanted != on and _would_be_cut(room, step, wanted):
        return float(on)
    return float(wanted)


def _would_be_cut(room: RoomArrays, step: int, state: int) -> bool:
    """Whether an override would cut the minimum time of a switch to `state` short."""
    hold = int((room.min_on_steps if state else room.min_off_steps)[step])
    return bool((room.relay_fixed[step : step + hold] == 1 - state).any())


def _advance(room: RoomArrays, step: int, value: float, on: Ints, locked: Ints) -> None:
    index = room.index
    if room.duty_step[step]:
        on[index], locked[index] = 0, 0
        return
    if int(value) != on[index]:
        on[index] = int(value)
        hold = room.min_on_steps if on[index] else room.min_off_steps
        locked[index] = hold[step]
    locked[index] = max(0, locked[index] - 1)
