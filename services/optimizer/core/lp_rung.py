"""The 'lp' rung: solve the relaxation, round the relays by simulation, then place the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from contracts.planning import Plan, WorkDone
from services.optimizer.core.assemble import make_plan, solution_marginal_price
from services.optimizer.core.costs import over_scenarios
from services.optimizer.core.decisions import Decisions, read_decisions
from services.optimizer.core.house import House
from services.optimizer.core.linear_model import (
    QUICK_BRANCHING,
    QUICK_SCIP,
    STRONG_PIVOTS,
    LinearModel,
    Solution,
    SolverFailed,
)
from services.optimizer.core.room_rows import RoomColumns, build_rooms
from services.optimizer.core.rounding import round_relays
from services.optimizer.core.site_rows import SiteRows, build_site

Floats = NDArray[np.float64]

BIASES = (0.35, 0.5, 0.65)
SITE_NODES, LAST_NODES = 100, 400
"""For a candidate, and for the plan that is made: with two cars and loads 100 nodes were up to 9 % dearer."""
STAIRCASE_GLOP = f"use_preprocessing:false use_dual_simplex:true {STRONG_PIVOTS}"
"""With the rooms' dynamics as rows the dual simplex needs two thirds of the primal's time."""
SITE_GAP, SETTLED_GAP = 1e-4, 1e-3
"""Relative gap at which the site's whole choices (ways, cars, loads) are good enough to end the search, and,
relative to the whole cost, not to search again with more nodes."""


class RelaxationFailed(SolverFailed):
    """No way of solving the relaxation led anywhere; every rung that begins with it must fail."""


@dataclass(frozen=True)
class Relaxation:
    """The LP with relays as fractions: duty and air (rooms, steps [+ 1]), prices, true bound."""

    duty: Floats
    air_c: Floats
    solution: Solution
    site: SiteRows
    bound: float
    rooms: list[RoomColumns]


def solve_relaxation(house: House) -> Relaxation:
    """Relax relays, minimum times, switching and direction choices; solve with GLOP."""
    model = LinearModel()
    site = build_site(model, house)
    rooms = build_rooms(model, house, site)
    try:
        solution = model.solve("glop", parameters=STAIRCASE_GLOP)
    except SolverFailed as failure:
        raise RelaxationFailed(str(failure)) from failure
    values = solution.values
    duty = np.array([values[r.relay] for r in rooms]).reshape(len(rooms), house.steps)
    air = np.empty((len(rooms), house.steps + 1))
    for index, columns in enumerate(rooms):
        air[index, 0] = house.rooms[index].start_c[0]
        air[index, 1:] = values[columns.band] + values[columns.above] - values[columns.below]
    bound = model.dual_bound(solution.duals) + house.problem.grid.fixed_fee_eur
    return Relaxation(np.clip(duty, 0.0, 1.0), air, solution, site, bound, rooms)


@dataclass(frozen=True)
class Placed:
    """The best of everything but the rooms for given relays, and the whole objective, EUR.

    `whole` holds the site's integers (columns of `build_site`), `placing_eur` is what it costs that
    they are whole; `settled` says that a longer search could not gain SETTLED_GAP beside these relays.
    """

    decisions: Decisions
    objective_eur: float
    marginal_price: Floats
    solver: str
    whole: dict[int, float]
    placing_eur: float
    settled: bool


class _Site(NamedTuple):
    """The site's model for given relays: rows, the solution with whole choices, its relaxation; the relays
    (rooms, steps), duties as chosen."""

    rows: SiteRows
    chosen: Solution
    relaxed: Solution
    solver: str
    integers: NDArray[np.int64]
    relays: Floats


def place(
    house: House, relays: Floats, fixed: Mapping[int, float] | None = None, nodes: int = SITE_NODES,
    start: Mapping[int, float] | None = None, duties: bool = False,
) -> Placed:
    """Best battery, cars, loads and grid for fixed relays; the LP duals price the steps.

    With `duties` those of the rooms are chosen, too, instead of kept.

    `fixed` columns of the site keep their values; `nodes` bounds the search for whole ones, which
    begins at those of `start`.
    With scenarios the objective is the mix of expectation and tail; the decisions returned are
    those of the nominal future with cars, loads and the battery's here-and-now steps kept.
    """
    site, solution, relaxed, solver, integers, relays = _solve_site(
        house, relays, dict(fixed or {}), nodes, start, duties
    )
    shared = [
        read_decisions(house, site, number, solution.values, relays)
        for number in range(len(site.scenarios))
    ]
    objective = over_scenarios(house, shared)
    decisions = shared[0]
    if house.problem.scenarios:
        decisions = _nominal(house, relays, site, solution)
    price = solution_marginal_price(house, site.scenarios, relaxed)
    whole = {int(column): float(np.round(solution.values[column])) for column in integers}
    placing = solution.objective - relaxed.objective
    settled = solution.objective - solution.bound <= SETTLED_GAP * max(1.0, abs(objective))
    return Placed(decisions, objective, price, solver, whole, placing, settled)


def _solve_site(
    house: House, relays: Floats, fixed: dict[int, float], nodes: int = SITE_NODES,
    start: Mapping[int, float] | None = None, duties: bool = False,
) -> _Site:
    model = LinearModel()
    site = build_site(model, house)
    rooms: list[RoomColumns] = []
    if duties:
        rooms = build_rooms(model, house, site)
        for room, columns in zip(house.rooms, rooms, strict=True):
            kept = ~room.duty_step
            fixed |= dict(zip(columns.relay[kept].tolist(), relays[room.index, kept].tolist(), strict=True))
    else:
        one = model.variables(1, 1.0, 1.0)
        for room in house.rooms:
            for rows, coefficient in site.heat_entries(house, room.index):
                model.put(rows, one[0], coefficient * room.power_kw * relays[room.index])
    parameters = STAIRCASE_GLOP if duties else ""
    relaxed = model.solve("glop", fixed=fixed, parameters=parameters)
    integers = np.flatnonzero(model.vectors()[5])

    def read(chosen: Solution, solver: str) -> _Site:
        found = relays.copy()
        for room, columns in zip(house.rooms, rooms, strict=False):
            duty = np.clip(chosen.values[columns.relay], 0.0, 1.0)
            found[room.index, room.duty_step] = duty[room.duty_step]
        return _Site(site, chosen, relaxed, solver, integers, found)

    fraction = np.abs(relaxed.values[integers] - np.round(relaxed.values[integers]))
    if fraction.size == 0 or fraction.max() < 1e-7:
        return read(relaxed, "glop")
    try:
        whole = {**_rounded(house, site, relaxed.values), **fixed}
        guess = model.solve("glop", fixed=whole, parameters=parameters)
        if guess.objective - relaxed.objective <= SITE_GAP * max(1.0, abs(relaxed.objective)):
            return read(guess, "glop")
    except SolverFailed:
        pass  # the guess was no solution; the search finds one
    quick = QUICK_SCIP if len(house.scenarios) == 1 else QUICK_SCIP + QUICK_BRANCHING
    try:
        found = model.solve(
            "scip", fixed=fixed, gap=SITE_GAP, nodes=nodes, parameters=quick, start=start
        )
        return read(found, "scip")
    except SolverFailed:
        return read(model.solve("highs", fixed=fixed, gap=SITE_GAP, nodes=nodes), "highs")


def search_relays(house: House, placed: Placed) -> Placed:
    """The best of a plan and what SCIP finds in the whole model from there on; relays that were rounded behind
    duties know nothing of limits and prices."""
    model = LinearModel()
    site = build_site(model, house)
    rooms = build_rooms(model, house, site, binary=True)
    start = dict(placed.whole)
    relays = placed.decisions.relays.copy()
    for room, columns in zip(house.rooms, rooms, strict=True):
        kept = ~room.duty_step
        start |= dict(zip(columns.relay[kept].tolist(), relays[room.index, kept].tolist(), strict=True))
    try:
        found = model.solve(
            "scip", gap=SITE_GAP, nodes=SITE_NODES, parameters=QUICK_SCIP + QUICK_BRANCHING, start=start
        )
    except SolverFailed:
        return placed
    for room, columns in zip(house.rooms, rooms, strict=True):
        relay = np.clip(found.values[columns.relay], 0.0, 1.0)
        relays[room.index] = np.where(room.duty_step, relay, np.round(relay))
    better = place(house, relays, start=placed.whole, duties=True)
    return better if better.objective_eur < placed.objective_eur else placed


def _rounded(house: House, site: SiteRows, values: Floats) -> dict[int, float]:
    """The relaxation's choices made whole: where power flows, the way is open; loads where most."""
    whole: dict[int, float] = {}
    for scenario in site.scenarios:
        for choices, forth, back in scenario.directions:
            for choice, first, second in zip(choices, forth, back, strict=True):
                whole[int(choice)] = float(values[first] >= values[second])
    for ev in site.evs:
        # a share of a step charges at less than the least current: that energy in as few steps at most
        shares = values[ev.on]
        fullest = np.argsort(-shares, kind="stable")[: int(np.ceil(shares.sum() - 1e-6))]
        whole.update({int(on): 0.0 for on in ev.on})
        whole.update({int(on): 1.0 for on in ev.on[fullest]})
    for load, source in zip(site.loads, house.problem.deferrable_loads, strict=True):
        if source.interruptible:
            for choice in load.choice:
                whole[int(choice)] = float(values[choice] > 1e-6)
        elif load.choice.size:
            columns = [*load.choice, load.skip]
            most = columns[int(np.argmax(values[columns]))]
            whole.update({int(column): float(column == most) for column in columns})
    return whole


