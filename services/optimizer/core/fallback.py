"""The two lowest rungs: the last plan shifted to now, and plain rules. No solver, no search.

Both walk through the steps once and keep every hard rule (minimum times, overrides, power and
energy limits, shared heat), so the plan they give is as executable as any other; it is only not
optimised and has no bound.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
from numpy.typing import NDArray

from contracts.planning import Battery, DeferrableLoad, Plan, PowerPoint, Rung, WorkDone
from services.optimizer.core.assemble import make_plan
from services.optimizer.core.costs import over_scenarios
from services.optimizer.core.decisions import Decisions
from services.optimizer.core.demand_rows import load_shapes
from services.optimizer.core.house import EvArrays, House, ScenarioArrays, steps_of
from services.optimizer.core.rounding import round_relays

Floats = NDArray[np.float64]

NO_CERTIFICATE = "none: made without a solver"


class NothingToShift(RuntimeError):
    """There is no last plan, or it is over."""


def shifted_plan(house: House, old: Plan | None, seed: int, steps_down: tuple[str, ...]) -> Plan:
    """The last plan's intentions from now on: its temperatures, battery, car and load times.

    Beyond its end, and for what it did not know, the rules of `rules_plan` hold.
    Raises NothingToShift when there is no plan or it does not reach into the first step.
    """
    if old is None:
        raise NothingToShift("there is no last plan")
    where, covered = steps_of(house, old)
    if not covered[0]:
        raise NothingToShift(f"the last plan, of {old.start:%Y-%m-%d %H:%M} UTC, is over")
    target = _low_targets(house)
    known = {room.name: np.asarray(room.air_c) for room in old.rooms}
    for room in house.rooms:
        if room.name in known:
            wanted = known[room.name][where + 1]
            target[room.index, 1:] = np.where(covered, wanted, target[room.index, 1:])
    relays = round_relays(house, target)
    cars = {car.name: np.asarray(car.power_w) / 1000.0 for car in old.evs}
    ev_kw = []
    for ev in house.evs:
        wish = np.full(house.steps, ev.session.max_power_w / 1000.0)
        if ev.session.name in cars:
            wish = np.where(covered, cars[ev.session.name][where], wish)
        ev_kw.append(_car(house, ev, wish))
    ran = {load.name: load for load in old.deferrable_loads}
    loads = []
    for load in house.problem.deferrable_loads:
        before = ran.get(load.name)
        prefer = np.zeros(house.steps, dtype=np.bool_)
        if before is not None and load.interruptible:
            prefer = covered & (np.asarray(before.power_w)[where] > 0)
        loads.append(_load(house, load, before.start if before else None, prefer))
    net = None
    if old.battery_charge_w:
        net = (np.asarray(old.battery_charge_w) - np.asarray(old.battery_discharge_w)) / 1000.0
        net = np.where(covered, net[where], np.nan)
    return _finish(house, relays, ev_kw, loads, net, "shifted", seed, steps_down)


def rules_plan(house: House, seed: int, steps_down: tuple[str, ...]) -> Plan:
    """What a house without a planner does.

    Thermostats at the low edge of comfort, the battery for self-consumption, cars charge at once,
    loads run as soon as they may.
    """
    target = _low_targets(house)
    relays = round_relays(house, target)
    ev_kw = [
        _car(house, ev, np.full(house.steps, ev.session.max_power_w / 1000.0)) for ev in house.evs
    ]
    none = np.zeros(house.steps, dtype=np.bool_)
    loads = [_load(house, load, None, none) for load in house.problem.deferrable_loads]
    return _finish(house, relays, ev_kw, loads, None, "rules", seed, steps_down)


def _low_targets(house: House) -> Floats:
    target = np.zeros((len(house.rooms), house.steps + 1))
    for room in house.rooms:
        target[room.index, 0] = room.start_c[0]
        target[room.index, 1:] = room.low_c
    return target


def _car(house: House, ev: EvArrays, wish_kw: Floats) -> Floats:
    """Charge as wished within the session's powers until the target is in the cells."""
    session, power = ev.session, np.zeros(house.steps)
    stored = 0.0
    for step in range(house.steps):
        if np.isfinite(ev.fixed_kw[step]):
            power[step] = ev.fixed_kw[step]
        elif ev.share[step] > 0 and wish_kw[step] > 0 and stored < session.target_kwh - 1e-9:
            per_kw = house.step_h[step] * session.efficiency
            low = ev.share[step] * session.min_power_w / 1000.0
            high = ev.share[step] * session.max_power_w / 1000.0
            wanted = min(wish_kw[step], high, (session.target_kwh - stored) / per_kw)
            wanted = max(wanted, low)
            if stored + wanted * per_kw <= session.max_kwh + 1e-9:
                power[step] = wanted
        stored += power[step] * house.step_h[step] * session.efficiency
    return power


