"""Column generation: rooms are asked for schedules, round by round, at prices that follow the master's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.choose import dive, refine, settle
from services.optimizer.core.columns import Column, RoomPricer, relay_steps
from services.optimizer.core.coupled import CoupledPricer
from services.optimizer.core.house import House
from services.optimizer.core.linear_model import Solution
from services.optimizer.core.lp_rung import (
    BIASES,
    LAST_NODES,
    Placed,
    Relaxation,
    place,
    search_relays,
    solve_relaxation,
)
from services.optimizer.core.master import Master, Prices
from services.optimizer.core.rounding import round_relays
from services.optimizer.core.trajectories import simulate
from services.optimizer.core.whole_choices import solve_whole

Floats = NDArray[np.float64]

LEAST, MOST = 0.3, 0.9
"""Share of the best prices so far in the next prices."""

FAR_GAP = 5e-3
"""Share of the cost from which whole schedules are far above the fractions of the master. Then shared
limits are full, or relays take more than the sun gives: where a fuse lets few relays on at once, what
diving finds can be twice too dear."""

REFINE_GROUPS = 4

PLACED_ROUNDS = 3
"""Rounds in which the rooms are asked again beside what the site has chosen."""

VARIED, VARY_SHARE = 4, 0.3
"""Schedules a room that are asked for at other times, and the part of the gap that leaving a schedule's
steps may cost: 1 sought too far away for houses whose gap is the bound's."""
POLISHES = 3
"""How often whole choices are searched for among all schedules at once."""

WIDE_GAP = 1e-2
"""Share of the cost above the bound from which whole choices of site and relays are sought together."""

FEW_RELAYS = 300
"""Relays in all steps and futures among which a search in the whole model is worth its second or two."""

WORTH_FRACTION = 1e-4
"""A plan that gains less than this share of the cost is no reason to go on."""

EASED, HELD = 0.1, 0.3
"""What the share loses when the prices asked for were the best so far; else the part of the way to 1
that it gains."""


@dataclass
class Decomposed:
    """The best plan found, placed whole, a true bound, one for neighbours that stay, and counters."""

    bound_eur: float = -np.inf
    frozen_bound_eur: float | None = None
    placed: Placed | None = None
    rounds: int = 0
    priced: int = 0
    columns: int = 0
    lp_solves: int = 0
    warm_columns: int = 0


class Stabilised:
    """Prices to ask the rooms for next: between the best ones so far and the master's own.

    The master's duals jump from round to round, most of all where a limit binds (Kelley's method).
    Prices near the best known ones are safer, the master's own bring more that is new; the share
    follows success (smoothing after Wentges 1997, with a share that sets itself as in Pessoa,
    Sadykov, Uchoa and Vanderbeck 2018). `best` is the best priced value, reached at `best_duals`.
    """

    def __init__(self, duals: Floats) -> None:
        self.duals = self.best_duals = duals
        self.best = -np.inf
        self._share = LEAST

    def heard(self, value: float) -> None:
        """The rooms' answer: the priced value at `duals`, EUR."""
        if value > self.best:
            self.best, self.best_duals = value, self.duals
            self._share = max(LEAST, self._share - EASED)
        else:
            self._share = min(MOST, self._share + HELD * (1.0 - self._share))

    def move(self, master_duals: Floats) -> None:
        """Choose the next prices."""
        self.duals = self.between(master_duals, self._share)

    def between(self, master_duals: Floats, share: float) -> Floats:
        """Prices with this share of the best ones, in which rows added since have the price 0."""
        best = np.pad(self.best_duals, (0, master_duals.size - self.best_duals.size))
        return share * best + (1.0 - share) * master_duals


