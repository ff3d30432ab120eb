"""The thermal service: what every room is at, and how it will answer to heat.

After each sweep of the gateway it updates a Kalman filter of the whole house with the heating that
the read-back confirms. Once an hour it hands the planner linear dynamics on the planner's grid. It
starts from the site file's prior; a promoted model is fetched by its hash, put on the log whole
(`thermal.model-identified`) and comes into force when it is read there, the filter's state kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from chassis.models import verified
from chassis.service import Decision, Service, State
from contracts import grid
from contracts.envelope import Event
from contracts.events.clock import Ticked
from contracts.events.measurement import OutdoorSampled, RoomSampled, SweepCompleted
from contracts.events.plan import PlanComputed
from contracts.events.system import ConfigLoaded, ModelChecked, ModelPromoted
from contracts.events.thermal import (
    DynamicsIssued,
    ModelIdentified,
    RoomDynamics,
    RoomEstimate,
    StateEstimated,
    StepGains,
)
from contracts.events.weather import WeatherForecastIssued
from contracts.thermal_model import HouseModel, content_hash, from_json
from services.thermal.core.filter import (
    FilterState,
    StepInputs,
    filter_step,
    initial_state,
    room_estimates,
    transfer_state,
)
from services.thermal.core.from_site import model_of
from services.thermal.core.gains import gains_by_room
from services.thermal.core.planner_view import room_views
from services.thermal.core.predict import Forecast
from services.thermal.core.solar import clear_sky_ghi, sun_path

STEP_S = 300
DYNAMICS_S = 3_600
LONGEST_GAP_S = 6 * 3_600
OUTDOOR_MAX_AGE = timedelta(hours=1)
PRIOR_METHOD = "prior"
REFERENCE_DUTY = 0.3
"""Heating assumed beyond any plan, for the neighbours' influence only."""


class RoomInput(BaseModel):
    """A room since the last filter step."""

    temperature_c: float | None = None
    at: datetime | None = None
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
    learnt: bool = False
    """The model in force was identified from history, not drawn from the site file."""
    new_model: bool = False
    announce: bool = False
    """The model in force is new: say so with this tick."""
    wanted: ModelPromoted | None = None
    """Promoted before the clock's first tick: looked at with that tick."""
    check: ModelPromoted | None = None
    """To be looked at with the event just folded."""
    filter: Filter | None = None
    fresh: dict[str, bool] = {}
    rooms: dict[str, RoomInput] = {}
    outdoor_c: float | None = None
    outdoor_at: datetime | None = None
    ghi_w_m2: float | None = None
    ghi_at: datetime | None = None
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

    def needs(self, state: ThermalState) -> Iterable[str]:
        return () if state.wanted is None else (state.wanted.content_hash,)

    def fold(self, state: ThermalState, event: Event) -> None:
        data = event.data
        state.stepped, state.dynamics, state.check = False, None, None
        if isinstance(data, ConfigLoaded) and data.site is not None:
            prior = model_of(data.site)
            if not (state.learnt and state.model is not None and _fits(state.model, prior) == ""):
                state.model, state.model_hash = prior, content_hash(prior)
                state.filter, state.learnt, state.new_model = None, False, True
        elif isinstance(data, ModelIdentified):
            _adopt(state, data)
        elif isinstance(data, RoomSampled):
            _sampled(state, data, event.id)
        elif isinstance(data, OutdoorSampled):
            if data.temperature_c is not None:
                state.outdoor_c, state.outdoor_at = data.temperature_c, data.time
            state.ghi_w_m2, state.ghi_at = data.ghi_w_m2, data.time
        elif isinstance(data, WeatherForecastIssued):
            state.weather, state.weather_event = data, event.id
        elif isinstance(data, PlanComputed):
            plan = data.plan
            state.plan_start, state.plan_step_s = plan.start, tuple(plan.step_s)
            state.plan_duty = {room.name: tuple(room.relay) for room in plan.rooms}
        elif isinstance(data, ModelPromoted) and data.quantity == "thermal":
            if state.now is None:
                state.wanted = data
            else:
                state.check = data
        elif isinstance(data, Ticked):
            state.announce, state.new_model = state.new_model, False
            state.check, state.wanted = state.wanted, None
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
        if state.check is not None and state.now is not None:
            yield from self._check(state, state.check, state.now)

    def _check(
        self, state: ThermalState, promoted: ModelPromoted, now: datetime
    ) -> Iterable[Decision]:
        """Read a promoted model; when it cannot be used the one in force stays, and the log says why."""
        digest, model, problem = promoted.content_hash, None, ""
        try:
            model = from_json(verified(self.models, digest).decode())
            problem = _fits(model, state.model)
            if not problem and content_hash(model) != digest:
                problem = "is not written in the canonical form that its hash names"
        except ValueError as error:  # not there, damaged, or no model
            problem = str(error)[:500]
        checked = ModelChecked(
            quantity="thermal", content_hash=digest, in_force=not problem, problem=problem
        )
        yield Decision("system.model-checked", "thermal", checked)
        if model is not None and not problem:
            identified = ModelIdentified(
                time=now, model=model, model_hash=digest, method=promoted.method
            )
            yield Decision("thermal.model-identified", "house", identified)