def _nominal(house: House, relays: Floats, site: SiteRows, chosen: Solution) -> Decisions:
    """Place the nominal future with everything decided before it is known kept."""
    nominal = replace(house, scenarios=(house.nominal,))
    # cars and loads come first in both models, so their columns have the same numbers
    fixed = {int(c): float(chosen.values[c]) for c in range(site.first_scenario_column)}
    twin = LinearModel()
    plain = build_site(twin, nominal).scenarios[0]
    first = site.scenarios[0]
    count = house.here_and_now_steps
    for mine, theirs in ((plain.charge, first.charge), (plain.discharge, first.discharge)):
        if mine is not None and theirs is not None:
            for column, source in zip(mine[:count], theirs[:count], strict=True):
                fixed[int(column)] = float(chosen.values[source])
    for column in site.group_columns:
        fixed.pop(int(column), None)
    try:
        placed = _solve_site(nominal, relays, fixed)
    except SolverFailed:
        # with less sun than in every scenario a battery that must not charge from the grid
        # cannot do in the nominal future what it does in theirs
        shared = {c: v for c, v in fixed.items() if c < site.first_scenario_column}
        placed = _solve_site(nominal, relays, shared)
    return read_decisions(nominal, placed.rows, 0, placed.chosen.values, relays)


def lp_plan(
    house: House, relaxation: Relaxation | None = None, seed: int = 0,
    steps_down: tuple[str, ...] = (),
) -> Plan:
    """Relax, round with a few biases, keep the cheapest; the relaxation gives a (weak) bound."""
    relaxation = relaxation or solve_relaxation(house)
    best: tuple[Floats, Placed] | None = None
    duties = house.rooms[0].duty_step if house.rooms else np.zeros(1, dtype=np.bool_)
    for bias in BIASES if house.rooms and not duties.all() else (0.5,):
        relays = round_relays(house, relaxation.air_c, bias)
        placed = place(house, relays, nodes=LAST_NODES, duties=bool(duties.any()))
        if best is None or placed.objective_eur < best[1].objective_eur - 1e-12:
            best = relays, placed
    assert best is not None
    placed = best[1]
    if duties.any() and not duties.all():
        placed = search_relays(house, placed)
    return make_plan(
        house,
        placed.decisions,
        placed.marginal_price,
        "lp_rounded",
        placed.objective_eur,
        relaxation.bound,
        "LP relaxation (relays as fractions, minimum times and switching dropped) of this problem",
        WorkDone(lp_solves=1 + len(BIASES)),
        f"ortools glop+{placed.solver}",
        seed,
        steps_down,
    )
