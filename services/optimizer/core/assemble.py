"""A Plan out of decisions: series, costs, limits that bind, churn."""

from __future__ import annotations

import datetime as dt

import numpy as np
from numpy.typing import NDArray

from contracts.planning import (
    BindingLimit,
    Churn,
    CostSplit,
    EvPlan,
    LoadPlan,
    Plan,
    RoomPlan,
    Rung,
    WorkDone,
)
from services.optimizer.core.costs import Evaluation, evaluate
from services.optimizer.core.decisions import Decisions
from services.optimizer.core.house import House
from services.optimizer.core.linear_model import Solution
from services.optimizer.core.site_columns import ScenarioColumns

Floats = NDArray[np.float64]


BOUND_TOLERANCE = 1e-6
"""Share of the cost by which rounding may lift a bound above it."""


class FalseBound(RuntimeError):
    """A certificate that the plan itself disproves: a fault in the bound, never to be hidden."""


def binding_limits(house: House, decisions: Decisions, seen: Evaluation) -> list[BindingLimit]:
    """Limits that hold with equality in the plan."""
    grid, battery = house.problem.grid, house.problem.battery
    found: list[BindingLimit] = []

    def note(what: str, entity: str, at_limit: NDArray[np.bool_]) -> None:
        steps = np.flatnonzero(at_limit)
        if steps.size:
            found.append(BindingLimit(what=what, entity=entity, steps=tuple(int(s) for s in steps)))

    note("import_limit", "grid", seen.import_kw >= grid.import_limit_w / 1000.0 - 1e-6)
    export_kw = grid.export_limit_w / 1000.0
    note("export_limit", "grid", (seen.export_kw >= export_kw - 1e-6) & (seen.export_kw > 0))
    if battery is not None:
        soc = seen.stored_kwh[1:] / (battery.capacity_wh / 1000.0)
        note("min_soc", "battery", soc <= battery.min_soc_fraction + 1e-6)
        note("max_soc", "battery", soc >= battery.max_soc_fraction - 1e-6)
        note("charge_limit", "battery",
             decisions.charge_kw >= battery.charge_limit_w / 1000.0 - 1e-6)
        note("discharge_limit", "battery",
             decisions.discharge_kw >= battery.discharge_limit_w / 1000.0 - 1e-6)
    for index, group in enumerate(house.problem.heating_groups):
        power = sum(
            (r.power_kw * decisions.relays[r.index] for r in house.rooms if r.group == index),
            np.zeros(house.steps),
        )
        note("heating_capacity", group.name, power >= group.capacity_w / 1000.0 - 1e-6)
    return found


def make_plan(
    house: House,
    decisions: Decisions,
    marginal_price: Floats,
    rung: Rung,
    expected_cost: float | None,
    bound: float | None,
    certificate: str,
    work: WorkDone,
    solver: str,
    seed: int,
    steps_down: tuple[str, ...] = (),
    frozen_bound: float | None = None,
) -> Plan:
    """The Plan of the nominal future; `expected_cost` is the objective over scenarios if any."""
    problem = house.problem
    seen = evaluate(house, house.nominal, decisions)
    total = seen.cost["total_eur"] if expected_cost is None else expected_cost
    bound, gap = _gap(bound, total)
    frozen_bound, frozen_gap = _gap(frozen_bound, total)
    capacity = problem.battery.capacity_wh / 1000.0 if problem.battery is not None else 1.0
    edges = problem.boundaries()
    return Plan(
        problem_hash=problem.content_hash(),
        start=problem.start,
        step_s=problem.step_s,
        rung=rung,
        rooms=tuple(
            RoomPlan(
                name=room.name,
                relay=_series(decisions.relays[room.index]),
                air_c=_series(seen.temperatures[room.index][:, 0]),
                mass_c=_series(seen.temperatures[room.index][:, 1]) if room.nodes == 2 else (),
            )
            for room in house.rooms
        ),
        battery_charge_w=_series(decisions.charge_kw * 1000.0),
        battery_discharge_w=_series(decisions.discharge_kw * 1000.0),
        battery_soc_fraction=_series(seen.stored_kwh / capacity),
        evs=tuple(
            EvPlan(name=ev.name, power_w=_series(power * 1000.0), stored_kwh=_series(stored))
            for ev, power, stored in zip(problem.evs, decisions.ev_kw, seen.ev_kwh, strict=True)
        ),
        deferrable_loads=tuple(
            LoadPlan(name=load.name, power_w=_series(power * 1000.0), start=_at(edges, start))
            for load, power, start in zip(
                problem.deferrable_loads, decisions.load_kw, decisions.load_start, strict=True
            )
        ),
        grid_import_w=_series(seen.import_kw * 1000.0),
        grid_export_w=_series(seen.export_kw * 1000.0),
        curtailed_w=_series(decisions.curtailed_kw * 1000.0),
        marginal_price_eur_per_kwh=_series(marginal_price),
        cost=CostSplit(**seen.cost),
        expected_cost_eur=total,
        bound_eur=bound,
        gap_fraction=gap,
        certificate=certificate,
        frozen_bound_eur=frozen_bound,
        frozen_gap_fraction=frozen_gap,
        violations=tuple(seen.violations),
        binding_limits=tuple(binding_limits(house, decisions, seen)),
        work=work,
        churn=_churn(house, decisions.relays),
        solver=solver,
        seed=seed,
        steps_down=steps_down,
    )


def _gap(bound: float | None, cost: float) -> tuple[float | None, float | None]:
    """(bound, share of the cost that lies above it); raises FalseBound for one above the cost."""
    if bound is None:
        return None, None
    if bound > cost + BOUND_TOLERANCE * max(1.0, abs(cost)):
        raise FalseBound(f"a bound of {bound:.6f} EUR above the plan's {cost:.6f} EUR")
    bound = min(bound, cost)
    return bound, (cost - bound) / max(abs(cost), 1e-6)


def _series(values: Floats) -> tuple[float, ...]:
    # + 0.0 turns -0.0 into 0.0, so that equal plans are equal bytes
    return tuple(float(value) + 0.0 for value in values)


def _at(edges: tuple[dt.datetime, ...], step: int | None) -> dt.datetime | None:
    return None if step is None else edges[step]


def _churn(house: House, relays: Floats) -> Churn | None:
    previous = house.problem.previous
    if previous is None:
        return None
    compared = changed = 0
    for room in house.rooms:
        for step, value in enumerate(previous.relays.get(room.name, ())):
            if value is None or room.duty_step[step]:
                continue
            compared += 1
            changed += int(abs(relays[room.index, step] - value) > 0.5)
    return Churn(
        previous_plan_id=previous.plan_id,
        relay_steps_compared=compared,
        relay_steps_changed=changed,
        reasons=(),
    )


def solution_marginal_price(
    house: House, columns: list[ScenarioColumns], solution: Solution
) -> Floats:
    """EUR per kWh that one more kWh of load in a step costs (sum over scenarios)."""
    total = sum((solution.duals[c.balance] for c in columns), np.zeros(house.steps))
    return total / house.step_h
