"""The house without its rooms as linear rows: grid, PV, battery, cars, loads, limits, peak.

Rooms meet only in the rows kept in `SiteRows.heat_entries`: the power balance of every scenario,
and, where given, phase limits and heating groups. Powers are kW, energies kWh, money EUR.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.battery_rows import battery_rows
from services.optimizer.core.demand_rows import ev_columns, load_columns
from services.optimizer.core.house import House, ScenarioArrays
from services.optimizer.core.linear_model import LinearModel
from services.optimizer.core.site_columns import EvColumns, LoadColumns, ScenarioColumns

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass
class SiteRows:
    """The rows and columns of everything but the rooms."""

    scenarios: list[ScenarioColumns]
    evs: list[EvColumns]
    loads: list[LoadColumns]
    group_rows: list[Ints]
    first_scenario_column: int
    group_columns: Ints

    def heat_entries(self, house: House, room: int) -> list[tuple[Ints, float]]:
        """(rows per step, coefficient per kW of heater power) of one room."""
        arrays = house.rooms[room]
        entries: list[tuple[Ints, float]] = []
        for scenario in self.scenarios:
            entries.append((scenario.balance, -1.0))
            for phase, rows in enumerate(scenario.phase_rows):
                if arrays.phase_shares[phase] > 0:
                    entries.append((rows, float(arrays.phase_shares[phase])))
        if arrays.group >= 0:
            entries.append((self.group_rows[arrays.group], 1.0))
        return entries


def build_site(model: LinearModel, house: House) -> SiteRows:
    """Add the site's columns and rows to `model`."""
    problem = house.problem
    evs = [ev_columns(model, house, ev) for ev in house.evs]
    loads = [load_columns(model, house, load) for load in problem.deferrable_loads]
    heat_limit = sum(room.power_kw for room in house.rooms)
    group_rows: list[Ints] = []
    first_group_column = model.columns
    for group in problem.heating_groups:
        rows = model.add_rows(house.steps, -np.inf, group.capacity_w / 1000.0)
        over = model.variables(
            house.steps, 0.0, heat_limit, problem.grid.limit_penalty_eur_per_kwh * house.step_h
        )
        model.put(rows, over, -1.0)
        group_rows.append(rows)
    first_scenario_column = model.columns
    scenarios, ranges = [], []
    for scenario in house.scenarios:
        first = model.columns
        scenarios.append(_scenario_columns(model, house, scenario, evs, loads, heat_limit))
        ranges.append((first, model.columns))
    _link_here_and_now(model, house, scenarios)
    _add_risk(model, house, ranges)
    return SiteRows(
        scenarios, evs, loads, group_rows, first_scenario_column,
        np.arange(first_group_column, first_scenario_column),
    )


def _largest_load_kw(house: House, heat_limit: float) -> float:
    total = heat_limit
    for ev in house.evs:
        ordered = float(np.nan_to_num(ev.fixed_kw).max())
        total += max(ev.session.max_power_w / 1000.0, ordered)
    for load in house.problem.deferrable_loads:
        total += max(segment.power_w for segment in load.segments) / 1000.0
    battery = house.problem.battery
    if battery is not None:
        total += (battery.charge_limit_w + battery.discharge_limit_w + battery.standby_w) / 1000.0
    return total + 1.0


def _scenario_columns(
    model: LinearModel,
    house: House,
    scenario: ScenarioArrays,
    evs: list[EvColumns],
    loads: list[LoadColumns],
    heat_limit: float,
) -> ScenarioColumns:
    problem, grid, steps, step_h = house.problem, house.problem.grid, house.steps, house.step_h
    weight = scenario.probability
    penalty = weight * grid.limit_penalty_eur_per_kwh * step_h
    most = _largest_load_kw(house, heat_limit) + scenario.base_kw + scenario.pv_kw
    export_limit = np.full(steps, grid.export_limit_w / 1000.0)
    if grid.export_min_price_eur_per_kwh is not None:
        closed = scenario.sell < grid.export_min_price_eur_per_kwh
        export_limit = np.where(closed, 0.0, export_limit)
    green = weight * problem.weights.self_consumption_eur_per_kwh * step_h
    import_high = np.minimum(grid.import_limit_w / 1000.0, most)
    export_high = np.minimum(export_limit, most)
    columns = ScenarioColumns(
        balance=model.add_rows(steps, 0.0, 0.0),
        grid_import=model.variables(steps, 0.0, import_high, weight * scenario.buy * step_h),
        grid_export=model.variables(
            steps, 0.0, export_high, -weight * scenario.sell * step_h + green
        ),
        curtailed=model.variables(
            steps, 0.0, scenario.pv_kw if problem.pv_curtailable else 0.0, green
        ),
        over_import=model.variables(steps, 0.0, most, penalty + weight * scenario.buy * step_h),
        over_export=model.variables(
            steps, 0.0, most, penalty - weight * scenario.sell * step_h + green
        ),
    )
    rows = columns.balance
    # one fixed column of value 1 carries the net load, so that rows keep a right-hand side of 0
    net = scenario.base_kw - scenario.pv_kw
    battery = problem.battery
    if battery is not None:
        net = net + battery.standby_w / 1000.0
    one = model.variables(1, 1.0, 1.0)
    model.put(rows, one[0], -net)
    model.put(rows, columns.grid_import, 1.0)
    model.put(rows, columns.over_import, 1.0)
    model.put(rows, columns.grid_export, -1.0)
    model.put(rows, columns.over_export, -1.0)
    model.put(rows, columns.curtailed, -1.0)
    for ev in evs:
        model.put(rows, ev.power, -1.0)
    for load in loads:
        for position, choice in enumerate(load.choice):
            active = np.flatnonzero(load.power_kw[position])
            model.put(rows[active], choice, -load.power_kw[position][active])
    if battery is not None:
        battery_rows(model, house, scenario, columns, battery)
    _direction_rows(model, scenario, columns, import_high, export_high)
    if grid.phase_import_limit_w is not None:
        _phase_rows(model, house, scenario, columns, evs, loads, penalty, most, one)
    price_peak = grid.peak_price_eur_per_kw + problem.weights.peak_eur_per_kw
    if price_peak > 0:
        peak = model.variables(1, 0.0, float(most.max()), weight * price_peak)
        peak_rows = model.add_rows(steps, -np.inf, grid.peak_so_far_w / 1000.0)
        model.put(peak_rows, columns.grid_import, 1.0)
        model.put(peak_rows, columns.over_import, 1.0)
        model.put(peak_rows, peak[0], -1.0)
        columns.peak, columns.peak_rows = int(peak[0]), peak_rows
    return columns


