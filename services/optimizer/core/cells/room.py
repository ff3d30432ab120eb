"""One room for the tilted-cell programme: its switching rules and grid, fixed once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.house import RoomArrays

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MARGIN_BELOW_K = 1.0
MARGIN_ABOVE_K = 0.7

MOST_VALUES = 2e7
"""Of a room, over all steps: more do not fit into memory and time. A minimum time of a day has 200 modes, and a
start far from the comfort band thousands of cells."""


def switching_rules(room: RoomArrays, steps: int) -> tuple[Ints, Ints, Ints]:
    """(hold (n, 2), allowed (n, 2), locks (2)) of a relay.

    `hold[t, v]` steps must pass in state v when it is entered at t. A free switch is not allowed
    when a later override would cut that time short (the contract's rule).
    """
    hold = np.stack([room.min_off_steps[:steps], room.min_on_steps[:steps]], axis=1)
    hold = np.minimum(hold, steps - np.arange(steps)[:, None]).astype(np.int64)
    allowed = np.ones((steps, 2), dtype=np.int64)
    fixed = room.relay_fixed[:steps]
    for state in range(2):
        for order in np.flatnonzero(fixed == 1 - state):
            steps_before = np.arange(order + 1)
            allowed[: order + 1, state] &= steps_before + hold[: order + 1, state] <= order
    longest = hold.max(axis=0) - 1
    minimum = room.held_steps
    locks = longest.copy()
    locks[room.initial_on] = max(locks[room.initial_on], minimum)
    return hold, allowed, locks


class CellRoom:
    """The cells of one room whose air follows T' = a T + b u + d."""

    def __init__(self, room: RoomArrays, steps: int, reach_low: Floats, reach_high: Floats) -> None:
        self.room = room
        self.steps = steps
        self.decay = np.ascontiguousarray(room.transition[:steps, 0, 0])
        self.gain = np.ascontiguousarray(room.heat_k[:steps, 0])
        self.fixed = np.ascontiguousarray(room.relay_fixed[:steps])
        self.hold, self.allowed, self.locks = switching_rules(room, steps)
        self.low = float(min(room.low_c[:steps].min(), room.start_c[0]) - MARGIN_BELOW_K)
        self.high = float(max(room.high_c[:steps].max(), room.start_c[0]) + MARGIN_ABOVE_K)
        self.reach_low = np.ascontiguousarray(reach_low[: steps + 1])
        self.reach_high = np.ascontiguousarray(reach_high[: steps + 1])
        start_mode = room.initial_on
        if room.held_steps > 0:
            offset = 2 if room.initial_on == 0 else 2 + int(self.locks[0])
            start_mode = offset + min(room.held_steps, int(self.locks[room.initial_on])) - 1
        self.start_mode = int(start_mode)

    def width_k(self, wanted_k: float, rows: int = 1) -> float:
        """Width of cells, `wanted_k` or as much more as MOST_VALUES ask for with so many rows a mode."""
        values = (self.steps + 1) * (2 + int(self.locks.sum())) * rows
        return max(wanted_k, (self.high - self.low) * values / MOST_VALUES)

    def feasible(self, schedule: Ints) -> bool:
        """Whether a schedule keeps overrides, minimum times and the remaining first lock."""
        state, until = self.room.initial_on, self.room.held_steps
        for step in range(self.steps):
            value = int(schedule[step])
            order = int(self.fixed[step])
            if order not in (-1, value):
                return False
            if value != state:
                if order == -1 and (step < until or not self.allowed[step, value]):
                    return False
                state, until = value, step + int(self.hold[step, value])
        return True
