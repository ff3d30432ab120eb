"""Price a room with two temperatures."""

from __future__ import annotations

import numpy as np

from . import schedules, two_node, two_node_labels, two_node_layout
from .room import FloatArray, IntArray, RoomPriced
from .scratch import Scratch
from .search import Kernels, Level, Search, checked_price, levels_before_judging
from .two_node_room import TwoNodeRoomPricing

COARSE_SPACING_K = np.array([0.15, 0.25])
"""Node distances of the first level, slow and fast mode, in K of air; wider where that would be too many
nodes (a week of relays whose heater can warm the room by 200 K)."""
MOST_FIRST_NODES = 4e6


def price_room_two_node(
    room: TwoNodeRoomPricing,
    price_eur_per_kwh_on: FloatArray,
    *,
    gap_fraction: float = 1e-2,
    max_nodes: int = 10_000_000,
    guess: IntArray | None = None,
    scratch: Scratch | None = None,
) -> RoomPriced:
    """As `price_room`, for a room with an air and a slow node; temperatures are [n+1, 2].

    Raises:
        ValueError: prices of the wrong length or not finite; a guess that is not allowed.
    """
    price = checked_price(price_eur_per_kwh_on, room.transition.shape[0])
    work = _TwoNodeSearch(room, price, guess, scratch)
    work.refine(gap_fraction, max_nodes)
    return work.result()


class _TwoNodeSearch(Search):
    """See Search; the room in its modes after the relay's first lock."""

    kernels = Kernels(
        two_node_layout.next_nodes, two_node_layout.place_rows, two_node.lower_pass,
        two_node_labels.greedy, two_node_labels.label_pass, row_columns=10,
    )  # fmt: skip
    slack_shares = (0.1, 0.5, 2.0)

    def __init__(
        self,
        room: TwoNodeRoomPricing,
        price: FloatArray,
        guess: IntArray | None,
        scratch: Scratch | None,
    ) -> None:
        fixed, relay = room.relay_fixed, int(room.relay_on_at_start)
        ahead, begin = schedules.allowed_by(room)
        modes = room.modes
        on_cost = price * room.energy_on_kwh
        self.gain, self.drift = room.gain_on_k @ modes.inverse.T, room.drift_k @ modes.inverse.T
        columns = (
            modes.decay, self.gain, self.gain, self.drift, on_cost, room.comfort_low_c,
            room.comfort_high_c, room.penalty_low_eur_per_k, room.penalty_high_eur_per_k,
            room.air_price_eur_per_k,
        )  # fmt: skip
        self.steps = np.ascontiguousarray(np.column_stack(columns))
        kinks = np.column_stack(
            [room.end_weights @ modes.vectors, room.end_target_c, room.end_value_eur_per_k]
        )
        line = np.append(room.end_slope_eur_per_k @ modes.vectors, [0.0, 0.0])
        self.terminal = np.ascontiguousarray(np.vstack([line, kinks]))
        self.view = np.ascontiguousarray(modes.vectors[0])
        self.vectors = modes.vectors
        self.switch_cost = float(room.switch_cost_eur)
        self.room_start = modes.inverse @ room.start_temperature_c
        equations = (self.steps, self.terminal, self.view)
        self.equations = equations
        self.patience = levels_before_judging(float(COARSE_SPACING_K[0]), self.gain[:, 0])
        super().__init__(
            ahead=ahead, fixed=fixed, relay=relay, begin=begin, on_cost=on_cost,
            switch_cost=self.switch_cost, guess=guess, scratch=scratch,
        )  # fmt: skip

    def lay(self) -> None:
        steps, reference = self.steps, self.schedule[:, None]
        steps[:, two_node.DRIFT : two_node.DRIFT + 2] = self.drift + reference * self.gain
        steps[:, two_node.GAIN : two_node.GAIN + 2] = -reference * self.gain
        steps[:, two_node.GAIN + 2 : two_node.GAIN + 4] = (1 - reference) * self.gain
        slow, fast, self.prefix_cost = two_node.run(
            0, self.begin, self.relay, self.room_start[0], self.room_start[1], *self.equations
        )
        self.start = np.array([slow, fast])
        spacing = COARSE_SPACING_K
        while True:
            self.offset, self.spacing, self.doubling, self.reach_low, self.reach_high = (
                two_node_layout.frame(self.begin, self.start, spacing, self.fixed, steps)
            )
            cells = (self.reach_high - self.reach_low) / self.spacing
            if 2.0 * cells.prod(axis=1).sum() <= MOST_FIRST_NODES:
                break
            spacing = 2.0 * spacing
        self.common = (self.ahead, *self.equations, self.switch_cost, self.offset)

    def simulate(self, schedule: IntArray) -> tuple[float, FloatArray]:
        cost, modes = two_node.simulate(
            schedule, self.room_start, self.relay, *self.equations, self.switch_cost
        )
        return float(cost), modes @ self.vectors.T

    def root_value(self, level: Level) -> float:
        row = level.rows[self.begin, self.relay]
        wide = row[two_node.LAST0] - row[two_node.FIRST0] + 1
        at = row[two_node.AT] - row[two_node.FIRST1] * wide - row[two_node.FIRST0]
        return float(level.values[at])

    def label_memory(self, size: int) -> tuple[FloatArray | IntArray, ...]:
        memory = self.scratch
        return (
            memory.floats("cost", size), memory.floats("rank", size),
            memory.floats("modes", 2 * size), memory.integers("parent", size),
            memory.integers("queue", size),
        )  # fmt: skip

    def widen(self, alive_low: FloatArray, alive_high: FloatArray) -> None:
        two_node_labels.widen_to_path(
            self.begin, self.relay, self.schedule, np.asarray(self.start), self.steps, self.ahead, alive_low,
            alive_high,
        )  # fmt: skip
