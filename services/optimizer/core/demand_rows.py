"""Cars and deferrable loads as linear rows; decided once, alike in all scenarios."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.planning import DeferrableLoad
from services.optimizer.core.house import EvArrays, House
from services.optimizer.core.linear_model import LinearModel
from services.optimizer.core.site_columns import EvColumns, LoadColumns

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def ev_columns(model: LinearModel, house: House, ev: EvArrays) -> EvColumns:
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
    if session.switch_cost_eur > 0:
        _ev_switch_rows(model, ev, on, free, steps)
    return EvColumns(power, on, int(missing[0]), int(extra[0]))


def _ev_switch_rows(model: LinearModel, ev: EvArrays, on: Ints, free: Ints, steps: int) -> None:
    """Count changes of the charging state between neighbouring steps."""
    choice = np.full(steps, -1, dtype=np.int64)
    choice[free] = on
    # where there is no choice, an order charges or nothing does
    known = np.where(choice < 0, np.nan_to_num(ev.fixed_kw) > 0, 0).astype(np.float64)
    first = 1.0 if ev.session.initial_on else 0.0
    for step in range(steps):
        now, before = choice[step], choice[step - 1] if step else -1
        rise = known[step] - (known[step - 1] if step else first)
        if now < 0 and before < 0:
            if rise:
                model.variables(1, 1.0, 1.0, ev.session.switch_cost_eur)
            continue
        change = model.variables(1, 0.0, 1.0, ev.session.switch_cost_eur)[0]
        rows = model.add_rows(2, np.array([rise, -rise]), np.inf)
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


def load_columns(model: LinearModel, house: House, load: DeferrableLoad) -> LoadColumns:
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
    return LoadColumns(choice, starts, shapes, int(skip[0]))
