"""The thermal service: what it believes of the rooms."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from contracts.base import Record
from contracts.thermal_model import HouseModel
from contracts.units import Celsius, LeadHours, Name, StepSeconds, UtcTime, Watts


class RoomEstimate(Record):
    """One room after the newest measurement."""

    air_c: Celsius
    mass_c: Celsius | None = None
    disturbance_w: Watts = 0.0
    """Heat that the model does not explain (people, ovens, open windows), W."""
    stdev_c: Annotated[float, Field(ge=0)]
    fresh: bool
    """False when the temperature was predicted because no sample was usable."""


class StateEstimated(Record):
    """All rooms at one instant."""

    time: UtcTime
    outdoor_c: Celsius | None
    rooms: dict[Name, RoomEstimate]
    model_hash: str
    because: tuple[str, ...] = ()


class ModelIdentified(Record):
    """The linear model that estimates and plans use from now on.

    `model_hash` names the promoted content: the model, and when `corrected` what was learnt of its
    errors, too. That part is read from the store by this hash, not from the log.
    """

    time: UtcTime
    model: HouseModel
    model_hash: str
    method: str
    corrected: bool = False


class StepGains(Record):
    """How a room's air and mass (floor, walls) carry over one step of a given length.

    ``air' = air_air * air + mass_air * mass + heat_air * u + d_air`` and
    ``mass' = air_mass * air + mass_mass * mass + heat_mass * u + d_mass``, u the relay 0..1.
    """

    air_air: float
    mass_air: float
    air_mass: float
    mass_mass: float
    heat_air: float
    heat_mass: float


class RoomDynamics(Record):
    """One room on the planner's grid: its start, its gains by step length, its drift by step.

    The drift holds the weather, the sun, the learnt disturbance and what lies behind the neighbours,
    at the trajectory that the last plan implies. `neighbours` holds by room and step length the
    kelvin that a kelvin of that room's air, at the start of a step, adds to (air, mass); without it
    the drift holds the neighbours, too. `corrected` says that the drift also holds what the model
    gets wrong again and again.

    `half_width_k` is half the width of the band that holds the air at the end of each step in nine
    of ten cases, empty when not known. The model is linear and its noise is added, so it is the same
    whatever the relays do. It joins what the filter does not know of the present, the noise until
    then, how wrong parameters and structure have been on days they had not seen (this much is
    stretched by what bands have held in this house), and what the weather forecast's errors do to the
    room: as large, by lead, and as lasting as forecasts have been wrong here, given what is known now.
    """

    air_c: Celsius
    mass_c: Celsius
    gains: dict[StepSeconds, StepGains]
    drift_air_k: tuple[float, ...]
    drift_mass_k: tuple[float, ...]
    neighbours: dict[Name, dict[StepSeconds, tuple[float, float]]] = {}
    corrected: bool = False
    half_width_k: tuple[Annotated[float, Field(ge=0)], ...] = ()


class DynamicsIssued(Record):
    """What the planner needs to know of the rooms: linear dynamics on ``contracts.grid``.

    `correction` is empty when none came with the model, else ``applied`` or why physics stands alone.
    """

    issued: UtcTime
    start: UtcTime
    step_s: tuple[StepSeconds, ...]
    rooms: dict[Name, RoomDynamics]
    model_hash: str
    correction: str = ""
    because: tuple[str, ...] = ()


class AirScores(Record):
    """How forecasts of the air did at one lead, K."""

    n: Annotated[int, Field(ge=1, description="temperatures compared")]
    mae_k: Annotated[float, Field(ge=0)]
    rmse_k: Annotated[float, Field(ge=0)]
    bias_k: Annotated[float, Field(description="predicted less measured, mean")]
    coverage_90: Annotated[float, Field(ge=0, le=1, description="share inside the 90 % band")]
    half_width_k: Annotated[float, Field(ge=0, description="of that band, mean")]


class AccuracyScored(Record):
    """What the forecasts of the rooms that came due since the last scores turned out to be worth.

    A forecast answers to any heating and is judged at the one that came, with the weather that was
    expected. Of every third hour's, issued from ``since`` to ``until``; keys of ``house`` (all rooms
    together) and of each room are lead times: ``1h``, ``6h``, ``24h``, ``48h``. What was not measured, or whose
    heating is not known, does not count.
    """

    time: UtcTime
    since: UtcTime
    until: UtcTime
    issues: Annotated[int, Field(ge=1)]
    house: dict[LeadHours, AirScores]
    rooms: dict[Name, dict[LeadHours, AirScores]]
    model_hash: str = ""
    """The model behind them, empty when several were in force."""
