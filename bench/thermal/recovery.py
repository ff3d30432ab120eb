"""How near an identified model comes to the twin's own building.

The twin has four heat stores a room and laws that bend; ours has two. Both are compared by what a
network looks like from the air of its rooms: with the other stores at rest (Schur complement of the
conductances), the loss of each room per kelvin inside and the heat that a kelvin of a neighbour
brings; and the time in which a room comes 63 % of the way to where its heater would bring it, with
everything around it held.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from contracts.site import SiteConfig
from contracts.thermal_model import HouseModel
from services.thermal.core.discretise import ABSENT, continuous_matrices, layout_of
from twin.rooms import Building, building

Array = NDArray[np.float64]

LIFT_K = 2.5
"""Of the floor over the air at the mean heating of winter, for the slope of the heat transfer."""
RESOLUTION_S = 600.0
WITHIN = 0.20


@dataclass(frozen=True)
class Network:
    """Conductances (n, n) W/K, capacities (n,) J/K; the first `rooms` nodes are the rooms' air and
    node k belongs to room k % rooms."""

    conductance: Array
    capacity: Array
    rooms: int

    def seen_from_air(self) -> Array:
        """(rooms, rooms) W that hold the air temperatures, all other stores at rest."""
        n = self.rooms
        k = self.conductance
        return np.asarray(k[:n, :n] - k[:n, n:] @ np.linalg.solve(k[n:, n:], k[n:, :n]))


def time_constant_s(a: Array, b: Array) -> float:
    """Time in which the first state of x' = a x + b comes 63 % of its way from 0, to ten minutes."""
    target = -np.linalg.solve(a, b)
    step = expm(a * RESOLUTION_S)
    left, steps = -target, 0
    while left[0] / -target[0] > np.exp(-1.0):
        left, steps = step @ left, steps + 1
    return float(steps * RESOLUTION_S)


def twin_time_constant_s(network: Network, room: int) -> float:
    """One room of the twin, heated through the core of its floor."""
    own = np.arange(room, len(network.capacity), network.rooms)
    a = -network.conductance[np.ix_(own, own)] / network.capacity[own, None]
    return time_constant_s(a, np.eye(len(own))[-1] / network.capacity[own])


def model_time_constant_s(model: HouseModel, room: int) -> float:
    """One room of ours, heated through its emitter."""
    layout = layout_of(model)
    places = (layout.air[room], layout.mass[room], layout.emitter[room])
    own = [place for place in places if place != ABSENT]
    a, b, _ = continuous_matrices(model)
    return time_constant_s(a[np.ix_(own, own)], b[own, layout.heat_input(room)])


def twin_network(built: Building) -> Network:
    """The twin's stores (air, wall, floor surface, floor core) with its laws at their usual slope."""
    floor_air = built.area_m2 * 8.92 * LIFT_K**0.1
    blocks = [[np.zeros((len(floor_air),) * 2) for _ in range(4)] for _ in range(4)]
    for i, j, between in ((0, 1, built.film_w_k), (0, 2, floor_air), (2, 3, built.surface_w_k)):
        for a, b in ((i, j), (j, i)):
            blocks[a][a] += np.diag(between)
            blocks[a][b] -= np.diag(between)
    for i, outside in ((0, built.glass_w_k + built.leak_w_k), (1, built.wall_out_w_k),
                       (3, built.ground_w_k)):  # fmt: skip
        blocks[i][i] += np.diag(outside)
    blocks[0][0] -= built.door
    blocks[1][1] -= built.partition
    capacity = [built.air_j_k, built.wall_j_k, built.surface_j_k, built.core_j_k]
    return Network(np.block(blocks), np.concatenate(capacity), len(floor_air))


def model_network(model: HouseModel) -> Network:
    """Ours: air and mass; a room of one node gets a mass of its own that touches nothing else."""
    count = len(model.rooms)
    names = list(model.room_names)
    k = np.zeros((2 * count, 2 * count))
    capacity = np.ones(2 * count)
    for i, room in enumerate(model.rooms):
        m = count + i
        one = room.mass_capacity_j_per_k is None
        capacity[i] = room.air_capacity_j_per_k
        capacity[m] = room.mass_capacity_j_per_k or 1.0
        k[i, i] += room.air_outside_w_per_k + room.air_mass_w_per_k
        k[m, m] += room.air_mass_w_per_k + room.mass_outside_w_per_k
        k[i, m] -= room.air_mass_w_per_k
        k[m, i] -= room.air_mass_w_per_k
        k[i if one else m, i if one else m] += room.ground_w_per_k
        if one:
            k[m, m] += 1.0
    for coupling in model.couplings:
        i, j = names.index(coupling.room_a), names.index(coupling.room_b)
        for a, b in ((i, j), (j, i)):
            k[a, a] += coupling.conductance_w_per_k
            k[a, b] -= coupling.conductance_w_per_k
    return Network(k, capacity, count)


def recovery(model: HouseModel, site: SiteConfig, seed: int) -> dict[str, object]:
    """Ratios of the identified quantity to the twin's: median, share within 20 %, by room or pair.

    Also the root mean square of the couplings' errors over the standard errors they are given with: 1
    if those say how wrong a coupling may be.
    """
    names = [room.id for room in site.rooms]
    order = [names.index(name) for name in model.room_names]
    true, ours = twin_network(building(site, seed)), model_network(model)
    right, found = true.seen_from_air()[np.ix_(order, order)], ours.seen_from_air()
    rooms = model.room_names
    ratios: dict[str, dict[str, float]] = {
        "loss to outside": {
            name: float(found[i].sum() / right[i].sum()) for i, name in enumerate(rooms)
        },
        "time constant": {
            name: model_time_constant_s(model, i) / twin_time_constant_s(true, order[i])
            for i, name in enumerate(rooms)
        },
        "coupling": {
            f"{rooms[i]}-{rooms[j]}": float(found[i, j] / right[i, j])
            for i in range(len(rooms))
            for j in range(i)
            if found[i, j] < 0.0
        },
    }
    scaled = [
        (coupling.conductance_w_per_k + right[rooms.index(coupling.room_a), rooms.index(coupling.room_b)])
        / coupling.standard_error_w_per_k
        for coupling in model.couplings
        if coupling.standard_error_w_per_k
    ]
    found_ratios: dict[str, object] = {
        label: {
            "median": round(float(np.median(list(values.values()))), 2),
            "within 20 %": round(
                float(np.mean([abs(value - 1.0) <= WITHIN for value in values.values()])), 2
            ),
            "ratio": {name: round(value, 2) for name, value in values.items()},
        }
        for label, values in ratios.items()
    }
    size = float(np.sqrt(np.mean(np.square(scaled)))) if scaled else float("nan")
    return found_ratios | {"coupling's error over its standard error": round(size, 2)}
