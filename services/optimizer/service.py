"""The optimizer: a plan for 48 hours, every hour and whenever the house is not where it should be."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from chassis.service import Decision, Service, State
from contracts import grid
from contracts.envelope import Event
from contracts.events.clock import Ticked
from contracts.events.forecast import ForecastIssued
from contracts.events.measurement import EvSampled, HouseSampled
from contracts.events.override import Ended, Granted
from contracts.events.plan import LadderDescended, PlanComputed
from contracts.events.price import PricesPublished
from contracts.events.thermal import DynamicsIssued, StateEstimated
from contracts.planning import Plan
from services.optimizer.core.planner import WarmStart, WorkBudget, plan
from services.optimizer.core.problem import Knowledge, build

LATE_FORECAST_S = 120
SOC_DEVIATION = 0.10
TEMPERATURE_DEVIATION_K = 1.2
REPLAN_REST_S = 1_800
BUDGET = WorkBudget(pricing_rounds=4)
"""More rounds took a third longer and changed the plan's cost by less than 0.1 %."""


class OptimizerState(State):
    """The newest of everything that a plan rests on, and why the next one is wanted."""

    dynamics: DynamicsIssued | None = None
    estimate: StateEstimated | None = None
    forecasts: dict[str, ForecastIssued] = {}
    events: dict[str, str] = {}
    """Ids of the events that hold the above, by what they are."""
    soc: float | None = None
    evs: dict[str, EvSampled] = {}
    overrides: dict[str, Granted] = {}
    last: Plan | None = None
    planned_start: datetime | None = None
    planned_at: datetime | None = None
    wish: str = ""
    """Why a plan is wanted before the next full hour."""
    reason: str = ""
    """Set when the event just folded calls for a plan."""


class Optimizer(Service[OptimizerState]):
    """Forecasts + room dynamics + wishes -> plan."""

    name = "optimizer"
    heavy = True
    state_type = OptimizerState

    def fold(self, state: OptimizerState, event: Event) -> None:
        data = event.data
        state.reason = ""
        if isinstance(data, DynamicsIssued):
            state.dynamics = data
            state.events["dynamics"] = event.id
        elif isinstance(data, StateEstimated):
            state.estimate = data
            state.events["estimate"] = event.id
            _notice_deviation(state, data)
        elif isinstance(data, ForecastIssued):
            state.forecasts[data.quantity] = data
            state.events[f"forecast-{data.quantity}"] = event.id
        elif isinstance(data, HouseSampled):
            if data.soc is not None:
                state.soc = data.soc
                state.events["house"] = event.id
        elif isinstance(data, EvSampled):
            before = state.evs.get(data.ev)
            if before is None or before.plugged != data.plugged:
                state.wish = f"ev-{data.ev} was {'plugged in' if data.plugged else 'unplugged'}"
            state.evs[data.ev] = data
        elif isinstance(data, PricesPublished):
            state.events["price"] = event.id
        elif isinstance(data, Granted):
            state.overrides[data.override] = data
            state.wish = f"override of {data.target} by {data.actor}"
        elif isinstance(data, Ended):
            if state.overrides.pop(data.override, None):
                state.wish = f"override of {data.target} ended: {data.reason}"
        elif isinstance(data, PlanComputed):
            state.last = data.plan
        _choose(state, event)

    def decide(self, state: OptimizerState, event: Event) -> Iterable[Decision]:
        if not state.reason or state.site is None or state.now is None:
            return
        assert state.dynamics is not None and state.estimate is not None
        known = Knowledge(
            site=state.site, dynamics=state.dynamics, estimate=state.estimate,
            forecasts=state.forecasts, soc=state.soc, evs=state.evs,
            overrides=tuple(state.overrides.values()),
        )  # fmt: skip
        try:
            problem = build(known, state.now)
            warm = WarmStart(state.last) if state.last else None
            computed = plan(problem, warm=warm, budget=BUDGET)
        except (ValueError, RuntimeError) as error:
            yield Decision(
                "plan.ladder-descended",
                "house",
                LadderDescended(
                    time=state.now, wanted="full", used="last-plan",
                    reason=f"no plan could be made: {error}"[:500],
                ),
            )  # fmt: skip
            return
        yield Decision(
            "plan.computed",
            "house",
            PlanComputed(
                time=state.now,
                reason=state.reason,
                plan=computed,
                because=tuple(state.events[name] for name in sorted(state.events)),
                overrides=tuple(sorted(state.overrides)),
                models={
                    "thermal": state.dynamics.model_hash,
                    **{q: f.model_hash for q, f in state.forecasts.items() if f.model_hash},
                },
            ),
        )
        for step in computed.steps_down:
            yield Decision(
                "plan.ladder-descended",
                "house",
                LadderDescended(
                    time=state.now, wanted="full", used=computed.rung.replace("_", "-"),
                    reason=step,
                ),
            )  # fmt: skip


def _choose(state: OptimizerState, event: Event) -> None:
    """Decide whether the event just folded calls for a plan."""
    dynamics, now = state.dynamics, state.now
    if dynamics is None or state.estimate is None or now is None:
        return
    if state.soc is None or not {"load", "price"} <= state.forecasts.keys():
        return
    if state.planned_start is None or dynamics.start > state.planned_start:
        fresh = all(f.start >= dynamics.start for f in state.forecasts.values())
        late = (
            isinstance(event.data, Ticked)
            and (now - dynamics.issued).total_seconds() >= LATE_FORECAST_S
        )
        if not fresh and not late:
            return
        state.reason = "hourly" if fresh else "hourly, with forecasts of an earlier hour"
    elif state.wish and isinstance(event.data, StateEstimated):
        if grid.floor(now, 3_600) > dynamics.issued:
            return  # this hour's own plan is about to be made
        rested = state.planned_at is None or now - state.planned_at >= timedelta(
            seconds=REPLAN_REST_S
        )
        if not rested and "override" not in state.wish:
            return
        state.reason = state.wish
    else:
        return
    state.planned_start, state.planned_at, state.wish = dynamics.start, now, ""


def _notice_deviation(state: OptimizerState, estimate: StateEstimated) -> None:
    """Ask for a plan when the house is far from where the last one expected it."""
    last = state.last
    if last is None or state.wish:
        return
    passed = (estimate.time - last.start).total_seconds()
    step, end = 0, 0
    while step < len(last.step_s) - 1 and end + last.step_s[step] <= passed:
        end += last.step_s[step]
        step += 1
    if state.soc is not None and last.battery_soc_fraction:
        share = min(1.0, max(0.0, (passed - end) / last.step_s[step]))
        series = last.battery_soc_fraction
        expected = series[step] + share * (series[step + 1] - series[step])
        if abs(state.soc - expected) > SOC_DEVIATION:
            state.wish = f"battery is at {state.soc:.0%}, the plan expected {expected:.0%}"
            return
    for room in last.rooms:
        found = estimate.rooms.get(room.name)
        if found and abs(found.air_c - room.air_c[step]) > TEMPERATURE_DEVIATION_K:
            state.wish = (
                f"{room.name} is at {found.air_c:.1f} °C, "
                f"the plan expected {room.air_c[step]:.1f} °C"
            )
            return
