"""Dantzig-Wolfe planning of rooms that meet only in the balance: columns, choice, certificate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.columns import RoomPricer, relay_steps
from services.optimizer.core.generation import (
    FAR_GAP,
    WIDE_GAP,
    Decomposed,
    Generation,
    Stabilised,
    relaxed_duals,
)
from services.optimizer.core.house import House
from services.optimizer.core.linear_model import Solution
from services.optimizer.core.lp_rung import BIASES
from services.optimizer.core.pricing import Scratch
from services.optimizer.core.rounding import round_relays
from services.optimizer.core.whole_choices import whole_beside_fractions, whole_bound

Floats = NDArray[np.float64]

COARSE, FINE, CERTAIN = 1e-2, 2e-3, 5e-5
"""Gap of a room's schedule: coarse while the prices still move far, close for the certificate."""

USUAL_STEPS = 192
"""With more steps a room's gap costs more, so that all gaps are wider in proportion."""

COARSE_STOP = 5e-3
FINE_STOP, CUT_STOP = 7e-5, 2e-4
"""Relative distance of the master's LP and the best priced value at which a phase ends; cuts leave
more room."""

PATIENCE, LATE_STOP = 12, 1e-3
"""After so many rounds the last phase ends at this distance: then limits bind, and whole schedules
miss the master's fractions by far more."""

WARM_GAP, WARM_STOP = 3e-3, 7e-4
"""A plan that follows another is good enough at this gap, and its columns at this distance: an hour later
there is the next one."""

FAR_OFF = 0.1
"""Share of the cost that the old plan lies above the first priced value where its prices are no good."""

PLACING_SHARE = 0.5
"""Share of the wanted gap kept back for the site's integers, which are placed after the choice. Where they cost
more, the rooms choose again beside them."""


def decompose(
    house: House, rounds: int, target_gap: float, warm: Floats | None = None
) -> Decomposed:
    """Generate columns, certify at the best prices seen, choose one schedule per room.

    `warm` are the relays (rooms, steps) of an earlier plan.
    """
    return _Decomposition(house, warm).run(rounds, target_gap)


