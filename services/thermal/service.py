"""The thermal service: what every room is at, and how it will answer to heat.

After each sweep of the gateway it updates a Kalman filter of the whole house with the heating that
the read-back confirms. Once an hour it hands the planner linear dynamics on the planner's grid. It
starts from the site file's prior; a promoted model is fetched by its hash, put on the log whole
(`thermal.model-identified`) and comes into force when it is read there, the filter's state kept.
What was learnt of its errors comes with it and is added to the hour's dynamics.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from chassis.models import ModelProblem, verified
from chassis.service import Decision, Service, State
from contracts import grid
from contracts.envelope import Event
from contracts.events.clock import Ticked
from contracts.events.measurement import OutdoorSampled, SweepCompleted
from contracts.events.plan import PlanComputed
from contracts.events.system import ConfigLoaded, ModelChecked, ModelPromoted
from contracts.events.thermal import (
    AccuracyScored,
    DynamicsIssued,
    ModelIdentified,
    RoomEstimate,
    StateEstimated,
)
from contracts.events.weather import WeatherForecastIssued
from contracts.thermal_model import HouseModel, content_hash
from services.thermal.core.accuracy import DAY_ROWS, Waiting, scored, unheated_c
from services.thermal.core.content import pack, unpack
from services.thermal.core.correction import Correction
from services.thermal.core.dynamics import (
    Outlook,
    Planned,
    lead_s,
    physics_half_width_k,
    room_dynamics,
    weather_half_width_k,
)
from services.thermal.core.filter import (
    StepInputs,
    filter_step,
    initial_state,
    room_estimates,
    transfer_state,
)
from services.thermal.core.following import Following
from services.thermal.core.from_site import model_of
from services.thermal.core.gains import gains_by_room
from services.thermal.core.hindsight import Filter, Track, added_c
from services.thermal.core.intake import RelayTime, RoomInput
from services.thermal.core.memory import ROW_S, Memory
from services.thermal.core.weather_errors import WeatherErrors

Array = NDArray[np.float64]

STEP_S = 300
DYNAMICS_S = 3_600
LONGEST_GAP_S = 6 * 3_600
PRIOR_METHOD = "prior"
MISSING = "model-missing"
BETWEEN_HOURS = "not at the full hour"


class ThermalState(State):
    """Model, filter, the last days, and what was measured since the last step."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    model: HouseModel | None = None
    model_hash: str = ""
    corrected: bool = False
    """What lies under `model_hash` holds a correction, too."""
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
    memory: Memory = Memory()
    track: Track = Track()
    weather_event: str = ""
    planned: Planned = Planned()
    issued: datetime | None = None
    stepped: bool = False
    weather_errors: WeatherErrors = WeatherErrors()
    waiting: Waiting = Waiting()
    following: Following = Following()
    dynamics: DynamicsIssued | None = None
    """To be issued with the event just folded."""
    scored: AccuracyScored | None = None
    """To be said with the event just folded."""