def _fits(model: HouseModel, present: HouseModel | None) -> str:
    """Why a model is not one of this house, empty when it is."""
    if present is None:
        return "there is no site configuration yet"
    if model.room_names != present.room_names:
        return f"has rooms {', '.join(model.room_names)}, the house {', '.join(present.room_names)}"
    for new, old in zip(model.rooms, present.rooms, strict=True):
        if new.heater_power_w != old.heater_power_w:
            return (
                f"was learnt with {new.heater_power_w:.0f} W of heating in {new.name}, "
                f"the house has {old.heater_power_w:.0f} W"
            )
        if new.emitter_lag_s > 0:
            return f"has an emitter of its own in {new.name}, which the planner's rooms cannot hold"
    return ""


def _adopt(state: ThermalState, identified: ModelIdentified) -> None:
    """Put a model of the log in force; what the filter knows of the rooms is carried over."""
    if identified.model_hash == state.model_hash:
        return
    if state.filter is not None and state.model is not None and state.outdoor_c is not None:
        state.filter = transfer_state(
            state.model, state.filter, identified.model, state.outdoor_c
        )
    else:
        state.filter = None
    state.model, state.model_hash = identified.model, identified.model_hash
    state.learnt = identified.model.provenance.method != PRIOR_METHOD
    state.announce = state.new_model = False


def _sampled(state: ThermalState, data: RoomSampled, event: str) -> None:
    """Keep the newest temperature and how long the relay has been on since the last step."""
    room = state.rooms.setdefault(data.room, RoomInput())
    if room.since is not None and data.time < room.since:
        return  # overtaken by a newer sample
    if room.since is not None and room.relay_on is not None:
        seconds = max(0.0, (data.time - room.since).total_seconds())
        room.known_s += seconds
        room.on_s += seconds if room.relay_on else 0.0
    room.relay_on, room.since = data.relay_on, data.time
    if data.temperature_c is not None:
        room.temperature_c, room.at, room.event = data.temperature_c, data.time, event


def _step(state: ThermalState, now: datetime) -> None:
    """Bring the filter to ``now`` with what was measured since its last step."""
    model = state.model
    outside = _outside_c(state, now)
    if model is None or outside is None:
        return
    names = [room.name for room in model.rooms]
    inputs = [state.rooms.get(name, RoomInput()) for name in names]
    epoch = int(now.timestamp())
    before = state.filter
    measured = [room.temperature_c for room in inputs]
    if before is not None and epoch - before.epoch_s < STEP_S:
        return
    if before is None or epoch - before.epoch_s > LONGEST_GAP_S:
        state.filter = initial_state(model, epoch, measured, outside)
    else:
        seconds = epoch - before.epoch_s
        ghi = np.array([_ghi_w_m2(state, model, now, seconds)])
        air, mass = gains_by_room(model, np.array([before.epoch_s]), seconds, ghi_w_m2=ghi)
        heat = [
            room_model.heater_power_w * room.on_s / room.known_s if room.known_s > 0 else None
            for room_model, room in zip(model.rooms, inputs, strict=True)
        ]
        step = StepInputs(
            step_s=seconds, outside_c=outside, heat_w=heat,
            air_gain_w=air[0].tolist(), mass_gain_w=mass[0].tolist(),
        )  # fmt: skip
        age = [
            max(0.0, (now - room.at).total_seconds()) if room.at is not None else 0.0
            for room in inputs
        ]
        state.filter, _ = filter_step(model, before, step, measured, age)
    state.fresh = {
        name: value is not None for name, value in zip(names, measured, strict=True)
    }
    for room in inputs:
        room.on_s = room.known_s = 0.0
        room.temperature_c = None
    state.stepped = True


def _outside_c(state: ThermalState, now: datetime) -> float | None:
    """Measured when fresh, else as forecast, else the last that is known."""
    if state.outdoor_at is not None and now - state.outdoor_at <= OUTDOOR_MAX_AGE:
        return state.outdoor_c
    told = _forecast_at(state, "temperature_c", now)
    return told if told is not None else state.outdoor_c


def _ghi_w_m2(state: ThermalState, model: HouseModel, now: datetime, seconds: int) -> float:
    """Irradiance of the step just over: measured when fresh, else as forecast, else half of clear sky."""
    fresh = state.ghi_at is not None and now - state.ghi_at <= OUTDOOR_MAX_AGE
    if fresh and state.ghi_w_m2 is not None:
        return state.ghi_w_m2
    middle = now - timedelta(seconds=seconds / 2)
    told = _forecast_at(state, "ghi_w_m2", middle)
    if told is not None:
        return told
    sun = sun_path(np.array([middle.timestamp()]), model.latitude_deg, model.longitude_deg)
    return 0.5 * float(clear_sky_ghi(sun)[0])


def _forecast_at(state: ThermalState, column: str, now: datetime) -> float | None:
    """The newest weather run's value for an instant, None outside it."""
    run = state.weather
    if run is None:
        return None
    index = int((now - run.start).total_seconds() // run.step_s)
    values: tuple[float | None, ...] = getattr(run, column)
    return values[index] if 0 <= index < len(values) else None


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