class _Decomposition(Generation):
    """One run: the best prices and the best true bound."""

    pricers: list[RoomPricer]

    def __init__(self, house: House, warm: Floats | None) -> None:
        steps = relay_steps(house)
        scratch = Scratch()
        self.wider = max(1.0, steps / USUAL_STEPS)
        super().__init__(
            house, [RoomPricer(house, r.index, steps, scratch) for r in house.rooms],
            COARSE * self.wider,
        )
        self.warm = warm is not None
        self.proof: Floats | None = None
        """Prices at which the bound was found."""
        self.starts: list[list[int | None]] = []
        self.old: Solution | None = None
        """The LP with the old plan, which is a plan still where its schedules are allowed."""
        if warm is not None:
            self.starts.append(self.offer(warm))
            self.done.warm_columns = self.master.count
        if self.warm and self.done.warm_columns == len(self.pricers):
            self.old, _, _ = self.master.solve()
            self.done.lp_solves += 1

    def run(self, rounds: int, target_gap: float) -> Decomposed:
        done = self.done
        target_gap *= self.wider
        dear = PLACING_SHARE * target_gap
        if self.warm:
            target_gap = max(target_gap, WARM_GAP)
        near = target_gap - dear
        prices = self._go_on(rounds) if self.warm else self._begin(rounds)
        slack = self._certify(prices.best_duals)
        picked, solution = self._pick(near, slack)
        if self._misses(self._cost(solution), near, slack):
            fractions, _, _ = self.master.solve()
            done.lp_solves += 1
            self._certify(prices.between(fractions.duals[: self.master.base.rows], 0.5))
        self.keep_if_cheaper(self.read(picked, solution), anew=True)
        assert done.placed is not None
        cost = done.placed.objective_eur
        if done.placed.placing_eur > dear * abs(cost):
            self.choose_again(picked, done.placed.whole, prices.best_duals, LATE_STOP)
        elif self.quick and self.master.goes_on and self._misses(cost, target_gap, slack):
            whole = whole_beside_fractions(self.master)
            if whole or cost - done.bound_eur > FAR_GAP * abs(cost):
                self.choose_again(picked, whole, prices.best_duals, LATE_STOP)
        cost = done.placed.objective_eur
        if cost - done.bound_eur > FAR_GAP * abs(cost):
            self.keep_rounded()
        if self._far_from_bound():
            self._certify_whole()
        if self._far_from_bound():
            self.polish(prices.best_duals, LATE_STOP)
        self.settle_site()
        done.columns = self.master.count
        return done

    def _begin(self, rounds: int) -> Stabilised:
        """Columns from the relaxation's prices on, coarse ones first."""
        prices = Stabilised(self._first_duals())
        met = self.generate(prices, rounds, COARSE_STOP)
        # coarse values are no match for fine ones: only the prices go on, and where the rounds are used up the
        # best of them, as nobody will ask what the next ones are worth
        self.effort = FINE * self.wider
        prices = Stabilised(prices.duals if met else prices.best_duals)
        self.cutting = self.master.cuts_pay()
        stop = min((CUT_STOP if self.cutting else FINE_STOP) * self.wider, LATE_STOP)
        if not self.generate(prices, min(rounds, PATIENCE) - self.done.rounds, stop):
            self.generate(prices, rounds - self.done.rounds, LATE_STOP)
        self.cutting = False
        return prices

    def _pick(self, near: float, slack: float) -> tuple[list[int], Solution]:
        """One schedule a room, searched for until they are this near to the bound."""
        picked, solution = self.choose(self.starts, rounded=True)
        if self.old is not None and self.old.objective < solution.objective:
            # its schedules are the first columns
            picked, solution = [0] * len(self.pricers), self.old
        return self.improve(
            picked, solution, lambda found: not self._misses(self._cost(found), near, slack)
        )

    def _cost(self, solution: Solution) -> float:
        return solution.objective + self.house.problem.grid.fixed_fee_eur

    def improve(
        self, picked: list[int], solution: Solution,
        enough: Callable[[Solution], bool] = lambda found: False,
    ) -> tuple[list[int], Solution]:
        """Rooms answer each other, few of them dive at once, and answer again, until that is `enough`;
        rooms of heating groups have settled."""
        for search in (self._settle, self.refine, self._settle):
            if self.master.site.group_rows or enough(solution):
                break
            picked, solution = search(picked, solution)
        return picked, solution

    def _settle(self, picked: list[int], solution: Solution) -> tuple[list[int], Solution]:
        trial, found = self.settled(picked)
        return (trial, found) if found.objective < solution.objective else (picked, solution)

    def _misses(self, cost: float, target_gap: float, slack: float) -> bool:
        """Whether a cost is too far above the bound, and rooms searched too coarsely are not why: then
        neither columns nor prices would help."""
        missing = cost - self.done.bound_eur
        return missing > target_gap * abs(cost) and slack < 0.5 * missing

    def _go_on(self, rounds: int) -> Stabilised:
        """Columns at the prices beside the old plan, or at the relaxation's where those are far off."""
        if self.old is not None and not self.master.site.group_rows:
            prices = Stabilised(self.old.duals[: self.master.base.rows])
            met = self.generate(prices, 1, WARM_STOP)
            if self.old.objective - prices.best < FAR_OFF * abs(self.old.objective):
                if not met:
                    self.generate(prices, rounds - 1, WARM_STOP)
                return prices
        prices = Stabilised(self._first_duals())
        self.generate(prices, rounds - self.done.rounds, WARM_STOP)
        return prices

    def _first_duals(self) -> Floats:
        """Prices of the relaxation."""
        duals = relaxed_duals(self.master, self.relaxation)
        if self.master.site.group_rows:
            relays = round_relays(self.house, self.relaxation.air_c, BIASES[-1])
            self.starts.append(self.offer(relays))
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
        if bound > self.done.bound_eur:
            self.done.bound_eur, self.proof = bound, duals
        return slack

    def _far_from_bound(self) -> bool:
        """Whether the gap asks for searches with whole choices, and they are quick."""
        assert self.done.placed is not None
        cost = self.done.placed.objective_eur
        return self.quick and cost - self.done.bound_eur > WIDE_GAP * abs(cost)

    def _certify_whole(self) -> None:
        """The bound with the site's choices whole, at the same prices."""
        if self.proof is None or not self.master.base.vectors()[5].any():
            return
        ends = [
            tuple(pricer.dynamics.track(np.full(self.steps, on))[-1, 0] for on in (0, 1))
            for pricer in self.pricers
        ]
        whole = whole_bound(self.master, self.proof, ends)
        self.done.lp_solves += 1
        self.done.bound_eur += max(0.0, whole - self.master.base.dual_bound(self.proof))
