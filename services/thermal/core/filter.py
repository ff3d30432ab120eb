"""Kalman filter of the whole house: missing samples, outliers, one slow disturbance per room.

Prediction and update are filterpy's (R. Labbe); the gate, the recovery after a lasting jump and
the statistics around them are ours. The state is a plain object of floats, so that an
event-sourced service can snapshot it exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from filterpy.kalman import predict as kalman_predict
from filterpy.kalman import update as kalman_update
from numpy.typing import NDArray

from contracts.thermal_model import HouseModel
from services.thermal.core.discretise import (
    ABSENT,
    FIRST_ROOM_INPUT,
    GROUND,
    OUTSIDE,
    Discrete,
    Layout,
    discretise,
    layout_of,
)

Array = NDArray[np.float64]

GATE_SIGMAS = 5.0
GATE_RECOVERY_SAMPLES = 6
STATISTICS_WEIGHT = 0.02
INITIAL_MASS_SD_C = 1.0
AGE_SD_C_PER_H = 1.0


@dataclass(frozen=True)
class FilterState:
    """Everything the filter remembers; plain numbers in model room order.

    `mean` has the layout of `layout_of(model)`, `covariance` is the lower triangle, row by row.
    `rejected_in_row` counts consecutive gated samples, `missing_in_row` absent ones;
    `innovation_mean_c` and `innovation_ratio` (squared innovation over its predicted variance,
    1 when the noise levels are right) are exponential averages.
    """

    epoch_s: int
    mean: tuple[float, ...]
    covariance: tuple[float, ...]
    rejected_in_row: tuple[int, ...]
    missing_in_row: tuple[int, ...]
    innovation_mean_c: tuple[float, ...]
    innovation_ratio: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` gives the identical state back."""
        return {
            "epoch_s": self.epoch_s,
            "mean": list(self.mean),
            "covariance": list(self.covariance),
            "rejected_in_row": list(self.rejected_in_row),
            "missing_in_row": list(self.missing_in_row),
            "innovation_mean_c": list(self.innovation_mean_c),
            "innovation_ratio": list(self.innovation_ratio),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FilterState:
        """Inverse of `to_dict`."""
        return cls(
            epoch_s=int(data["epoch_s"]),
            mean=tuple(float(x) for x in data["mean"]),
            covariance=tuple(float(x) for x in data["covariance"]),
            rejected_in_row=tuple(int(x) for x in data["rejected_in_row"]),
            missing_in_row=tuple(int(x) for x in data["missing_in_row"]),
            innovation_mean_c=tuple(float(x) for x in data["innovation_mean_c"]),
            innovation_ratio=tuple(float(x) for x in data["innovation_ratio"]),
        )

    def mean_array(self) -> Array:
        """(n,) state mean."""
        return np.array(self.mean, dtype=np.float64)

    def covariance_array(self) -> Array:
        """(n, n) symmetric state covariance."""
        n = len(self.mean)
        full = np.zeros((n, n))
        full[_lower_triangle(n)] = self.covariance
        return full + np.tril(full, -1).T


_TRIANGLES: dict[int, tuple[NDArray[np.intp], NDArray[np.intp]]] = {}


def _lower_triangle(n: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    if n not in _TRIANGLES:
        _TRIANGLES[n] = np.tril_indices(n)
    return _TRIANGLES[n]


@dataclass(frozen=True)
class StepInputs:
    """What acted on the house over one step, per room in model order, held constant.

    `heat_w` is the power the read-back confirms (not what was commanded); None marks a room whose
    heating is unknown. `air_gain_w` and `mass_gain_w` hold solar and internal gains
    (`gains.step_gains` builds them). `outside_c` must be a number.
    """

    step_s: int
    outside_c: float
    heat_w: Sequence[float | None]
    air_gain_w: Sequence[float]
    mass_gain_w: Sequence[float]
    ground_c: float | None = None


@dataclass(frozen=True)
class Innovation:
    """One room's comparison of a measurement with its prediction.

    `accepted` False means that the gate refused the sample; `residual_c` is then still given.
    """

    room: str
    predicted_c: float
    residual_c: float
    standard_deviation_c: float
    accepted: bool


def initial_state(
    model: HouseModel,
    epoch_s: int,
    temperatures_c: Sequence[float | None],
    outside_c: float,
) -> FilterState:
    """State before any history: air at the measurement, mass in between air and outside.

    A missing temperature starts at the mean of the others (20 degC if none) with a wide variance.
    """
    layout = layout_of(model)
    rooms = layout.room_count
    measured = _as_array(temperatures_c, rooms, "temperatures_c")
    known = measured[np.isfinite(measured)]
    fallback = float(known.mean()) if known.size else 20.0
    mean = np.zeros(layout.size)
    variance = np.zeros(layout.size)
    for i, room in enumerate(model.rooms):
        air_c = measured[i] - room.sensor_bias_c if np.isfinite(measured[i]) else fallback
        mean[layout.air[i]] = air_c
        variance[layout.air[i]] = (
            room.noise.measurement_sd_c**2 if np.isfinite(measured[i]) else 9.0
        )
        if layout.mass[i] != ABSENT:
            total = room.air_mass_w_per_k + room.mass_outside_w_per_k + room.ground_w_per_k
            mean[layout.mass[i]] = (
                room.air_mass_w_per_k * air_c
                + room.mass_outside_w_per_k * outside_c
                + room.ground_w_per_k * model.ground_temperature_c
            ) / total
            variance[layout.mass[i]] = INITIAL_MASS_SD_C**2
        if layout.emitter[i] != ABSENT:
            variance[layout.emitter[i]] = (0.5 * room.heater_power_w) ** 2
        variance[layout.disturbance[i]] = room.noise.disturbance_sd_w**2
    return _pack(
        epoch_s, mean, np.diag(variance), (0,) * rooms, (0,) * rooms, (0.0,) * rooms, (1.0,) * rooms
    )


def input_vector(model: HouseModel, layout: Layout, inputs: StepInputs) -> tuple[Array, Array]:
    """(m,) input vector and (rooms,) bool of rooms whose heating is unknown."""
    rooms = layout.room_count
    heat = _as_array(inputs.heat_w, rooms, "heat_w")
    unknown = ~np.isfinite(heat)
    vector = np.zeros(layout.input_count)
    if not np.isfinite(inputs.outside_c):
        raise ValueError("outside_c is missing; hold the last value or use the forecast")
    vector[OUTSIDE] = inputs.outside_c
    vector[GROUND] = model.ground_temperature_c if inputs.ground_c is None else inputs.ground_c
    half = np.array([0.5 * room.heater_power_w for room in model.rooms])
    first = FIRST_ROOM_INPUT
    vector[first : first + rooms] = np.where(unknown, half, heat)
    air = _as_array(inputs.air_gain_w, rooms, "air_gain_w")
    mass = _as_array(inputs.mass_gain_w, rooms, "mass_gain_w")
    if not (np.isfinite(air).all() and np.isfinite(mass).all()):
        raise ValueError("air_gain_w and mass_gain_w must be numbers; use the mean gain if unknown")
    vector[first + rooms : first + 2 * rooms] = air
    vector[first + 2 * rooms :] = mass
    return vector, unknown


def filter_step(
    model: HouseModel,
    state: FilterState,
    inputs: StepInputs,
    measurements_c: Sequence[float | None],
    age_s: Sequence[float] | None = None,
) -> tuple[FilterState, tuple[Innovation, ...]]:
    """Advance the state over `inputs.step_s` and correct it with the measurements at its end.

    `measurements_c` per room in model order, None or NaN where missing. `age_s` says how old each
    sample is; an old sample counts less. Returns the new state and one innovation per sample
    present. Same input, same output.
    """
    dynamics = discretise(model, inputs.step_s)
    layout = dynamics.layout
    rooms = layout.room_count
    if len(state.mean) != layout.size:
        raise ValueError(
            f"the state has {len(state.mean)} entries and the model {layout.size}; "
            "use transfer_state after a change of model"
        )
    vector, unknown = input_vector(model, layout, inputs)
    noise = dynamics.Q if not unknown.any() else _unknown_heat_noise(model, dynamics, unknown)
    mean, covariance = kalman_predict(
        state.mean_array(), state.covariance_array(), dynamics.A, noise, vector, dynamics.B
    )
    bias = np.array([room.sensor_bias_c for room in model.rooms])
    measured = _as_array(measurements_c, rooms, "measurements_c") - bias
    present = np.isfinite(measured)
    variance_r = np.array([room.noise.measurement_sd_c**2 for room in model.rooms])
    if age_s is not None:
        variance_r = variance_r + (np.asarray(age_s) / 3600.0 * AGE_SD_C_PER_H) ** 2
    predicted = mean[layout.air]
    spread = np.sqrt(covariance[layout.air, layout.air] + variance_r)
    residual = measured - predicted
    inside = present & (np.abs(np.where(present, residual, 0.0)) <= GATE_SIGMAS * spread)
    rejected = np.where(
        present, np.where(inside, 0, np.array(state.rejected_in_row) + 1), state.rejected_in_row
    )
    for i in np.flatnonzero(rejected >= GATE_RECOVERY_SAMPLES):
        _reopen(mean, covariance, layout, int(i), float(residual[i]), model)
        inside[i] = True
        rejected[i] = 0
    use = np.flatnonzero(inside)
    if use.size:
        selector = np.zeros((use.size, layout.size))
        selector[np.arange(use.size), layout.air[use]] = 1.0
        mean, covariance = kalman_update(
            mean, covariance, measured[use], np.diag(variance_r[use]), selector
        )
    weight = STATISTICS_WEIGHT
    old_mean, old_ratio = np.array(state.innovation_mean_c), np.array(state.innovation_ratio)
    ratio = np.minimum((residual / spread) ** 2, GATE_SIGMAS**2)
    new_state = _pack(
        state.epoch_s + inputs.step_s,
        mean,
        covariance,
        tuple(int(x) for x in rejected),
        tuple(int(x) for x in np.where(present, 0, np.array(state.missing_in_row) + 1)),
        tuple(np.where(inside, (1 - weight) * old_mean + weight * residual, old_mean).tolist()),
        tuple(np.where(present, (1 - weight) * old_ratio + weight * ratio, old_ratio).tolist()),
    )
    innovations = tuple(
        Innovation(
            layout.room_names[i],
            float(predicted[i] + bias[i]),
            float(residual[i]),
            float(spread[i]),
            bool(inside[i]),
        )
        for i in np.flatnonzero(present)
    )
    return new_state, innovations


def _unknown_heat_noise(model: HouseModel, dynamics: Discrete, unknown: Array) -> Array:
    """Process noise widened by rooms whose heating power is not known (uniform 0..rated)."""
    power = np.array([room.heater_power_w for room in model.rooms]) / np.sqrt(12.0)
    columns = dynamics.B_heat * np.where(unknown, power, 0.0)
    return np.asarray(dynamics.Q + columns @ columns.T)


def _reopen(
    mean: Array, covariance: Array, layout: Layout, i: int, residual_c: float, model: HouseModel
) -> None:
    """A jump that stays is real (or the sensor was moved): forget the old belief of the room."""
    spread = max(residual_c**2, 1.0)
    places = ((layout.air[i], spread), (layout.mass[i], spread),
              (layout.disturbance[i], 9.0 * model.rooms[i].noise.disturbance_sd_w**2))  # fmt: skip
    for k, variance in places:
        if k != ABSENT:
            covariance[k, :] = 0.0
            covariance[:, k] = 0.0
            covariance[k, k] = variance
    mean[layout.air[i]] += residual_c


def transfer_state(
    old_model: HouseModel, state: FilterState, new_model: HouseModel, outside_c: float
) -> FilterState:
    """Carry a state over to another model of the house (after `model.promoted`).

    Nodes that both have keep mean and covariance; new rooms and nodes start afresh.
    """
    old, new = layout_of(old_model), layout_of(new_model)
    mean, covariance = state.mean_array(), state.covariance_array()
    old_index = {name: i for i, name in enumerate(old.room_names)}
    temperatures = [
        float(mean[old.air[old_index[name]]]) if name in old_index else None
        for name in new.room_names
    ]
    fresh = initial_state(new_model, state.epoch_s, temperatures, outside_c)
    new_mean, new_covariance = fresh.mean_array(), fresh.covariance_array()
    pairs = [
        (int(old_places[old_index[name]]), int(new_places[j]))
        for j, name in enumerate(new.room_names)
        if name in old_index
        for old_places, new_places in (
            (old.air, new.air),
            (old.mass, new.mass),
            (old.emitter, new.emitter),
            (old.disturbance, new.disturbance),
        )
        if old_places[old_index[name]] != ABSENT and new_places[j] != ABSENT
    ]
    if pairs:
        source, target = (list(side) for side in zip(*pairs, strict=True))
        new_mean[target] = mean[source]
        new_covariance[np.ix_(target, target)] = covariance[np.ix_(source, source)]

    def counts(values: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(values[old_index[n]] if n in old_index else 0 for n in new.room_names)

    def averages(values: tuple[float, ...], start: float) -> tuple[float, ...]:
        return tuple(values[old_index[n]] if n in old_index else start for n in new.room_names)

    return _pack(
        state.epoch_s,
        new_mean,
        new_covariance,
        counts(state.rejected_in_row),
        counts(state.missing_in_row),
        averages(state.innovation_mean_c, 0.0),
        averages(state.innovation_ratio, 1.0),
    )


@dataclass(frozen=True)
class RoomEstimate:
    """What the filter believes of one room; W and degC, standard deviations beside them."""

    room: str
    air_c: float
    air_sd_c: float
    mass_c: float | None
    disturbance_w: float
    disturbance_sd_w: float
    emitter_w: float | None


def room_estimates(model: HouseModel, state: FilterState) -> tuple[RoomEstimate, ...]:
    """Readable view of a state, room by room."""
    layout = layout_of(model)
    mean = state.mean_array()
    deviation = np.sqrt(np.maximum(np.diag(state.covariance_array()), 0.0))

    def optional(places: NDArray[np.int64], i: int) -> float | None:
        return float(mean[places[i]]) if places[i] != ABSENT else None

    return tuple(
        RoomEstimate(
            name,
            float(mean[layout.air[i]]),
            float(deviation[layout.air[i]]),
            optional(layout.mass, i),
            float(mean[layout.disturbance[i]]),
            float(deviation[layout.disturbance[i]]),
            optional(layout.emitter, i),
        )
        for i, name in enumerate(layout.room_names)
    )


def _pack(
    epoch_s: int,
    mean: Array,
    covariance: Array,
    rejected: tuple[int, ...],
    missing: tuple[int, ...],
    innovation_mean: tuple[float, ...],
    innovation_ratio: tuple[float, ...],
) -> FilterState:
    symmetric = 0.5 * (covariance + covariance.T)
    return FilterState(
        int(epoch_s),
        tuple(mean.tolist()),
        tuple(symmetric[_lower_triangle(len(mean))].tolist()),
        rejected,
        missing,
        innovation_mean,
        innovation_ratio,
    )


def _as_array(values: Sequence[float | None], length: int, name: str) -> Array:
    array = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    if array.shape != (length,):
        raise ValueError(f"{name} must have one value a room ({length}), got {array.shape[0]}")
    return array