class Generation:
    """The master and a pricer per room: what both kinds of houses share."""

    far_gap = FAR_GAP

    def __init__(
        self, house: House, pricers: Sequence[RoomPricer] | Sequence[CoupledPricer],
        effort: float,
    ) -> None:
        self.house = house
        self.steps = relay_steps(house)
        self.master = Master(house, self.steps)
        self.pricers = pricers
        self.effort = effort
        """How closely a room is searched, in the words of its pricer."""
        self.fractions_eur = np.inf
        """Cost of the master's fractions of schedules, EUR, when it was asked last."""
        self.quick = len(house.scenarios) == 1
        """Whether whole choices of the site are quickly searched for; with five futures a search took 7 s."""
        self.mixed = bool(house.rooms) and not house.rooms[0].duty_step[self.steps :].all()
        """Whether relays come behind duties. Then these are chosen anew beside them."""
        self.cutting = False
        """Whether fractions of schedules are cut off that whole relays cannot be."""
        self.done = Decomposed()

    @cached_property
    def relaxation(self) -> Relaxation:
        """The LP with fractions of relays, solved when it is first asked for."""
        self.done.lp_solves += 1
        return solve_relaxation(self.house)

    def offer(self, relays: Floats) -> list[int | None]:
        """Add schedules (rooms, steps) known beforehand; their columns, None where not allowed."""
        columns: list[int | None] = []
        for pricer in self.pricers:
            room = pricer.room.index
            relay = np.ascontiguousarray(relays[room, : self.steps], dtype=np.int64)
            if pricer.feasible(relay):
                self.master.add(room, pricer.column(relay))
            columns.append(self.master.find(room, relay))
        return columns

    def keep_rounded(self) -> list[int | None]:
        """The relaxation's rounded schedules: more columns, and plans to fall back on.

        Returns the columns of the warmest ones.
        """
        columns: list[int | None] = []
        for bias in BIASES:
            relays = round_relays(self.house, self.relaxation.air_c, bias)
            columns = self.offer(relays)
            self.keep_if_cheaper(relays)
        return columns

    def keep_if_cheaper(self, relays: Floats, anew: bool = False) -> bool:
        """Place relays and keep the plan if it is the best; True when it gains more than a trifle.

        Where whole choices of cars and loads must be searched for, which takes longer than all else, those
        of the best plan stay until `settle_site`, unless they are to be found `anew`.
        """
        best = self.done.placed
        self.done.lp_solves += 1
        if best is None:
            self.done.placed = place(self.house, relays, duties=self.mixed)
            return True
        if anew or best.solver == "glop":
            placed = place(self.house, relays, start=best.whole, duties=self.mixed)
        else:
            shared = self.master.site.first_scenario_column
            kept = {column: value for column, value in best.whole.items() if column < shared}
            placed = place(self.house, relays, kept, duties=self.mixed)
            placed = replace(
                placed, placing_eur=best.placing_eur, solver=best.solver, settled=False
            )
        if placed.objective_eur < best.objective_eur:
            self.done.placed = placed
        return placed.objective_eur < best.objective_eur - WORTH_FRACTION * abs(best.objective_eur)

    def choose(
        self, starts: Sequence[list[int | None]], rounded: bool = False
    ) -> tuple[list[int], Solution]:
        """One schedule a room by diving, and the LP with them. Where shared limits are full, the best of
        what the rooms settle on from there, from the whole ones of `starts` and, where asked for, from
        the `rounded` relaxation."""
        picked, solution, solves = dive(self.master, self.price_one)
        self.done.lp_solves += solves
        far = solution.objective - self.fractions_eur > self.far_gap * abs(solution.objective)
        if far and rounded and not self.master.site.group_rows:
            starts = [*starts, self.keep_rounded()]
        if far:
            # a reference is frozen in some houses: what gains beside it may lose in truth
            self.keep_if_cheaper(self.read(picked, solution))
        if far or self.master.site.group_rows:
            whole = [[pick for pick in start if pick is not None] for start in starts]
            for start in [picked, *(w for w in whole if len(w) == len(self.pricers))]:
                trial, found = self.settled(start)
                if found.objective < solution.objective:
                    picked, solution = trial, found
        return picked, solution

    def refine(self, picked: list[int], solution: Solution) -> tuple[list[int], Solution]:
        """What diving again among a few free rooms gains; rooms of heating groups have settled."""
        if self.master.site.group_rows:
            return picked, solution
        groups = min(len(self.pricers), REFINE_GROUPS)
        picked, solution, solves = refine(
            self.master, picked, solution, self.price_one, groups
        )
        self.done.lp_solves += solves
        return picked, solution

    def settled(self, picked: list[int]) -> tuple[list[int], Solution]:
        """What the rooms settle on from `picked`, and the LP with that."""
        picked, solution, solves = settle(self.master, picked, self.price_one)
        self.done.lp_solves += solves
        return picked, solution

    def improve(self, picked: list[int], solution: Solution) -> tuple[list[int], Solution]:
        """What searches around a choice gain."""
        return self.refine(picked, solution)

    def choose_again(
        self, picked: list[int], whole: dict[int, float], duals: Floats, stop: float
    ) -> None:
        """The rooms choose again beside `whole` choices of the site, which leave less than the rooms took or
        suit them better."""
        self.master.whole = whole
        self.generate(Stabilised(duals), PLACED_ROUNDS, stop)
        picked, solution = self.choose([list(picked)])
        picked, solution = self.improve(picked, solution)
        relays = self.read(picked, solution)
        self.master.whole = {}
        self.keep_if_cheaper(relays, anew=self.quick)

    def polish(self, duals: Floats, stop: float) -> None:
        """The best whole choice among all schedules and the site's ways at once, then schedules beside these
        ways, while that gains. Where rooms and site only answer each other, both may stand still far from it.
        """
        for _ in range(POLISHES):
            placed = self.done.placed
            assert placed is not None
            offered = self.offer(placed.decisions.relays)
            known = [pick for pick in offered if pick is not None]
            if len(known) < len(offered):
                return  # a rounded schedule that no pricer allows
            cost = placed.objective_eur - self.house.problem.grid.fixed_fee_eur
            self._vary(duals, placed.objective_eur - self.done.bound_eur)
            found = solve_whole(self.master, known, placed.whole, cost)
            if found is None and not self.master.goes_on:
                break
            if found is not None:
                self.done.lp_solves += 1
                known = found[0]
                self.keep_if_cheaper(self.read(*found), anew=True)
            assert self.done.placed is not None
            self.master.whole = self.done.placed.whole
            self.generate(Stabilised(duals), PLACED_ROUNDS, stop)
            relays = self.read(*self.settled(known))
            self.master.whole = {}
            if not self.keep_if_cheaper(relays, anew=True) and found is None:
                break

    def _vary(self, duals: Floats, missing_eur: float) -> None:
        """Schedules that heat at other times, more by no more than a plan lies above the bound: steps that
        have been used cost their shares of that."""
        prices = self.master.prices(duals, np.zeros(len(self.pricers)))
        for room, best in enumerate(self.best_columns(prices)):
            dearer = prices.on_cost_eur.copy()
            relay = best.relay
            for _ in range(VARIED):
                dearer[room] += VARY_SHARE * relay * missing_eur / max(1, relay.sum())
                column, _ = self.pricers[room].search(
                    dearer[room], prices.end_slope_eur_per_k[room], best, self.effort
                )
                self.done.priced += 1
                self.master.add(room, column)
                relay = column.relay

    def settle_site(self) -> None:
        """Search, and longer, for the whole choices of cars and loads beside the relays of the plan."""
        placed = self.done.placed
        assert placed is not None
        relays = self.steps * len(self.house.rooms) * len(self.house.scenarios)
        missing = placed.objective_eur - self.done.bound_eur
        if self.mixed or (relays <= FEW_RELAYS and missing > WIDE_GAP * abs(placed.objective_eur)):
            self.done.placed = placed = search_relays(self.house, placed)
        if not placed.settled:
            self.done.lp_solves += 1
            last = place(
                self.house, placed.decisions.relays, nodes=LAST_NODES, start=placed.whole,
                duties=self.mixed,
            )
            if last.objective_eur < placed.objective_eur:
                self.done.placed = last

    def best_columns(self, prices: Prices) -> list[Column]:
        """The known schedule of each room that costs least at these prices."""
        return [
            columns[int(np.argmin(self.master.costs_at(room, prices)))]
            for room, columns in enumerate(self.master.columns)
        ]

    def generate(self, prices: Stabilised, rounds: int, stop: float) -> bool:
        """Ask all rooms until the master's LP and the best priced value are `stop` apart (relative),
        nothing new comes (True), or the rounds are used up (False)."""
        self.master.scarcity = prices.best_duals
        for _ in range(rounds):
            asked = self.master.prices(prices.duals, np.zeros(len(self.pricers)))
            value, fresh = self.master.base.dual_bound(prices.duals), 0
            for room in range(len(self.pricers)):
                cost, new = self._ask(room, asked)
                value += cost
                fresh += int(new)
            prices.heard(value)
            self.master.scarcity = prices.best_duals
            solution, chosen, _ = self.master.solve()
            self.done.rounds += 1
            self.done.lp_solves += 1
            if self.cutting and self.master.cut(solution, chosen):
                solution, _, _ = self.master.solve()
                self.done.lp_solves += 1
                fresh += 1
            self.fractions_eur = solution.objective
            prices.move(solution.duals[: self.master.base.rows])
            if solution.objective - prices.best < stop * abs(solution.objective) or fresh == 0:
                return True
        return False

    def price_one(self, room: int, prices: Prices) -> bool:
        """Ask one room; whether its schedule is new."""
        return self._ask(room, prices)[1]

    def _ask(self, room: int, prices: Prices) -> tuple[float, bool]:
        known = self.master.columns[room]
        guess = known[int(np.argmin(self.master.costs_at(room, prices)))] if known else None
        column, cost = self.pricers[room].search(
            prices.on_cost_eur[room], prices.end_slope_eur_per_k[room], guess, self.effort
        )
        self.done.priced += 1
        return cost, self.master.add(room, column)

    def read(self, picked: list[int], solution: Solution) -> Floats:
        """Relays (rooms, steps) of one schedule a room; duties behind them as in `solution`, the LP with
        these schedules."""
        relays = self.relays(picked)
        self.put_duties(relays, solution)
        return relays

    def put_duties(self, relays: Floats, solution: Solution) -> None:
        """Write a solution's duties behind the relay steps. Relays that come behind duties, fractions to the
        master, follow the temperatures that these would give."""
        for room, tail in enumerate(self.master.tail):
            relays[room, self.steps :] = np.clip(solution.values[tail.relay], 0.0, 1.0)
        if self.mixed:
            air = np.array([track[:, 0] for track in simulate(self.house, relays)])
            relays[:] = round_relays(self.house, air, begun=relays[:, : self.steps])

    def relays(self, picked: list[int]) -> Floats:
        """Relays (rooms, steps) of one schedule a room, off behind the relay steps."""
        relays = np.zeros((len(picked), self.house.steps))
        for room, pick in enumerate(picked):
            relays[room, : self.steps] = self.master.columns[room][pick].relay
        return relays


def relaxed_duals(master: Master, relaxation: Relaxation) -> Floats:
    """Prices of the master's base rows in the relaxation, which holds the same rows and more."""
    given = relaxation.solution.duals
    duals = np.zeros(master.base.rows)
    duals[: master.site_rows] = given[: master.site_rows]
    for tail, whole in zip(master.tail, relaxation.rooms, strict=False):
        for rows, all_rows in zip(tail.dynamics, whole.dynamics, strict=True):
            duals[rows] = given[all_rows[master.steps :]]
    return duals
