"""The search that both models share: bound, schedule, finer grid where it matters, until good."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import schedules
from .room import FloatArray, IntArray, RoomPriced
from .scratch import Scratch

HALVINGS = 1
"""Each level halves the node distance so many times."""

FINEST_LEVEL = 12
"""The last level; its nodes lie 4096 times closer than the first one's."""

MARGIN_COARSE_NODES = 3
"""Coarse nodes added on both sides of the living temperatures before refining them."""

ALLOWANCE_SHARE = 0.1
"""Share of the gap by which a level's values may fall below the coarser level's."""

NODES_PER_GAIN = 64.0
"""How close the nodes must be before a bound that stands still means anything."""

STANDS_STILL = 0.75
"""Two levels that leave more than this share of the gap mean that the corridor is too narrow."""

ROUNDING_SHARE = 1e-10
"""Share of the money turned over that is given away for rounding errors (about 1e-13 in truth)."""


class Level(NamedTuple):
    """One grid: rows of node values by step and relay state (see the models' lower_pass)."""

    spacing: FloatArray
    rows: IntArray
    values: FloatArray


class Kernels(NamedTuple):
    """The compiled passes of one model of a room; they share their arguments."""

    next_nodes: Callable[..., tuple[IntArray, int]]
    place_rows: Callable[..., int]
    lower_pass: Callable[..., int]
    greedy: Callable[..., float]
    label_pass: Callable[..., tuple[float, FloatArray, FloatArray]]
    row_columns: int


