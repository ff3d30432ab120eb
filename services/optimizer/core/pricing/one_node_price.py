"""Price one room with one temperature: coarse bound, labels, finer bound where it matters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import labels, layout, one_node, schedules
from .room import Corridor, FloatArray, IntArray, RoomPriced, RoomPricing, terminal_as_cost
from .scratch import Scratch

COARSE_SPACING_K = 0.1
"""Node distance of the first level; it covers everything the room can reach."""

HALVINGS = 1
"""Each level halves the node distance so many times."""

FINEST_LEVEL = 12
"""The last level; its nodes lie 0.02 mK apart."""

KN=0.85
MARGIN_COARSE_NODES = 2
"""Coarse nodes added on both sides of the living temperatures before refining them."""

SLACK_SHARES = (0.25, 1.0, 4.0)
"""Labels above the incumbent by this share of the gap still mark temperatures worth refining; the
next share is tried when the bound stands still."""

ROUNDING_SHARE = 1e-10
"""Share of the money turned over that is given away for rounding errors (about 1e-13 in truth)."""


class _Problem(NamedTuple):
    """The room after the relay's first lock, and the frame of its grids."""

    room: RoomPricing
    begin: int
    relay: int
    start_c: float
    prefix_cost_eur: float
    ahead: IntArray
    steps: FloatArray
    terminal: FloatArray
    offset: FloatArray
    spacing: FloatArray
    doubling: IntArray
    reach_low: FloatArray
    reach_high: FloatArray


class _Level(NamedTuple):
    """One grid: rows of node values by step and relay state (see one_node.lower_pass)."""

    spacing: FloatArray
    rows: IntArray
    values: FloatArray


def price_room(
    room: RoomPricing,
    price_eur_per_kwh_on: FloatArray,
    *,
    gap_fraction: float = 5e-4,
    max_nodes: int = 4_000_000,
    corridor: Corridor | None = None,
    scratch: Scratch | None = None,
) -> RoomPriced:
    """Find a near-optimal relay schedule and a true lower bound on the best one.

    Args:
        room: the room.
        price_eur_per_kwh_on: [n] price of the energy drawn while the relay is on, EUR/kWh; negative
            prices are fine.
        gap_fraction: stop refining when cost - bound is at most this share of the schedule's
            spending (the larger of its cost and its energy bill, each without sign).
        max_nodes: do not begin a level that would take the grid nodes evaluated beyond this count
            (the first level is always done).
        corridor: from the last pricing of the same room: its schedule is the first incumbent, and
            its temperatures are refined without searching for them again.
        scratch: working memory to use again (twice as fast); one a thread.

    Returns:
        The schedule, its exact cost, the bound, the temperatures.

    Raises:
        ValueError: prices of the wrong length or not finite, or a corridor of another horizon.
    """
    price = np.ascontiguousarray(price_eur_per_kwh_on, dtype=np.float64)
    steps = room.decay.size
    if price.shape != (steps,):
        raise ValueError(f"price_eur_per_kwh_on must be a vector of {steps} prices")
    if not np.isfinite(price).all():
        raise ValueError("price_eur_per_kwh_on holds NaN or infinity: price every step")
    if corridor is not None and corridor.schedule.shape != (steps,):
        raise ValueError(f"corridor belongs to another horizon: it must have {steps} steps")
    search = _Search(_prepare(room, price), corridor, scratch or Scratch())
    search.refine(gap_fraction, max_nodes)
    return search.result()