def _direction_rows(
    model: LinearModel,
    scenario: ScenarioArrays,
    columns: ScenarioColumns,
    import_high: Floats,
    export_high: Floats,
) -> None:
    """Where selling pays more than buying costs, one meter still turns only one way."""
    steps = np.flatnonzero(scenario.sell > scenario.buy)
    if steps.size == 0:
        return
    importing = model.variables(steps.size, 0.0, 1.0, integer=True)
    rows = model.add_rows(steps.size, -np.inf, 0.0)
    model.put(rows, columns.grid_import[steps], 1.0)
    model.put(rows, importing, -import_high[steps])
    columns.directions.append(
        (importing, columns.grid_import[steps], columns.grid_export[steps])
    )
    rows = model.add_rows(steps.size, -np.inf, export_high[steps])
    model.put(rows, columns.grid_export[steps], 1.0)
    model.put(rows, importing, export_high[steps])


def _phase_rows(
    model: LinearModel,
    house: House,
    scenario: ScenarioArrays,
    columns: ScenarioColumns,
    evs: list[EvColumns],
    loads: list[LoadColumns],
    penalty: Floats,
    most: Floats,
    one: Ints,
) -> None:
    """Net power of each phase stays below the main fuse, above it each kWh is priced."""
    problem = house.problem
    limit = (problem.grid.phase_import_limit_w or 0.0) / 1000.0
    for phase in range(3):
        rows = model.add_rows(house.steps, -np.inf, limit)
        over = model.variables(house.steps, 0.0, most, penalty)
        model.put(rows, over, -1.0)
        base = scenario.base_kw * problem.base_load_phase_shares[phase]
        model.put(rows, one[0], base - scenario.pv_kw * problem.pv_phase_shares[phase])
        model.put(rows, columns.curtailed, problem.pv_phase_shares[phase])
        if problem.battery is not None and columns.charge is not None:
            share = problem.battery.phase_shares[phase]
            model.put(rows, columns.charge, share)
            if columns.discharge is not None:
                model.put(rows, columns.discharge, -share)
            model.put(rows, one[0], share * problem.battery.standby_w / 1000.0)
        for ev, arrays in zip(evs, house.evs, strict=True):
            model.put(rows, ev.power, arrays.session.phase_shares[phase])
        for load, source in zip(loads, problem.deferrable_loads, strict=True):
            for position, choice in enumerate(load.choice):
                active = np.flatnonzero(load.power_kw[position])
                share = source.phase_shares[phase]
                model.put(rows[active], choice, share * load.power_kw[position][active])
        columns.phase_rows.append(rows)
        columns.over_phase.append(over)


def _link_here_and_now(
    model: LinearModel, house: House, scenarios: list[ScenarioColumns]
) -> None:
    """The battery's first steps are decided before the future is known: equal in all scenarios."""
    count = house.here_and_now_steps
    if len(scenarios) < 2 or scenarios[0].charge is None or count == 0:
        return
    first = scenarios[0]
    for other in scenarios[1:]:
        for mine, theirs in ((first.charge, other.charge), (first.discharge, other.discharge)):
            if mine is None or theirs is None:
                continue
            rows = model.add_rows(count, 0.0, 0.0)
            model.put(rows, mine[:count], 1.0)
            model.put(rows, theirs[:count], -1.0)


def _add_risk(model: LinearModel, house: House, ranges: list[tuple[int, int]]) -> None:
    """Mix expected cost with the mean of the worst tail (Rockafellar and Uryasev 2000).

    What all scenarios share (rooms, cars, loads) shifts every scenario's cost alike, so the tail is
    taken over the recourse alone.
    """
    weight = house.problem.weights.cvar_weight
    if weight == 0.0 or len(ranges) < 2:
        return
    tail = house.problem.weights.cvar_tail
    costs = [
        model.cost_of(first, last) / scenario.probability
        for scenario, (first, last) in zip(house.scenarios, ranges, strict=True)
    ]
    lowest, highest = np.transpose(
        [model.cost_range(first, cost) for (first, _), cost in zip(ranges, costs, strict=True)]
    )
    level = model.variables(1, lowest.min(), highest.max(), weight)
    for scenario, (first, last), cost in zip(house.scenarios, ranges, costs, strict=True):
        share = weight * scenario.probability / tail
        above = model.variables(1, 0.0, highest.max() - lowest.min(), share)
        row = model.add_rows(1, 0.0, np.inf)
        model.put(row, above, 1.0)
        model.put(row, level, 1.0)
        model.put(row, np.arange(first, last), -cost)
        model.scale_cost(first, last, 1.0 - weight)
