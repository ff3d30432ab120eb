"""Price a room with one temperature."""

from __future__ import annotations

import numpy as np

from . import labels, layout, one_node, schedules
from .room import FloatArray, IntArray, RoomPriced, RoomPricing, terminal_as_cost
from .scratch import Scratch
from .search import Kernels, Level, Search, checked_price, levels_until

COARSE_SPACING_K = 0.05
"""Largest node distance of the first level, which covers everything the room can reach."""

NARROWEST_COARSE_SPACING_K = 0.02
"""Smallest one; between the two it is half of what a step with the relay on adds."""


def price_room(
    room: RoomPricing,
    price_eur_per_kwh_on: FloatArray,
    *,
    end_slope_eur_per_k: float = 0.0,
    gap_fraction: float = 5e-4,
    max_nodes: int = 4_000_000,
    guess: IntArray | None = None,
    scratch: Scratch | None = None,
) -> RoomPriced:
    """Find a near-optimal relay schedule and a true lower bound on the best one.

    Args:
        room: the room.
        price_eur_per_kwh_on: [n] price of the energy drawn while the relay is on, EUR/kWh; negative
            prices are fine.
        end_slope_eur_per_k: price of each K at the very end, beside the room's own terminal value.
        gap_fraction: stop refining when cost - bound is at most this share of the schedule's
            spending (the larger of its cost and its energy bill, each without sign).
        max_nodes: do not begin a level that would take the grid nodes evaluated beyond this count
            (the first level is always done).
        guess: [n] a good schedule, if one is known: the search begins with it, and the grid is laid along
            it, where the bound loses least. Without one a first coarse grid finds it.
        scratch: working memory to use again (twice as fast); one a thread.

    Returns:
        The schedule, its exact cost, the bound, the temperatures.

    Raises:
        ValueError: prices of the wrong length or not finite; a guess that is not allowed.
    """
    price = checked_price(price_eur_per_kwh_on, room.decay.size)
    work = _OneNodeSearch(room, price, end_slope_eur_per_k, guess, scratch)
    work.refine(gap_fraction, max_nodes)
    return work.result()


class _OneNodeSearch(Search):
    """See Search; the room after the relay's first lock, and the frame of its grids."""

    kernels = Kernels(
        layout.next_nodes, layout.place_rows, one_node.lower_pass, labels.greedy,
        labels.label_pass, row_columns=6,
    )  # fmt: skip
    slack_shares = (0.25, 2.0)

    def __init__(
        self,
        room: RoomPricing,
        price: FloatArray,
        end_slope: float,
        guess: IntArray | None,
        scratch: Scratch | None,
    ) -> None:
        fixed, relay = room.relay_fixed, int(room.relay_on_at_start)
        ahead, begin = schedules.allowed_by(room)
        on_cost = price * room.energy_on_kwh
        columns = (
            room.decay, room.gain_on_k, room.gain_on_k, room.drift_k, on_cost,
            room.comfort_low_c, room.comfort_high_c, room.penalty_low_eur_per_k,
            room.penalty_high_eur_per_k,
        )  # fmt: skip
        self.steps = np.ascontiguousarray(np.stack(columns, axis=1))
        self.terminal = terminal_as_cost(room.terminal_temperature_c, room.terminal_value_eur)
        self.terminal[0, 1] += end_slope
        self.room = room
        self.switch_cost = float(room.switch_cost_eur)
        step = room.median_gain_k
        self.coarse_spacing = min(COARSE_SPACING_K, max(NARROWEST_COARSE_SPACING_K, 0.5 * step))
        self.patience = levels_until(self.coarse_spacing, step)
        super().__init__(
            ahead=ahead, fixed=fixed, relay=relay, begin=begin, on_cost=on_cost,
            switch_cost=self.switch_cost, guess=guess, scratch=scratch,
        )  # fmt: skip

    def lay(self) -> None:
        room, reference = self.room, self.schedule
        self.steps[:, one_node.DRIFT] = room.drift_k + reference * room.gain_on_k
        self.steps[:, one_node.GAIN] = -reference * room.gain_on_k
        self.steps[:, one_node.GAIN + 1] = (1 - reference) * room.gain_on_k
        self.start, self.prefix_cost = one_node.run(
            0, self.begin, self.relay, room.start_temperature_c, self.steps, self.terminal
        )
        self.offset, self.spacing, self.doubling, self.reach_low, self.reach_high = layout.frame(
            self.begin, self.start, self.coarse_spacing, self.fixed, self.steps
        )
        self.common = (self.ahead, self.steps, self.terminal, self.switch_cost, self.offset)

    def simulate(self, schedule: IntArray) -> tuple[float, FloatArray]:
        cost, temperatures = one_node.simulate(
            schedule, self.room.start_temperature_c, self.relay, self.steps, self.terminal, self.switch_cost
        )
        return float(cost), temperatures

    def root_value(self, level: Level) -> float:
        row = level.rows[self.begin, self.relay]
        return float(level.values[row[one_node.ROW_AT] - row[one_node.ROW_FIRST]])

    def label_memory(self, size: int) -> tuple[FloatArray | IntArray, ...]:
        memory = self.scratch
        return (
            memory.floats("cost", size), memory.floats("rank", size),
            memory.floats("temperature", size), memory.integers("parent", size),
        )  # fmt: skip

    def widen(self, alive_low: FloatArray, alive_high: FloatArray) -> None:
        labels.widen_to_path(
            self.begin, self.relay, self.schedule, self.temperatures, self.ahead, alive_low,
            alive_high,
        )  # fmt: skip
