"""The hour's dynamics on the planner's grid, from the model, the weather forecast and the last plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from contracts import grid
from contracts.events.plan import PlanComputed
from contracts.events.thermal import RoomDynamics, StepGains
from contracts.events.weather import WeatherForecastIssued
from contracts.thermal_model import HouseModel
from services.thermal.core.discretise import FIRST_ROOM_INPUT, discretise, layout_of
from services.thermal.core.filter import FilterState
from services.thermal.core.gains import gains_by_room
from services.thermal.core.intake import series
from services.thermal.core.memory import ROW_S, Ahead
from services.thermal.core.planner_view import room_views
from services.thermal.core.predict import Z_90, Forecast, air_sd_c
from services.thermal.core.solar import clear_sky_ghi, solar_gains, sun_path
from services.thermal.core.weather_errors import BLOCK_S, BLOCKS, Coming, WeatherErrors

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

REFERENCE_DUTY = 0.3
"""Heating assumed beyond any plan, for the neighbours' influence only."""
HORIZON_S = sum(grid.STEPS_S)


class Planned(BaseModel):
    """Relay shares by room and step of the last plan, from `start`."""

    start: datetime | None = None
    step_s: tuple[int, ...] = ()
    duty: dict[str, tuple[float, ...]] = {}

    @classmethod
    def of(cls, computed: PlanComputed) -> Planned:
        """Keep of a plan what the rooms' dynamics are laid around."""
        plan = computed.plan
        return cls(
            start=plan.start, step_s=tuple(plan.step_s),
            duty={room.name: tuple(room.relay) for room in plan.rooms},
        )  # fmt: skip

    def at(self, model: HouseModel, begins: IntArray) -> Array:
        """(len(begins), rooms) shares planned for steps that begin there; REFERENCE_DUTY beyond."""
        duty = np.full((len(begins), len(model.rooms)), REFERENCE_DUTY)
        if self.start is not None:
            ends = int(self.start.timestamp()) + np.cumsum(self.step_s)
            index = np.searchsorted(ends, begins, side="right")
            inside = index < len(ends)
            for i, room in enumerate(model.rooms):
                planned = np.array(self.duty.get(room.name, ()))
                if planned.size:
                    duty[inside, i] = planned[index[inside]]
        return duty


@dataclass(frozen=True)
class Outlook:
    """The weather forecast, its errors to come, and the last plan: what the rooms are expected to meet."""

    weather: WeatherForecastIssued
    planned: Planned
    temperature: Coming
    """Errors of the forecast of outdoor temperature, K."""
    sun: Coming
    """Errors of that of irradiance, shares of clear sky; none is expected."""

    @classmethod
    def of(
        cls, weather: WeatherForecastIssued, planned: Planned, errors: WeatherErrors, start: datetime
    ) -> Outlook:
        """Of a forecast from `start` on, from what was measured before."""
        return cls(weather, planned, *errors.coming(start.timestamp()))

    @property
    def complete(self) -> bool:
        """Whether the run says anything of both temperature and irradiance."""
        return all(
            any(v is not None for v in values)
            for values in (self.weather.temperature_c, self.weather.ghi_w_m2)
        )

    def outside_c(self, at_s: Array) -> Array:
        """Expected outdoor temperature at epoch seconds, degC."""
        return series(self.weather, self.weather.temperature_c, at_s) - self.temperature.at(at_s)

    def ghi_w_m2(self, at_s: Array) -> Array:
        """Irradiance as told at epoch seconds, W/m2."""
        return series(self.weather, self.weather.ghi_w_m2, at_s)

    def forecast(self, model: HouseModel, start: datetime) -> Forecast:
        """Inputs and reference heating on the planner's grid."""
        steps = grid.STEPS_S
        begins = np.array([0, *accumulate(steps)][:-1]) + int(start.timestamp())
        middles = np.asarray(begins + np.array(steps) / 2, dtype=np.float64)
        ghi = self.ghi_w_m2(middles)
        air = np.empty((len(steps), len(model.rooms)))
        mass = np.empty_like(air)
        for seconds in sorted(set(steps)):
            rows = np.array([s == seconds for s in steps])
            air[rows], mass[rows] = gains_by_room(model, begins[rows], seconds, ghi_w_m2=ghi[rows])
        power = np.array([room.heater_power_w for room in model.rooms])
        heat = self.planned.at(model, begins) * power
        return Forecast(self.outside_c(middles), heat, air, mass)

    def ahead(self, model: HouseModel, start: datetime) -> Ahead:
        """The same inputs in the memory's rows; one more row, for the weather at the end of the last."""
        begins = int(start.timestamp()) + np.arange(0, HORIZON_S + ROW_S, ROW_S, dtype=np.int64)
        halves = [self.planned.at(model, begins + s) for s in range(0, ROW_S, grid.QUARTER_S)]
        return Ahead(
            self.outside_c(begins.astype(np.float64)),
            self.ghi_w_m2(np.asarray(begins + ROW_S / 2, dtype=np.float64)),
            np.mean(halves, axis=0),
        )


