"""The thermal building: four heat stores a room, coupled neighbours, draughts and open windows.

Richer than, and different from, any model the controller identifies:

* air (with furniture), walls and two layers of the floor are separate stores; the heating cable
  heats the core of the screed, the core the surface, and the surface the air with the
  convective-radiative law of EN 1264-2 (q = 8.92 dT^1.1 W/m2), so the lag has no single constant;
* the loss through walls passes through their mass, that through glass does not;
* air leakage grows with wind and temperature difference; open windows add to it;
* floors lose to the ground, which lags the year;
* blinds close against strong sun in a warm room, and windows are opened on warm evenings;
* every parameter deviates from the site file's nominal value by a seeded few per cent.

Everything is vectorised over rooms; arrays have shape (rooms,) in the order of the site file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.site import SiteConfig
from twin.tables import FloatArray, IntArray

AIR_J_PER_K_M2 = 14_000.0
"""Room air 2.6 m high and furniture, per m2 of floor."""
CORE_J_PER_K_M2 = 70_000.0
"""About 4 cm of screed around the heating cable, above the insulation."""
SURFACE_J_PER_K_M2 = 22_000.0
SURFACE_W_PER_K_M2 = 15.0
"""Floor covering and the screed under it, and what lies between it and the cable."""
WALL_J_PER_K_M2 = 95_000.0
"""Active layer of inner and outer walls and ceiling, per m2 of floor."""
WALL_FILM_W_PER_K_M2 = 11.0
"""About 2.4 m2 of wall per m2 of floor, 4.6 W/(K m2) to the middle of the active layer."""
COLD_FLOOR_W_PER_K_M2 = 6.5
GLASS_SHARE, LEAK_SHARE, GROUND_SHARE = 0.30, 0.17, 0.10
"""Shares of the nominal heat loss; the rest passes through the walls."""
LEAK_WIND_M_S = 4.0
"""Wind at which leakage reaches its nominal share (with 20 K of difference)."""
DOOR_W_PER_K = 22.0
PARTITION_W_PER_K = 12.0
GLASS_GAIN = 0.55 * 0.75 * 0.9
"""Solar factor x glass share of the frame x dirt and reveals."""
BLIND_FACTOR = 0.3
SUN_TO_AIR, SUN_TO_FLOOR = 0.15, 0.45
OPEN_W_PER_K_M2 = 14.0
"""An open window: ventilation per m2 of glass at 20 K of difference (stack flow)."""
WARM_DAY_C = 12.0
"""Above this outdoors, people leave windows open in rooms that are too warm."""
DAY_S = 86_400
YEAR_S = 365.25 * DAY_S


@dataclass(frozen=True, eq=False)
class Building:
    """Thermal parameters; capacities J/K, conductances W/K, each of shape (rooms,).

    door, partition : graph Laplacians (rooms, rooms) of air and wall exchange between neighbours,
    such that `door @ air_c` is the heat flow INTO each room's air, W.
    """

    area_m2: FloatArray
    heater_w: FloatArray
    air_j_k: FloatArray
    core_j_k: FloatArray
    surface_j_k: FloatArray
    surface_w_k: FloatArray
    wall_j_k: FloatArray
    film_w_k: FloatArray
    wall_out_w_k: FloatArray
    glass_w_k: FloatArray
    leak_w_k: FloatArray
    ground_w_k: FloatArray
    open_w_k: FloatArray
    door: FloatArray
    partition: FloatArray


def _laplacian(count: int, edges: list[tuple[int, int]], conductance: FloatArray) -> FloatArray:
    matrix = np.zeros((count, count))
    for (i, j), value in zip(edges, conductance, strict=True):
        matrix[i, j] += value
        matrix[j, i] += value
        matrix[i, i] -= value
        matrix[j, j] -= value
    return matrix


def building(site: SiteConfig, seed: int) -> Building:
    """The house as built: nominal values of the site file with seeded deviations."""
    rng = np.random.default_rng([seed, 21])
    rooms = site.rooms
    count = len(rooms)
    area = np.array([room.floor_area_m2 for room in rooms])
    glass = np.array([sum(window.area_m2 for window in room.windows) for room in rooms])

    def built(nominal: FloatArray, spread: float) -> FloatArray:
        return np.asarray(nominal * np.exp(spread * np.clip(rng.standard_normal(count), -2, 2)))

    loss = built(np.array([room.heat_loss_w_per_k for room in rooms]), 0.10)
    glass_share = np.where(glass > 0, GLASS_SHARE, 0.0)
    film = built(WALL_FILM_W_PER_K_M2 * area, 0.10)
    through_wall = loss * (1 - glass_share - LEAK_SHARE - GROUND_SHARE)
    ids = [room.id for room in rooms]
    edges = sorted(
        {
            (min(i, j), max(i, j))
            for i, room in enumerate(rooms)
            for j in (ids.index(other) for other in room.neighbours)
        }
    )
    doors = DOOR_W_PER_K * np.exp(0.4 * rng.standard_normal(len(edges)))
    partitions = PARTITION_W_PER_K * np.exp(0.2 * rng.standard_normal(len(edges)))
    return Building(
        area_m2=area,
        heater_w=built(np.array([room.heater_w for room in rooms]), 0.02),
        air_j_k=built(AIR_J_PER_K_M2 * area, 0.10),
        core_j_k=built(CORE_J_PER_K_M2 * area, 0.10),
        surface_j_k=built(SURFACE_J_PER_K_M2 * area, 0.10),
        surface_w_k=built(SURFACE_W_PER_K_M2 * area, 0.15),
        wall_j_k=built(WALL_J_PER_K_M2 * area, 0.10),
        film_w_k=film,
        wall_out_w_k=1 / (1 / through_wall - 1 / film),
        glass_w_k=loss * glass_share,
        leak_w_k=loss * LEAK_SHARE,
        ground_w_k=2.0 * loss * GROUND_SHARE,  # nominal loss is at 20 K, the ground is half as far
        open_w_k=OPEN_W_PER_K_M2 * np.minimum(glass, 2.0),
        door=_laplacian(count, edges, doors),
        partition=_laplacian(count, edges, partitions),
    )


def ground_c(times_s: IntArray) -> FloatArray:
    """Temperature under the slab: a year's wave, 10 +- 3 degC, lowest at the end of February."""
    phase = 2 * np.pi * ((times_s / YEAR_S) % 1.0 - 57 / 365.25)
    return np.asarray(10.0 - 3.0 * np.cos(phase))