class Thermal(Service[ThermalState]):
    """Measurements -> room estimates, dynamics for the planner."""

    name = "thermal"
    state_type = ThermalState

    def __init__(self) -> None:
        self._opened: dict[str, Correction | None] = {}

    def needs(self, state: ThermalState) -> Iterable[str]:
        if state.corrected:
            yield state.model_hash
        if state.wanted is not None:
            yield state.wanted.content_hash

    def fold(self, state: ThermalState, event: Event) -> None:
        data = event.data
        state.stepped, state.dynamics, state.check, state.scored = False, None, None, None
        day = state.memory.last // DAY_ROWS
        state.memory.take(data, event.id)
        if isinstance(data, ConfigLoaded) and data.site is not None:
            prior = model_of(data.site)
            if not (state.learnt and state.model is not None and _fits(state.model, prior) == ""):
                digest = content_hash(prior)
                if digest != state.model_hash:
                    state.waiting, state.following = Waiting(), Following()
                state.model, state.model_hash = prior, digest
                state.filter, state.learnt, state.new_model = None, False, True
                state.corrected = False
        elif isinstance(data, ModelIdentified):
            _adopt(state, data)
        elif isinstance(data, WeatherForecastIssued):
            state.weather_event = event.id
        elif isinstance(data, OutdoorSampled) and state.model is not None:
            place = state.model.latitude_deg, state.model.longitude_deg
            state.weather_errors.take(data, state.memory.intake.weather, *place)
        elif isinstance(data, PlanComputed):
            state.planned = Planned.of(data)
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
            if state.memory.last // DAY_ROWS > day and state.model is not None:
                due = state.waiting.come_due(state.memory, state.model, state.model_hash)
                state.scored = scored(due, state.model.room_names, data.time)
                state.following.take(due, state.memory.last)
            if state.stepped and _dynamics_due(state, data.time):
                state.dynamics = self._dynamics(state, data.time, event.id)
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
        if state.scored is not None:
            yield Decision("thermal.accuracy-scored", "house", state.scored)
        if state.check is not None and state.now is not None:
            yield from self._check(state, state.check, state.now)

    def _check(
        self, state: ThermalState, promoted: ModelPromoted, now: datetime
    ) -> Iterable[Decision]:
        """Read a promoted model; when it cannot be used the one in force stays, and the log says why."""
        digest, model, correction, problem = promoted.content_hash, None, None, ""
        try:
            content = verified(self.models, digest)
            model, correction = unpack(content)
            problem = _fits(model, state.model)
            if not problem and pack(model, correction) != content:
                problem = "is not written in the canonical form that its hash names"
        except ValueError as error:  # not there, damaged, or no model
            problem = str(error)[:500]
        checked = ModelChecked(
            quantity="thermal", content_hash=digest, in_force=not problem, problem=problem
        )
        yield Decision("system.model-checked", "thermal", checked)
        if model is not None and not problem:
            identified = ModelIdentified(
                time=now, model=model, model_hash=digest, method=promoted.method,
                corrected=correction is not None,
            )  # fmt: skip
            yield Decision("thermal.model-identified", "house", identified)

    def _dynamics(self, state: ThermalState, now: datetime, trigger: str) -> DynamicsIssued | None:
        model, found, weather = state.model, state.filter, state.memory.intake.weather
        assert model is not None and found is not None and weather is not None
        start = grid.floor(now, grid.QUARTER_S)
        outlook = Outlook.of(weather, state.planned, state.weather_errors, start)
        if not outlook.complete:
            return None
        rest, added, said = physics_half_width_k(model, found), None, ""
        if state.corrected:
            added, learnt, said = self._added(state, model, outlook, start)
            rest = rest if learnt is None else np.where(np.isfinite(learnt), learnt, rest)
        felt = weather_half_width_k(model, outlook, start)
        half = np.hypot(state.following.stretch(len(model.rooms)) * rest, felt)
        forecast = outlook.forecast(model, start)
        air = unheated_c(model, found, forecast) + (0.0 if added is None else np.nan_to_num(added))
        state.waiting.keep(start, now, state.model_hash, air, half, felt, rest)
        return DynamicsIssued(
            issued=now, start=start, step_s=grid.STEPS_S,
            rooms=dict(room_dynamics(model, found, forecast, added, half)),
            model_hash=state.model_hash, correction=said, because=(trigger, state.weather_event),
        )  # fmt: skip

    def _added(
        self, state: ThermalState, model: HouseModel, outlook: Outlook, start: datetime
    ) -> tuple[Array | None, Array | None, str]:
        """What the physics forecast lacks, the band of what results, and what to say of it."""
        memory, digest = state.memory, state.model_hash
        if int(start.timestamp()) != memory.last * ROW_S or memory.last * ROW_S % DYNAMICS_S:
            return None, None, BETWEEN_HOURS
        try:
            if digest not in self._opened:
                self._opened = {digest: unpack(verified(self.models, digest))[1]}
        except ModelProblem:
            return None, None, MISSING
        correction = self._opened[digest]
        if correction is None:
            return None, None, ""
        history = memory.history(model, outlook.ahead(model, start))
        now = len(memory.outside_c) - 1
        return added_c(correction, model, digest, state.track, history, now, lead_s())


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
    learnt = identified.model.provenance.method != PRIOR_METHOD
    outdoor_c = state.memory.intake.outdoor_c
    if state.filter is not None and state.model is not None and outdoor_c is not None:
        state.filter = transfer_state(state.model, state.filter, identified.model, outdoor_c)
        state.waiting.replaced(state.model, state.model_hash)
        if not (state.learnt and learnt):
            state.following = Following(first=state.memory.last + 1)
    else:
        state.filter, state.waiting, state.following = None, Waiting(), Following()
    state.model, state.model_hash = identified.model, identified.model_hash
    state.corrected = identified.corrected
    state.learnt = learnt
    state.announce = state.new_model = False


def _step(state: ThermalState, now: datetime) -> None:
    """Bring the filter to ``now`` with what was measured since its last step."""
    model = state.model
    intake = state.memory.intake
    outside = intake.outside_c(now)
    if model is None or outside is None:
        return
    names = [room.name for room in model.rooms]
    inputs = [intake.rooms.get(name, RoomInput()) for name in names]
    epoch = int(now.timestamp())
    before = state.filter
    measured = [room.temperature_c if room.fresh else None for room in inputs]
    if before is not None and epoch - before.epoch_s < STEP_S:
        return
    if before is None or epoch - before.epoch_s > LONGEST_GAP_S:
        state.filter = initial_state(model, epoch, measured, outside)
    else:
        seconds = epoch - before.epoch_s
        ghi = np.array([intake.ghi_of_step(model, now, seconds)])
        air, mass = gains_by_room(model, np.array([before.epoch_s]), seconds, ghi_w_m2=ghi)
        heat = [
            None if share is None else room.heater_power_w * share
            for room, share in zip(model.rooms, (r.step.share() for r in inputs), strict=True)
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
    state.fresh = {name: value is not None for name, value in zip(names, measured, strict=True)}
    for room in inputs:
        room.step, room.fresh = RelayTime(), False
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
    because = tuple(room.event for room in state.memory.intake.rooms.values() if room.event)
    return StateEstimated(
        time=now, outdoor_c=state.memory.intake.outdoor_c, rooms=rooms, model_hash=state.model_hash,
        because=because,
    )  # fmt: skip


def _dynamics_due(state: ThermalState, now: datetime) -> bool:
    """On every full hour, and as soon as a forecast of the weather makes the first possible."""
    if state.memory.intake.weather is None:
        return False
    if state.issued is None:
        return True
    return grid.floor(now, DYNAMICS_S) > grid.floor(state.issued, DYNAMICS_S)