def lead_s() -> list[int]:
    """Seconds from the start to the end of each step of the planner's grid."""
    return list(accumulate(grid.STEPS_S))


def physics_half_width_k(model: HouseModel, state: FilterState) -> Array:
    """(steps, rooms) half the width of the 90 % band of physics at the end of each step, K."""
    return Z_90 * air_sd_c(model, state, lead_s(), grid.QUARTER_S)


def weather_half_width_k(model: HouseModel, outlook: Outlook, start: datetime) -> Array:
    """(steps, rooms) half the width of the 90 % band that the weather's errors alone give the air, K.

    Errors are constant over each block of `weather_errors`, counted from `start`; those of temperature and
    of irradiance are independent. Exact in the coupled model, but for the sun's part being linear around
    the forecast.
    """
    steps = np.array(grid.STEPS_S)
    ends = np.cumsum(steps)
    middles = np.asarray(ends - steps / 2 + int(start.timestamp()), dtype=np.float64)
    block = np.minimum((ends - steps) // BLOCK_S, BLOCKS - 1)
    outside, sky = outlook.temperature.factor, outlook.sun.factor
    sun = sun_path(middles, model.latitude_deg, model.longitude_deg)
    spread = np.sqrt((sky**2).sum(axis=1))[block]
    swing, ghi = spread * clear_sky_ghi(sun), outlook.ghi_w_m2(middles)
    more, less = (
        np.hstack(solar_gains(model, middles, np.maximum(ghi + by, 0.0), sun=sun))
        for by in (swing, -swing)
    )
    gain_w = (more - less) / (2.0 * spread)[:, None]
    rooms = len(model.rooms)
    layout = layout_of(model)
    states = np.zeros((layout.size, 2 * BLOCKS))
    variance = np.empty((len(steps), rooms))
    for k, seconds in enumerate(steps.tolist()):
        dynamics = discretise(model, seconds)
        states = dynamics.A @ states
        states[:, :BLOCKS] += np.outer(dynamics.B_outside, outside[block[k]])
        felt = dynamics.B[:, FIRST_ROOM_INPUT + rooms :] @ gain_w[k]
        states[:, BLOCKS:] += np.outer(felt, sky[block[k]])
        variance[k] = (states[layout.air] ** 2).sum(axis=1)
    return np.asarray(Z_90 * np.sqrt(variance))


def room_dynamics(
    model: HouseModel, state: FilterState, forecast: Forecast, added_c: Array | None,
    half_width_k: Array,
) -> Mapping[str, RoomDynamics]:  # fmt: skip
    """Each room on the planner's grid; `added_c` (steps, rooms) as in `room_views`, NaN where none."""
    found = np.full(forecast.heat_w.shape, np.nan) if added_c is None else added_c
    views = room_views(model, state, forecast, grid.STEPS_S, np.nan_to_num(found))
    corrected = np.atleast_1d(np.isfinite(found).all(axis=0)).tolist()
    return {
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
            corrected=used,
            half_width_k=tuple(np.round(half, 3).tolist()),
        )
        for view, used, half in zip(views, corrected, half_width_k.T, strict=True)
    }  # fmt: skip
