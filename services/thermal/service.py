"""The thermal service: what every room is at, and how it will answer to heat.

After each sweep of the gateway it updates a Kalman filter of the whole house with the heating that
the read-back confirms. Once an hour it hands the planner linear dynamics on the planner's grid.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from chassis.service import Decision, Service, State
from contracts import grid
from contracts.envelope import Event
from contracts.events.clock import Ticked
from contracts.events.measurement import OutdoorSampled, RoomSampled, SweepCompleted
from contracts.events.plan import PlanComputed
from contracts.events.system import ConfigLoaded
from contracts.events.thermal import (
    DynamicsIssued,
    ModelIdentified,
    RoomDynamics,
    RoomEstimate,
    StateEstimated,
    StepGains,
)
from contracts.events.weather import WeatherForecastIssued
from contracts.thermal_model import HouseModel, content_hash
from services.thermal.core.filter import (
    FilterState,
    StepInputs,
    filter_step,
    initial_state,
    room_estimates,
)
from services.thermal.core.from_site import model_of
from services.thermal.core.gains import gains_by_room
from services.thermal.core.planner_view import room_views
from services.thermal.core.predict import Forecast

STEP_S = 300
DYNAMICS_S = 3_600
LONGEST_GAP_S = 6 * 3_600
REFERENCE_DUTY = 0.3
"""Heating assumed beyond any plan, for the neighbours' influence only."""


class RoomInput(BaseModel):
    """A room since the last filter step."""

    temperature_c: float | None = None
    event: str = ""
    relay_on: bool | None = None
    since: datetime | None = None
    on_s: float = 0.0
    known_s: float = 0.0


def _read_filter(value: Any) -> Any:
    return FilterState.from_dict(value) if isinstance(value, dict) else value


Filter = Annotated[
    FilterState, BeforeValidator(_read_filter), PlainSerializer(lambda state: state.to_dict())
]


