"""The planner's front door: plan(problem) -> Plan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.planning import Plan, PlanningProblem, Rung, WorkDone
from services.optimizer.core.assemble import make_plan
from services.optimizer.core.columns import relay_steps
from services.optimizer.core.coupled_run import CoupledRun
from services.optimizer.core.decomposition import decompose
from services.optimizer.core.fallback import rules_plan, shifted_plan
from services.optimizer.core.house import House, compile_house, steps_of
from services.optimizer.core.lp_rung import RelaxationFailed, lp_plan

Floats = NDArray[np.float64]

RESTRICTED_ROUNDS = 3
EXACT = "this problem exactly: binary relays, minimum times, switching costs (Lagrangian bound)"
TWO_NODE = "this problem: binary relays, two-node rooms without neighbours (Lagrangian bound)"
DUALISED = "this problem: binary relays, coupled rooms, their coupling dualised (Lagrangian bound)"
RELAXED = "this problem: coupled rooms, bound by the LP relaxation (relays as fractions)"


@dataclass(frozen=True)
class WorkBudget:
    """Limits of work as counts, so that a plan never depends on the machine's speed.

    `rung` is where the ladder starts: "full", "restricted" (few rounds, no certificate chase),
    "lp_rounded", "shifted" (the last plan from now on) or "rules". `target_gap` ends the work
    early when the certificate is good enough.
    """

    pricing_rounds: int = 24
    target_gap: float = 1e-3
    corrections: int = 4
    rung: Rung = "full"


@dataclass(frozen=True)
class WarmStart:
    """The last plan; its relays, aligned in time, become the first columns."""

    plan: Plan


LADDER: tuple[Rung, ...] = ("full", "restricted", "lp_rounded", "shifted", "rules")
BEGIN_RELAXED = LADDER[:3]
"""Rungs that solve the relaxation first: where one of them could not, none can."""


def plan(
    problem: PlanningProblem,
    warm: WarmStart | None = None,
    budget: WorkBudget | None = None,
    seed: int = 0,
) -> Plan:
    """Plan one house. Never infeasible: wishes that cannot be met are priced and named.

    Climbs down the ladder from `budget.rung` when a rung fails, for whatever reason, and says so
    in `steps_down`: a house must not go without a plan because of a fault in the best way to one.
    Raises only when plain rules fail as well.
    """
    budget = budget or WorkBudget()
    house = compile_house(problem)
    steps_down: list[str] = []
    relaxed = True
    for rung in LADDER[LADDER.index(budget.rung) :]:
        if not relaxed and rung in BEGIN_RELAXED:
            continue
        try:
            return _on_rung(rung, house, warm, budget, seed, tuple(steps_down))
        except Exception as failure:
            if rung == LADDER[-1]:
                raise
            relaxed = relaxed and not isinstance(failure, RelaxationFailed)
            steps_down.append(f"{rung}: {failure or type(failure).__name__}")
    raise AssertionError("unreachable: the last rung returns or raises")


def _on_rung(
    rung: Rung, house: House, warm: WarmStart | None, budget: WorkBudget, seed: int,
    steps_down: tuple[str, ...],
) -> Plan:
    if rung == "rules":
        return rules_plan(house, seed, steps_down)
    if rung == "shifted":
        return shifted_plan(house, warm.plan if warm else None, seed, steps_down)
    if rung == "lp_rounded" or not house.rooms or relay_steps(house) == 0:
        return lp_plan(house, seed=seed, steps_down=steps_down)
    return _decomposed(house, warm, budget, rung, seed, steps_down)


def _decomposed(
    house: House, warm: WarmStart | None, budget: WorkBudget, rung: Rung, seed: int,
    steps_down: tuple[str, ...],
) -> Plan:
    full = rung == "full"
    rounds = budget.pricing_rounds if full else RESTRICTED_ROUNDS
    aligned = align(house, warm.plan) if warm is not None else None
    if house.coupled:
        run = CoupledRun(house, aligned)
        found = run.run(rounds, budget.corrections if full else 1, certify=full)
        certificate = RELAXED
        if run.certified:
            certificate = DUALISED if run.neighbours else TWO_NODE
    else:
        found = decompose(house, rounds, budget.target_gap if full else np.inf, aligned)
        certificate = EXACT
    placed = found.placed
    assert placed is not None
    return make_plan(
        house,
        placed.decisions,
        placed.marginal_price,
        rung,
        placed.objective_eur,
        found.bound_eur,
        certificate,
        WorkDone(
            pricing_rounds=found.rounds, rooms_priced=found.priced, columns=found.columns,
            lp_solves=found.lp_solves, warm_columns=found.warm_columns,
        ),
        f"dantzig-wolfe, ortools glop+{placed.solver}",
        seed,
        steps_down,
        found.frozen_bound_eur,
    )


def align(house: House, old: Plan) -> Floats:
    """The old plan's relays (rooms, steps) on the new grid; beyond it the last ones."""
    where, _ = steps_of(house, old)
    known = {room.name: np.asarray(room.relay) for room in old.rooms}
    relays = np.zeros((len(house.rooms), house.steps))
    for room in house.rooms:
        if room.name in known:
            relays[room.index] = np.round(known[room.name][where])
    return relays
