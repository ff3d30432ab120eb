"""Price a room with two temperatures."""

from __future__ import annotations

import numpy as np

from . import schedules, search, two_node, two_node_labels, two_node_layout
from .room import FloatArray, IntArray, RoomPriced
from .scratch import Scratch
from .search import Level, Search, checked_price, levels_before_judging
from .two_node_room import TwoNodeRoomPricing

COARSE_SPACING_K = np.array([0.15, 0.25])
"""Node distances of the first level, slow and fast mode, in K of air."""


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

    slack_shares = (0.1, 0.5, 2.0)
    prefix_cost: float

    def __init__(
        self,
        room: TwoNodeRoomPricing,
        price: FloatArray,
        guess: IntArray | None,
        scratch: Scratch | None,
    ) -> None:
        fixed, min_off, min_on = room.relay_fixed, room.min_off_steps, room.min_on_steps
        relay = int(room.relay_on_at_start)
        begin = schedules.locked_until(fixed, min_off, min_on, relay, room.steps_in_state_at_start)
        modes = room.modes
        on_cost = price * room.energy_on_kwh
        self.fixed = fixed
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
        self.relay = relay
        self.room_start = modes.inverse @ room.start_temperature_c
        equations = (self.steps, self.terminal, self.view)
        self.equations = equations
        self.patience = levels_before_judging(float(COARSE_SPACING_K[0]), self.gain[:, 0])
        super().__init__(
            ahead=schedules.transitions(fixed, min_off, min_on), fixed=fixed, relay=relay,
            begin=begin, on_cost=on_cost, switch_cost=self.switch_cost, guess=guess,
            scratch=scratch,
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
        self.offset, self.spacing, self.doubling, self.reach_low, self.reach_high = (
            two_node_layout.frame(self.begin, self.start, COARSE_SPACING_K, self.fixed, steps)
        )
        self.common = (self.ahead, *self.equations, self.switch_cost, self.offset)

    def simulate(self, schedule: IntArray) -> tuple[float, FloatArray]:
        cost, modes = two_node.simulate(
            schedule, self.room_start, self.relay, *self.equations, self.switch_cost
        )
        return float(cost), modes @ self.vectors.T

    def first_grid(self) -> tuple[FloatArray, IntArray, int]:
        everywhere = np.full((self.offset.shape[0], 2, 2), np.inf)
        rows, count = two_node_layout.next_nodes(
            self.begin, self.offset, self.spacing, self.reach_low, self.reach_high, -everywhere,
            everywhere, 0, 0, np.empty((0, 2, 10), np.int64),
        )  # fmt: skip
        return self.spacing, rows, count

    def next_grid(
        self, coarse: Level, alive_low: FloatArray, alive_high: FloatArray
    ) -> tuple[FloatArray, IntArray, int]:
        halvings = search.HALVINGS
        spacing = coarse.spacing / (1 << halvings)
        rows, count = two_node_layout.next_nodes(
            self.begin, self.offset, spacing, self.reach_low, self.reach_high, alive_low,
            alive_high, search.MARGIN_COARSE_NODES << halvings, halvings, coarse.rows,
        )  # fmt: skip
        return spacing, rows, count

    def run_level(self, spacing: FloatArray, rows: IntArray, coarse: Level | None) -> Level:
        size = two_node_layout.place_rows(
            self.begin, self.ahead, self.steps, spacing, self.doubling, rows
        )
        level = Level(spacing, rows, self.values_buffer(size))
        below = level if coarse is None else coarse
        self.nodes += two_node.lower_pass(
            self.begin, *self.common, spacing, self.doubling, rows, level.values, below.rows,
            below.values, 0 if coarse is None else search.HALVINGS, self.allowance(coarse),
        )  # fmt: skip
        found = self.schedule.copy()
        cost = two_node_labels.greedy(
            self.begin, self.start, self.relay, *self.common, spacing, rows, level.values, found
        )
        if cost + self.prefix_cost < self.cost:
            self.offer(found)
        return level

    def root_value(self, level: Level) -> float:
        row = level.rows[self.begin, self.relay]
        wide = row[two_node.LAST0] - row[two_node.FIRST0] + 1
        at = row[two_node.AT] - row[two_node.FIRST1] * wide - row[two_node.FIRST0]
        return float(level.values[at]) + self.prefix_cost

    def search_labels(self, level: Level, ceiling: float) -> tuple[FloatArray, FloatArray]:
        found = self.schedule.copy()
        size = level.values.size
        best, alive_low, alive_high = two_node_labels.label_pass(
            self.begin, self.start, self.relay, self.cost - self.prefix_cost,
            ceiling - self.prefix_cost, *self.common, level.spacing, level.rows, level.values,
            self.scratch.floats("cost", size), self.scratch.floats("rank", size),
            self.scratch.floats("modes", 2 * size), self.scratch.integers("parent", size),
            self.scratch.integers("queue", size), found,
        )  # fmt: skip
        if best + self.prefix_cost < self.cost:
            self.offer(found)
        return alive_low, alive_high

    def widen(self, alive_low: FloatArray, alive_high: FloatArray) -> None:
        two_node_labels.widen_to_path(
            self.begin, self.relay, self.schedule, self.start, self.steps, self.ahead, alive_low,
            alive_high,
        )  # fmt: skip
