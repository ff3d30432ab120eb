"""Dantzig-Wolfe planning of rooms that meet only in the balance: columns, choice, certificate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.choose import dive, refine, solve_fixed
from services.optimizer.core.columns import RoomPricer, relay_steps
from services.optimizer.core.house import House
from services.optimizer.core.master import Master, Prices
from services.optimizer.core.pricing import Scratch
from services.optimizer.core.room_rows import temperature_limits

Floats = NDArray[np.float64]

SMOOTHING = 0.3
"""Share of the best prices so far in the next prices (Wentges 1997); the rest is the LP's."""

COARSE = (0.08, 20)
FINE = (0.04, 60)
"""(cell width K, labels) of the schedule search: coarse while the prices still move far."""

COARSE_STOP = 5e-3
FINE_STOP = 1.5e-4
"""Relative distance of the master's LP and the best priced value at which a phase ends."""

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


def first_prices(
    house: House, master: Master, reach: tuple[list[Floats], list[Floats]]
) -> Floats:
    """Duals of the site for a guess of the heat: each room holds its lower comfort limit.

    `reach` is what `temperature_limits` gives: coldest and hottest of each room.
    """
    model = master.base.clone()
    one = model.variables(1, 1.0, 1.0)
    coldest, hottest = reach
    for room in house.rooms:
        hold = room.low_c * (1.0 - room.transition[:, 0, 0]) - room.drift_k[:, 0]
        duty = np.clip(hold / np.maximum(room.heat_k[:, 0], 1e-9), 0.0, 1.0)[: master.steps]
        for rows, coefficient in master.entries[room.index]:
            model.put(rows[: master.steps], one[0], coefficient * room.power_kw * duty)
        # a tail that begins where the room cannot be has no prices
        guess = np.clip(
            room.low_c[master.steps - 1], coldest[room.index][master.steps],
            hottest[room.index][master.steps],
        )  # fmt: skip
        for rows, gain in master.tail_links[room.index]:
            model.put(rows, one[0], -gain @ guess)
    return model.solve("glop").duals[: master.base.rows]


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
        self.reach = coldest, hottest = temperature_limits(house)
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
        duals = self._first_duals()
        base_rows = self.master.base.rows
        best, best_duals = -np.inf, duals
        for _ in range(rounds):
            value, fresh = self._round(duals)
            if value > best:
                best, best_duals = value, duals
            solution, _, _ = self.master.solve()
            done.lp_solves += 1
            distance = (solution.objective - best) / max(abs(solution.objective), 1e-6)
            duals = SMOOTHING * best_duals + (1 - SMOOTHING) * solution.duals[:base_rows]
            if self.effort == COARSE:
                if distance < COARSE_STOP or fresh == 0:
                    # coarse values are too optimistic to compare with fine ones
                    self.effort, best = FINE, -np.inf
            elif distance < FINE_STOP or fresh == 0:
                break
        self.effort = FINE
        slack = self._certify(best_duals)
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
            self._certify(0.5 * best_duals + 0.5 * solution.duals[:base_rows])
        self._read(picked)
        done.columns = self.master.count
        return done

    def _first_duals(self) -> Floats:
        """Prices of the last plan where there is one, else those of a guess of the heat."""
        self.done.lp_solves += 1
        duals = first_prices(self.house, self.master, self.reach)
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
            asked = prices.on_cost_eur[room], prices.end_slope_eur_per_k[room]
            column, cost, lower = pricer.certify(
                *asked, self.room_gap, self.master.cheapest(room, *asked), self.scratch
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
