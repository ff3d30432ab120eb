"""Heat that the weather, people and metered devices bring, as arrays for filter and prediction."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from contracts.thermal_model import COLD_SUFFIX, HouseModel, RoomModel
from services.thermal.core.solar import internal_gains, solar_gains

Array = NDArray[np.float64]
WIND_REFERENCE_C = 21.0
HEATING_BASE_C = 18.0
"""Of degree days: at this outdoor temperature a heating curve has come down to the room's."""
SOME_ON = "heat@on"
"""The series that is 1 kW while the heating of any room is on: what pipes, radiators without a valve
and the people bring who have turned the thermostats up (`history.with_some_on`)."""


def heat_by_room(model: HouseModel, heat_w: Mapping[str, Array], outside_c: Array) -> Array:
    """(steps, rooms) heat into the emitters, W, from measured series (steps,) by name.

    A series named after the room's own emitter (`heat_<room>`) or shared (`heat`) counts with its
    share. A source ending in `@cold` is that series times `cold_factor(outside_c)`: the heat of a
    valve behind a heating curve. The other sources of `heat_shares` belong to `gains_by_room`.
    """
    result = np.zeros((len(outside_c), len(model.rooms)))
    factor = cold_factor(outside_c)
    for i, room in enumerate(model.rooms):
        for share in room.heat_shares:
            series = heat_w.get(share.source.removesuffix(COLD_SUFFIX))
            if series is None or not is_heating(share.source.removesuffix(COLD_SUFFIX)):
                continue
            curve = factor if share.source.endswith(COLD_SUFFIX) else 1.0
            result[:, i] += share.fraction * curve * np.asarray(series)
    return result


def cold_factor(outside_c: Array) -> Array:
    """How far a heating curve opens: (18 degC - outside) / 20, at least 0."""
    return np.maximum((HEATING_BASE_C - outside_c) / 20.0, 0.0)


def heating_of(room: RoomModel) -> list[str]:
    """Names of the series that heat a room."""
    names = [share.source.removesuffix(COLD_SUFFIX) for share in room.heat_shares]
    return [name for name in names if is_heating(name)]


def is_heating(source: str) -> bool:
    """Whether a series of this name goes through the emitters."""
    return source in ("heat", SOME_ON) or source.startswith("heat_")


def gains_by_room(
    model: HouseModel,
    epoch_s: NDArray[np.int64],
    step_s: int,
    *,
    ghi_w_m2: Array | None = None,
    dni_w_m2: Array | None = None,
    dhi_w_m2: Array | None = None,
    metered_w: Mapping[str, Array] | None = None,
    wind_m_s: Array | None = None,
    outside_c: Array | None = None,
) -> tuple[Array, Array]:
    """Air and mass gains in W, each (steps, rooms), for steps that begin at `epoch_s`.

    Sun (at the middle of each step), mean internal gains by local hour, metered gains by share, and
    wind-driven losses linearised at 21 degC inside.
    """
    epoch = np.asarray(epoch_s).astype(np.int64)
    air = internal_gains(model, epoch)
    mass = np.zeros_like(air)
    if ghi_w_m2 is not None:
        middle = epoch + 0.5 * step_s
        to_air, to_mass = solar_gains(model, middle, ghi_w_m2, dni_w_m2, dhi_w_m2)
        air = air + to_air
        mass = mass + to_mass
    for i, room in enumerate(model.rooms):
        for share in room.heat_shares:
            if metered_w and share.source in metered_w and not is_heating(share.source):
                air[:, i] += share.fraction * np.asarray(metered_w[share.source])
        if room.wind_w_per_k_per_m_s and wind_m_s is not None and outside_c is not None:
            air[:, i] += room.wind_w_per_k_per_m_s * wind_m_s * (outside_c - WIND_REFERENCE_C)
    return air, mass
