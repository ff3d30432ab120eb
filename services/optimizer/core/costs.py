"""Decisions replayed in one future and priced: trajectories, cost by cause, broken wishes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from contracts.planning import CostSplit, Violation
from services.optimizer.core.decisions import Decisions
from services.optimizer.core.house import (
    House,
    ScenarioArrays,
    count_switches,
    terminal_cost,
)
from services.optimizer.core.trajectories import simulate

Floats = NDArray[np.float64]


@dataclass
class Evaluation:
    """Decisions replayed: trajectories and the cost split of the nominal future."""

    temperatures: list[Floats]
    stored_kwh: Floats
    ev_kwh: list[Floats]
    import_kw: Floats
    export_kw: Floats
    cost: dict[str, float]
    violations: list[Violation] = field(default_factory=list)


def evaluate(house: House, scenario: ScenarioArrays, decisions: Decisions) -> Evaluation:
    """Replay decisions in one future and price them; grid power follows from the balance."""
    problem, grid, weights, step_h = (
        house.problem, house.problem.grid, house.problem.weights, house.step_h,
    )
    temperatures = simulate(house, decisions.relays)
    cost = dict.fromkeys(CostSplit.model_fields, 0.0)
    violations: list[Violation] = []
    _rooms_cost(house, decisions, temperatures, cost, violations)
    heat = sum(
        (room.power_kw * decisions.relays[room.index] for room in house.rooms),
        np.zeros(house.steps),
    )
    net = scenario.base_kw - scenario.pv_kw + decisions.curtailed_kw + heat
    for power in (*decisions.ev_kw, *decisions.load_kw):
        net = net + power
    stored = np.zeros(0)
    battery = problem.battery
    if battery is not None:
        net = net + decisions.charge_kw - decisions.discharge_kw + battery.standby_w / 1000.0
        stored = _battery_cost(house, decisions, cost, violations)
    bought, sold = np.maximum(net, 0.0), np.maximum(-net, 0.0)
    cost["energy_bought_eur"] = float((bought * step_h) @ scenario.buy)
    cost["energy_sold_eur"] = -float((sold * step_h) @ scenario.sell)
    export_limit = np.full(house.steps, grid.export_limit_w / 1000.0)
    if grid.export_min_price_eur_per_kwh is not None:
        closed = scenario.sell < grid.export_min_price_eur_per_kwh
        export_limit = np.where(closed, 0.0, export_limit)
    over = np.maximum(bought - grid.import_limit_w / 1000.0, 0.0)
    _price_excess(house, "import_limit", "grid", over, cost, violations)
    over = np.maximum(sold - export_limit, 0.0)
    _price_excess(house, "export_limit", "grid", over, cost, violations)
    if grid.phase_import_limit_w is not None:
        for phase in range(3):
            power = _phase_kw(house, scenario, decisions, phase)
            over = np.maximum(power - grid.phase_import_limit_w / 1000.0, 0.0)
            _price_excess(house, "phase_import_limit", f"phase {phase + 1}", over, cost, violations)
    for index, group in enumerate(problem.heating_groups):
        power = sum(
            (r.power_kw * decisions.relays[r.index] for r in house.rooms if r.group == index),
            np.zeros(house.steps),
        )
        over = np.maximum(power - group.capacity_w / 1000.0, 0.0)
        _price_excess(house, "heating_capacity", group.name, over, cost, violations)
    peak = max(0.0, float(bought.max()) - grid.peak_so_far_w / 1000.0)
    cost["peak_eur"] = peak * (grid.peak_price_eur_per_kw + weights.peak_eur_per_kw)
    lost = ((sold + decisions.curtailed_kw) * step_h).sum()
    cost["self_consumption_eur"] = float(lost) * weights.self_consumption_eur_per_kwh
    cost["fixed_fee_eur"] = grid.fixed_fee_eur
    ev_kwh = _ev_cost(house, decisions, cost, violations)
    for load, done in zip(problem.deferrable_loads, decisions.load_done, strict=True):
        if done < 1.0 - 1e-6:
            price = (1.0 - done) * load.skip_penalty_eur
            cost["loads_skipped_eur"] += price
            violations.append(Violation(
                what="deadline", entity=load.name, first_step=0,
                amount=1.0 - done, unit="share not run", cost_eur=price,
            ))
    cost["total_eur"] = float(sum(value for name, value in cost.items() if name != "total_eur"))
    return Evaluation(temperatures, stored, ev_kwh, bought, sold, cost, violations)


def _price_excess(
    house: House, what: str, entity: str, over_kw: Floats,
    cost: dict[str, float], violations: list[Violation],
) -> None:
    energy = float((over_kw * house.step_h).sum())
    if energy <= 1e-6:
        return
    price = energy * house.problem.grid.limit_penalty_eur_per_kwh
    cost["limits_eur"] += price
    violations.append(Violation(
        what=what, entity=entity, first_step=int(np.flatnonzero(over_kw > 1e-7)[0]),
        amount=energy, unit="kWh", cost_eur=price,
    ))


def _phase_kw(house: House, scenario: ScenarioArrays, decisions: Decisions, phase: int) -> Floats:
    problem = house.problem
    power = scenario.base_kw * problem.base_load_phase_shares[phase]
    power = power - (scenario.pv_kw - decisions.curtailed_kw) * problem.pv_phase_shares[phase]
    for room in house.rooms:
        power = power + room.phase_shares[phase] * room.power_kw * decisions.relays[room.index]
    if problem.battery is not None:
        battery_kw = decisions.charge_kw - decisions.discharge_kw
        battery_kw = battery_kw + problem.battery.standby_w / 1000.0
        power = power + problem.battery.phase_shares[phase] * battery_kw
    for ev, kw in zip(problem.evs, decisions.ev_kw, strict=True):
        power = power + ev.phase_shares[phase] * kw
    for load, kw in zip(problem.deferrable_loads, decisions.load_kw, strict=True):
        power = power + load.phase_shares[phase] * kw
    return power


def _rooms_cost(
    house: House, decisions: Decisions, temperatures: list[Floats],
    cost: dict[str, float], violations: list[Violation],
) -> None:
    for room in house.rooms:
        relay, states = decisions.relays[room.index], temperatures[room.index]
        for label, gap, price in (
            ("comfort_low", np.maximum(room.low_c - states[1:, 0], 0.0),
             room.penalty_low_eur_per_k),
            ("comfort_high", np.maximum(states[1:, 0] - room.high_c, 0.0),
             room.penalty_high_eur_per_k),
        ):
            amount, charge = float(gap @ house.step_h), float(gap @ price)
            cost["comfort_eur"] += charge
            if amount > 1e-6:
                violations.append(Violation(
                    what=label, entity=room.name, amount=amount, unit="K h", cost_eur=charge,
                    first_step=int(np.flatnonzero(gap > 1e-9)[0]),
                ))
        cost["switching_eur"] += room.switch_cost_eur * count_switches(room, relay)
        cost["churn_eur"] += float(
            relay @ room.churn_cost_on_eur + (1.0 - relay) @ room.churn_cost_off_eur
        )
        cost["terminal_heat_eur"] += terminal_cost(room, states[-1])


def _battery_cost(
    house: House, decisions: Decisions, cost: dict[str, float], violations: list[Violation]
) -> Floats:
    battery, step_h = house.problem.battery, house.step_h
    assert battery is not None
    capacity = battery.capacity_wh / 1000.0
    into = decisions.charge_kw * step_h * battery.charge_efficiency
    out = decisions.discharge_kw * step_h / battery.discharge_efficiency
    start = battery.initial_soc_fraction * capacity
    stored = start + np.concatenate([[0.0], np.cumsum(into - out)])
    cost["battery_wear_eur"] = float((into + out).sum()) * battery.wear_eur_per_kwh
    cost["terminal_charge_eur"] = -float(stored[-1] - start) * battery.terminal_value_eur_per_kwh
    low, high = battery.min_soc_fraction * capacity, battery.max_soc_fraction * capacity
    for label, outside in (
        ("soc_below_min", np.maximum(low - stored[1:], 0.0)),
        ("soc_above_max", np.maximum(stored[1:] - high, 0.0)),
    ):
        amount = float(outside @ step_h)
        if amount > 1e-6:
            price = amount * house.problem.grid.limit_penalty_eur_per_kwh
            cost["limits_eur"] += price
            violations.append(Violation(
                what=label, entity="battery", first_step=0, amount=amount, unit="kWh h",
                cost_eur=price,
            ))
    for step, wanted in enumerate(battery.fixed_power_w):
        if wanted is None:
            continue
        missed = abs(wanted / 1000.0 - decisions.charge_kw[step] + decisions.discharge_kw[step])
        if missed > 1e-6:
            energy = float(missed * step_h[step])
            price = energy * house.problem.grid.limit_penalty_eur_per_kwh
            cost["limits_eur"] += price
            violations.append(Violation(
                what="override", entity="battery", first_step=step, amount=energy, unit="kWh",
                cost_eur=price,
            ))
    return stored


def _ev_cost(
    house: House, decisions: Decisions, cost: dict[str, float], violations: list[Violation]
) -> list[Floats]:
    tracks = []
    for ev, power in zip(house.problem.evs, decisions.ev_kw, strict=True):
        stored = np.concatenate([[0.0], np.cumsum(power * house.step_h * ev.efficiency)])
        tracks.append(stored)
        missing = max(0.0, ev.target_kwh - stored[-1])
        extra = max(0.0, stored[-1] - ev.target_kwh)
        value = min(ev.extra_value_eur_per_kwh, ev.unmet_penalty_eur_per_kwh)
        cost["ev_extra_eur"] -= extra * value
        if ev.switch_cost_eur > 0:
            states = np.concatenate([[float(ev.initial_on)], (power > 0).astype(float)])
            cost["switching_eur"] += float(np.abs(np.diff(states)).sum()) * ev.switch_cost_eur
        if missing > 1e-6:
            price = missing * ev.unmet_penalty_eur_per_kwh
            cost["ev_unmet_eur"] += price
            violations.append(Violation(
                what="ev_target", entity=ev.name, first_step=house.steps - 1, amount=missing,
                unit="kWh", cost_eur=price,
            ))
    return tracks


def over_scenarios(house: House, decided: Sequence[Decisions]) -> float:
    """Cost of what is decided in each scenario, EUR: expectation, mixed with the mean of the tail."""
    totals = np.array([
        evaluate(house, scenario, decisions).cost["total_eur"]
        for scenario, decisions in zip(house.scenarios, decided, strict=True)
    ])
    chance = np.array([scenario.probability for scenario in house.scenarios])
    weights = house.problem.weights
    expected = float(chance @ totals)
    if weights.cvar_weight == 0.0 or totals.size == 1:
        return expected
    tail = tail_mean(totals, chance, weights.cvar_tail)
    return (1.0 - weights.cvar_weight) * expected + weights.cvar_weight * tail


def tail_mean(totals: Floats, chance: Floats, tail: float) -> float:
    """Mean of the worst `tail` share of the scenarios' costs (conditional value at risk)."""
    left, mean = tail, 0.0
    for index in np.argsort(-totals, kind="stable"):
        part = min(left, float(chance[index]))
        mean += part * float(totals[index])
        left -= part
    return mean / (tail - max(left, 0.0))
