"""The identified thermal model of a house: what the thermal service learns and the planner uses.

A house is a linear RC network. Every room has an air node (air, furniture, the sensor) and, where
the data support it, a mass node (walls, floor). Rooms exchange heat through couplings. All inputs
enter as heat in W or as boundary temperatures in degC, so the model is linear and time invariant.

Frozen pydantic models, standard library and pydantic only. The JSON round trip is exact (floats
are written in their shortest exact form) and `content_hash` names a model by its content.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

NonNegative = Annotated[float, Field(ge=0.0)]
Positive = Annotated[float, Field(gt=0.0)]
RoomName = Annotated[str, Field(min_length=1, max_length=64)]

HOURS_PER_DAY = 24
COLD_SUFFIX = "@cold"


class FrozenModel(BaseModel):
    """Base of this module: immutable, unknown fields and non-finite numbers are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SolarAperture(FrozenModel):
    """Effective collecting area of a room on one plane: window area x g-value x shading.

    `azimuth_deg` is measured clockwise from north (90 = east, 180 = south); `tilt_deg` 90 is a
    vertical facade and 0 a horizontal plane (a roof window, or "no facade known").
    """

    azimuth_deg: Annotated[float, Field(ge=0.0, lt=360.0)]
    tilt_deg: Annotated[float, Field(ge=0.0, le=180.0)] = 90.0
    area_m2: NonNegative


class HeatShare(FrozenModel):
    """Fraction of a measured power (W) that heats this room.

    `source` is the name of the measured series: `heat_<room>` for a room's own emitter, `heat` for
    one heating shared by the house, any other name for a metered gain (appliances, ventilation).
    `heat@on` is 1 kW while the heating of any room is on. The suffix `@cold` (COLD_SUFFIX)
    multiplies a series by max(0, (18 degC - outside) / 20): the heat of a valve behind a heating curve.
    """

    source: Annotated[str, Field(min_length=1)]
    fraction: NonNegative


class NoiseLevels(FrozenModel):
    """Noise of one room for the Kalman filter.

    The disturbance is an unmeasured heat flow (people, fireplace, an open window): a first-order
    Gauss-Markov process with stationary standard deviation `disturbance_sd_w` and correlation time
    `disturbance_time_s`.
    """

    measurement_sd_c: Positive = 0.1
    air_sd_c_per_sqrt_h: NonNegative = 0.1
    mass_sd_c_per_sqrt_h: NonNegative = 0.02
    disturbance_sd_w: NonNegative = 100.0
    disturbance_time_s: Positive = 6 * 3600.0


class BandScale(FrozenModel):
    """Factor on the predicted standard deviation at one lead time, learnt on held-out errors."""

    lead_s: Positive
    factor: Positive


class StandardError(FrozenModel):
    """Standard error of one identified parameter, in that parameter's unit."""

    parameter: Annotated[str, Field(min_length=1)]
    standard_error: NonNegative


