"""The optimizer: a plan for 48 hours, every hour and whenever the house is not where it should be."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise

from chassis.service import Decision, Service, State
from contracts import grid
from contracts.envelope import Event
from contracts.events.clock import Ticked
from contracts.events.forecast import ForecastIssued
from contracts.events.measurement import EvSampled, HouseSampled, LoadSampled, RoomSampled
from contracts.events.override import Ended, Granted
from contracts.events.plan import LadderDescended, PlanComputed, PlanInputs
from contracts.events.price import PricesPublished
from contracts.events.thermal import DynamicsIssued, StateEstimated
from contracts.planning import Plan
from services.optimizer.core import watch as house
from services.optimizer.core.chances import chances_below
from services.optimizer.core.changes import inputs_of, with_churn
from services.optimizer.core.planner import WarmStart, plan
from services.optimizer.core.problem import Knowledge, build
from services.optimizer.core.waiting_loads import see_load

LATE_FORECAST_S = 120
SOC_DEVIATION = 0.10
TEMPERATURE_DEVIATION_K = 1.2
LOAD_DEVIATION_WH = 1_000.0
REPLAN_REST_S = 1_800
"""Between plans that a deviation asks for; what people and the market do is answered at once."""
DEVIATIONS = frozenset({"battery", "room", "load"})


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
    watch: house.Watch = house.Watch()
    last: Plan | None = None
    last_id: str = ""
    inputs: PlanInputs | None = None
    """What the last plan took for granted."""
    planned_start: datetime | None = None
    planned_at: datetime | None = None
    wishes: dict[str, str] = {}
    """Why a plan is wanted before the next full hour, by kind of cause."""
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
        elif isinstance(data, RoomSampled):
            house.see_room(state.watch, data)
        elif isinstance(data, LoadSampled):
            if state.site is not None:
                see_load(state.watch.loads, state.watch.ran_s, data, state.site)
        elif isinstance(data, HouseSampled):
            if data.soc is not None:
                state.soc = data.soc
                state.events["house"] = event.id
            if state.site is not None:
                forecast = state.forecasts.get("load")
                house.see_house(state.watch, data, state.site, state.evs, forecast)
        elif isinstance(data, EvSampled):
            before = state.evs.get(data.ev)
            if data.plugged is not None and (before is None or before.plugged != data.plugged):
                did = "plugged in" if data.plugged else "unplugged"
                state.wishes[f"ev-{data.ev}"] = f"ev-{data.ev} was {did}"
            state.evs[data.ev] = data
        elif isinstance(data, PricesPublished):
            state.events["price"] = event.id
            news = house.see_prices(state.watch, data, state.now)
            if news and state.last is not None:
                state.wishes["price"] = f"prices of {news / 4:g} coming hours were published"
        elif isinstance(data, Granted):
            state.overrides[data.override] = data
            state.wishes["override"] = f"override of {data.target} by {data.actor}"
        elif isinstance(data, Ended):
            if state.overrides.pop(data.override, None):
                state.wishes["override"] = f"override of {data.target} ended: {data.reason}"
        elif isinstance(data, PlanComputed):
            state.last, state.last_id, state.inputs = data.plan, event.id, data.inputs
        _choose(state, event)

    def decide(self, state: OptimizerState, event: Event) -> Iterable[Decision]:
        if not state.reason or state.site is None or state.now is None:
            return
        assert state.dynamics is not None and state.estimate is not None
        known = Knowledge(
            site=state.site, dynamics=state.dynamics, estimate=state.estimate,
            forecasts=state.forecasts, soc=state.soc, evs=state.evs,
            overrides=tuple(state.overrides.values()), watch=state.watch, last=state.last,
            last_id=state.last_id,
        )  # fmt: skip
        try:
            problem = build(known, state.now)
        except Exception as error:  # whatever is wrong with the inputs, the house needs an answer
            yield from _without_problem(state, error)
            return
        warm = WarmStart(state.last) if state.last else None
        computed = plan(problem, warm=warm)
        if state.last is not None:
            computed = with_churn(computed, state.last, problem, state.inputs, state.reason)
        yield Decision(
            "plan.computed",
            "house",
            PlanComputed(
                time=state.now,
                reason=state.reason,
                plan=computed,
                because=tuple(state.events[name] for name in sorted(state.events)),
                overrides=tuple(sorted(state.overrides)),
                inputs=inputs_of(problem),
                models={
                    "thermal": state.dynamics.model_hash,
                    **{q: f.model_hash for q, f in state.forecasts.items() if f.model_hash},
                },
                chance_below=chances_below(computed, state.dynamics, state.site, known.overrides),
            ),
        )
        rungs = [step.split(":")[0] for step in computed.steps_down] + [computed.rung]
        for (wanted, used), why in zip(pairwise(rungs), computed.steps_down, strict=True):
            yield _descended(state.now, wanted, used, why)


def _without_problem(state: OptimizerState, error: Exception) -> Iterable[Decision]:
    """No problem, no new plan: the last one goes on by itself, step by step; without one, rules.

    The dispatcher reads a plan by the clock, so the last plan need not be said again to be
    shifted. Once it is over nothing is proposed and the devices follow their own rules.
    """
    assert state.now is not None
    last = state.last
    goes_on = last is not None and house.step_at(last, state.now) is not None
    what = f"the plan of {last.start:%Y-%m-%d %H:%M} UTC goes on" if last and goes_on else (
        "the devices follow their own rules"
    )
    reason = f"no problem could be built ({type(error).__name__}: {error})"[:400]
    yield _descended(state.now, "full", "shifted" if goes_on else "rules", f"{reason}; {what}")


def _descended(now: datetime, wanted: str, used: str, reason: str) -> Decision:
    names = [rung.replace("_", "-") for rung in (wanted, used)]
    descended = LadderDescended(time=now, wanted=names[0], used=names[1], reason=reason[:500])
    return Decision("plan.ladder-descended", "house", descended)


def _choose(state: OptimizerState, event: Event) -> None:
    """Decide whether the event just folded calls for a plan."""
    dynamics, now = state.dynamics, state.now
    if dynamics is None or state.estimate is None or now is None or state.site is None:
        return
    if state.site.battery is not None and state.soc is None:
        return
    if not {"load", "price"} <= state.forecasts.keys():
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
    elif state.wishes and isinstance(event.data, StateEstimated):
        if grid.floor(now, 3_600) > dynamics.issued:
            return  # this hour's own plan is about to be made
        rested = state.planned_at is None or now - state.planned_at >= timedelta(
            seconds=REPLAN_REST_S
        )
        if not rested and state.wishes.keys() <= DEVIATIONS:
            return
        state.reason = "; ".join(state.wishes[kind] for kind in sorted(state.wishes))
    else:
        return
    state.planned_start, state.planned_at, state.wishes = dynamics.start, now, {}
    state.watch.load_off_wh = 0.0


def _notice_deviation(state: OptimizerState, estimate: StateEstimated) -> None:
    """Ask for a plan when the house is far from where the last one expected it."""
    last = state.last
    if last is None:
        return
    off_wh = state.watch.load_off_wh
    if abs(off_wh) > LOAD_DEVIATION_WH:
        state.wishes["load"] = (
            f"the load is {off_wh / 1_000:+.1f} kWh off its forecast since the last plan"
        )
    step = house.step_at(last, estimate.time)
    if step is None:
        return
    if state.soc is not None and last.battery_soc_fraction:
        passed = (estimate.time - last.start).total_seconds() - sum(last.step_s[:step])
        series = last.battery_soc_fraction
        expected = series[step] + passed / last.step_s[step] * (series[step + 1] - series[step])
        if abs(state.soc - expected) > SOC_DEVIATION:
            state.wishes["battery"] = (
                f"battery is at {state.soc:.0%}, the plan expected {expected:.0%}"
            )
    for room in last.rooms:
        found = estimate.rooms.get(room.name)
        if found and abs(found.air_c - room.air_c[step]) > TEMPERATURE_DEVIATION_K:
            state.wishes["room"] = (
                f"{room.name} is at {found.air_c:.1f} °C, "
                f"the plan expected {room.air_c[step]:.1f} °C"
            )
            return