@dataclass(frozen=True, eq=False)
class Heat:
    """Heat of one sub-step, W, each of shape (rooms,) or a sum; for the balance and the tests."""

    into_rooms_w: float
    lost_w: float


class Rooms:
    """Temperatures of all stores, stepped explicitly; the heat that leaves one enters another."""

    def __init__(self, built: Building, air_c: FloatArray, outdoor_c: float, ground: float) -> None:
        self.built = built
        self.air_c = air_c.astype(np.float64).copy()
        out = built.wall_out_w_k / (built.wall_out_w_k + built.film_w_k)
        self.wall_c = self.air_c + out * (outdoor_c - self.air_c)
        to_ground = built.ground_w_k / (built.ground_w_k + 9.0 * built.area_m2)
        loss = (built.wall_out_w_k + built.glass_w_k + built.leak_w_k) * (self.air_c - outdoor_c)
        warm = np.maximum(0.6 * loss, 0.0) / (9.0 * built.area_m2)
        self.floor_c = self.air_c + to_ground * (ground - self.air_c) + warm
        self.core_c = self.floor_c + 0.6 * warm

    def stored_wh(self) -> float:
        """Heat content above 0 degC, Wh."""
        built = self.built
        joules = built.air_j_k * self.air_c + built.wall_j_k * self.wall_c
        joules += built.core_j_k * self.core_c + built.surface_j_k * self.floor_c
        return float(joules.sum()) / 3600.0

    def step(
        self,
        dt_s: float,
        heat_w: FloatArray,
        gain_w: FloatArray,
        sun_w: FloatArray,
        opened: FloatArray,
        outdoor_c: float,
        wind_m_s: float,
        ground: float,
    ) -> Heat:
        """Advance by dt_s <= 60 s (explicit Euler; the fastest store has about 7 minutes).

        heat_w into the core of the floor, gain_w (people, appliances) into the air, sun_w behind
        the glass with open blinds, opened windows 0..1, all of shape (rooms,).
        """
        built = self.built
        air, floor, core, wall = self.air_c, self.floor_c, self.core_c, self.wall_c
        over = air - outdoor_c
        blinds = (air > 24.0) & (sun_w > 150.0)
        sun = np.where(blinds, BLIND_FACTOR * sun_w, sun_w)
        warm_day = outdoor_c > WARM_DAY_C
        airing = (
            np.where((air > 23.5) & (over > 1.0), np.maximum(opened, 0.6), opened)
            if warm_day
            else opened
        )
        size = np.sqrt(np.abs(over) / 20.0)
        leak = built.leak_w_k * (0.25 + 0.45 * size + 0.3 * wind_m_s / LEAK_WIND_M_S)
        to_out = (built.glass_w_k + leak + built.open_w_k * airing * (0.3 + size)) * over
        lift = floor - air
        warm = np.maximum(lift, 0.0)
        floor_air = built.area_m2 * (
            8.92 * warm**1.1 + COLD_FLOOR_W_PER_K_M2 * np.minimum(lift, 0.0)
        )
        film = built.film_w_k * (air - wall)
        wall_out = built.wall_out_w_k * (wall - outdoor_c)
        rise = built.surface_w_k * (core - floor)
        to_ground = built.ground_w_k * (core - ground)
        into_air = floor_air - film - to_out + gain_w + SUN_TO_AIR * sun + built.door @ air
        into_floor = rise + SUN_TO_FLOOR * sun - floor_air
        into_wall = film + (1 - SUN_TO_AIR - SUN_TO_FLOOR) * sun - wall_out + built.partition @ wall
        self.air_c = air + dt_s * into_air / built.air_j_k
        self.core_c = core + dt_s * (heat_w - rise - to_ground) / built.core_j_k
        self.floor_c = floor + dt_s * into_floor / built.surface_j_k
        self.wall_c = wall + dt_s * into_wall / built.wall_j_k
        return Heat(
            float(heat_w.sum() + gain_w.sum() + sun.sum()),
            float(to_out.sum() + wall_out.sum() + to_ground.sum()),
        )
