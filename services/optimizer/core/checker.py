"""Independent checker: replays a Plan from the contract alone, sharing no code with the planner.

Plain loops on purpose: slow, obvious, and wrong in different ways than the planner could be.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from contracts.planning import Plan, PlanningProblem, PowerPoint, Room

Fault = Callable[[str], None]


@dataclass
class CheckReport:
    """`faults` are broken promises (empty for a good plan); costs are recomputed, EUR."""

    faults: list[str] = field(default_factory=list)
    cost_eur: dict[str, float] = field(default_factory=dict)
    total_eur: float = 0.0
    switches: int = 0
    comfort_deficit_k_h: float = 0.0

    @property
    def ok(self) -> bool:
        """True when nothing is wrong."""
        return not self.faults


def check_plan(problem: PlanningProblem, plan: Plan, tolerance: float = 1e-6) -> CheckReport:
    """Replay `plan` through the equations of `problem`, recompute its costs, list every fault."""
    report = CheckReport()
    fault = report.faults.append
    if plan.problem_hash != problem.content_hash():
        fault("problem_hash: the plan was made for another problem")
    if plan.step_s != problem.step_s or plan.start != problem.start:
        fault("grid: the plan's steps are not the problem's")
        return report
    if _wrong_lengths(problem, plan, fault):
        return report
    hours = [seconds / 3600.0 for seconds in problem.step_s]
    costs = dict.fromkeys(type(plan.cost).model_fields, 0.0)
    heat_w = _check_rooms(problem, plan, hours, costs, report)
    _check_battery(problem, plan, hours, costs, report, tolerance)
    _check_evs(problem, plan, hours, costs, fault, tolerance)
    _check_loads(problem, plan, costs, fault)
    _check_grid(problem, plan, hours, heat_w, costs, fault)
    costs["fixed_fee_eur"] = problem.grid.fixed_fee_eur
    report.total_eur = sum(value for name, value in costs.items() if name != "total_eur")
    costs["total_eur"] = report.total_eur
    report.cost_eur = costs
    for name, value in costs.items():
        claimed = getattr(plan.cost, name)
        if abs(claimed - value) > 1e-5 * max(1.0, abs(value)):
            fault(f"cost.{name}: the plan says {claimed:.6f}, the replay {value:.6f} EUR")
    for kind, bound, claimed in (
        ("", plan.bound_eur, plan.gap_fraction),
        ("frozen_", plan.frozen_bound_eur, plan.frozen_gap_fraction),
    ):
        if bound is None:
            continue
        if bound > plan.expected_cost_eur + 1e-6:
            fault(f"{kind}bound_eur is above the plan's own cost")
        gap = (plan.expected_cost_eur - bound) / max(abs(plan.expected_cost_eur), 1e-6)
        if claimed is None or abs(gap - claimed) > 1e-9:
            fault(f"{kind}gap_fraction: the plan says {claimed}, its cost and bound {gap}")
    named = sum(v.cost_eur for v in plan.violations)
    owed = sum(costs[n] for n in ("comfort_eur", "limits_eur", "ev_unmet_eur", "loads_skipped_eur"))
    if abs(named - owed) > 1e-4 * max(1.0, owed):
        fault(f"violations: named wishes cost {named:.6f}, the replay finds {owed:.6f} EUR")
    return report


def _wrong_lengths(problem: PlanningProblem, plan: Plan, fault: Fault) -> bool:
    """Series that do not fit the grid; nothing can be replayed with them."""
    steps, wrong = problem.steps, False
    series: list[tuple[str, tuple[float, ...], int]] = [
        (name, getattr(plan, name), steps)
        for name in (
            "grid_import_w", "grid_export_w", "curtailed_w", "battery_charge_w",
            "battery_discharge_w", "marginal_price_eur_per_kwh",
        )
    ]  # fmt: skip
    for room in plan.rooms:
        series += [(f"room {room.name} relay", room.relay, steps),
                   (f"room {room.name} air_c", room.air_c, steps + 1)]  # fmt: skip
    series += [(f"ev {ev.name} power_w", ev.power_w, steps) for ev in plan.evs]
    series += [(f"load {load.name} power_w", load.power_w, steps) for load in plan.deferrable_loads]
    for name, values, wanted in series:
        if len(values) != wanted:
            fault(f"{name} has {len(values)} values, not {wanted}")
            wrong = True
    for kind, has, wants in (
        ("evs", plan.evs, problem.evs), ("deferrable_loads", plan.deferrable_loads,
                                         problem.deferrable_loads),
    ):  # fmt: skip
        if [one.name for one in has] != [one.name for one in wants]:
            fault(f"{kind}: names or order differ from the problem")
            wrong = True
    return wrong


def _check_rooms(
    problem: PlanningProblem, plan: Plan, hours: list[float], costs: dict[str, float],
    report: CheckReport,
) -> list[float]:
    fault = report.faults.append
    heat_w = [0.0] * len(hours)
    if [room.name for room in plan.rooms] != [room.name for room in problem.rooms]:
        fault("rooms: names or order differ from the problem")
        return heat_w
    air = {room.name: [room.initial_air_c] for room in problem.rooms}
    mass = {room.name: [room.initial_mass_c or 0.0] for room in problem.rooms}
    relay = {room.name: room_plan.relay
             for room, room_plan in zip(problem.rooms, plan.rooms, strict=True)}
    for t in range(len(hours)):
        for room in problem.rooms:
            d, u = room.dynamics, relay[room.name][t]
            ta, tm = air[room.name][t], mass[room.name][t]
            next_air = d.decay_air[t] * ta + d.heat_air_k[t] * u + d.drift_air_k[t]
            next_mass = 0.0
            if d.decay_mass:
                next_air += d.mass_to_air[t] * tm
                next_mass = (d.air_to_mass[t] * ta + d.decay_mass[t] * tm
                             + d.heat_mass_k[t] * u + d.drift_mass_k[t])
            for other in d.neighbours:
                next_air += other.gain_air[t] * air[other.room][t]
                if other.gain_mass:
                    next_mass += other.gain_mass[t] * air[other.room][t]
            air[room.name].append(next_air)
            mass[room.name].append(next_mass)
            heat_w[t] += room.heater_w * u
    for room, room_plan in zip(problem.rooms, plan.rooms, strict=True):
        for t, value in enumerate(air[room.name]):
            if abs(value - room_plan.air_c[t]) > 1e-6:
                fault(f"room {room.name}: air_c[{t}] is {room_plan.air_c[t]}, replay {value}")
                break
        for t, value in enumerate(room_plan.mass_c):
            if abs(value - mass[room.name][t]) > 1e-6:
                fault(f"room {room.name}: mass_c[{t}] is {value}, replay {mass[room.name][t]}")
                break
        _check_relay(problem, room, relay[room.name], report)
        for t, h in enumerate(hours):
            temperature = air[room.name][t + 1]
            below = max(0.0, room.low_c[t] - temperature)
            above = max(0.0, temperature - room.high_c[t])
            report.comfort_deficit_k_h += (below + above) * h
            costs["comfort_eur"] += h * (
                below * room.penalty_low_eur_per_k_h + above * room.penalty_high_eur_per_k_h
            )
        ends = (air[room.name][-1], mass[room.name][-1])
        for node, value in enumerate(room.terminal_value_eur_per_k):
            missing = max(0.0, room.terminal_target_c[node] - ends[node])
            costs["terminal_heat_eur"] += value * missing
        costs["switching_eur"] += room.switch_cost_eur * _switches(problem, room, relay[room.name])
        if problem.previous is not None:
            for t, old in enumerate(problem.previous.relays.get(room.name, ())):
                if old is not None:
                    weight = problem.weights.churn_eur_per_change
                    costs["churn_eur"] += weight * abs(relay[room.name][t] - old)
    return heat_w


def _is_duty(problem: PlanningProblem, t: int) -> bool:
    return problem.step_s[t] >= problem.duty_from_step_s


def _switches(problem: PlanningProblem, room: Room, relay: tuple[float, ...]) -> int:
    count, previous, previous_duty = 0, float(room.initial_on), False
    for t, value in enumerate(relay):
        duty = _is_duty(problem, t)
        if not duty and not previous_duty and value != previous:
            count += 1
        previous, previous_duty = value, duty
    return count


def _check_relay(
    problem: PlanningProblem, room: Room, relay: tuple[float, ...], report: CheckReport
) -> None:
    fault = report.faults.append
    since, state = float(room.initial_in_state_s), float(room.initial_on)
    after_duty = free = False  # free: the last switch was nobody's order, so that no order may cut it
    for t, value in enumerate(relay):
        fixed = room.fixed_relay[t] if room.fixed_relay else None
        if fixed is not None and value != fixed:
            fault(f"room {room.name}: relay[{t}] is {value}, the override says {fixed}")
        if _is_duty(problem, t):
            if not -1e-9 <= value <= 1.0 + 1e-9:
                fault(f"room {room.name}: duty[{t}] {value} is outside 0..1")
            after_duty = True
            continue
        if value not in (0.0, 1.0):
            fault(f"room {room.name}: relay[{t}] {value} is neither 0 nor 1")
            return
        if after_duty:
            since, state, after_duty, free = float("inf"), value, False, False
        if value != state:
            minimum = room.min_on_s if state == 1.0 else room.min_off_s
            if since < minimum and (fixed is None or free):
                fault(f"room {room.name}: relay[{t}] switches after {since:.0f} s, "
                      f"the minimum is {minimum} s")
            report.switches += 1
            since, state, free = 0.0, value, fixed is None
        since += problem.step_s[t]


def _check_battery(
    problem: PlanningProblem, plan: Plan, hours: list[float], costs: dict[str, float],
    report: CheckReport, tolerance: float,
) -> None:
    battery, fault = problem.battery, report.faults.append
    if battery is None:
        if any(plan.battery_charge_w) or any(plan.battery_discharge_w):
            fault("battery: the plan uses a battery the house does not have")
        return
    capacity = battery.capacity_wh / 1000.0
    stored = start = battery.initial_soc_fraction * capacity
    low, high = battery.min_soc_fraction * capacity, battery.max_soc_fraction * capacity
    drawn: dict[int, float] = {}
    clock = 0.0
    penalty = problem.grid.limit_penalty_eur_per_kwh
    for t, h in enumerate(hours):
        charge, discharge = plan.battery_charge_w[t] / 1000.0, plan.battery_discharge_w[t] / 1000.0
        if charge > tolerance and discharge > tolerance:
            fault(f"battery: charges and discharges at once in step {t}")
        if min(charge, discharge) < -tolerance:
            fault(f"battery: negative power in step {t}")
        for which, power, limit, points in (
            ("charge", charge, battery.charge_limit_w, battery.charge_limit_points),
            ("discharge", discharge, battery.discharge_limit_w, battery.discharge_limit_points),
        ):
            if points:
                limit = min(limit, _interpolate(points, stored / capacity))
            if power * 1000.0 > limit + 0.01:
                fault(f"battery: {which} {power * 1000:.2f} W in step {t} is above {limit:.2f} W")
        stored += h * (charge * battery.charge_efficiency
                       - discharge / battery.discharge_efficiency)
        costs["battery_wear_eur"] += battery.wear_eur_per_kwh * h * (
            charge * battery.charge_efficiency + discharge / battery.discharge_efficiency
        )
        day = int(clock // 24)
        drawn[day] = drawn.get(day, 0.0) + h * discharge / battery.discharge_efficiency
        clock += h
        if abs(stored / capacity - plan.battery_soc_fraction[t + 1]) > 1e-6:
            fault(f"battery: soc[{t + 1}] is not what the powers give")
        if stored < min(low, start) - 1e-6 or stored > max(high, start) + 1e-6:
            fault(f"battery: {stored:.6f} kWh after step {t} is outside the limits")
        outside = max(0.0, low - stored, stored - high)
        if outside > 1e-7:
            costs["limits_eur"] += outside * h * penalty
        if battery.fixed_power_w and battery.fixed_power_w[t] is not None:
            missed = abs((battery.fixed_power_w[t] or 0.0) / 1000.0 - charge + discharge)
            costs["limits_eur"] += missed * h * penalty if missed > 1e-6 else 0.0
    if battery.daily_cycle_limit is not None:
        for day, energy in drawn.items():
            if energy > battery.daily_cycle_limit * capacity + 1e-5:
                fault(f"battery: {energy:.4f} kWh drawn on day {day} is above the cycle limit")
    costs["terminal_charge_eur"] = -(stored - start) * battery.terminal_value_eur_per_kwh


def _interpolate(points: tuple[PowerPoint, ...], soc: float) -> float:
    for left, right in itertools.pairwise(points):
        if soc <= right.soc_fraction:
            part = (soc - left.soc_fraction) / (right.soc_fraction - left.soc_fraction)
            return float(left.power_w + part * (right.power_w - left.power_w))
    return float(points[-1].power_w)


def _check_evs(
    problem: PlanningProblem, plan: Plan, hours: list[float], costs: dict[str, float],
    fault: Fault, tolerance: float,
) -> None:
    edges = problem.boundaries()
    for ev, ev_plan in zip(problem.evs, plan.evs, strict=True):
        stored, state = 0.0, ev.initial_on
        for t, h in enumerate(hours):
            power = ev_plan.power_w[t]
            fixed = ev.fixed_power_w[t] if ev.fixed_power_w else None
            inside = (min(edges[t + 1], ev.departure) - max(edges[t], ev.arrival)).total_seconds()
            share = max(0.0, inside / (h * 3600.0))
            cap = ev.price_cap_eur_per_kwh
            if fixed is not None:
                if abs(power - fixed) > 0.01:
                    fault(f"ev {ev.name}: step {t} does not follow the override")
            elif power > tolerance:
                if share == 0.0:
                    fault(f"ev {ev.name}: charges in step {t}, when it is away")
                if cap is not None and problem.grid.buy_price_eur_per_kwh[t] > cap:
                    fault(f"ev {ev.name}: charges in step {t} above its price cap")
                low, high = ev.min_power_w * share, ev.max_power_w * share
                if not low - 0.1 <= power <= high + 0.1:
                    fault(f"ev {ev.name}: {power:.1f} W in step {t} is not 0 or {low}..{high} W")
            if (power > 0) != state:
                costs["switching_eur"] += ev.switch_cost_eur
                state = power > 0
            stored += h * power / 1000.0 * ev.efficiency
            if abs(stored - ev_plan.stored_kwh[t + 1]) > 1e-6:
                fault(f"ev {ev.name}: stored_kwh[{t + 1}] is not what the powers give")
        if stored > ev.max_kwh + 1e-4 and not any(ev.fixed_power_w):
            fault(f"ev {ev.name}: {stored:.4f} kWh is above max_kwh")
        costs["ev_unmet_eur"] += max(0.0, ev.target_kwh - stored) * ev.unmet_penalty_eur_per_kwh
        extra_value = min(ev.extra_value_eur_per_kwh, ev.unmet_penalty_eur_per_kwh)
        costs["ev_extra_eur"] -= max(0.0, stored - ev.target_kwh) * extra_value


def _check_loads(
    problem: PlanningProblem, plan: Plan, costs: dict[str, float], fault: Fault
) -> None:
    edges = problem.boundaries()
    for load, load_plan in zip(problem.deferrable_loads, plan.deferrable_loads, strict=True):
        length = sum(segment.duration_s for segment in load.segments)
        wanted = [0.0] * problem.steps
        if load.interruptible:
            ran = 0
            for t, power in enumerate(load_plan.power_w):
                if power > 0:
                    ran += problem.step_s[t]
                    wanted[t] = load.segments[0].power_w
                    if edges[t] < load.earliest or edges[t + 1] > load.deadline:
                        fault(f"load {load.name}: runs in step {t}, outside its window")
            costs["loads_skipped_eur"] += load.skip_penalty_eur * max(0.0, 1.0 - ran / length)
        elif load_plan.start is None:
            costs["loads_skipped_eur"] += load.skip_penalty_eur
        else:
            begin = (load_plan.start - problem.start).total_seconds()
            end = begin + length
            if load_plan.start < load.earliest or end > (
                load.deadline - problem.start
            ).total_seconds():
                fault(f"load {load.name}: runs outside its window")
            for segment in load.segments:
                for t in range(problem.steps):
                    left = (edges[t] - problem.start).total_seconds()
                    right = left + problem.step_s[t]
                    overlap = min(right, begin + segment.duration_s) - max(left, begin)
                    wanted[t] += max(0.0, overlap) / problem.step_s[t] * segment.power_w
                begin += segment.duration_s
        for t, power in enumerate(load_plan.power_w):
            if abs(power - wanted[t]) > 0.01:
                fault(f"load {load.name}: {power:.2f} W in step {t}, not {wanted[t]}")
                break


def _check_grid(
    problem: PlanningProblem, plan: Plan, hours: list[float], heat_w: list[float],
    costs: dict[str, float], fault: Fault,
) -> None:
    grid, weights, battery = problem.grid, problem.weights, problem.battery
    penalty = grid.limit_penalty_eur_per_kwh
    peak = 0.0
    for t, h in enumerate(hours):
        if not -1e-3 <= plan.curtailed_w[t] <= problem.pv_w[t] + 1e-3:
            fault(f"curtailed_w[{t}] is not between 0 and the PV power")
        if plan.curtailed_w[t] > 1e-3 and not problem.pv_curtailable:
            fault(f"curtailed_w[{t}]: this PV cannot be curtailed")
        cells = plan.battery_charge_w[t] - plan.battery_discharge_w[t]
        if battery is not None:
            cells += battery.standby_w
            if not battery.allow_grid_charging and plan.battery_charge_w[t] > (
                problem.pv_w[t] - plan.curtailed_w[t] + 0.1
            ):
                fault(f"battery: charges from the grid in step {t}")
        net = problem.base_load_w[t] - problem.pv_w[t] + plan.curtailed_w[t] + heat_w[t] + cells
        net += sum(ev.power_w[t] for ev in plan.evs)
        net += sum(load.power_w[t] for load in plan.deferrable_loads)
        bought, sold = plan.grid_import_w[t], plan.grid_export_w[t]
        if abs(bought - sold - net) > 0.01:
            fault(f"grid: step {t} does not balance by {bought - sold - net:.3f} W")
        if min(bought, sold) > 1e-6:
            fault(f"grid: imports and exports at once in step {t}")
        costs["energy_bought_eur"] += bought / 1000.0 * h * grid.buy_price_eur_per_kwh[t]
        costs["energy_sold_eur"] -= sold / 1000.0 * h * grid.sell_price_eur_per_kwh[t]
        floor = grid.export_min_price_eur_per_kwh
        export_limit = grid.export_limit_w
        if floor is not None and grid.sell_price_eur_per_kwh[t] < floor:
            export_limit = 0.0
        excess = max(0.0, bought - grid.import_limit_w) + max(0.0, sold - export_limit)
        for group in problem.heating_groups:
            power = sum(
                room.heater_w * room_plan.relay[t]
                for room, room_plan in zip(problem.rooms, plan.rooms, strict=True)
                if room.heating_group == group.name
            )
            excess += max(0.0, power - group.capacity_w)
        if grid.phase_import_limit_w is not None:
            for phase in range(3):
                power = _phase_w(problem, plan, t, phase)
                excess += max(0.0, power - grid.phase_import_limit_w)
        costs["limits_eur"] += excess / 1000.0 * h * penalty
        peak = max(peak, bought)
        lost = (sold + plan.curtailed_w[t]) / 1000.0 * h
        costs["self_consumption_eur"] += lost * weights.self_consumption_eur_per_kwh
    over = max(0.0, peak - grid.peak_so_far_w) / 1000.0
    costs["peak_eur"] = over * (grid.peak_price_eur_per_kw + weights.peak_eur_per_kw)


def _phase_w(problem: PlanningProblem, plan: Plan, t: int, phase: int) -> float:
    power = problem.base_load_w[t] * problem.base_load_phase_shares[phase]
    power -= (problem.pv_w[t] - plan.curtailed_w[t]) * problem.pv_phase_shares[phase]
    if problem.battery is not None:
        cells = plan.battery_charge_w[t] - plan.battery_discharge_w[t] + problem.battery.standby_w
        power += problem.battery.phase_shares[phase] * cells
    for room, room_plan in zip(problem.rooms, plan.rooms, strict=True):
        power += room.phase_shares[phase] * room.heater_w * room_plan.relay[t]
    for ev, ev_plan in zip(problem.evs, plan.evs, strict=True):
        power += ev.phase_shares[phase] * ev_plan.power_w[t]
    for load, load_plan in zip(problem.deferrable_loads, plan.deferrable_loads, strict=True):
        power += load.phase_shares[phase] * load_plan.power_w[t]
    return power
