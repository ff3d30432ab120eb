"""Between the contract's HouseModel and the identification's priors and parameter vector."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from contracts.thermal_model import (
    COLD_SUFFIX,
    Coupling,
    HeatShare,
    HouseModel,
    NoiseLevels,
    Provenance,
    RoomModel,
    SolarAperture,
    StandardError,
)
from services.thermal.core.fit import Fit
from services.thermal.core.gains import SOME_ON
from services.thermal.core.history import PLANES, hour_table
from services.thermal.core.objective import NoiseGuess
from services.thermal.core.parametrise import HARMONICS, RoomPrior, coupling_key

Array = NDArray[np.float64]

DEFAULT_LAG_S = 900.0
UNSEEN_SHARE = 0.25
"""Prior of what a room gives to places of constant temperature that nobody measures (ground, cellar, a
neighbour's flat), over its loss to outside: a quarter, as of a floor on the ground in an insulated house.
Without it the rooms' own decay has to be explained by the neighbours and a slower store."""


def nearest_plane(azimuth_deg: float, tilt_deg: float) -> str:
    """The training plane whose normal is closest to a given one."""

    def normal(azimuth: float, tilt: float) -> Array:
        a, t = np.radians(azimuth), np.radians(tilt)
        return np.array([np.sin(t) * np.sin(a), np.sin(t) * np.cos(a), np.cos(t)])

    target = normal(azimuth_deg, tilt_deg)
    return max(PLANES, key=lambda name: float(normal(*PLANES[name]) @ target))


def room_prior(room: RoomModel, sd_factor: float = 1.0, unseen: bool = True) -> RoomPrior:
    """Prior of a room's parameters, centred on a model of it; `unseen` lets it lose heat to places of
    constant temperature of which the model does not know."""
    aperture: dict[str, float] = {}
    for window in room.solar_apertures:
        plane = nearest_plane(window.azimuth_deg, window.tilt_deg)
        aperture[plane] = aperture.get(plane, 0.0) + window.area_m2
    gains = np.array(room.internal_gain_w)
    basis = hour_table()
    harmonics = 2.0 / len(gains) * basis.T @ gains
    return RoomPrior(
        air_capacity_j_per_k=room.air_capacity_j_per_k,
        mass_capacity_j_per_k=room.mass_capacity_j_per_k or 10.0 * room.air_capacity_j_per_k,
        air_outside_w_per_k=max(room.air_outside_w_per_k, 0.5),
        mass_outside_w_per_k=max(room.mass_outside_w_per_k, 0.5),
        air_mass_w_per_k=room.air_mass_w_per_k or room.air_capacity_j_per_k / 3600.0,
        ground_w_per_k=room.ground_w_per_k
        or float(unseen) * UNSEEN_SHARE * (room.air_outside_w_per_k + room.mass_outside_w_per_k),
        emitter_lag_s=room.emitter_lag_s or DEFAULT_LAG_S,
        aperture_m2=aperture,
        gain_w=float(gains.mean()),
        solar_to_mass_fraction=room.solar_to_mass_fraction or 0.5,
        heat_to_mass_fraction=room.heat_to_mass_fraction,
        gain_harmonics_w=tuple(float(x) for x in harmonics[: 2 * HARMONICS]),
        shares={share.source: share.fraction for share in room.heat_shares},
        sd_factor=sd_factor,
    )


def noise_of(model: HouseModel) -> tuple[NoiseGuess, Array]:
    """Observer noise and disturbance times (s) of a model, the inverse of what `house_model` does.

    Only ratios matter to the observer's gain, so the scaling by innovations does no harm.
    """
    levels = [room.noise for room in model.rooms]
    capacity = np.array([room.air_capacity_j_per_k for room in model.rooms])
    return NoiseGuess(
        np.array([n.measurement_sd_c for n in levels]),
        np.array([n.air_sd_c_per_sqrt_h for n in levels]),
        np.array([n.mass_sd_c_per_sqrt_h for n in levels]),
        np.array([n.disturbance_sd_w for n in levels]) / capacity * 3600.0,
    ), np.array([n.disturbance_time_s for n in levels])


def house_model(
    fit: Fit,
    template: HouseModel,
    own_heat: Mapping[str, tuple[str, ...]],
    shared_sources: Mapping[str, float],
    heater_power_w: Mapping[str, float],
    provenance: Provenance,
    standard_errors: Mapping[tuple[str, str], float] | None = None,
    identified: Mapping[str, tuple[str, ...]] | None = None,
) -> HouseModel:
    """HouseModel of a fit; `template` gives place, time zone, ground and sensor biases."""
    parameters = fit.parameters
    physical, _ = parameters.physical(fit.theta)
    errors = standard_errors or {}
    basis = hour_table()
    biases = {room.name: room.sensor_bias_c for room in template.rooms}
    rooms = []
    for i, structure in enumerate(parameters.structures):
        name = structure.name

        def value(label: str, room: str = name) -> float:
            return parameters.value(physical, room, label)

        capacity = value("air_capacity_j_per_k")
        harmonics = np.array([value(f"gain_w:hour_{k}") for k in range(1, 2 * HARMONICS + 1)])
        gains = value("gain_w:one") + basis @ harmonics
        own = own_heat.get(name, ())
        free = [*shared_sources]
        if structure.hydronic:
            free += [source + suffix for source in own for suffix in ("", COLD_SUFFIX)]
            free += [SOME_ON + COLD_SUFFIX]
            own = ()
        shares = [HeatShare(source=source, fraction=1.0) for source in own]
        shares += [
            HeatShare(source=source, fraction=value(f"share:{source}"))
            for source in free
            if value(f"share:{source}") > 0.0
        ]
        apertures = [
            SolarAperture(azimuth_deg=plane[0], tilt_deg=plane[1], area_m2=area)
            for label, plane in PLANES.items()
            if (area := value(f"aperture_m2:{label}")) > 0.0
        ]
        rooms.append(
            RoomModel(
                name=name,
                air_capacity_j_per_k=capacity,
                mass_capacity_j_per_k=value("mass_capacity_j_per_k") or None,
                air_outside_w_per_k=value("air_outside_w_per_k"),
                mass_outside_w_per_k=value("mass_outside_w_per_k"),
                air_mass_w_per_k=value("air_mass_w_per_k"),
                ground_w_per_k=value("ground_w_per_k"),
                emitter_lag_s=value("emitter_lag_s"),
                heater_power_w=heater_power_w.get(name, 0.0),
                heat_to_mass_fraction=value("heat_to_mass_fraction"),
                heat_shares=tuple(shares),
                solar_apertures=tuple(apertures),
                solar_to_mass_fraction=value("solar_to_mass_fraction"),
                internal_gain_w=tuple(float(x) for x in gains),
                sensor_bias_c=biases.get(name, 0.0),
                noise=NoiseLevels(
                    measurement_sd_c=float(fit.noise.measurement_sd_c[i]),
                    air_sd_c_per_sqrt_h=float(fit.noise.air_sd_c_per_sqrt_h[i]),
                    mass_sd_c_per_sqrt_h=float(fit.noise.mass_sd_c_per_sqrt_h[i]),
                    disturbance_sd_w=float(
                        fit.noise.disturbance_rate_k_per_h[i] / 3600.0 * capacity
                    ),
                    disturbance_time_s=float(fit.disturbance_time_s[i]),
                ),
                identified=(identified or {}).get(name, ()),
                standard_errors=tuple(
                    StandardError(parameter=label, standard_error=error)
                    for (room, label), error in errors.items()
                    if room == name
                ),
            )
        )
    names = [room.name for room in rooms]
    couplings = []
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            conductance = parameters.value(physical, coupling_key(a, b), "coupling_w_per_k")
            if conductance > 0.0:
                couplings.append(
                    Coupling(
                        room_a=a,
                        room_b=b,
                        conductance_w_per_k=conductance,
                        standard_error_w_per_k=errors.get(
                            (coupling_key(a, b), "coupling_w_per_k")
                        ),
                    )
                )
    return HouseModel(
        rooms=tuple(rooms),
        couplings=tuple(couplings),
        latitude_deg=template.latitude_deg,
        longitude_deg=template.longitude_deg,
        time_zone=template.time_zone,
        ground_temperature_c=template.ground_temperature_c,
        provenance=provenance,
    )
