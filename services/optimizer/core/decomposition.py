"""Dantzig-Wolfe planning of rooms that meet only in the balance: columns, choice, certificate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.choose import dive, refine, solve_fixed
from services.optimizer.core.columns import RoomPricer, relay_steps
from services.optimizer.core.house import House
from services.optimizer.core.lp_rung import Relaxation, solve_relaxation
from services.optimizer.core.master import Master, Prices
from services.optimizer.core.pricing import Scratch
from services.optimizer.core.room_rows import temperature_limits
from services.optimizer.core.stabilise import Stabilised

Floats = NDArray[np.float64]

COARSE = (0.08, 20)
FINE = (0.04, 60)
"""(cell width K, labels) of the schedule search: coarse while the prices still move far."""

COARSE_STOP = 5e-3
FINE_STOP = 1.5e-4
"""Relative distance of the master's LP and the best priced value at which a phase ends."""

PATIENCE, LATE_STOP = 12, 1e-3
"""After so many rounds the last phase ends at this distance: then limits bind, and whole schedules
miss the master's fractions by far more."""

REFINE_GROUPS = 4

PLACING_SHARE = 0.2
"""Share of the wanted gap kept back for the site's integers, which are placed after the choice."""


@dataclass
class Decomposed:
    """Relays (rooms, steps) of the best plan found, a true bound, and counters."""

    relays: Floats
    bound_eur: float
    rounds: int = 0
    priced: int = 0
    columns: int = 0
    lp_solves: int = 0
    warm_columns: int = 0


@dataclass(frozen=True)
class WarmColumns:
    """What an earlier plan knows: relays (rooms, steps) and marginal prices (steps), EUR/kWh."""

    relays: Floats
    marginal_price: Floats


def relaxed_duals(master: Master, relaxation: Relaxation) -> Floats:
    """Prices of the master's base rows in the relaxation, which holds the same rows and more."""
    given = relaxation.solution.duals
    duals = np.zeros(master.base.rows)
    duals[: master.site_rows] = given[: master.site_rows]
    for tail, whole in zip(master.tail, relaxation.rooms, strict=False):
        for rows, all_rows in zip(tail.dynamics, whole.dynamics, strict=True):
            duals[rows] = given[all_rows[master.steps :]]
    return duals


def decompose(
    house: House,
    rounds: int,
    target_gap: float,
    warm: WarmColumns | None = None,
    room_gap: float = 2e-4,
) -> Decomposed:
    """Generate columns, certify at the best prices seen, choose one schedule per room."""
    return _Decomposition(house, warm, room_gap).run(rounds, target_gap)


class _Decomposition:
    """One run: the master, a pricer per room, the best prices and the best true bound."""

    def __init__(self, house: House, warm: WarmColumns | None, room_gap: float) -> None:
        self.house = house
        self.room_gap = room_gap
        self.scratch = Scratch()
        self.steps = relay_steps(house)
        self.master = Master(house, self.steps)
        coldest, hottest = temperature_limits(house)
        self.pricers = [
            RoomPricer(house, r.index, self.steps, (coldest[r.index], hottest[r.index]))
            for r in house.rooms
        ]
        self.done = Decomposed(np.zeros((len(self.pricers), house.steps)), -np.inf)
        self.effort = COARSE
        self.warm = warm
        if warm is not None:
            self.effort = FINE
            for pricer in self.pricers:
                relay = np.ascontiguousarray(
                    warm.relays[pricer.room.index, : self.steps], dtype=np.int64
                )
                if pricer.cells.feasible(relay):
                    added = self.master.add(pricer.room.index, pricer.column(relay))
                    self.done.warm_columns += int(added)
        self.warm_whole = self.done.warm_columns == len(self.pricers)

    def run(self, rounds: int, target_gap: float) -> Decomposed:
        done = self.done
        target_gap *= 1.0 - PLACING_SHARE
        prices = Stabilised(self._first_duals())
        base_rows = self.master.base.rows
        for round_ in range(rounds):
            value, fresh = self._round(prices.duals)
            prices.heard(value)
            solution, _, _ = self.master.solve()
            done.lp_solves += 1
            distance = (solution.objective - prices.best) / max(abs(solution.objective), 1e-6)
            prices.move(solution.duals[:base_rows])
            if self.effort == COARSE:
                if distance < COARSE_STOP or fresh == 0:
                    # coarse values are too optimistic to compare with fine ones
                    self.effort = FINE
                    prices.forget_value()
            elif distance < (FINE_STOP if round_ < PATIENCE else LATE_STOP) or fresh == 0:
                break
        self.effort = FINE
        slack = self._certify(prices.best_duals)
        picked, objective, solves = dive(self.master, self._price_one)
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
                self.master, picked, objective, self._price_one, REFINE_GROUPS
            )
            done.lp_solves += solves
            missing = objective + fee - done.bound_eur
        if missing > target_gap * abs(objective + fee) and slack < 0.5 * missing:
            solution, _, _ = self.master.solve()
            done.lp_solves += 1
            self._certify(0.5 * prices.best_duals + 0.5 * solution.duals[:base_rows])
        self._read(picked)
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

    def _round(self, duals: Floats) -> tuple[float, int]:
        """Price every room at `duals`; (priced value, how many columns were new)."""
        prices = self.master.prices(duals, np.zeros(len(self.pricers)))
        value, fresh = self.master.base.dual_bound(duals), 0
        for pricer in self.pricers:
            room = pricer.room.index
            column, cost = pricer.search(
                prices.on_cost_eur[room], prices.end_slope_eur_per_k[room], *self.effort
            )
            value += cost
            fresh += int(self.master.add(room, column))
        self.done.rounds += 1
        self.done.priced += len(self.pricers)
        return value, fresh

    def _price_one(self, room: int, prices: Prices) -> bool:
        column, _ = self.pricers[room].search(
            prices.on_cost_eur[room], prices.end_slope_eur_per_k[room], *self.effort
        )
        self.done.priced += 1
        return self.master.add(room, column)

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

    def _read(self, picked: list[int]) -> None:
        relays, master = self.done.relays, self.master
        for room, pick in enumerate(picked):
            relays[room, : self.steps] = master.columns[room][pick].relay
        if master.tail:
            solution, _, _ = solve_fixed(master, dict(enumerate(picked)))
            self.done.lp_solves += 1
            for room, tail in enumerate(master.tail):
                relays[room, self.steps :] = np.clip(solution.values[tail.relay], 0.0, 1.0)
