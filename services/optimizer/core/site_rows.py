"""The house without its rooms as linear rows: grid, PV, battery, cars, loads, limits, peak.

Rooms meet only in the rows kept in `SiteRows.heat_entries`: the power balance of every scenario,
and, where given, phase limits and heating groups. Powers are kW, energies kWh, money EUR.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from contracts.planning import Battery, DeferrableLoad
from services.optimizer.core.house import EvArrays, House, ScenarioArrays
from services.optimizer.core.linear_model import LinearModel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RECOURSE_LIMIT_EUR = 1e5


@dataclass
class ScenarioColumns:
    """Column numbers (one per step unless said otherwise) of one scenario."""

    balance: Ints
    grid_import: Ints
    grid_export: Ints
    curtailed: Ints
    over_import: Ints
    over_export: Ints
    charge: Ints | None = None
    discharge: Ints | None = None
    stored: Ints | None = None
    over_phase: list[Ints] = field(default_factory=list)
    phase_rows: list[Ints] = field(default_factory=list)
    peak: int = -1
    soc_outside: Ints | None = None


@dataclass
class EvColumns:
    """Columns of one session: power per step, on-state, missing and extra energy (one each)."""

    power: Ints
    on: Ints
    missing: int
    extra: int


@dataclass
class LoadColumns:
    """Columns of one deferrable load: a start (or an on-step) each, its power shape, skipping."""

    choice: Ints
    power_kw: Floats
    skip: int


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
    evs = [_ev_columns(model, house, ev) for ev in house.evs]
    loads = [_load_columns(model, house, load) for load in problem.deferrable_loads]
    group_rows: list[Ints] = []
    first_group_column = model.columns
    for group in problem.heating_groups:
        rows = model.add_rows(house.steps, -np.inf, group.capacity_w / 1000.0)
        over = model.variables(
            house.steps, 0.0, 1e4, problem.grid.limit_penalty_eur_per_kwh * house.step_h
        )
        model.put(rows, over, -1.0)
        group_rows.append(rows)
    heat_limit = sum(room.power_kw for room in house.rooms)
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
    total = heat_limit + sum(ev.session.max_power_w for ev in house.evs) / 1000.0
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
        over_export=model.variables(steps, 0.0, most, penalty - weight * scenario.sell * step_h),
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
        _battery_rows(model, house, scenario, columns, battery)
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
        columns.peak = int(peak[0])
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
    rows = model.add_rows(steps.size, -np.inf, export_high[steps])
    model.put(rows, columns.grid_export[steps], 1.0)
    model.put(rows, importing, export_high[steps])


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


def _battery_rows(
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
        columns.soc_outside = outside
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
    _battery_direction(model, house, scenario, charge, discharge, charge_high, discharge_high)
    _battery_override(model, house, columns, battery, charge, discharge)
    columns.charge, columns.discharge, columns.stored = charge, discharge, stored


def _battery_direction(
    model: LinearModel,
    house: House,
    scenario: ScenarioArrays,
    charge: Ints,
    discharge: Ints,
    charge_high: Floats,
    discharge_high: Floats,
) -> None:
    """Forbid charging and discharging at once where burning energy could pay (price below 0)."""
    grid = house.problem.grid
    spill = scenario.pv_kw - scenario.base_kw > min(grid.export_limit_w / 1000.0, 1e9)
    blocked = np.zeros(house.steps, dtype=np.bool_)
    if grid.export_min_price_eur_per_kwh is not None:
        blocked = (scenario.sell < grid.export_min_price_eur_per_kwh) & (
            scenario.pv_kw > scenario.base_kw
        )
    cannot_spill = not house.problem.pv_curtailable
    risky = (scenario.buy < 0) | (cannot_spill & ((scenario.sell < 0) | spill | blocked))
    if house.problem.weights.self_consumption_eur_per_kwh > 0:
        risky = risky | (scenario.pv_kw > scenario.base_kw)
    steps = np.flatnonzero(risky)
    if steps.size == 0:
        return
    charging = model.variables(steps.size, 0.0, 1.0, integer=True)
    rows = model.add_rows(steps.size, -np.inf, 0.0)
    model.put(rows, charge[steps], 1.0)
    model.put(rows, charging, -charge_high[steps])
    rows = model.add_rows(steps.size, -np.inf, discharge_high[steps])
    model.put(rows, discharge[steps], 1.0)
    model.put(rows, charging, discharge_high[steps])


def _battery_override(
    model: LinearModel,
    house: House,
    columns: ScenarioColumns,
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
    price = house.problem.grid.limit_penalty_eur_per_kwh * house.step_h[steps]
    miss_up = model.variables(steps.size, 0.0, np.abs(wanted) + 1e3, price)
    miss_down = model.variables(steps.size, 0.0, np.abs(wanted) + 1e3, price)
    rows = model.add_rows(steps.size, wanted, wanted)
    model.put(rows, charge[steps], 1.0)
    model.put(rows, discharge[steps], -1.0)
    model.put(rows, miss_up, 1.0)
    model.put(rows, miss_down, -1.0)


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


def _ev_columns(model: LinearModel, house: House, ev: EvArrays) -> EvColumns:
    session, steps, step_h = ev.session, house.steps, house.step_h
    high = ev.share * session.max_power_w / 1000.0
    low = np.zeros(steps)
    overridden = np.isfinite(ev.fixed_kw)
    high = np.where(overridden, ev.fixed_kw, high)
    low = np.where(overridden, ev.fixed_kw, low)
    power = model.variables(steps, low, high)
    free = np.flatnonzero((high > 0) & ~overridden)
    on = model.variables(free.size, 0.0, 1.0, integer=True)
    rows = model.add_rows(free.size, -np.inf, 0.0)
    model.put(rows, power[free], 1.0)
    model.put(rows, on, -high[free])
    rows = model.add_rows(free.size, -np.inf, 0.0)
    model.put(rows, power[free], -1.0)
    model.put(rows, on, ev.share[free] * session.min_power_w / 1000.0)
    fixed_kwh = float((np.where(overridden, ev.fixed_kw, 0.0) * step_h).sum()) * session.efficiency
    room = max(session.max_kwh - session.target_kwh, fixed_kwh)
    missing = model.variables(
        1, 0.0, max(session.target_kwh, 1e-9), session.unmet_penalty_eur_per_kwh
    )
    value = min(session.extra_value_eur_per_kwh, session.unmet_penalty_eur_per_kwh)
    extra = model.variables(1, 0.0, room, -value)
    total = model.add_rows(1, session.target_kwh, session.target_kwh)
    model.put(total[0], power, step_h * session.efficiency)
    model.put(total[0], missing[0], 1.0)
    model.put(total[0], extra[0], -1.0)
    if session.switch_cost_eur > 0 and free.size:
        _ev_switch_rows(model, ev, on, free, steps)
    return EvColumns(power, on, int(missing[0]), int(extra[0]))


def _ev_switch_rows(model: LinearModel, ev: EvArrays, on: Ints, free: Ints, steps: int) -> None:
    """Count changes of the charging state between neighbouring steps."""
    state = np.full(steps, -1, dtype=np.int64)
    state[free] = on
    first = 1.0 if ev.session.initial_on else 0.0
    for step in range(steps):
        now, before = state[step], state[step - 1] if step else -1
        if now < 0 and before < 0:
            continue
        change = model.variables(1, 0.0, 1.0, ev.session.switch_cost_eur)[0]
        offset = first if step == 0 else 0.0
        rows = model.add_rows(2, np.array([-offset, offset]), np.inf)
        model.put(rows, change, 1.0)
        if now >= 0:
            model.put(rows, now, np.array([-1.0, 1.0]))
        if before >= 0:
            model.put(rows, before, np.array([1.0, -1.0]))


def load_shapes(house: House, load: DeferrableLoad) -> tuple[Ints, Floats]:
    """(start steps, mean kW per step) of every admissible start, or of every admissible on-step."""
    problem = house.problem
    edges = np.concatenate([[0.0], np.cumsum(problem.step_s)])
    earliest = (load.earliest - problem.start).total_seconds()
    deadline = (load.deadline - problem.start).total_seconds()
    length = sum(segment.duration_s for segment in load.segments)
    starts: list[int] = []
    shapes: list[Floats] = []
    for step in range(house.steps):
        begin = edges[step]
        if begin < earliest:
            continue
        if load.interruptible:
            if edges[step + 1] > deadline:
                continue
            shape = np.zeros(house.steps)
            shape[step] = load.segments[0].power_w / 1000.0
        else:
            if begin + length > min(deadline, edges[-1]):
                continue
            shape = np.zeros(house.steps)
            for segment in load.segments:
                overlap = np.minimum(edges[1:], begin + segment.duration_s) - np.maximum(
                    edges[:-1], begin
                )
                shape += np.clip(overlap / np.diff(edges), 0, None) * segment.power_w / 1000.0
                begin += segment.duration_s
        starts.append(step)
        shapes.append(shape)
    return np.array(starts, dtype=np.int64), np.array(shapes).reshape(len(starts), house.steps)


def _load_columns(model: LinearModel, house: House, load: DeferrableLoad) -> LoadColumns:
    starts, shapes = load_shapes(house, load)
    choice = model.variables(starts.size, 0.0, 1.0, integer=True)
    skip = model.variables(1, 0.0, 1.0, load.skip_penalty_eur, integer=not load.interruptible)
    if load.interruptible:
        needed = sum(segment.duration_s for segment in load.segments) / 3600.0
        row = model.add_rows(1, needed, np.inf)
        model.put(row[0], choice, house.step_h[starts])
        model.put(row[0], skip[0], needed)
    else:
        row = model.add_rows(1, 1.0, 1.0)
        model.put(row[0], choice, 1.0)
        model.put(row[0], skip[0], 1.0)
    return LoadColumns(choice, shapes, int(skip[0]))


def _link_here_and_now(
    model: LinearModel, house: House, scenarios: list[ScenarioColumns]
) -> None:
    """The battery's first steps are decided before the future is known: equal in all scenarios."""
    if len(scenarios) < 2 or scenarios[0].charge is None:
        return
    ends = np.cumsum(house.problem.step_s)
    count = max(1, int(np.searchsorted(ends, house.problem.here_and_now_s, side="right")))
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
    level = model.variables(1, -RECOURSE_LIMIT_EUR, RECOURSE_LIMIT_EUR, weight)
    for scenario, (first, last) in zip(house.scenarios, ranges, strict=True):
        share = weight * scenario.probability / tail
        above = model.variables(1, 0.0, 2 * RECOURSE_LIMIT_EUR, share)
        row = model.add_rows(1, 0.0, np.inf)
        model.put(row, above, 1.0)
        model.put(row, level, 1.0)
        cost = model.cost_of(first, last) / scenario.probability
        model.put(row, np.arange(first, last), -cost)
        model.scale_cost(first, last, 1.0 - weight)
