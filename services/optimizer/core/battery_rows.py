"""The battery as linear rows: cells, power limits over charge, direction, cycles, overrides."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from contracts.planning import Battery
from services.optimizer.core.house import House, ScenarioArrays
from services.optimizer.core.linear_model import LinearModel
from services.optimizer.core.site_columns import ScenarioColumns

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def limit_lines(battery: Battery, which: str) -> list[tuple[float, float]]:
    """(intercept kW, slope kW per kWh) lines; their minimum is the limit over stored energy."""
    points = getattr(battery, f"{which}_limit_points")
    capacity = battery.capacity_wh / 1000.0
    lines = []
    for left, right in itertools.pairwise(points):
        slope = (right.power_w - left.power_w) / 1000.0
        slope /= (right.soc_fraction - left.soc_fraction) * capacity
        lines.append((left.power_w / 1000.0 - slope * left.soc_fraction * capacity, slope))
    return lines


def battery_rows(
    model: LinearModel,
    house: House,
    scenario: ScenarioArrays,
    columns: ScenarioColumns,
    battery: Battery,
) -> None:
    steps, step_h, weight = house.steps, house.step_h, scenario.probability
    capacity = battery.capacity_wh / 1000.0
    start = battery.initial_soc_fraction * capacity
    low, high = battery.min_soc_fraction * capacity, battery.max_soc_fraction * capacity
    charge_high = np.full(steps, battery.charge_limit_w / 1000.0)
    discharge_high = np.full(steps, battery.discharge_limit_w / 1000.0)
    charge_low, discharge_low = np.zeros(steps), np.zeros(steps)
    if not battery.allow_grid_charging:
        charge_high = np.minimum(charge_high, scenario.pv_kw)
    wear = weight * battery.wear_eur_per_kwh * step_h
    charge = model.variables(
        steps, charge_low, charge_high, wear * battery.charge_efficiency
    )
    discharge = model.variables(
        steps, discharge_low, discharge_high, wear / battery.discharge_efficiency
    )
    terminal = np.zeros(steps)
    terminal[-1] = -weight * battery.terminal_value_eur_per_kwh
    stored = model.variables(steps, min(low, start), max(high, start), terminal)
    credit = model.variables(1, 1.0, 1.0, weight * battery.terminal_value_eur_per_kwh * start)
    rows = model.add_rows(steps, 0.0, 0.0)
    model.put(rows, stored, 1.0)
    model.put(rows[1:], stored[:-1], -1.0)
    model.put(rows[0], credit[0], -start)
    model.put(rows, charge, -step_h * battery.charge_efficiency)
    model.put(rows, discharge, step_h / battery.discharge_efficiency)
    model.put(columns.balance, charge, -1.0)
    model.put(columns.balance, discharge, 1.0)
    if not low <= start <= high:
        # leaving the forbidden zone is a wish with a price per kWh and hour, so any start is legal
        price = weight * house.problem.grid.limit_penalty_eur_per_kwh * step_h
        outside = model.variables(steps, 0.0, abs(start - (low if start < low else high)), price)
        if start < low:
            wish = model.add_rows(steps, low, np.inf)
            model.put(wish, outside, 1.0)
        else:
            wish = model.add_rows(steps, -np.inf, high)
            model.put(wish, outside, -1.0)
        model.put(wish, stored, 1.0)
    for power, which in ((charge, "charge"), (discharge, "discharge")):
        for intercept, slope in limit_lines(battery, which):
            line = model.add_rows(steps, -np.inf, intercept)
            model.put(line, power, 1.0)
            model.put(line[1:], stored[:-1], -slope)
            model.put(line[0], credit[0], -slope * start)
    if not battery.allow_grid_charging:
        solar = model.add_rows(steps, -np.inf, scenario.pv_kw)
        model.put(solar, charge, 1.0)
        model.put(solar, columns.curtailed, 1.0)
    if battery.daily_cycle_limit is not None:
        day = (np.cumsum(step_h) - step_h) // 24
        days = np.unique(day)
        limit = battery.daily_cycle_limit * capacity
        rows = model.add_rows(days.size, -np.inf, limit)
        model.put(rows[day.astype(np.int64)], discharge, step_h / battery.discharge_efficiency)
    highest = (charge_high, discharge_high)
    _battery_direction(model, house, scenario, columns, (charge, discharge), highest)
    _battery_override(model, house, weight, battery, charge, discharge)
    columns.charge, columns.discharge, columns.stored = charge, discharge, stored


def _battery_direction(
    model: LinearModel,
    house: House,
    scenario: ScenarioArrays,
    columns: ScenarioColumns,
    powers: tuple[Ints, Ints],
    highest: tuple[Floats, Floats],
) -> None:
    """Forbid charging and discharging at once where burning energy could pay."""
    grid = house.problem.grid
    spill = scenario.pv_kw - scenario.base_kw > min(grid.export_limit_w / 1000.0, 1e9)
    blocked = np.zeros(house.steps, dtype=np.bool_)
    if grid.export_min_price_eur_per_kwh is not None:
        blocked = scenario.sell < grid.export_min_price_eur_per_kwh
        spill = spill | (blocked & (scenario.pv_kw > scenario.base_kw))
    cannot_spill = not house.problem.pv_curtailable
    risky = (scenario.buy < 0) | (cannot_spill & ((scenario.sell < 0) | spill))
    if house.problem.weights.self_consumption_eur_per_kwh > 0:
        risky = risky | (scenario.pv_kw > scenario.base_kw)
    battery = house.problem.battery
    assert battery is not None
    if risky.any():
        # so could burning make room beforehand, where not all can be fed in
        export_limit = np.where(blocked, 0.0, grid.export_limit_w / 1000.0)
        confined = scenario.pv_kw - scenario.base_kw + highest[1] > export_limit
        risky = risky | (confined & (np.arange(house.steps) < np.flatnonzero(risky)[-1]))
    if battery.fixed_power_w:
        # a full or empty battery could seem to obey by burning energy
        risky = risky | np.array([value is not None for value in battery.fixed_power_w])
    if battery.terminal_value_eur_per_kwh < 0 or (
        battery.initial_soc_fraction > battery.max_soc_fraction
    ):
        # burning energy would be a way to what is wished for
        risky = np.ones(house.steps, dtype=np.bool_)
    steps = np.flatnonzero(risky)
    if steps.size == 0:
        return
    charge, discharge = powers[0][steps], powers[1][steps]
    charge_high, discharge_high = highest[0][steps], highest[1][steps]
    charging = model.variables(steps.size, 0.0, 1.0, integer=True)
    rows = model.add_rows(steps.size, -np.inf, 0.0)
    model.put(rows, charge, 1.0)
    model.put(rows, charging, -charge_high)
    rows = model.add_rows(steps.size, -np.inf, discharge_high)
    model.put(rows, discharge, 1.0)
    model.put(rows, charging, discharge_high)
    columns.directions.append((charging, charge, discharge))


def _battery_override(
    model: LinearModel,
    house: House,
    weight: float,
    battery: Battery,
    charge: Ints,
    discharge: Ints,
) -> None:
    """Follow an overridden power (W, charging positive) as far as the battery can."""
    fixed = [(t, value) for t, value in enumerate(battery.fixed_power_w) if value is not None]
    if not fixed:
        return
    steps = np.array([t for t, _ in fixed], dtype=np.int64)
    wanted = np.array([value for _, value in fixed]) / 1000.0
    price = weight * house.problem.grid.limit_penalty_eur_per_kwh * house.step_h[steps]
    miss_up = model.variables(steps.size, 0.0, np.abs(wanted) + 1e3, price)
    miss_down = model.variables(steps.size, 0.0, np.abs(wanted) + 1e3, price)
    rows = model.add_rows(steps.size, wanted, wanted)
    model.put(rows, charge[steps], 1.0)
    model.put(rows, discharge[steps], -1.0)
    model.put(rows, miss_up, 1.0)
    model.put(rows, miss_down, -1.0)