class RoomModel(FrozenModel):
    """Parameters of one room. Capacities in J/K, conductances in W/K.

    `mass_capacity_j_per_k` None means a one-node room; then `air_mass_w_per_k` and
    `mass_outside_w_per_k` must be 0, and ground losses act on the air node (otherwise on the mass).
    `emitter_lag_s` 0 means that heat reaches the air at once.
    `solar_to_mass_fraction` of the solar gain and `heat_to_mass_fraction` of the emitter's heat go
    to the mass node.
    `internal_gain_w` is the mean free heat by local clock hour (24 values); it may be negative,
    since it also absorbs what the structure cannot explain.
    `identified` names the parameters that the data moved; all others kept their prior.
    """

    name: RoomName
    air_capacity_j_per_k: Positive
    mass_capacity_j_per_k: Positive | None = None
    air_outside_w_per_k: NonNegative
    mass_outside_w_per_k: NonNegative = 0.0
    air_mass_w_per_k: NonNegative = 0.0
    ground_w_per_k: NonNegative = 0.0
    wind_w_per_k_per_m_s: NonNegative = 0.0
    emitter_lag_s: NonNegative = 0.0
    heater_power_w: NonNegative = 0.0
    heat_to_mass_fraction: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    heat_shares: tuple[HeatShare, ...] = ()
    solar_apertures: tuple[SolarAperture, ...] = ()
    solar_to_mass_fraction: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    internal_gain_w: tuple[float, ...] = (0.0,) * HOURS_PER_DAY
    sensor_bias_c: float = 0.0
    noise: NoiseLevels = NoiseLevels()
    band_scale: tuple[BandScale, ...] = ()
    identified: tuple[str, ...] = ()
    standard_errors: tuple[StandardError, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.internal_gain_w) != HOURS_PER_DAY:
            raise ValueError(
                f"internal_gain_w of room {self.name!r} has {len(self.internal_gain_w)} values; "
                "give 24, one a local hour"
            )
        if self.mass_capacity_j_per_k is None:
            only_mass = {
                "air_mass_w_per_k": self.air_mass_w_per_k,
                "mass_outside_w_per_k": self.mass_outside_w_per_k,
                "solar_to_mass_fraction": self.solar_to_mass_fraction,
                "heat_to_mass_fraction": self.heat_to_mass_fraction,
            }
            wrong = [name for name, value in only_mass.items() if value != 0.0]
            if wrong:
                raise ValueError(
                    f"room {self.name!r} has one node, so {', '.join(wrong)} must be 0; "
                    "set mass_capacity_j_per_k or remove them"
                )
        elif self.air_mass_w_per_k == 0.0:
            raise ValueError(
                f"room {self.name!r} has a mass node without air_mass_w_per_k; "
                "give a conductance above 0 or remove mass_capacity_j_per_k"
            )
        return self

    @property
    def node_count(self) -> int:
        """1 (air) or 2 (air and mass)."""
        return 1 if self.mass_capacity_j_per_k is None else 2


class Coupling(FrozenModel):
    """Heat exchange between the air nodes of two rooms (wall, door, air), W/K."""

    room_a: RoomName
    room_b: RoomName
    conductance_w_per_k: NonNegative
    standard_error_w_per_k: NonNegative | None = None


class Provenance(FrozenModel):
    """Where a model comes from, so that a plan can name and anyone can rebuild it.

    Times are integer epoch seconds, UTC. `data_hash` is the SHA-256 of the training series,
    `parent_hash` the content hash of the model this one was adapted from.
    """

    method: str = "prior"
    code_version: str = ""
    trained_from_epoch_s: int | None = None
    trained_to_epoch_s: int | None = None
    sample_step_s: int | None = None
    data_hash: str = ""
    parent_hash: str = ""
    notes: tuple[str, ...] = ()


class HouseModel(FrozenModel):
    """The linear thermal model of one house."""

    rooms: Annotated[tuple[RoomModel, ...], Field(min_length=1)]
    couplings: tuple[Coupling, ...] = ()
    latitude_deg: Annotated[float, Field(ge=-90.0, le=90.0)]
    longitude_deg: Annotated[float, Field(ge=-180.0, le=180.0)]
    time_zone: str = "UTC"
    ground_temperature_c: float = 10.0
    provenance: Provenance = Provenance()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [room.name for room in self.rooms]
        if len(set(names)) != len(names):
            raise ValueError(f"room names must be unique, got {names}")
        seen: set[frozenset[str]] = set()
        for coupling in self.couplings:
            pair = frozenset((coupling.room_a, coupling.room_b))
            if len(pair) != 2 or not pair <= set(names):
                raise ValueError(
                    f"coupling {coupling.room_a!r}-{coupling.room_b!r} must join two known rooms"
                )
            if pair in seen:
                raise ValueError(
                    f"coupling {coupling.room_a!r}-{coupling.room_b!r} is given twice; keep one"
                )
            seen.add(pair)
        return self

    @property
    def room_names(self) -> tuple[str, ...]:
        """Names in model order: the order of every per-room array."""
        return tuple(room.name for room in self.rooms)


def to_json(model: HouseModel) -> str:
    """Canonical JSON of a model: sorted keys, no spaces, exact floats."""
    return json.dumps(
        model.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False
    )


def from_json(text: str) -> HouseModel:
    """Inverse of `to_json`; raises pydantic's ValidationError (a ValueError) on bad content."""
    return HouseModel.model_validate_json(text)


def content_hash(model: HouseModel) -> str:
    """SHA-256 (hex) of the canonical JSON: the name under which a plan quotes the model."""
    return hashlib.sha256(to_json(model).encode("utf-8")).hexdigest()