def _load(
    house: House, load: DeferrableLoad, start: dt.datetime | None, prefer: NDArray[np.bool_]
) -> tuple[Floats, int | None, float]:
    """(kW per step, start step, share done): at the wished start or steps, else the first ones."""
    starts, shapes = load_shapes(house, load)
    if starts.size == 0:
        return np.zeros(house.steps), None, 0.0
    if not load.interruptible:
        edges = house.problem.boundaries()
        later = [i for i, step in enumerate(starts) if start is not None and edges[step] >= start]
        pick = later[0] if later else 0
        return shapes[pick], int(starts[pick]), 1.0
    needed = sum(segment.duration_s for segment in load.segments) / 3600.0
    power, ran = np.zeros(house.steps), 0.0
    for pick in sorted(range(starts.size), key=lambda i: (not prefer[starts[i]], starts[i])):
        if ran < needed - 1e-9:
            power += shapes[pick]
            ran += float(house.step_h[starts[pick]])
    return power, None, min(1.0, ran / needed)


def _finish(
    house: House,
    relays: Floats,
    ev_kw: list[Floats],
    loads: list[tuple[Floats, int | None, float]],
    net_kw: Floats | None,
    rung: Rung,
    seed: int,
    steps_down: tuple[str, ...],
) -> Plan:
    """Battery and curtailment follow from the rest; then the plan is priced like any other."""
    nominal, *scenarios = [
        _follow(house, future, relays, ev_kw, loads, net_kw)
        for future in (house.nominal, *house.scenarios)
    ]
    return make_plan(
        house, nominal, house.nominal.buy, rung, over_scenarios(house, scenarios), None,
        NO_CERTIFICATE, WorkDone(), "none", seed, steps_down,
    )


def _follow(
    house: House,
    future: ScenarioArrays,
    relays: Floats,
    ev_kw: list[Floats],
    loads: list[tuple[Floats, int | None, float]],
    net_kw: Floats | None,
) -> Decisions:
    """What battery and curtailment do in a future."""
    problem = house.problem
    demand = future.base_kw - future.pv_kw
    for room in house.rooms:
        demand = demand + room.power_kw * relays[room.index]
    for power in (*ev_kw, *(load[0] for load in loads)):
        demand = demand + power
    charge = discharge = np.zeros(house.steps)
    if problem.battery is not None:
        demand = demand + problem.battery.standby_w / 1000.0
        wish = -demand if net_kw is None else np.where(np.isfinite(net_kw), net_kw, -demand)
        charge, discharge = _battery(house, future, problem.battery, wish)
    curtailed = np.zeros(house.steps)
    if problem.pv_curtailable:
        grid = problem.grid
        floor = max(0.0, grid.export_min_price_eur_per_kwh or 0.0)
        allowed = np.where(future.sell < floor, 0.0, grid.export_limit_w / 1000.0)
        surplus = np.maximum(-(demand + charge - discharge) - allowed, 0.0)
        own = charge if problem.battery and not problem.battery.allow_grid_charging else 0.0
        curtailed = np.minimum(surplus, np.maximum(future.pv_kw - own, 0.0))
    return Decisions(
        relays, charge, discharge, ev_kw, [load[0] for load in loads],
        [load[1] for load in loads], [load[2] for load in loads], curtailed,
    )  # fmt: skip


def _battery(
    house: House, future: ScenarioArrays, battery: Battery, wish_kw: Floats
) -> tuple[Floats, Floats]:
    """Charge (+) and discharge (-) as wished, inside every limit of the battery."""
    capacity = battery.capacity_wh / 1000.0
    stored = start = battery.initial_soc_fraction * capacity
    low = min(start, battery.min_soc_fraction * capacity)
    high = max(start, battery.max_soc_fraction * capacity)
    charge, discharge = np.zeros(house.steps), np.zeros(house.steps)
    drawn: dict[int, float] = {}
    clock = 0.0
    for step, hours in enumerate(house.step_h):
        ordered = battery.fixed_power_w[step] if battery.fixed_power_w else None
        wish = float(wish_kw[step]) if ordered is None else ordered / 1000.0
        day = int(clock // 24)
        if wish > 0:
            limit = _limit_kw(battery.charge_limit_w, battery.charge_limit_points, stored / capacity)
            if not battery.allow_grid_charging:
                limit = min(limit, float(future.pv_kw[step]))
            room = (high - stored) / (hours * battery.charge_efficiency)
            charge[step] = max(0.0, min(wish, limit, room))
        elif wish < 0:
            limit = _limit_kw(
                battery.discharge_limit_w, battery.discharge_limit_points, stored / capacity
            )
            left = stored - low
            if battery.daily_cycle_limit is not None:
                left = min(left, battery.daily_cycle_limit * capacity - drawn.get(day, 0.0))
            room = left * battery.discharge_efficiency / hours
            discharge[step] = max(0.0, min(-wish, limit, room))
        out = discharge[step] * hours / battery.discharge_efficiency
        drawn[day] = drawn.get(day, 0.0) + out
        stored += charge[step] * hours * battery.charge_efficiency - out
        clock += hours
    return charge, discharge


def _limit_kw(limit_w: float, points: tuple[PowerPoint, ...], soc: float) -> float:
    if points:
        along = np.interp(soc, [p.soc_fraction for p in points], [p.power_w for p in points])
        limit_w = min(limit_w, float(along))
    return limit_w / 1000.0