class ThermalState(State):
    """Model, filter, and what was measured since the last step."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    model: HouseModel | None = None
    model_hash: str = ""
    new_model: bool = False
    announce: bool = False
    """The model in force is new: say so with this tick."""
    filter: Filter | None = None
    fresh: dict[str, bool] = {}
    rooms: dict[str, RoomInput] = {}
    outdoor_c: float | None = None
    outdoor_at: datetime | None = None
    ghi_w_m2: float | None = None
    weather: WeatherForecastIssued | None = None
    weather_event: str = ""
    plan_start: datetime | None = None
    plan_step_s: tuple[int, ...] = ()
    plan_duty: dict[str, tuple[float, ...]] = {}
    issued: datetime | None = None
    stepped: bool = False
    dynamics: DynamicsIssued | None = None
    """To be issued with the event just folded."""


class Thermal(Service[ThermalState]):
    """Measurements -> room estimates, dynamics for the planner."""

    name = "thermal"
    state_type = ThermalState

    def fold(self, state: ThermalState, event: Event) -> None:
        data = event.data
        state.stepped, state.dynamics = False, None
        if isinstance(data, ConfigLoaded) and data.site is not None:
            state.model = model_of(data.site)
            state.model_hash = content_hash(state.model)
            state.filter = None
            state.new_model = True
        elif isinstance(data, RoomSampled):
            _sampled(state, data, event.id)
        elif isinstance(data, OutdoorSampled):
            if data.temperature_c is not None:
                state.outdoor_c, state.outdoor_at = data.temperature_c, data.time
            state.ghi_w_m2 = data.ghi_w_m2
        elif isinstance(data, WeatherForecastIssued):
            state.weather, state.weather_event = data, event.id
        elif isinstance(data, PlanComputed):
            plan = data.plan
            state.plan_start, state.plan_step_s = plan.start, tuple(plan.step_s)
            state.plan_duty = {room.name: tuple(room.relay) for room in plan.rooms}
        elif isinstance(data, Ticked):
            state.announce, state.new_model = state.new_model, False
        elif isinstance(data, SweepCompleted):
            _step(state, data.time)
            if state.stepped and _dynamics_due(state, data.time):
                state.dynamics = _dynamics(state, data.time, event.id)
                state.issued = data.time

    def decide(self, state: ThermalState, event: Event) -> Iterable[Decision]:
        data = event.data
        if isinstance(data, SweepCompleted) and state.stepped:
            estimate = _estimate(state, data.time)
            yield Decision("thermal.state-estimated", "house", estimate)
            if state.dynamics is not None:
                yield Decision("thermal.dynamics-issued", "house", state.dynamics)
        elif isinstance(data, Ticked) and state.announce and state.model is not None:
            first = ModelIdentified(
                time=data.time, model=state.model, model_hash=state.model_hash,
                method="prior from the site file",
            )  # fmt: skip
            yield Decision("thermal.model-identified", "house", first)


def _sampled(state: ThermalState, data: RoomSampled, event: str) -> None:
    """Keep the newest temperature and how long the relay has been on since the last step."""
    room = state.rooms.setdefault(data.room, RoomInput())
    if room.since is not None and room.relay_on is not None:
        seconds = max(0.0, (data.time - room.since).total_seconds())
        room.known_s += seconds
        room.on_s += seconds if room.relay_on else 0.0
    room.relay_on, room.since = data.relay_on, data.time
    if data.temperature_c is not None:
        room.temperature_c, room.event = data.temperature_c, event


def _step(state: ThermalState, now: datetime) -> None:
    """Bring the filter to ``now`` with what was measured since its last step."""
    model = state.model
    if model is None or state.outdoor_c is None:
        return
    names = [room.name for room in model.rooms]
    inputs = [state.rooms.get(name, RoomInput()) for name in names]
    epoch = int(now.timestamp())
    before = state.filter
    measured = [room.temperature_c for room in inputs]
    if before is not None and epoch - before.epoch_s < STEP_S:
        return
    if before is None or epoch - before.epoch_s > LONGEST_GAP_S:
        state.filter = initial_state(model, epoch, measured, state.outdoor_c)
    else:
        seconds = epoch - before.epoch_s
        ghi = np.array([state.ghi_w_m2 if state.ghi_w_m2 is not None else 0.0])
        air, mass = gains_by_room(model, np.array([before.epoch_s]), seconds, ghi_w_m2=ghi)
        heat = [
            room_model.heater_power_w * room.on_s / room.known_s if room.known_s > 0 else None
            for room_model, room in zip(model.rooms, inputs, strict=True)
        ]
        step = StepInputs(
            step_s=seconds, outside_c=state.outdoor_c, heat_w=heat,
            air_gain_w=air[0].tolist(), mass_gain_w=mass[0].tolist(),
        )  # fmt: skip
        state.filter, _ = filter_step(model, before, step, measured)
    state.fresh = {
        name: value is not None for name, value in zip(names, measured, strict=True)
    }
    for room in inputs:
        room.on_s = room.known_s = 0.0
        room.temperature_c = None
    state.stepped = True


def _estimate(state: ThermalState, now: datetime) -> StateEstimated:
    found = state.filter
    assert state.model is not None and found is not None
    rooms = {
        item.room: RoomEstimate(
            air_c=round(item.air_c, 3),
            mass_c=None if item.mass_c is None else round(item.mass_c, 3),
            disturbance_w=round(item.disturbance_w, 1),
            stdev_c=round(item.air_sd_c, 3),
            fresh=state.fresh.get(item.room, False),
        )
        for item in room_estimates(state.model, found)
    }
    because = tuple(room.event for room in state.rooms.values() if room.event)
    return StateEstimated(
        time=now, outdoor_c=state.outdoor_c, rooms=rooms, model_hash=state.model_hash,
        because=because,
    )  # fmt: skip


def _dynamics_due(state: ThermalState, now: datetime) -> bool:
    """On every full hour, and as soon as a forecast of the weather makes the first possible."""
    if state.weather is None:
        return False
    if state.issued is None:
        return True
    return grid.floor(now, DYNAMICS_S) > grid.floor(state.issued, DYNAMICS_S)


def _dynamics(state: ThermalState, now: datetime, trigger: str) -> DynamicsIssued | None:
    model, found, weather = state.model, state.filter, state.weather
    assert model is not None and found is not None and weather is not None
    start = grid.floor(now, grid.QUARTER_S)
    steps = grid.STEPS_S
    begins = np.array([0, *accumulate(steps)][:-1]) + int(start.timestamp())
    outside = _series(weather, weather.temperature_c, begins, steps)
    ghi = _series(weather, weather.ghi_w_m2, begins, steps)
    if outside is None or ghi is None:
        return None
    air = np.empty((len(steps), len(model.rooms)))
    mass = np.empty_like(air)
    for seconds in sorted(set(steps)):
        rows = np.array([s == seconds for s in steps])
        air[rows], mass[rows] = gains_by_room(model, begins[rows], seconds, ghi_w_m2=ghi[rows])
    heat = _reference_heat(state, model, begins)
    views = room_views(model, found, Forecast(outside, heat, air, mass), steps)
    rooms = {
        view.room: RoomDynamics(
            air_c=round(view.start_c[0], 3),
            mass_c=round(view.start_c[1], 3),
            gains={
                seconds: StepGains(
                    air_air=float(block[0, 0]), mass_air=float(block[0, 1]),
                    air_mass=float(block[1, 0]), mass_mass=float(block[1, 1]),
                    heat_air=float(heat_gain[0]), heat_mass=float(heat_gain[1]),
                )
                for seconds, (block, heat_gain) in view.gains.items()
            },
            drift_air_k=tuple(np.round(view.drift_k[:, 0], 5).tolist()),
            drift_mass_k=tuple(np.round(view.drift_k[:, 1], 5).tolist()),
            neighbours={
                other: {seconds: (float(gain[0]), float(gain[1])) for seconds, gain in felt.items()}
                for other, felt in view.neighbours.items()
            },
        )
        for view in views
    }  # fmt: skip
    return DynamicsIssued(
        issued=now, start=start, step_s=steps, rooms=rooms, model_hash=state.model_hash,
        because=(trigger, state.weather_event),
    )  # fmt: skip


def _series(
    weather: WeatherForecastIssued,
    values: tuple[float | None, ...],
    begins: NDArray[np.int64],
    steps: tuple[int, ...],
) -> NDArray[np.float64] | None:
    """A forecast on the planner's grid, linear between the middles of its steps; None if empty."""
    known = [(i, v) for i, v in enumerate(values) if v is not None]
    if not known:
        return None
    origin = int(weather.start.timestamp())
    at = np.array([origin + (i + 0.5) * weather.step_s for i, _ in known])
    wanted = begins + np.array(steps) / 2
    found: NDArray[np.float64] = np.interp(wanted, at, np.array([v for _, v in known], dtype=np.float64))
    return found


def _reference_heat(
    state: ThermalState, model: HouseModel, begins: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Heating that the last plan implies, W, (steps, rooms)."""
    power = np.array([room.heater_power_w for room in model.rooms])
    duty = np.full((len(begins), len(model.rooms)), REFERENCE_DUTY)
    if state.plan_start is not None:
        edges = [state.plan_start + timedelta(seconds=s) for s in accumulate(state.plan_step_s)]
        ends = np.array([edge.timestamp() for edge in edges])
        index = np.searchsorted(ends, begins, side="right")
        inside = index < len(ends)
        for i, room in enumerate(model.rooms):
            planned = np.array(state.plan_duty.get(room.name, ()))
            if planned.size:
                duty[inside, i] = planned[index[inside]]
    heat: NDArray[np.float64] = duty * power
    return heat
