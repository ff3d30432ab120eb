"""Dantzig-Wolfe planning of rooms that meet only in the balance: columns, choice, certificate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.choose import solve_fixed
from services.optimizer.core.columns import RoomPricer, relay_steps
from services.optimizer.core.generation import (
    FAR_GAP,
    Decomposed,
    Generation,
    Stabilised,
    WarmColumns,
    relaxed_duals,
)
from services.optimizer.core.house import House
from services.optimizer.core.lp_rung import BIASES, place, solve_relaxation
from services.optimizer.core.pricing import Scratch
from services.optimizer.core.rounding import round_relays

Floats = NDArray[np.float64]

COARSE, FINE, CERTAIN = 1e-2, 2e-3, 5e-5
"""Gap of a room's schedule: coarse while the prices still move far, close for the certificate."""

USUAL_STEPS = 192
"""With more steps a room's gap costs more, so that all gaps are wider in proportion."""

COARSE_STOP = 5e-3
FINE_STOP = 3e-4
"""Relative distance of the master's LP and the best priced value at which a phase ends."""

PATIENCE, LATE_STOP = 12, 1e-3
"""After so many rounds the last phase ends at this distance: then limits bind, and whole schedules
miss the master's fractions by far more."""

WARM_GAP = 3e-3
"""A plan that follows another is good enough at this gap: an hour later there is the next one."""

PLACING_SHARE = 0.2
"""Share of the wanted gap kept back for the site's integers, which are placed after the choice."""

AGAIN_SHARE = 0.5
"""Where they cost more than this share, the rooms choose again beside them."""


def decompose(
    house: House, rounds: int, target_gap: float, warm: WarmColumns | None = None
) -> Decomposed:
    """Generate columns, certify at the best prices seen, choose one schedule per room."""
    return _Decomposition(house, warm).run(rounds, target_gap)


class _Decomposition(Generation):
    """One run: the best prices and the best true bound."""

    pricers: list[RoomPricer]

    def __init__(self, house: House, warm: WarmColumns | None) -> None:
        steps = relay_steps(house)
        scratch = Scratch()
        self.wider = max(1.0, steps / USUAL_STEPS)
        super().__init__(
            house, [RoomPricer(house, r.index, steps, scratch) for r in house.rooms],
            COARSE * self.wider,
        )
        self.warm = warm
        self.starts: list[list[int | None]] = []
        if warm is not None:
            self.starts.append(self.offer(warm.relays))
            self.done.warm_columns = self.master.count

    def run(self, rounds: int, target_gap: float) -> Decomposed:
        done = self.done
        dear = AGAIN_SHARE * target_gap
        target_gap *= 1.0 - PLACING_SHARE
        prices = Stabilised(self._first_duals())
        if self.warm is not None:
            target_gap = max(target_gap, WARM_GAP)
            self.generate(prices, rounds, LATE_STOP)
        else:
            self.generate(prices, rounds, COARSE_STOP)
            # coarse values are no match for fine ones: only the prices go on
            self.effort, prices = FINE * self.wider, Stabilised(prices.duals)
            stop = min(FINE_STOP * self.wider, LATE_STOP)
            if not self.generate(prices, min(rounds, PATIENCE) - done.rounds, stop):
                self.generate(prices, rounds - done.rounds, LATE_STOP)
        slack = self._certify(prices.best_duals)
        picked, objective = self.choose(self.starts, rounded=True)
        if done.warm_columns == len(self.pricers):
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
            picked, objective = self.refine(picked, objective)
            missing = objective + fee - done.bound_eur
        if missing > target_gap * abs(objective + fee) and slack < 0.5 * missing:
            solution, _, _ = self.master.solve()
            done.lp_solves += 1
            self._certify(
                0.5 * prices.best_duals + 0.5 * solution.duals[: self.master.base.rows]
            )
        done.placed = place(self.house, self.read(picked))
        done.lp_solves += 1
        if done.placed.placing_eur > dear * abs(objective + fee):
            self.choose_again(picked, prices.best_duals, LATE_STOP)
        cost = done.placed.objective_eur
        if cost - done.bound_eur > FAR_GAP * abs(cost):
            self.keep_rounded()
        self.settle_site()
        done.columns = self.master.count
        return done

    def _first_duals(self) -> Floats:
        """Prices of the relaxation, those of the last plan for the energy where there is one."""
        self.done.lp_solves += 1
        self.relaxation = solve_relaxation(self.house)
        duals = relaxed_duals(self.master, self.relaxation)
        if self.master.site.group_rows:
            relays = round_relays(self.house, self.relaxation.air_c, BIASES[-1])
            self.starts.append(self.offer(relays))
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
        for pricer, guess in zip(self.pricers, self.best_columns(prices), strict=True):
            room = pricer.room.index
            column, cost, lower = pricer.certify(
                prices.on_cost_eur[room], prices.end_slope_eur_per_k[room], guess,
                CERTAIN * self.wider,
            )
            self.master.add(room, column)
            bound += lower
            slack += cost - lower
            self.done.priced += 1
        self.done.bound_eur = max(self.done.bound_eur, bound)
        return slack
