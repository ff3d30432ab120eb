"""Dantzig-Wolfe planning of rooms that meet only in the balance: columns, choice, certificate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.choose import dive, refine, solve_fixed
from services.optimizer.core.columns import RoomPricer, relay_steps
from services.optimizer.core.generation import (
    COARSE,
    FINE,
    Decomposed,
    Generation,
    Stabilised,
    WarmColumns,
    relaxed_duals,
)
from services.optimizer.core.house import House
from services.optimizer.core.lp_rung import solve_relaxation
from services.optimizer.core.pricing import Scratch
from services.optimizer.core.room_rows import temperature_limits

Floats = NDArray[np.float64]

COARSE_STOP = 5e-3
FINE_STOP = 1.5e-4
"""Relative distance of the master's LP and the best priced value at which a phase ends."""

PATIENCE, LATE_STOP = 12, 1e-3
"""After so many rounds the last phase ends at this distance: then limits bind, and whole schedules
miss the master's fractions by far more."""

REFINE_GROUPS = 4

PLACING_SHARE = 0.2
"""Share of the wanted gap kept back for the site's integers, which are placed after the choice."""


def decompose(
    house: House,
    rounds: int,
    target_gap: float,
    warm: WarmColumns | None = None,
    room_gap: float = 2e-4,
) -> Decomposed:
    """Generate columns, certify at the best prices seen, choose one schedule per room."""
    return _Decomposition(house, warm, room_gap).run(rounds, target_gap)


class _Decomposition(Generation):
    """One run: the best prices and the best true bound."""

    pricers: list[RoomPricer]

    def __init__(self, house: House, warm: WarmColumns | None, room_gap: float) -> None:
        steps = relay_steps(house)
        coldest, hottest = temperature_limits(house)
        super().__init__(
            house,
            [
                RoomPricer(house, r.index, steps, (coldest[r.index], hottest[r.index]))
                for r in house.rooms
            ],
        )
        self.room_gap = room_gap
        self.scratch = Scratch()
        self.warm = warm
        if warm is not None:
            self.done.warm_columns = self.offer(warm.relays)
        self.warm_whole = self.done.warm_columns == len(self.pricers)

    def run(self, rounds: int, target_gap: float) -> Decomposed:
        done = self.done
        target_gap *= 1.0 - PLACING_SHARE
        duals = self._first_duals()
        if self.warm is None:
            self.effort = COARSE
            coarse = Stabilised(duals)
            self.generate(coarse, rounds, COARSE_STOP)
            # coarse values are too optimistic to compare with fine ones: only the prices go on
            self.effort, duals = FINE, coarse.duals
        prices = Stabilised(duals)
        self.generate(prices, min(rounds, PATIENCE) - done.rounds, FINE_STOP)
        self.generate(prices, rounds - done.rounds, LATE_STOP)
        slack = self._certify(prices.best_duals)
        picked, objective, solves = dive(self.master, self.price_one)
        done.lp_solves += solves
        if self.warm_whole:
            # the old plan is a plan still: its schedules are the first columns
            old = [0] * len(self.pricers)
            solution, _, _ = solve_fixed(self.master, dict(enumerate(old)))
            done.lp_solves += 1
            if solution.objective < objective:
                picked, objective = old, solution.objective
        fee = self.house.problem.grid.fixed_fee_eur
        missing = objective + fee - done.bound_eur
        # where the rooms' own slack is the larger part, neither columns nor prices would help
        if missing > target_gap * abs(objective + fee) and slack < 0.5 * missing:
            picked, objective, solves = refine(
                self.master, picked, objective, self.price_one, REFINE_GROUPS
            )
            done.lp_solves += solves
            missing = objective + fee - done.bound_eur
        if missing > target_gap * abs(objective + fee) and slack < 0.5 * missing:
            solution, _, _ = self.master.solve()
            done.lp_solves += 1
            self._certify(
                0.5 * prices.best_duals + 0.5 * solution.duals[: self.master.base.rows]
            )
        done.relays = self.read(picked)
        done.columns = self.master.count
        return done

    def _first_duals(self) -> Floats:
        """Prices of the relaxation, those of the last plan for the energy where there is one."""
        self.done.lp_solves += 1
        duals = relaxed_duals(self.master, solve_relaxation(self.house))
        if self.warm is not None:
            price = self.warm.marginal_price * self.house.step_h
            for scenario, columns in zip(
                self.house.scenarios, self.master.site.scenarios, strict=True
            ):
                duals[columns.balance] = scenario.probability * price
        return duals

    def _certify(self, duals: Floats) -> float:
        """Lagrangian bound at `duals`: the site's dual bound plus each room's true lower bound.

        Returns how far the rooms' schedules lie above their bounds, EUR.
        """
        slack = 0.0
        prices = self.master.prices(duals, np.zeros(len(self.pricers)))
        bound = self.master.base.dual_bound(duals) + self.house.problem.grid.fixed_fee_eur
        for pricer in self.pricers:
            room = pricer.room.index
            guess = self.master.columns[room][self.master.cheapest(room, prices)]
            column, cost, lower = pricer.certify(
                prices.on_cost_eur[room], prices.end_slope_eur_per_k[room], self.room_gap, guess,
                self.scratch,
            )
            self.master.add(room, column)
            bound += lower
            slack += cost - lower
            self.done.priced += 1
        self.done.bound_eur = max(self.done.bound_eur, bound)
        return slack
