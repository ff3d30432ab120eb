"""A first model from what an owner can tell about the rooms, before any history exists.

Capacities and internal conductances follow the simple hourly method of ISO 13790:2008 (medium
construction 165 kJ/K per m2 of floor, h_is = 3.45 and h_ms = 9.1 W/m2K, surface 4.5 and effective
mass area 2.5 times the floor); ventilation 0.34 Wh/m3K.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.thermal_model import (
    Coupling,
    HeatShare,
    HouseModel,
    NoiseLevels,
    Provenance,
    RoomModel,
    SolarAperture,
)

ROOM_HEIGHT_M = 2.6
AIR_WH_PER_M3_K = 0.34
FURNITURE_FACTOR = 5.0
MASS_J_PER_K_M2 = 165e3
AIR_MASS_W_PER_K_M2 = 1.0 / (1.0 / (3.45 * 4.5) + 1.0 / (9.1 * 2.5))
WINDOW_U = 1.1
WALL_U = 0.35
WINDOW_GAIN = 0.5 * 0.7 * 0.8
PERSON_AND_DEVICE_W_PER_M2 = 2.5
DEFAULT_COUPLING_W_PER_K = 20.0


@dataclass(frozen=True)
class RoomFacts:
    """What is known of a room without measurement.

    Either `heat_loss_w_per_k` (total to outside) or the areas decide the losses.
    `window_azimuths_deg` are clockwise from north (180 = south); the window area is shared evenly.
    """

    name: str
    floor_area_m2: float = 15.0
    outside_wall_area_m2: float | None = None
    window_area_m2: float | None = None
    heat_loss_w_per_k: float | None = None
    heater_power_w: float = 0.0
    neighbours: tuple[str, ...] = ()
    window_azimuths_deg: tuple[float, ...] = ()
    air_changes_per_h: float = 0.4
    emitter_lag_s: float = 0.0
    heat_to_mass_fraction: float = 0.0
    ground_contact: bool = False


def prior_model(
    rooms: Sequence[RoomFacts],
    *,
    latitude_deg: float = 50.0,
    longitude_deg: float = 14.4,
    time_zone: str = "Europe/Prague",
) -> HouseModel:
    """Two-node model of every room from simple facts.

    Neighbours may be named from one side or both. Raises ValueError naming the room and the field
    when a fact is impossible or a neighbour unknown.
    """
    names = {facts.name for facts in rooms}
    pairs: dict[tuple[str, str], None] = {}
    for facts in rooms:
        for other in facts.neighbours:
            if other not in names:
                raise ValueError(
                    f"room {facts.name!r}: neighbour {other!r} is not a room; "
                    f"known: {sorted(names)}"
                )
            if other == facts.name:
                raise ValueError(f"room {facts.name!r} names itself as neighbour; remove it")
            pairs[(min(facts.name, other), max(facts.name, other))] = None
    return HouseModel(
        rooms=tuple(_room_prior(facts) for facts in rooms),
        couplings=tuple(
            Coupling(room_a=a, room_b=b, conductance_w_per_k=DEFAULT_COUPLING_W_PER_K)
            for a, b in pairs
        ),
        latitude_deg=latitude_deg,
        longitude_deg=longitude_deg,
        time_zone=time_zone,
        provenance=Provenance(method="prior"),
    )


def _room_prior(facts: RoomFacts) -> RoomModel:
    if facts.floor_area_m2 <= 0:
        raise ValueError(f"room {facts.name!r}: floor_area_m2 must be above 0")
    volume_m3 = facts.floor_area_m2 * ROOM_HEIGHT_M
    window_m2 = (
        facts.window_area_m2
        if facts.window_area_m2 is not None
        else 0.15 * facts.floor_area_m2
    )
    wall_m2 = (
        facts.outside_wall_area_m2
        if facts.outside_wall_area_m2 is not None
        else facts.floor_area_m2
    )
    if window_m2 < 0 or wall_m2 < 0:
        raise ValueError(f"room {facts.name!r}: window and wall areas must not be negative")
    fast = window_m2 * WINDOW_U + facts.air_changes_per_h * AIR_WH_PER_M3_K * volume_m3
    slow = wall_m2 * WALL_U
    if facts.heat_loss_w_per_k is not None:
        if facts.heat_loss_w_per_k < 0:
            raise ValueError(f"room {facts.name!r}: heat_loss_w_per_k must not be negative")
        scale = facts.heat_loss_w_per_k / max(fast + slow, 1e-9)
        fast, slow = fast * scale, slow * scale
    azimuths = facts.window_azimuths_deg
    apertures = tuple(
        SolarAperture(
            azimuth_deg=float(azimuth) % 360.0,
            tilt_deg=90.0,
            area_m2=window_m2 * WINDOW_GAIN / len(azimuths),
        )
        for azimuth in azimuths
    )
    return RoomModel(
        name=facts.name,
        air_capacity_j_per_k=volume_m3 * AIR_WH_PER_M3_K * 3600.0 * FURNITURE_FACTOR,
        mass_capacity_j_per_k=MASS_J_PER_K_M2 * facts.floor_area_m2,
        air_outside_w_per_k=fast,
        mass_outside_w_per_k=slow,
        air_mass_w_per_k=AIR_MASS_W_PER_K_M2 * facts.floor_area_m2,
        ground_w_per_k=0.3 * facts.floor_area_m2 if facts.ground_contact else 0.0,
        emitter_lag_s=facts.emitter_lag_s,
        heater_power_w=facts.heater_power_w,
        heat_to_mass_fraction=facts.heat_to_mass_fraction,
        heat_shares=(HeatShare(source=f"heat_{facts.name}", fraction=1.0),),
        solar_apertures=apertures,
        solar_to_mass_fraction=0.5,
        internal_gain_w=(PERSON_AND_DEVICE_W_PER_M2 * facts.floor_area_m2,) * 24,
        noise=NoiseLevels(disturbance_sd_w=8.0 * facts.floor_area_m2),
    )
