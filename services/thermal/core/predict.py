"""48 h ahead: trajectories and bands for any heat schedule, and linear dynamics for the planner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from contracts.thermal_model import HouseModel
from services.thermal.core.discretise import (
    ABSENT,
    FIRST_ROOM_INPUT,
    GROUND,
    OUTSIDE,
    Discrete,
    continuous_matrices,
    discretise,
    layout_of,
)
from services.thermal.core.filter import FilterState

Array = NDArray[np.float64]

Z_90 = 1.6448536269514722
REDUCTION_HORIZON_S = 6 * 3600


@dataclass(frozen=True)
class Forecast:
    """Inputs over the horizon; times along axis 0, rooms in model order along axis 1.

    `outside_c` (steps,), `heat_w` (steps, rooms) into each emitter, `air_gain_w` and
    `mass_gain_w` (steps, rooms) solar and internal gains. `outside_sd_c` is the standard deviation
    of the outdoor forecast (steps,), taken as fully correlated over the horizon (conservative).
    """

    outside_c: Array
    heat_w: Array
    air_gain_w: Array
    mass_gain_w: Array
    outside_sd_c: Array | None = None

    def input_matrix(self, model: HouseModel) -> Array:
        """(steps, inputs) in the order of the columns of B."""
        steps, rooms = len(self.outside_c), len(model.rooms)
        for name in ("heat_w", "air_gain_w", "mass_gain_w"):
            if getattr(self, name).shape != (steps, rooms):
                raise ValueError(
                    f"{name} must have shape {(steps, rooms)}, got {getattr(self, name).shape}"
                )
        matrix = np.empty((steps, FIRST_ROOM_INPUT + 3 * rooms))
        matrix[:, OUTSIDE] = self.outside_c
        matrix[:, GROUND] = model.ground_temperature_c
        matrix[:, FIRST_ROOM_INPUT:] = np.hstack([self.heat_w, self.air_gain_w, self.mass_gain_w])
        if not np.isfinite(matrix).all():
            raise ValueError("forecast inputs hold NaN; fill weather, heat and gains beforehand")
        return matrix


@dataclass(frozen=True)
class Prediction:
    """Temperatures after each step: all arrays (steps, rooms), degC; bands hold 90 %."""

    step_s: int
    mean_c: Array
    sd_c: Array
    states: Array

    @property
    def low_c(self) -> Array:
        """5 % quantile."""
        return self.mean_c - Z_90 * self.sd_c

    @property
    def high_c(self) -> Array:
        """95 % quantile."""
        return self.mean_c + Z_90 * self.sd_c

    def probability_below(self, limit_c: Array | float) -> Array:
        """(steps, rooms) probability that the room is colder than `limit_c`."""
        z = (np.asarray(limit_c) - self.mean_c) / np.maximum(self.sd_c, 1e-9)
        result: Array = 0.5 * (1.0 + np.vectorize(erf)(z / sqrt(2.0)))
        return result


def predict(
    model: HouseModel, state: FilterState, forecast: Forecast, step_s: int
) -> Prediction:
    """Temperatures of every room for a given heat schedule, with bands.

    The band joins state and process uncertainty (exact covariance, by doubling), the weather's
    (`outside_sd_c`) and the parameters' and structure's (each room's `band_scale`, learnt on
    held-out errors).
    """
    dynamics = discretise(model, step_s)
    layout = dynamics.layout
    inputs = forecast.input_matrix(model)
    steps = len(inputs)
    width = 1 if forecast.outside_sd_c is None else 2
    drive = np.zeros((steps, width, layout.size))
    drive[:, 0, :] = inputs @ dynamics.B.T
    if forecast.outside_sd_c is not None:
        drive[:, 1, :] = np.outer(forecast.outside_sd_c, dynamics.B_outside)
    current = np.zeros((width, layout.size))
    current[0] = state.mean_array()
    transposed = np.ascontiguousarray(dynamics.A.T)
    for k in range(steps):
        np.add(current @ transposed, drive[k], out=drive[k])
        current = drive[k]
    states = drive[:, 0, :]
    bias = np.array([room.sensor_bias_c for room in model.rooms])
    deviation = air_sd_c(model, state, step_s * np.arange(1, steps + 1), step_s)
    if forecast.outside_sd_c is not None:
        deviation = np.hypot(deviation, drive[:, 1, :][:, layout.air])
    return Prediction(step_s, states[:, layout.air] + bias, deviation, states)


def air_sd_c(
    model: HouseModel, state: FilterState, lead_s: Sequence[int] | NDArray[np.int64], step_s: int
) -> Array:
    """(leads, rooms) standard deviation of the air, K, but for the weather's part.

    Whatever is heated: the model is linear and its noise is added. `lead_s` are increasing
    multiples of `step_s`.
    """
    leads = np.asarray(lead_s, dtype=np.int64)
    steps = leads // step_s
    variance = air_variance(discretise(model, step_s), state.covariance_array(), int(steps[-1]))
    return np.asarray(np.sqrt(variance[steps - 1]) * _band_factors(model, leads))


def air_variance(dynamics: Discrete, covariance: Array, steps: int) -> Array:
    """(steps, rooms) variance of the air temperatures, exact at powers of two, else interpolated.

    P(2k) = A^k P(k) A^k' + Q(k) with both powers by doubling; between them the variance is
    interpolated linearly in the logarithm of the lead.
    """
    air = dynamics.layout.air
    transition, noise = dynamics.A, dynamics.Q
    at, values = [], []
    lead = 1
    while True:
        at.append(lead)
        values.append(np.diag(transition @ covariance @ transition.T + noise)[air])
        if lead >= steps:
            break
        noise = transition @ noise @ transition.T + noise
        transition = transition @ transition
        lead *= 2
    grid, table = np.log(np.array(at, float)), np.maximum(np.array(values), 0.0)
    leads = np.log(np.arange(1, steps + 1))
    return np.column_stack([np.interp(leads, grid, table[:, i]) for i in range(len(air))])


def _band_factors(model: HouseModel, lead_s: NDArray[np.int64]) -> Array:
    columns = []
    for room in model.rooms:
        if room.band_scale:
            points = sorted(room.band_scale, key=lambda p: p.lead_s)
            columns.append(
                np.interp(lead_s, [p.lead_s for p in points], [p.factor for p in points])
            )
        else:
            columns.append(np.ones(len(lead_s)))
    return np.column_stack(columns)


def course(model: HouseModel, start: Array, inputs: Array, step_s: Sequence[int]) -> Array:
    """(steps + 1, n) states from `start` on, under `inputs` (steps, inputs) held over each step."""
    dynamics = {seconds: discretise(model, seconds) for seconds in set(step_s)}
    states = [start]
    for seconds, acting in zip(step_s, inputs, strict=True):
        states.append(dynamics[seconds].A @ states[-1] + dynamics[seconds].B @ acting)
    return np.array(states)


@dataclass(frozen=True)
class RoomPlannerModel:
    """T[t+1] = a[t] T[t] + b[t] u[t] + d[t] for one room; u is the fraction 0..1 of rated power.

    Arrays (steps,). The recursion with `reference_u` gives exactly the `reference_c` of the full
    model; deviations from it follow the room's own dynamics, exact for a one-node room without
    lag, else reduced to one node that keeps the slowest own time constant and the temperature rise
    after six hours of heating. Neighbours keep their predicted trajectory.
    """

    room: str
    start_c: float
    a: Array
    b: Array
    d: Array
    reference_u: Array
    reference_c: Array


@dataclass(frozen=True)
class PlannerMatrices:
    """Linear dynamics over the planner's steps.

    Full form: x[t+1] = A[t] x[t] + B[t] u[t] + d[t] with x the state of `layout_of(model)`
    (`air_index` picks the temperatures), u (rooms,) fractions of rated power. `rooms` is the
    reduced form room by room.
    """

    step_s: tuple[int, ...]
    start: Array
    air_index: NDArray[np.int64]
    A: tuple[Array, ...]
    B: tuple[Array, ...]
    d: Array
    rooms: tuple[RoomPlannerModel, ...]


def planner_matrices(
    model: HouseModel, state: FilterState, forecast: Forecast, step_s: Sequence[int]
) -> PlannerMatrices:
    """Dynamics on the planner's own grid, whose steps may differ in length.

    `forecast` has one row per planner step (mean of the weather and gains over the step, reference
    heating in W); `step_s` the length of each step in seconds.
    """
    inputs = forecast.input_matrix(model)
    if len(step_s) != len(inputs):
        raise ValueError(f"step_s has {len(step_s)} steps and the forecast {len(inputs)}")
    rooms = len(model.rooms)
    power = np.array([room.heater_power_w for room in model.rooms])
    heat = slice(FIRST_ROOM_INPUT, FIRST_ROOM_INPUT + rooms)
    free = inputs.copy()
    free[:, heat] = 0.0
    layout = layout_of(model)
    matrices_a, matrices_b = [], []
    offsets = np.empty((len(inputs), layout.size))
    for k, seconds in enumerate(step_s):
        dynamics = discretise(model, int(seconds))
        matrices_a.append(dynamics.A)
        matrices_b.append(dynamics.B_heat * power)
        offsets[k] = dynamics.B @ free[k]
    reference = course(model, state.mean_array(), inputs, step_s)
    bias = np.array([room.sensor_bias_c for room in model.rooms])
    temperatures = reference[:, layout.air] + bias
    with np.errstate(divide="ignore", invalid="ignore"):
        fractions = np.where(power > 0.0, inputs[:, heat] / power, 0.0)
    reduced = tuple(
        _reduce_room(model, i, step_s, temperatures[:, i], fractions[:, i]) for i in range(rooms)
    )
    return PlannerMatrices(
        tuple(int(s) for s in step_s),
        reference[0],
        layout.air,
        tuple(matrices_a),
        tuple(matrices_b),
        offsets,
        reduced,
    )


def _reduce_room(
    model: HouseModel, i: int, step_s: Sequence[int], reference_c: Array, reference_u: Array
) -> RoomPlannerModel:
    rate, gain = own_time_constant(model, i)
    seconds = np.asarray(step_s, dtype=np.float64)
    a = np.exp(-seconds * rate)
    b = gain * (1.0 - a)
    d = reference_c[1:] - a * reference_c[:-1] - b * reference_u
    return RoomPlannerModel(
        model.rooms[i].name, float(reference_c[0]), a, b, d, reference_u, reference_c[1:]
    )


def own_time_constant(model: HouseModel, i: int) -> tuple[float, float]:
    """Rate (1/s) and gain (K at full power) of room i reduced to one node, neighbours held.

    The rate is that of the slowest own mode (air and mass); the gain makes the rise after
    `REDUCTION_HORIZON_S` of full power equal to that of the full room model.
    """
    layout = layout_of(model)
    a, b, _ = continuous_matrices(model)
    nodes = [k for k in (layout.air[i], layout.mass[i]) if k != ABSENT]
    own = [*nodes, *([layout.emitter[i]] if layout.emitter[i] != ABSENT else [])]
    rate = float(-np.max(np.linalg.eigvals(a[np.ix_(nodes, nodes)]).real))
    rate = max(rate, 1.0 / (400 * 3600.0))
    power = model.rooms[i].heater_power_w
    if power == 0.0:
        return rate, 0.0
    n = len(own)
    block = np.zeros((n + 1, n + 1))
    block[:n, :n] = a[np.ix_(own, own)]
    block[:n, n] = b[own, layout.heat_input(i)] * power
    rise = float(expm(block * REDUCTION_HORIZON_S)[0, n])
    return rate, rise / (1.0 - np.exp(-rate * REDUCTION_HORIZON_S))


def time_to_reach_s(prediction: Prediction, room_index: int, target_c: float) -> float | None:
    """Seconds until the mean of a room crosses `target_c` (linear between steps), None if never.

    The direction follows from the first predicted temperature.
    """
    temperatures = prediction.mean_c[:, room_index]
    rising = target_c >= temperatures[0]
    reached = temperatures >= target_c if rising else temperatures <= target_c
    if not reached.any():
        return None
    k = int(np.argmax(reached))
    if k == 0:
        return float(prediction.step_s)
    before, after = temperatures[k - 1], temperatures[k]
    fraction = (target_c - before) / (after - before)
    return float(prediction.step_s * (k + fraction))