class _Search:
    """Levels of the grid, the incumbent schedule and the best bound so far."""

    def __init__(self, problem: _Problem, corridor: Corridor | None, scratch: Scratch) -> None:
        room = problem.room
        self.problem = problem
        self.scratch = scratch
        self.schedule = schedules.idle_schedule(room.relay_fixed, int(room.relay_on_at_start))
        self.cost, self.temperatures = _simulate(problem, self.schedule)
        self.bound = -np.inf
        self.nodes = 0
        self.living: list[tuple[FloatArray, FloatArray]] = []
        self.slack_share = SLACK_SHARES[0]
        self.known = () if corridor is None else corridor.living_c
        if corridor is not None and schedules.is_feasible(room, corridor.schedule):
            self._offer(corridor.schedule.astype(np.int64))

    def refine(self, gap_fraction: float, max_nodes: int) -> None:
        """Run levels until the gap or the work count is reached."""
        problem = self.problem
        steps = problem.room.decay.size
        if problem.begin == steps:
            self.bound = self.cost - self._rounding()
            return
        attempts = [(self.known, SLACK_SHARES[0])] if self.known else []
        attempts += [((), share) for share in SLACK_SHARES]
        for self.known, self.slack_share in attempts:
            if not self._descend(gap_fraction, max_nodes):
                break

    def _descend(self, gap_fraction: float, max_nodes: int) -> bool:
        """Run levels from the coarsest on; False when nothing more is to be done.

        True when two levels took less than a quarter off the gap: then schedules slip out through
        the coarse values around temperatures judged dead too early.
        """
        problem = self.problem
        self.living = []
        everywhere = np.full((problem.offset.size, 2), np.inf)
        rows, count = layout.next_nodes(
            problem.begin, problem.offset, problem.spacing, problem.reach_low, problem.reach_high,
            -everywhere, everywhere, 0, 0, np.empty((0, 2, 5), np.int64),
        )  # fmt: skip
        if self.nodes > 0 and self.nodes + count > max_nodes:
            return False
        level = self._run_level(problem.spacing, rows, None)
        gaps = [self.cost - self._level_bound(level)]
        while True:
            if self.cost - self.bound <= max(
                gap_fraction * self._spending(), 2.0 * self._rounding()
            ):
                return False
            depth = len(gaps)
            if depth > FINEST_LEVEL or (depth > 3 and gaps[-1] > 0.75 * gaps[-3]):
                return True
            if 2 < depth <= len(self.known) + 1 and gaps[-1] > KN * gaps[-2]:
                return True
            alive_low, alive_high = self._living(level)
            spacing = level.spacing / (1 << HALVINGS)
            rows, count = layout.next_nodes(
                problem.begin, problem.offset, spacing, problem.reach_low, problem.reach_high,
                alive_low, alive_high, MARGIN_COARSE_NODES << HALVINGS, HALVINGS, level.rows,
            )  # fmt: skip
            if self.nodes + count > max_nodes:
                return False
            self.living.append((alive_low, alive_high))
            level = self._run_level(spacing, rows, level)
            gaps.append(self.cost - self._level_bound(level))

    def _level_bound(self, level: _Level) -> float:
        """What this level says about the best cost, EUR, rounding errors given away."""
        row = level.rows[self.problem.begin, self.problem.relay]
        value = float(level.values[row[one_node.ROW_AT] - row[one_node.ROW_FIRST]])
        return value + self.problem.prefix_cost_eur - self._rounding()

    def result(self) -> RoomPriced:
        """The answer, with the corridor for a later pricing."""
        schedule = self.schedule.astype(np.uint8)
        corridor = Corridor(tuple(self.living), schedule)
        return RoomPriced(
            schedule, self.cost, self.bound, self.temperatures, self.nodes, corridor
        )

    def _run_level(self, spacing: FloatArray, rows: IntArray, coarse: _Level | None) -> _Level:
        problem = self.problem
        begin, relay = problem.begin, problem.relay
        total = layout.place_rows(
            begin, problem.ahead, problem.steps, spacing, problem.doubling, rows
        )
        turn = "values-even" if len(self.living) % 2 == 0 else "values-odd"
        level = _Level(spacing, rows, self.scratch.floats(turn, total))
        below = level if coarse is None else coarse
        common = (problem.ahead, problem.steps, problem.terminal, problem.room.switch_cost_eur)
        self.nodes += one_node.lower_pass(
            begin, *common, problem.offset, spacing, problem.doubling, rows, level.values,
            below.rows, below.values, 0 if coarse is None else HALVINGS,
        )  # fmt: skip
        self.bound = max(self.bound, self._level_bound(level))
        found = self.schedule.copy()
        cost = labels.greedy(
            begin, problem.start_c, relay, *common, problem.offset, spacing, rows, level.values,
            found,
        )  # fmt: skip
        if cost + problem.prefix_cost_eur < self.cost:
            self._offer(found)
        return level

    def _living(self, level: _Level) -> tuple[FloatArray, FloatArray]:
        """Temperatures worth refining: known from the last pricing, or found by labels."""
        depth = len(self.living)
        if depth < len(self.known):
            alive_low, alive_high = self.known[depth][0].copy(), self.known[depth][1].copy()
        else:
            alive_low, alive_high = self._search_labels(level)
        labels.widen_to_path(
            self.problem.begin, self.problem.relay, self.schedule, self.temperatures,
            self.problem.ahead, alive_low, alive_high,
        )  # fmt: skip
        return alive_low, alive_high

    def _search_labels(self, level: _Level) -> tuple[FloatArray, FloatArray]:
        problem = self.problem
        found = self.schedule.copy()
        incumbent = self.cost - problem.prefix_cost_eur
        ceiling = incumbent + self.slack_share * (self.cost - self._level_bound(level))
        size = level.values.size
        memory = (
            *(self.scratch.floats(name, size) for name in ("cost", "rank", "temperature")),
            self.scratch.integers("parent", size),
        )
        best, alive_low, alive_high = labels.label_pass(
            problem.begin, problem.start_c, problem.relay, incumbent, ceiling, problem.ahead,
            problem.steps, problem.terminal, problem.room.switch_cost_eur, problem.offset,
            level.spacing, level.rows, level.values, *memory, found,
        )  # fmt: skip
        if best < incumbent:
            self._offer(found)
        return alive_low, alive_high

    def _offer(self, schedule: IntArray) -> None:
        """Take a feasible schedule as incumbent if it is cheaper."""
        cost, temperatures = _simulate(self.problem, schedule)
        if cost < self.cost:
            self.schedule, self.cost, self.temperatures = schedule, cost, temperatures

    def _spending(self) -> float:
        """Money that the incumbent moves, EUR: the scale of the gap."""
        energy = float(np.abs(self.problem.steps[:, one_node.ON_COST]) @ self.schedule)
        return max(energy, abs(self.cost))

    def _rounding(self) -> float:
        room = self.problem.room
        turnover = float(np.abs(self.problem.steps[:, one_node.ON_COST]).sum()) + abs(self.cost)
        turnover += room.switch_cost_eur * room.decay.size
        return ROUNDING_SHARE * (1.0 + turnover)


