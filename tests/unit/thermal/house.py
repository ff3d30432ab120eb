"""A small simulated house for the tests: exact dynamics of a known model plus sensor noise."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from contracts.base import Record
from contracts.events.measurement import OutdoorSampled, RoomSampled, SweepCompleted
from contracts.thermal_model import (
    Coupling,
    HeatShare,
    HouseModel,
    NoiseLevels,
    RoomModel,
    SolarAperture,
)
from services.thermal.core.discretise import discretise
from services.thermal.core.gains import SOME_ON, gains_by_room, heat_by_room
from services.thermal.core.history import History
from services.thermal.core.memory import Memory
from services.thermal.core.solar import clear_sky_ghi, sun_path

START = 1_736_121_600  # 2025-01-06 00:00 UTC, a Monday
LATITUDE, LONGITUDE = 50.0, 14.4


def true_room(name: str, **changes: object) -> RoomModel:
    """A plausible two-node room of 20 m2."""
    fields: dict[str, object] = {
        "name": name,
        "air_capacity_j_per_k": 4.0e5,
        "mass_capacity_j_per_k": 4.0e6,
        "air_outside_w_per_k": 12.0,
        "mass_outside_w_per_k": 6.0,
        "air_mass_w_per_k": 160.0,
        "heater_power_w": 1500.0,
        "heat_shares": (HeatShare(source=f"heat_{name}", fraction=1.0),),
        "solar_apertures": (SolarAperture(azimuth_deg=180.0, area_m2=0.8),),
        "solar_to_mass_fraction": 0.5,
        "internal_gain_w": (60.0,) * 24,
        "noise": NoiseLevels(measurement_sd_c=0.05, disturbance_sd_w=30.0),
    }
    return RoomModel.model_validate(fields | changes)


def true_house(rooms: int = 3) -> HouseModel:
    """Rooms in a row, coupled with 25 W/K each to the next."""
    names = [f"room{i}" for i in range(rooms)]
    return HouseModel(
        rooms=tuple(
            true_room(name, air_outside_w_per_k=8.0 + 4.0 * i, heater_power_w=1000.0 + 300.0 * i)
            for i, name in enumerate(names)
        ),
        couplings=tuple(
            Coupling(room_a=a, room_b=b, conductance_w_per_k=25.0)
            for a, b in pairwise(names)
        ),
        latitude_deg=LATITUDE,
        longitude_deg=LONGITUDE,
        time_zone="Europe/Prague",
    )


def outdoor_c(epoch_s: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Winter weather: a daily wave and slow changes."""
    days = (epoch_s - epoch_s[0]) / 86400.0
    knots = np.arange(int(days[-1]) + 2)
    slow = np.interp(days, knots, rng.normal(0.0, 4.0, len(knots)))
    return 2.0 + slow - 3.0 * np.cos(2 * np.pi * ((epoch_s % 86400) / 86400.0 - 0.08))


def simulate(
    model: HouseModel,
    days: int = 14,
    step_s: int = 900,
    seed: int = 1,
    noise_c: float = 0.05,
    heating: bool = True,
    steady: bool = False,
    disturbance_w: float = 0.0,
) -> History:
    """Run the model under thermostats and return what is recorded.

    Their set-points jump at random, or stay where they began if `steady`. Unmeasured heat of standard
    deviation `disturbance_w` and six hours of memory comes into every room's air.
    """
    rng = np.random.default_rng(seed)
    steps = days * 86400 // step_s
    epoch_s = START + step_s * np.arange(steps, dtype=np.int64)
    outside = outdoor_c(epoch_s, rng)
    sky = np.repeat(rng.uniform(0.15, 1.0, days), 86400 // step_s)
    ghi = sky * clear_sky_ghi(sun_path(epoch_s + step_s / 2, LATITUDE, LONGITUDE))
    air_gain, mass_gain = gains_by_room(model, epoch_s, step_s, ghi_w_m2=ghi)
    dynamics = discretise(model, step_s)
    layout = dynamics.layout
    rooms = len(model.rooms)
    state = np.zeros(layout.size)
    state[layout.air] = 20.0
    state[layout.mass[layout.mass >= 0]] = 19.0
    temperatures = np.empty((steps, rooms))
    heat = np.zeros((steps, rooms))
    setpoint = np.full(rooms, 20.0)
    unknown_w, kept = np.zeros(rooms), float(np.exp(-step_s / (6 * 3600)))
    middle = 0.5 * (outside + np.append(outside[1:], outside[-1]))
    for t in range(steps):
        if t % (6 * 3600 // step_s) == 0 and not (steady and t):
            setpoint = rng.uniform(18.0, 23.0, rooms)
        temperatures[t] = state[layout.air]
        if heating:
            power = np.array([room.heater_power_w for room in model.rooms])
            heat[t] = np.where(state[layout.air] < setpoint, power, 0.0)
        series = {f"heat_{r.name}": heat[t : t + 1, i] for i, r in enumerate(model.rooms)}
        series[SOME_ON] = np.array([1000.0 * (heat[t] > 0.0).any()])
        emitted = heat_by_room(model, series, middle[t : t + 1])[0]
        vector = np.concatenate(
            [[middle[t], model.ground_temperature_c], emitted, air_gain[t], mass_gain[t]]
        )
        if disturbance_w:
            unknown_w *= kept
            unknown_w += disturbance_w * np.sqrt(1.0 - kept**2) * rng.standard_normal(rooms)
            vector[2 + rooms : 2 + 2 * rooms] += unknown_w
        state = dynamics.A @ state + dynamics.B @ vector
    noisy = temperatures + rng.normal(0.0, noise_c, temperatures.shape)
    return History(
        epoch_s=epoch_s,
        step_s=step_s,
        rooms=model.room_names,
        temperature_c=noisy,
        outside_c=outside,
        heat_w={f"heat_{r.name}": heat[:, i] for i, r in enumerate(model.rooms)},
        ghi_w_m2=ghi,
    )


def told(history: History) -> Iterator[Record]:
    """What the gateway would have said of a history: a sweep a row; relays are on or off for a row."""
    for t, epoch in enumerate(history.epoch_s.tolist()):
        at = datetime.fromtimestamp(epoch, UTC)
        for i, room in enumerate(history.rooms):
            heat = float(history.heat_w[f"heat_{room}"][t])
            value = float(history.temperature_c[t, i])
            yield RoomSampled(
                room=room, time=at, temperature_c=None if np.isnan(value) else value,
                relay_on=None if np.isnan(heat) else heat > 0.0,
            )  # fmt: skip
        assert history.ghi_w_m2 is not None
        outside, ghi = float(history.outside_c[t]), float(history.ghi_w_m2[max(t - 1, 0)])
        yield OutdoorSampled(
            time=at, temperature_c=None if np.isnan(outside) else outside,
            ghi_w_m2=None if np.isnan(ghi) else ghi,
        )  # fmt: skip
        yield SweepCompleted(time=at)


def remembered(history: History, keep_days: int = 90) -> Memory:
    """The memory of a house that lived a history."""
    memory = Memory(keep_days=keep_days)
    for data in told(history):
        memory.take(data)
    return memory
