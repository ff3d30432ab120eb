"""Planning of coupled or two-node houses: freeze, generate columns, choose, correct, repeat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.choose import dive, solve_fixed
from services.optimizer.core.columns import relay_steps
from services.optimizer.core.coupled import CoupledPricer, HeatPrices, JointArrays
from services.optimizer.core.decomposition import Decomposed
from services.optimizer.core.house import House
from services.optimizer.core.lp_rung import Relaxation, place, solve_relaxation
from services.optimizer.core.master import Master, Prices
from services.optimizer.core.room_rows import temperature_limits

Floats = NDArray[np.float64]

SEARCH = (0.04, 60)
SMOOTHING = 0.3
CORRECTION_ROUNDS = 2
WORTH_FRACTION = 1e-4
"""A correction of the reference that gains less than this share of the cost is the last."""


def heat_prices(house: House, relaxation: Relaxation) -> HeatPrices:
    """Values of heat from the duals of the relaxation's dynamics."""
    air = np.zeros((len(house.rooms), house.steps))
    end = np.zeros(len(house.rooms))
    for room, columns in zip(house.rooms, relaxation.rooms, strict=True):
        air[room.index] = np.maximum(-relaxation.solution.duals[columns.dynamics[0]], 0.0)
        if room.nodes == 2:
            end[room.index] = min(0.0, relaxation.solution.duals[columns.dynamics[1][-1]])
    return HeatPrices.adjoint(house, air, end)


class CoupledRun:
    """One run for a coupled house."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.steps = relay_steps(house)
        self.joint = JointArrays.of(house)
        self.relaxation = solve_relaxation(house)
        self.prices = heat_prices(house, self.relaxation)
        self.master = Master(house, self.steps)
        coldest, hottest = temperature_limits(house)
        self.pricers = [
            CoupledPricer(
                house, self.joint, r.index, self.steps,
                (coldest[r.index], hottest[r.index]), self.prices,
            )
            for r in house.rooms
        ]
        self.done = Decomposed(np.zeros((len(house.rooms), house.steps)), -np.inf, lp_solves=1)

    def run(self, rounds: int, corrections: int) -> Decomposed:
        """Generate columns at a frozen reference, choose, correct the reference; keep the best."""
        duals = self._first_duals()
        self._freeze(self.joint.simulate(self.relaxation.duty))
        best = np.inf
        for correction in range(corrections):
            duals = self._columns(duals, rounds if correction == 0 else CORRECTION_ROUNDS)
            picked, _, solves = dive(self.master, self._price_one)
            relays = self._read(picked)
            total = place(self.house, relays).objective_eur
            self.done.lp_solves += solves + 1
            improved = total < best * (1.0 - WORTH_FRACTION)
            if total < best:
                best, self.done.relays = total, relays
            if not improved:
                break
            self._freeze(self.joint.simulate(relays))
        self.done.columns = self.master.count
        self.done.bound_eur = self.relaxation.bound
        self.duals = duals
        return self.done

    def _first_duals(self) -> Floats:
        """Duals of the master's base rows, taken from the relaxation."""
        given = self.relaxation.solution.duals
        duals = np.zeros(self.master.base.rows)
        duals[: self.master.site_rows] = given[: self.master.site_rows]
        for tail, whole in zip(self.master.tail, self.relaxation.rooms, strict=False):
            for rows, all_rows in zip(tail.dynamics, whole.dynamics, strict=True):
                duals[rows] = given[all_rows[self.steps :]]
        return duals

    def _freeze(self, temperatures: Floats) -> None:
        for pricer in self.pricers:
            pricer.freeze(temperatures)
            index = pricer.room.index
            self.master.replace(
                index, [pricer.column(column.relay) for column in self.master.columns[index]]
            )

    def _columns(self, duals: Floats, rounds: int) -> Floats:
        """Some pricing rounds from `duals`; returns the best prices seen."""
        best, best_duals = -np.inf, duals
        for _ in range(rounds):
            prices = self.master.prices(duals, np.zeros(len(self.pricers)))
            value = self.master.base.dual_bound(duals)
            for pricer in self.pricers:
                room = pricer.room.index
                column, cost = pricer.search(
                    prices.on_cost_eur[room], prices.end_slope_eur_per_k[room], *SEARCH
                )
                value += cost
                self.master.add(room, column)
            self.done.rounds += 1
            self.done.priced += len(self.pricers)
            if value > best:
                best, best_duals = value, duals
            solution, _, _ = self.master.solve()
            self.done.lp_solves += 1
            mine = solution.duals[: self.master.base.rows]
            duals = SMOOTHING * best_duals + (1 - SMOOTHING) * mine
        return best_duals

    def _price_one(self, room: int, prices: Prices) -> bool:
        column, _ = self.pricers[room].search(
            prices.on_cost_eur[room], prices.end_slope_eur_per_k[room], *SEARCH
        )
        self.done.priced += 1
        return self.master.add(room, column)

    def _read(self, picked: list[int]) -> Floats:
        relays = np.zeros((len(self.pricers), self.house.steps))
        for room, pick in enumerate(picked):
            relays[room, : self.steps] = self.master.columns[room][pick].relay
        if self.master.tail:
            # the tail is linear and starts where the true joint simulation ends
            solution, _, _ = solve_fixed(self.master, dict(enumerate(picked)))
            for room, tail in enumerate(self.master.tail):
                relays[room, self.steps :] = np.clip(solution.values[tail.relay], 0.0, 1.0)
        return relays