def _prepare(room: RoomPricing, price: FloatArray) -> _Problem:
    """Play the first lock and lay out the frame of the grids."""
    fixed, min_off, min_on = room.relay_fixed, room.min_off_steps, room.min_on_steps
    relay = int(room.relay_on_at_start)
    ahead = schedules.transitions(fixed, min_off, min_on)
    begin = schedules.locked_until(fixed, min_off, min_on, relay, room.steps_in_state_at_start)
    columns = (
        room.decay, room.gain_on_k, room.drift_k, price * room.energy_on_kwh, room.comfort_low_c,
        room.comfort_high_c, room.penalty_low_eur_per_k, room.penalty_high_eur_per_k,
    )  # fmt: skip
    steps = np.ascontiguousarray(np.stack(columns, axis=1))
    terminal = terminal_as_cost(room.terminal_temperature_c, room.terminal_value_eur)
    start, prefix = float(room.start_temperature_c), 0.0
    if begin > 0:
        start, prefix = one_node.run(0, begin, relay, start, steps, terminal)
    grid = layout.frame(begin, start, COARSE_SPACING_K, fixed, steps)
    return _Problem(room, begin, relay, start, prefix, ahead, steps, terminal, *grid)


def _simulate(problem: _Problem, schedule: IntArray) -> tuple[float, FloatArray]:
    room = problem.room
    cost, temperatures = one_node.simulate(
        schedule, float(room.start_temperature_c), int(room.relay_on_at_start), problem.steps,
        problem.terminal, float(room.switch_cost_eur),
    )  # fmt: skip
    return float(cost), temperatures
