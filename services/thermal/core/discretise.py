"""From a house's parameters to exact discrete-time matrices.

Continuous time: dx/dt = A x + B u with the state, room by room,
``[air degC, mass degC if two nodes, emitter W if it lags, disturbance W]`` and the inputs
``[outside degC, ground degC, heat W per room, air gain W per room, mass gain W per room]``.
Inputs are held constant over a step (zero-order hold), so the discretisation by the matrix
exponential of the augmented matrix [[A, B], [0, 0]] is exact (C. Van Loan, "Computing integrals
involving the matrix exponential", IEEE TAC 23(3), 1978), and so is the process noise covariance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from contracts.thermal_model import HouseModel, RoomModel

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

OUTSIDE, GROUND, FIRST_ROOM_INPUT = 0, 1, 2
ABSENT = -1


@dataclass(frozen=True)
class Layout:
    """Where each quantity of each room sits in the state; -1 where a room does not have it."""

    room_names: tuple[str, ...]
    air: IntArray
    mass: IntArray
    emitter: IntArray
    disturbance: IntArray
    size: int

    @property
    def room_count(self) -> int:
        return len(self.room_names)

    @property
    def input_count(self) -> int:
        return FIRST_ROOM_INPUT + 3 * self.room_count

    def heat_input(self, room: int) -> int:
        return FIRST_ROOM_INPUT + room

    def air_input(self, room: int) -> int:
        return FIRST_ROOM_INPUT + self.room_count + room

    def mass_input(self, room: int) -> int:
        return FIRST_ROOM_INPUT + 2 * self.room_count + room


@dataclass(frozen=True)
class Discrete:
    """Exact dynamics over `step_s`: x[t+1] = A x[t] + B u[t] + w, w ~ N(0, Q).

    `A` (n, n), `B` (n, m), `Q` (n, n); `layout` names the rows, its input methods the columns of B.
    Arrays are read-only.
    """

    step_s: int
    layout: Layout
    A: Array
    B: Array
    Q: Array

    @property
    def B_outside(self) -> Array:
        """(n,) response to 1 degC outside."""
        return self.B[:, OUTSIDE]

    @property
    def B_ground(self) -> Array:
        """(n,) response to 1 degC of ground temperature."""
        return self.B[:, GROUND]

    @property
    def B_heat(self) -> Array:
        """(n, rooms) response to 1 W given to each emitter."""
        rooms = self.layout.room_count
        return self.B[:, FIRST_ROOM_INPUT : FIRST_ROOM_INPUT + rooms]


def layout_of(model: HouseModel) -> Layout:
    """State layout of a model, in room order."""
    rooms = model.rooms
    columns = {name: np.full(len(rooms), ABSENT, dtype=np.int64) for name in "amed"}
    size = 0
    for i, room in enumerate(rooms):
        columns["a"][i] = size
        size += 1
        if room.node_count == 2:
            columns["m"][i] = size
            size += 1
        if room.emitter_lag_s > 0.0:
            columns["e"][i] = size
            size += 1
        columns["d"][i] = size
        size += 1
    return Layout(
        model.room_names, columns["a"], columns["m"], columns["e"], columns["d"], size
    )


def continuous_matrices(model: HouseModel) -> tuple[Array, Array, Array]:
    """Return A (n, n) in 1/s, B (n, m) and the noise intensity (n,) in units^2/s."""
    layout = layout_of(model)
    a = np.zeros((layout.size, layout.size))
    b = np.zeros((layout.size, layout.input_count))
    intensity = np.zeros(layout.size)
    for i, room in enumerate(model.rooms):
        _room_rows(a, b, intensity, layout, i, room)
    index = {name: i for i, name in enumerate(model.room_names)}
    for coupling in model.couplings:
        i, j = index[coupling.room_a], index[coupling.room_b]
        for here, there in ((i, j), (j, i)):
            rate = coupling.conductance_w_per_k / model.rooms[here].air_capacity_j_per_k
            row = layout.air[here]
            a[row, row] -= rate
            a[row, layout.air[there]] += rate
    return a, b, intensity


def _room_rows(
    a: Array, b: Array, intensity: Array, layout: Layout, i: int, room: RoomModel
) -> None:
    air, mass = layout.air[i], layout.mass[i]
    emitter, disturbance = layout.emitter[i], layout.disturbance[i]
    per_air = 1.0 / room.air_capacity_j_per_k
    a[air, air] -= (room.air_outside_w_per_k + room.air_mass_w_per_k) * per_air
    b[air, OUTSIDE] += room.air_outside_w_per_k * per_air
    a[air, disturbance] += per_air
    b[air, layout.air_input(i)] += per_air
    a[disturbance, disturbance] = -1.0 / room.noise.disturbance_time_s
    intensity[air] = room.noise.air_sd_c_per_sqrt_h**2 / 3600.0
    intensity[disturbance] = (
        2.0 * room.noise.disturbance_sd_w**2 / room.noise.disturbance_time_s
    )
    ground_row, ground_rate = air, room.ground_w_per_k * per_air
    per_mass = 0.0
    if room.mass_capacity_j_per_k is not None:
        per_mass = 1.0 / room.mass_capacity_j_per_k
        a[air, mass] += room.air_mass_w_per_k * per_air
        a[mass, air] += room.air_mass_w_per_k * per_mass
        a[mass, mass] -= (room.air_mass_w_per_k + room.mass_outside_w_per_k) * per_mass
        b[mass, OUTSIDE] += room.mass_outside_w_per_k * per_mass
        b[mass, layout.mass_input(i)] += per_mass
        intensity[mass] = room.noise.mass_sd_c_per_sqrt_h**2 / 3600.0
        ground_row, ground_rate = mass, room.ground_w_per_k * per_mass
    else:
        b[air, layout.mass_input(i)] += per_air
    a[ground_row, ground_row] -= ground_rate
    b[ground_row, GROUND] += ground_rate
    to_mass = room.heat_to_mass_fraction
    if emitter != ABSENT:
        a[emitter, emitter] = -1.0 / room.emitter_lag_s
        b[emitter, layout.heat_input(i)] = 1.0 / room.emitter_lag_s
        heat_matrix, heat_column = a, emitter
    else:
        heat_matrix, heat_column = b, layout.heat_input(i)
    heat_matrix[air, heat_column] += (1.0 - to_mass) * per_air
    if mass != ABSENT:
        heat_matrix[mass, heat_column] += to_mass * per_mass


@lru_cache(maxsize=256)
def discretise(model: HouseModel, step_s: int) -> Discrete:
    """Exact zero-order-hold discretisation of the coupled house over `step_s` seconds; cached.

    Raises ValueError if `step_s` is not positive.
    """
    if step_s <= 0:
        raise ValueError(f"step_s must be a positive number of seconds, got {step_s}")
    a, b, intensity = continuous_matrices(model)
    n, m = b.shape
    augmented = np.zeros((n + m, n + m))
    augmented[:n, :n] = a * step_s
    augmented[:n, n:] = b * step_s
    powers = expm(augmented)
    transition = np.ascontiguousarray(powers[:n, :n])
    noise = _process_noise(a, intensity, step_s)
    noise = 0.5 * (noise + noise.T)
    drive = np.ascontiguousarray(powers[:n, n:])
    for array in (transition, drive, noise):
        array.setflags(write=False)
    return Discrete(int(step_s), layout_of(model), transition, drive, noise)


def _process_noise(a: Array, intensity: Array, step_s: int) -> Array:
    """Process noise by Van Loan over a step short enough for exp(-A t), then doubled:
    Q(2t) = A Q(t) A' + Q(t)."""
    doublings = 0
    short = float(step_s)
    while np.abs(np.diag(a)).max() * short >= 1.0:
        short *= 0.5
        doublings += 1
    n = len(intensity)
    van_loan = np.zeros((2 * n, 2 * n))
    van_loan[:n, :n] = -a * short
    van_loan[:n, n:] = np.diag(intensity * short)
    van_loan[n:, n:] = a.T * short
    blocks = expm(van_loan)
    transition = blocks[n:, n:].T
    noise = transition @ blocks[:n, n:]
    for _ in range(doublings):
        noise = transition @ noise @ transition.T + noise
        transition = transition @ transition
    return np.asarray(noise)


