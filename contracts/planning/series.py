"""Number types of the planning contract: finite, in the unit their field names."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from contracts.units import written_out


class Frozen(BaseModel):
    """Base of every planning model: immutable, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


LAST_YEAR = 9000
"""Far from the end of the calendar, which no grid of steps may reach over."""


def _utc(value: dt.datetime) -> dt.datetime:
    if value.year > LAST_YEAR:
        raise ValueError(f"lies beyond the year {LAST_YEAR}; mend the instant")
    return value.astimezone(dt.UTC)


def _whole_second(value: dt.datetime) -> dt.datetime:
    if value.microsecond:
        raise ValueError("must fall on a whole second; round it first")
    return value


def _in_watts(value: float) -> float:
    if 0.0 < value < 10.0:
        raise ValueError("must be watts; multiply by 1000 if it is kilowatts")
    return value


def _within(low: float, high: float, hint: str) -> AfterValidator:
    """What lies outside is a slip, most often of units; the hint says what was wanted and the way there."""

    def check(value: float) -> float:
        if not low <= value <= high:
            raise ValueError(hint)
        return value

    return AfterValidator(check)


UtcTime = Annotated[
    AwareDatetime, BeforeValidator(written_out), AfterValidator(_utc), AfterValidator(_whole_second)
]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0.0, le=1e6)]
"""Prices and energies of one house; what is dearer or larger is a slip, and drowns all else in rounding."""
Fraction = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0.0, le=1.0)]
Efficiency = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0.0, le=1.0)]
Celsius = Annotated[
    Finite,
    _within(-90.0, 120.0, "must be in degrees Celsius (-90..120); subtract 273.15 if it is kelvin"),
]
PriceEurPerKwh = Annotated[
    Finite,
    _within(-20.0, 20.0, "must be EUR per kWh (-20..20); divide by 1000 if it is EUR per MWh"),
]
PowerW = Annotated[
    Finite,
    _within(0.0, 1e7, "must be watts, 0..1e7; generation and load are both positive numbers"),
]
DeviceW = Annotated[PowerW, AfterValidator(_in_watts)]
OrderW = Annotated[Finite, _within(-1e7, 1e7, "must be watts, -1e7..1e7")]
CapacityWh = Annotated[
    Finite,
    _within(100.0, 1e9, "must be watt-hours (100..1e9); multiply by 1000 if it is kilowatt-hours"),
]
CarKwh = Annotated[
    NonNegative,
    _within(0.0, 2000.0, "must be kilowatt-hours, 0..2000; divide by 1000 if it is watt-hours"),
]
StepSeconds = Annotated[int, Field(strict=True, ge=60, le=6 * 3600)]
Name = Annotated[str, Field(min_length=1, max_length=80)]

FiniteSeries = tuple[Finite, ...]
KelvinSeries = tuple[
    Annotated[
        Finite,
        _within(-1e4, 1e4, "must be kelvin a step (-1e4..1e4); divide heat by the room's capacity first"),
    ],
    ...,
]
CelsiusSeries = tuple[Celsius, ...]
PriceSeries = tuple[PriceEurPerKwh, ...]
PowerSeries = tuple[PowerW, ...]


def require_length(owner: str, field: str, values: tuple[object, ...] | None, steps: int) -> None:
    """Refuse a per-step field whose length is not the number of steps, naming field and fix."""
    if values is not None and len(values) != steps:
        raise ValueError(
            f"{owner}.{field} has {len(values)} values but the grid has {steps} steps; "
            "give exactly one value per entry of step_s"
        )


def require_whole(owner: str, phase_shares: tuple[float, float, float]) -> None:
    """Refuse phase shares that lose or invent power."""
    if abs(sum(phase_shares) - 1.0) > 1e-6:
        raise ValueError(f"{owner}.phase_shares add to {sum(phase_shares)}; they must add to 1")


def require_unique(owner: str, names: list[str]) -> None:
    """Refuse repeated names, naming the first repeated one."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{owner} has two entries named {name!r}; names must be unique")
        seen.add(name)
