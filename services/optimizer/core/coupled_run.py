"""Planning of coupled or two-node houses: freeze, generate columns, choose, correct, repeat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.choose import dive, refine, solve_fixed
from services.optimizer.core.columns import relay_steps
from services.optimizer.core.coupled import CoupledPricer, HeatPrices
from services.optimizer.core.coupled_bound import coupled_bound
from services.optimizer.core.decomposition import Decomposed, WarmColumns, relaxed_duals
from services.optimizer.core.house import House
from services.optimizer.core.lp_rung import BIASES, Relaxation, place, solve_relaxation
from services.optimizer.core.master import Master, Prices
from services.optimizer.core.room_rows import temperature_limits
from services.optimizer.core.rounding import round_relays
from services.optimizer.core.stabilise import Stabilised
from services.optimizer.core.trajectories import PaddedHouse

Floats = NDArray[np.float64]

SEARCH = (0.04, 60)
CORRECTION_ROUNDS = 2
REFINE_GROUPS = 4
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

    def __init__(self, house: House, warm: WarmColumns | None = None) -> None:
        self.house = house
        self.steps = relay_steps(house)
        self.joint = PaddedHouse.of(house)
        self.relaxation = solve_relaxation(house)
        self.prices = heat_prices(house, self.relaxation)
        self.master = Master(house, self.steps)
        self.reach = temperature_limits(house)
        coldest, hottest = self.reach
        self.certified = False
        self.pricers = [
            CoupledPricer(
                house, r.index, self.steps, (coldest[r.index], hottest[r.index]), self.prices
            )
            for r in house.rooms
        ]
        self.done = Decomposed(np.zeros((len(house.rooms), house.steps)), -np.inf, lp_solves=1)
        self.warm = warm
        self.best, self.found = 0.0, False

    def run(self, rounds: int, corrections: int, certify: bool = True) -> Decomposed:
        """Generate columns at a frozen reference, choose, correct the reference; keep the best."""
        duals = relaxed_duals(self.master, self.relaxation)
        start = self.relaxation.duty if self.warm is None else self.warm.relays
        self._freeze(self.joint.simulate(start))
        for pricer in self.pricers if self.warm is not None else ():
            relay = np.ascontiguousarray(start[pricer.room.index, : self.steps], dtype=np.int64)
            if pricer.cells.feasible(relay):
                added = self.master.add(pricer.room.index, pricer.column(relay))
                self.done.warm_columns += int(added)
        self._offer_rounded()
        for correction in range(corrections):
            duals = self._columns(duals, rounds if correction == 0 else CORRECTION_ROUNDS)
            picked, objective, solves = dive(self.master, self._price_one)
            self.done.lp_solves += solves
            improved = self._offer(picked)
            if not improved and correction > 0:
                groups = min(len(self.pricers), REFINE_GROUPS)
                picked, _, solves = refine(
                    self.master, picked, objective, self._price_one, groups
                )
                self.done.lp_solves += solves
                improved = self._offer(picked)
            if not improved and correction > 0:
                break
            self._freeze(self.joint.simulate(self.done.relays))
        self.done.columns = self.master.count
        self.done.bound_eur = self.relaxation.bound
        if certify:
            self._certify(duals)
        return self.done

    def _certify(self, duals: Floats) -> None:
        """The better of the relaxation's bound and the Lagrangian bound."""
        prices = self.master.prices(duals, np.zeros(len(self.pricers)))
        bound = coupled_bound(
            self.house, self.pricers, self.master.base.dual_bound(duals), prices, self.prices,
            self.reach, self.joint.simulate(self.done.relays),
            [
                columns[self.master.cheapest(room, prices)]
                for room, columns in enumerate(self.master.columns)
            ],
        )
        self.done.priced += len(self.pricers)
        if bound is not None and bound > self.done.bound_eur:
            self.done.bound_eur, self.certified = bound, True

    def _offer_rounded(self) -> None:
        """The relaxation's rounded schedules: first columns, and a plan to fall back on."""
        for bias in BIASES:
            relays = round_relays(self.house, self.relaxation.air_c, bias)
            for pricer in self.pricers:
                relay = relays[pricer.room.index, : self.steps].astype(np.int64)
                if pricer.cells.feasible(relay):
                    self.master.add(pricer.room.index, pricer.column(relay))
            self._keep_if_cheaper(relays)

    def _offer(self, picked: list[int]) -> bool:
        return self._keep_if_cheaper(self._read(picked))

    def _keep_if_cheaper(self, relays: Floats) -> bool:
        """Price relays by the true joint simulation; True when they gain more than a trifle."""
        total = place(self.house, relays).objective_eur
        self.done.lp_solves += 1
        improved = total < self.best - WORTH_FRACTION * abs(self.best) if self.found else True
        if not self.found or total < self.best:
            self.best, self.done.relays, self.found = total, relays, True
        return improved

    def _freeze(self, temperatures: Floats) -> None:
        for pricer in self.pricers:
            pricer.freeze(temperatures)
            index = pricer.room.index
            self.master.replace(
                index, [pricer.column(column.relay) for column in self.master.columns[index]]
            )

    def _columns(self, duals: Floats, rounds: int) -> Floats:
        """Some pricing rounds from `duals`; returns the best prices seen."""
        asked = Stabilised(duals)
        for _ in range(rounds):
            prices = self.master.prices(asked.duals, np.zeros(len(self.pricers)))
            value = self.master.base.dual_bound(asked.duals)
            for pricer in self.pricers:
                room = pricer.room.index
                column, cost = pricer.search(
                    prices.on_cost_eur[room], prices.end_slope_eur_per_k[room], *SEARCH
                )
                value += cost
                self.master.add(room, column)
            self.done.rounds += 1
            self.done.priced += len(self.pricers)
            asked.heard(value)
            solution, _, _ = self.master.solve()
            self.done.lp_solves += 1
            asked.move(solution.duals[: self.master.base.rows])
        return asked.best_duals

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