@dataclass(frozen=True)
class RoomDiscrete:
    """One room alone, its neighbours' air temperatures as inputs.

    x is ``[air, mass?, emitter?, disturbance]``; the columns of `B` are
    ``[outside, ground, heat, air gain, mass gain, neighbour 1, neighbour 2, ...]``.
    """

    step_s: int
    A: Array
    B: Array
    neighbours: tuple[str, ...]


@lru_cache(maxsize=1024)
def discretise_room(model: HouseModel, room_name: str, step_s: int) -> RoomDiscrete:
    """Exact discretisation of one room with neighbours' temperatures held over the step."""
    if room_name not in model.room_names:
        raise ValueError(f"room {room_name!r} is not in the model; rooms are {model.room_names}")
    if step_s <= 0:
        raise ValueError(f"step_s must be a positive number of seconds, got {step_s}")
    layout = layout_of(model)
    i = model.room_names.index(room_name)
    a, b, _ = continuous_matrices(model)
    own = [k for k in (layout.air[i], layout.mass[i], layout.emitter[i]) if k != ABSENT]
    own.append(layout.disturbance[i])
    others = [
        j
        for j in range(layout.room_count)
        if j != i and a[layout.air[i], layout.air[j]] != 0.0
    ]
    inputs = [OUTSIDE, GROUND, layout.heat_input(i), layout.air_input(i), layout.mass_input(i)]
    room_a = a[np.ix_(own, own)]
    room_b = np.hstack([b[np.ix_(own, inputs)], a[np.ix_(own, layout.air[others])]])
    n, m = room_b.shape
    augmented = np.zeros((n + m, n + m))
    augmented[:n, :n] = room_a * step_s
    augmented[:n, n:] = room_b * step_s
    powers = expm(augmented)
    names = tuple(layout.room_names[j] for j in others)
    return RoomDiscrete(int(step_s), powers[:n, :n], powers[:n, n:], names)
