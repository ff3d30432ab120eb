"""Planning of coupled or two-node houses: freeze, generate columns, choose, correct, repeat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.columns import relay_steps
from services.optimizer.core.coupled import CoupledPricer, HeatPrices
from services.optimizer.core.coupled_bound import coupled_bound
from services.optimizer.core.frozen_bound import frozen_bound
from services.optimizer.core.generation import (
    Decomposed,
    Generation,
    Stabilised,
    relaxed_duals,
)
from services.optimizer.core.house import House
from services.optimizer.core.linear_model import Solution
from services.optimizer.core.lp_rung import Relaxation, solve_relaxation
from services.optimizer.core.room_rows import temperature_limits
from services.optimizer.core.trajectories import PaddedHouse

Floats = NDArray[np.float64]

CELL_WIDTH_K = 0.04
"""Of the cells that guide the search."""

STOP = 1e-3
"""Distance of the master's LP and the best priced value at which columns are enough: the frozen
neighbours are further off the truth."""

CORRECTION_ROUNDS = 2

FROZEN_FAR_GAP = 2e-2
"""In place of `FAR_GAP`: beside frozen neighbours a small gain may well be a loss in truth."""

DEAR_PLACING = 5e-3
"""Where the site's whole choices cost more than this share, the rooms choose again beside them."""


def heat_prices(house: House, relaxation: Relaxation) -> HeatPrices:
    """Values of heat from the duals of the relaxation's dynamics."""
    air = np.zeros((len(house.rooms), house.steps))
    end = np.zeros(len(house.rooms))
    for room, columns in zip(house.rooms, relaxation.rooms, strict=True):
        air[room.index] = -relaxation.solution.duals[columns.dynamics[0]]
        if room.nodes == 2:
            dual = float(relaxation.solution.duals[columns.dynamics[1][-1]])
            end[room.index] = min(0.0, max(dual, -float(room.terminal_value_eur_per_k[1])))
    return HeatPrices.adjoint(house, air, end, house.steps)


class CoupledRun(Generation):
    """One run for a coupled house."""

    pricers: list[CoupledPricer]
    far_gap = FROZEN_FAR_GAP

    def __init__(self, house: House, warm: Floats | None = None) -> None:
        self.joint = PaddedHouse.of(house)
        self.relaxation = solve_relaxation(house)
        self.prices = heat_prices(house, self.relaxation)
        self.reach = coldest, hottest = temperature_limits(house)
        steps = relay_steps(house)
        super().__init__(
            house,
            [
                CoupledPricer(
                    house, r.index, steps, (coldest[r.index], hottest[r.index]), self.prices
                )
                for r in house.rooms
            ],
            CELL_WIDTH_K,
        )
        self.done.lp_solves = 1
        self.neighbours = any(room.neighbour_gain for room in house.rooms)
        self.certified = False
        self.warm = warm

    def run(self, rounds: int, corrections: int, certify: bool = True) -> Decomposed:
        """Generate columns at a frozen reference, choose from the best plan so far on, correct the reference;
        keep the best."""
        duals = relaxed_duals(self.master, self.relaxation)
        start = self.relaxation.duty if self.warm is None else self.warm
        self._freeze(self.joint.simulate(start))
        starts = []
        if self.warm is not None:
            old = self.offer(start)
            self.done.warm_columns = self.master.count
            starts.append(old)
            if None not in old:
                self.keep_if_cheaper(self.read([pick for pick in old if pick is not None]))
        starts.append(self.keep_rounded())
        for correction in range(corrections):
            prices = Stabilised(duals)
            self.generate(prices, rounds if correction == 0 else CORRECTION_ROUNDS, STOP)
            duals = prices.best_duals
            picked, solution = self.choose(starts)
            improved = self.keep_if_cheaper(self.read(picked))
            if not improved and correction > 0:
                picked, _ = self.refine(picked, solution)
                improved = self.keep_if_cheaper(self.read(picked))
            if not improved and correction > 0:
                break
            self._freeze(self._air())
            assert self.done.placed is not None
            starts = [self.offer(self.done.placed.decisions.relays)]
        placed = self.done.placed
        assert placed is not None
        if placed.placing_eur > DEAR_PLACING * abs(placed.objective_eur):
            self.choose_again(picked, placed.whole, duals, STOP)
        self.settle_site()
        self.done.columns = self.master.count
        self.done.bound_eur = self.relaxation.bound
        if certify:
            self._certify(duals)
        return self.done

    def _certify(self, duals: Floats) -> None:
        """The better of the relaxation's bound and the Lagrangian bound; where rooms have neighbours, also that
        of the house with these frozen as the plan has them."""
        prices = self.master.prices(duals, np.zeros(len(self.pricers)))
        site_bound, air = self.master.base.dual_bound(duals), self._air()
        assert self.done.placed is not None
        cost_eur = self.done.placed.objective_eur
        if self.neighbours and self._allowed():
            self._freeze(air)
            self.done.frozen_bound_eur = frozen_bound(
                self.house, self.pricers, site_bound, prices, self.best_columns(prices), cost_eur
            )
            self.done.priced += len(self.pricers)
        bound = coupled_bound(
            self.house, self.pricers, site_bound, prices, self.prices, self.reach, air,
            self.best_columns(prices), cost_eur,
        )
        self.done.priced += len(self.pricers)
        if bound is not None and bound > self.done.bound_eur:
            self.done.bound_eur, self.certified = bound, True

    def _allowed(self) -> bool:
        """Whether the plan's relays keep orders and minimum times, as all do that the bounds hold for."""
        assert self.done.placed is not None
        relays = self.done.placed.decisions.relays[:, : self.steps].astype(np.int64)
        return all(
            pricer.feasible(np.ascontiguousarray(relays[pricer.room.index]))
            for pricer in self.pricers
        )

    def read(self, picked: list[int], solution: Solution | None = None) -> Floats:
        """Relays of one schedule a room; duties behind them from where the house truly is, and not as in
        `solution`, where every room is beside frozen neighbours."""
        relays = self.relays(picked)
        if self.master.tail:
            columns = [self.master.columns[room][pick] for room, pick in enumerate(picked)]
            ends = self.ends(relays)
            solution = self.master.solve_tail(
                [replace(column, end_c=end) for column, end in zip(columns, ends, strict=True)]
            )
            self.done.lp_solves += 1
            self.put_duties(relays, solution)
        return relays

    def ends(self, relays: Floats) -> list[Floats]:
        """Temperatures of each room (its nodes) where the tail begins."""
        temperatures = self.joint.simulate(relays)
        return [
            temperatures[room.index, self.steps, : room.nodes] for room in self.house.rooms
        ]

    def _air(self) -> Floats:
        """Temperatures of the best plan so far."""
        assert self.done.placed is not None
        return self.joint.simulate(self.done.placed.decisions.relays)

    def _freeze(self, temperatures: Floats) -> None:
        for pricer in self.pricers:
            pricer.freeze(temperatures)
            index = pricer.room.index
            self.master.replace(
                index, [pricer.column(column.relay) for column in self.master.columns[index]]
            )