class Search(ABC):
    """Levels of the grid, the incumbent schedule and the best bound so far.

    `lay` sets the frame: start, cost before `begin`, offset, spacing, its doublings, the range that
    can be reached, and what the passes have in common.
    """

    kernels: Kernels

    steps: FloatArray
    start: float | FloatArray
    prefix_cost: float
    offset: FloatArray
    spacing: FloatArray
    doubling: IntArray
    reach_low: FloatArray
    reach_high: FloatArray
    common: tuple[Any, ...]

    slack_shares: tuple[float, ...]
    """Labels above the incumbent by this share of the gap still mark temperatures worth refining;
    the next share is tried when the bound stands still. Found by bench/pricing.py."""

    patience: int
    """Levels before the bound is judged: nodes must be close against what a step with the relay on
    adds, or interpolation amounts to relays on by halves, whose cost no finer grid raises."""

    def __init__(
        self,
        *,
        ahead: IntArray,
        fixed: IntArray,
        relay: int,
        begin: int,
        on_cost: FloatArray,
        switch_cost: float,
        guess: IntArray | None,
        scratch: Scratch | None,
    ) -> None:
        self.ahead = ahead
        self.relay = relay
        self.begin = begin
        self.fixed = fixed
        self.on_cost = on_cost
        self.scratch = Scratch() if scratch is None else scratch
        self.turnover = 1.0 + float(np.abs(on_cost).sum()) + switch_cost * fixed.size
        self.guessed = guess is not None
        self.schedule = schedules.idle_schedule(fixed, relay)
        if guess is not None:
            self.schedule = np.ascontiguousarray(guess, dtype=np.int64)
            if self.schedule.shape != fixed.shape or not schedules.obeys(
                self.schedule, ahead, relay, begin
            ):
                raise ValueError("guess must be a schedule that obeys orders and minimum times")
        self.lay()
        self.cost, self.temperatures = self.simulate(self.schedule)
        self.bound = -np.inf
        self.nodes = 0
        self.slack_share = self.slack_shares[0]
        self.depth = 0

    @abstractmethod
    def lay(self) -> None:
        """Lay the frame of all grids along the incumbent: its own steps map nodes onto nodes."""

    @abstractmethod
    def simulate(self, schedule: IntArray) -> tuple[float, FloatArray]:
        """Exact cost and temperatures of a schedule."""

    @abstractmethod
    def root_value(self, level: Level) -> float:
        """Value of the start on a level, EUR, without the cost before `begin`."""

    @abstractmethod
    def label_memory(self, size: int) -> tuple[FloatArray | IntArray, ...]:
        """Working memory of a label pass over `size` nodes."""

    @abstractmethod
    def widen(self, alive_low: FloatArray, alive_high: FloatArray) -> None:
        """Let the living temperatures hold the incumbent's."""

    def refine(self, gap_fraction: float, max_nodes: int) -> None:
        """Run levels until the gap or the work count is reached."""
        if self.begin == self.schedule.size:
            self.bound = self.cost - self._rounding()
            return
        if not self.guessed:
            spacing, rows, _ = self._first_grid()
            self._run(spacing, rows, None)
        for share in self.slack_shares:
            self.slack_share = share
            self.lay()
            if not self._descend(gap_fraction, max_nodes):
                break

    def _descend(self, gap_fraction: float, max_nodes: int) -> bool:
        """Run levels from the coarsest on; False when nothing more is to be done.

        True when the bound stands still: then schedules slip out through the coarse values around
        temperatures that were judged dead too early, and a wider corridor helps.
        """
        self.depth = 0
        spacing, rows, count = self._first_grid()
        if self.nodes > 0 and self.nodes + count > max_nodes:
            return False
        level = self._run(spacing, rows, None)
        gaps = [self.cost - self._level_bound(level)]
        while True:
            wanted = max(gap_fraction * self._spending(), 2.0 * self._rounding())
            if self.cost - self.bound <= wanted:
                return False
            still = len(gaps) > self.patience and gaps[-1] > STANDS_STILL * gaps[-3]
            if len(gaps) > FINEST_LEVEL or still:
                return True
            alive_low, alive_high = self._living(level)
            spacing, rows, count = self._next_grid(level, alive_low, alive_high)
            if self.nodes + count > max_nodes:
                return False
            self.depth += 1
            level = self._run(spacing, rows, level)
            gaps.append(self.cost - self._level_bound(level))

    def _first_grid(self) -> tuple[FloatArray, IntArray, int]:
        """Spacing, rows and number of nodes of the level that covers everything reachable."""
        everywhere = np.full((self.offset.shape[0], 2, *self.offset.shape[1:]), np.inf)
        rows, count = self.kernels.next_nodes(
            self.begin, self.offset, self.spacing, self.reach_low, self.reach_high, -everywhere,
            everywhere, 0, 0, np.empty((0, 2, self.kernels.row_columns), np.int64),
        )  # fmt: skip
        return self.spacing, rows, count

    def _next_grid(
        self, coarse: Level, alive_low: FloatArray, alive_high: FloatArray
    ) -> tuple[FloatArray, IntArray, int]:
        """The same for the level after `coarse`, around the living temperatures."""
        spacing = coarse.spacing / (1 << HALVINGS)
        rows, count = self.kernels.next_nodes(
            self.begin, self.offset, spacing, self.reach_low, self.reach_high, alive_low,
            alive_high, MARGIN_COARSE_NODES << HALVINGS, HALVINGS, coarse.rows,
        )  # fmt: skip
        return spacing, rows, count

    def _run(self, spacing: FloatArray, rows: IntArray, coarse: Level | None) -> Level:
        """Lower bound pass and greedy schedule."""
        size = self.kernels.place_rows(
            self.begin, self.ahead, self.steps, spacing, self.doubling, rows
        )
        # the coarser level's memory stays untouched
        level = Level(spacing, rows, self.scratch.floats(f"values {self.depth % 2}", size))
        below = level if coarse is None else coarse
        self.nodes += self.kernels.lower_pass(
            self.begin, *self.common, spacing, self.doubling, rows, level.values, below.rows,
            below.values, 0 if coarse is None else HALVINGS, self._allowance(coarse),
        )  # fmt: skip
        found = self.schedule.copy()
        cost = self.kernels.greedy(
            self.begin, self.start, self.relay, *self.common, spacing, rows, level.values, found
        )
        self._offer(found, cost)
        self.bound = max(self.bound, self._level_bound(level))
        return level

    def _living(self, level: Level) -> tuple[FloatArray, FloatArray]:
        """Temperatures worth refining, by a label pass that offers its best schedule."""
        ceiling = self.cost + self.slack_share * (self.cost - self._level_bound(level))
        found = self.schedule.copy()
        best, alive_low, alive_high = self.kernels.label_pass(
            self.begin, self.start, self.relay, self.cost - self.prefix_cost,
            ceiling - self.prefix_cost, *self.common, level.spacing, level.rows, level.values,
            *self.label_memory(level.values.size), found,
        )  # fmt: skip
        self._offer(found, best)
        self.widen(alive_low, alive_high)
        return alive_low, alive_high

    def _allowance(self, coarse: Level | None) -> float:
        """How far a level may fall below the coarser one, EUR (see shift_grid.combine_levels)."""
        if coarse is None:
            return 0.0
        return ALLOWANCE_SHARE * max(0.0, self.cost - self._level_bound(coarse))

    def _offer(self, schedule: IntArray, cost_after_lock: float) -> None:
        """Take a schedule as incumbent if it is cheaper."""
        if cost_after_lock + self.prefix_cost >= self.cost:
            return
        cost, temperatures = self.simulate(schedule)
        if cost < self.cost:
            self.schedule, self.cost, self.temperatures = schedule, cost, temperatures

    def _level_bound(self, level: Level) -> float:
        return self.root_value(level) + self.prefix_cost - self._rounding()

    def _spending(self) -> float:
        """Money that the incumbent moves, EUR: the scale of the gap."""
        return max(float(np.abs(self.on_cost) @ self.schedule), abs(self.cost))

    def _rounding(self) -> float:
        return ROUNDING_SHARE * (self.turnover + abs(self.cost))

    def result(self) -> RoomPriced:
        """The answer."""
        schedule = self.schedule.astype(np.uint8)
        return RoomPriced(schedule, self.cost, self.bound, self.temperatures, self.nodes)


def levels_before_judging(spacing: float, gain: FloatArray) -> int:
    """Levels until NODES_PER_GAIN nodes fit into the median step of a relay that is on."""
    return levels_until(spacing, float(np.median(np.abs(gain))))


def levels_until(spacing: float, step: float) -> int:
    """The same for a step (K) that is known."""
    if step <= 0.0:
        return 3
    levels = int(np.ceil(np.log2(NODES_PER_GAIN * spacing / step)))
    return min(max(levels, 2), 9) + 1


def checked_price(price_eur_per_kwh_on: FloatArray, steps: int) -> FloatArray:
    """The prices as contiguous float64 [steps]; ValueError if they are not that, or not finite."""
    price = np.ascontiguousarray(price_eur_per_kwh_on, dtype=np.float64)
    if price.shape != (steps,):
        raise ValueError(f"price_eur_per_kwh_on must be a vector of {steps} prices")
    if not np.isfinite(price).all():
        raise ValueError("price_eur_per_kwh_on holds NaN or infinity: price every step")
    return price
