"""The 'lp' rung: solve the relaxation, round the relays by simulation, then place the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.planning import Plan, WorkDone
from services.optimizer.core.assemble import (
    evaluate,
    make_plan,
    read_decisions,
    solution_marginal_price,
)
from services.optimizer.core.house import House
from services.optimizer.core.linear_model import LinearModel, Solution, SolverFailed
from services.optimizer.core.room_rows import RoomColumns, build_rooms
from services.optimizer.core.rounding import round_relays
from services.optimizer.core.site_rows import SiteRows, build_site

Floats = NDArray[np.float64]

BIASES = (0.35, 0.5, 0.65)


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
    solution = model.solve("glop")
    values = solution.values
    duty = np.array([values[r.relay] for r in rooms]).reshape(len(rooms), house.steps)
    air = np.empty((len(rooms), house.steps + 1))
    for index, columns in enumerate(rooms):
        air[index, 0] = house.rooms[index].start_c[0]
        air[index, 1:] = values[columns.band] + values[columns.above] - values[columns.below]
    bound = model.dual_bound(solution.duals) + house.problem.grid.fixed_fee_eur
    return Relaxation(np.clip(duty, 0.0, 1.0), air, solution, site, bound, rooms)


@dataclass(frozen=True)
class SitePlacement:
    """The best site decisions for given relays."""

    solution: Solution
    relaxed: Solution
    site: SiteRows
    solver: str


def place_site(house: House, relays: Floats, mip_nodes: int = 500) -> SitePlacement:
    """Best battery, cars, loads and grid for fixed relays; the LP duals price the steps."""
    model = LinearModel()
    site = build_site(model, house)
    one = model.variables(1, 1.0, 1.0)
    for room in house.rooms:
        for rows, coefficient in site.heat_entries(house, room.index):
            model.put(rows, one[0], coefficient * room.power_kw * relays[room.index])
    relaxed = model.solve("glop")
    integer = model.vectors()[5]
    fraction = np.abs(relaxed.values[integer] - np.round(relaxed.values[integer]))
    if fraction.size == 0 or fraction.max() < 1e-7:
        return SitePlacement(relaxed, relaxed, site, "glop")
    try:
        return SitePlacement(model.solve("scip", nodes=mip_nodes), relaxed, site, "scip")
    except SolverFailed:
        return SitePlacement(model.solve("highs", nodes=mip_nodes), relaxed, site, "highs")


def finish(
    house: House, relays: Floats, mip_nodes: int = 500
) -> tuple[SitePlacement, float]:
    """Place the site for `relays`; also the objective over the scenarios."""
    placement = place_site(house, relays, mip_nodes)
    if len(house.scenarios) == 1:
        decisions = read_decisions(
            house, placement.site, placement.site.scenarios[0], placement.solution.values, relays
        )
        return placement, evaluate(house, house.scenarios[0], decisions).cost["total_eur"]
    total = 0.0
    for scenario, columns in zip(house.scenarios, placement.site.scenarios, strict=True):
        decisions = read_decisions(house, placement.site, columns, placement.solution.values, relays)
        total += scenario.probability * evaluate(house, scenario, decisions).cost["total_eur"]
    return placement, total


def lp_plan(house: House, relaxation: Relaxation | None = None, seed: int = 0) -> Plan:
    """Relax, round with a few biases, keep the cheapest; the relaxation gives a (weak) bound."""
    relaxation = relaxation or solve_relaxation(house)
    best: tuple[float, Floats, SitePlacement] | None = None
    solves = 1
    for bias in BIASES if house.rooms else (0.5,):
        relays = round_relays(house, relaxation.duty, relaxation.air_c, bias)
        placement, total = finish(house, relays)
        solves += 1
        if best is None or total < best[0] - 1e-12:
            best = (total, relays, placement)
    assert best is not None
    total, relays, placement = best
    decisions = read_decisions(
        house, placement.site, placement.site.scenarios[0], placement.solution.values, relays
    )
    return make_plan(
        house,
        decisions,
        solution_marginal_price(house, placement.site.scenarios, placement.relaxed),
        "lp_rounded",
        total,
        relaxation.bound,
        "LP relaxation (relays as fractions, minimum times and switching dropped) of this problem",
        WorkDone(lp_solves=solves),
        f"ortools glop+{placement.solver}",
        seed,
    )
