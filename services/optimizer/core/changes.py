"""How much of a plan is new, and why: the last plan on the new grid, and what else has changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from contracts.events.plan import PlanInputs
from contracts.planning import Churn, Plan, PlanningProblem, PreviousRelays

Floats = NDArray[np.float64]

NEWS_KWH = 0.3
NEWS_EUR_PER_KWH = 0.005
NEWS_SOC = 0.02
NEWS_K = 0.2


def inputs_of(problem: PlanningProblem) -> PlanInputs:
    """What of a problem goes on the log with its plan."""
    return PlanInputs(
        base_load_w=problem.base_load_w, pv_w=problem.pv_w,
        buy_eur_per_kwh=problem.grid.buy_price_eur_per_kwh,
        sell_eur_per_kwh=problem.grid.sell_price_eur_per_kwh,
        evs=tuple(ev.name for ev in problem.evs), held=_held(problem),
    )  # fmt: skip


def _held(problem: PlanningProblem) -> tuple[str, ...]:
    held = [room.name for room in problem.rooms if any(v is not None for v in room.fixed_relay)]
    if problem.battery is not None and any(v is not None for v in problem.battery.fixed_power_w):
        held.append("battery")
    return (*held, *(ev.name for ev in problem.evs if any(v is not None for v in ev.fixed_power_w)))


def previous_relays(
    old: Plan, plan_id: str, start: datetime, step_s: Sequence[int], duty_from_step_s: int
) -> PreviousRelays:
    """The last plan's relays on a new grid; None where it has no one relay value for a step."""
    old_ends = np.cumsum(old.step_s)
    shift = (start - old.start).total_seconds()
    ends = shift + np.cumsum(step_s)
    spans: list[tuple[int, int] | None] = []
    for end, seconds in zip(ends, step_s, strict=True):
        first = int(np.searchsorted(old_ends, end - seconds, side="right"))
        last = int(np.searchsorted(old_ends, end, side="left"))
        known = end - seconds >= 0 and last < len(old.step_s) and seconds < duty_from_step_s
        spans.append((first, last) if known else None)
    relays: dict[str, tuple[Literal[0, 1] | None, ...]] = {}
    for room in old.rooms:
        found: list[Literal[0, 1] | None] = []
        for span in spans:
            values = set(room.relay[span[0] : span[1] + 1]) if span else set()
            found.append(1 if values == {1.0} else 0 if values == {0.0} else None)
        relays[room.name] = tuple(found)
    return PreviousRelays(plan_id=plan_id, relays=relays)


def with_churn(
    new: Plan, old: Plan, problem: PlanningProblem, before: PlanInputs | None, trigger: str
) -> Plan:
    """The plan with the energies that moved and the causes of the change filled in."""
    if new.churn is None:
        return new
    ev_moved = 0.0
    after = {ev.name: ev.power_w for ev in new.evs}
    for ev in old.evs:
        ev_moved += _moved_kwh(old, ev.power_w, new, after.get(ev.name, (0.0,) * len(new.step_s)))
    churn = Churn(
        previous_plan_id=new.churn.previous_plan_id,
        relay_steps_compared=new.churn.relay_steps_compared,
        relay_steps_changed=new.churn.relay_steps_changed,
        reasons=(trigger, *_causes(problem, old, before)),
        battery_kwh_moved=round(_moved_kwh(old, _net(old), new, _net(new)), 4),
        ev_kwh_moved=round(ev_moved, 4),
    )
    return new.model_copy(update={"churn": churn})


def _net(plan: Plan) -> tuple[float, ...]:
    pairs = zip(plan.battery_charge_w, plan.battery_discharge_w, strict=True)
    return tuple(charge - discharge for charge, discharge in pairs)


def _causes(problem: PlanningProblem, old: Plan, before: PlanInputs | None) -> list[str]:
    """Inputs that differ noticeably from what the last plan rested on."""
    causes = []
    step = int(np.searchsorted(np.cumsum(old.step_s), _seconds(old.start, problem.start), "right"))
    if step < len(old.step_s):
        battery = problem.battery
        if battery is not None and old.battery_soc_fraction:
            off = battery.initial_soc_fraction - old.battery_soc_fraction[step]
            if abs(off) > NEWS_SOC:
                causes.append(f"battery {off:+.0%} of the last plan")
        expected = {room.name: room.air_c[step] for room in old.rooms}
        off_k = [
            abs(room.initial_air_c - expected[room.name])
            for room in problem.rooms
            if room.name in expected
        ]
        warm = sum(gap > NEWS_K for gap in off_k)
        if warm:
            causes.append(f"{warm} rooms up to {max(off_k):.1f} K off the last plan")
    if before is None:
        return causes
    now = inputs_of(problem)

    def overlap(was: Sequence[float], new: Sequence[float]) -> tuple[Floats, Floats]:
        hours, left, right = _overlap(
            old.start, old.step_s, was, problem.start, problem.step_s, new
        )
        return hours, right - left

    for what, was, new in (
        ("load forecast", before.base_load_w, now.base_load_w),
        ("PV forecast", before.pv_w, now.pv_w),
    ):
        hours, delta = overlap(was, new)
        kwh = float(hours @ delta) / 1_000
        if abs(kwh) > NEWS_KWH:
            causes.append(f"{what} {kwh:+.1f} kWh")
    _, delta = overlap(before.buy_eur_per_kwh, now.buy_eur_per_kwh)
    most = float(np.abs(delta).max(initial=0.0))
    if most > NEWS_EUR_PER_KWH:
        causes.append(f"prices up to {most:.3f} EUR/kWh different")
    for what, had, has in (("ev", before.evs, now.evs), ("override of", before.held, now.held)):
        causes += [f"{what} {name} is new" for name in has if name not in had]
        causes += [f"{what} {name} is over" for name in had if name not in has]
    return causes


def _seconds(earlier: datetime, later: datetime) -> float:
    return (later - earlier).total_seconds()


def _overlap(
    old_start: datetime, old_s: Sequence[int], old: Sequence[float],
    new_start: datetime, new_s: Sequence[int], new: Sequence[float],
) -> tuple[Floats, Floats, Floats]:  # fmt: skip
    """(hours, old values, new values) over the pieces of time that both series cover."""
    shift = _seconds(old_start, new_start)
    old_edges = np.array([0, *accumulate(old_s)], dtype=np.float64)
    new_edges = shift + np.array([0, *accumulate(new_s)], dtype=np.float64)
    low, high = max(0.0, shift), min(old_edges[-1], new_edges[-1])
    edges = np.union1d(old_edges, new_edges)
    edges = edges[(edges >= low) & (edges <= high)]
    if edges.size < 2 or not len(old) or not len(new):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    middle = 0.5 * (edges[:-1] + edges[1:])
    return (
        np.diff(edges) / 3_600,
        np.asarray(old)[np.searchsorted(old_edges, middle, side="right") - 1],
        np.asarray(new)[np.searchsorted(new_edges, middle, side="right") - 1],
    )


def _moved_kwh(old: Plan, was: Sequence[float], new: Plan, now: Sequence[float]) -> float:
    hours, before, after = _overlap(old.start, old.step_s, was, new.start, new.step_s, now)
    return float(hours @ np.abs(after - before)) / 2_000
