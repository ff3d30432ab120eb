"""Bounded physical quantities.

Each name is a plain ``float`` or ``int`` to the type checker and a range check to pydantic. The
bounds are physical plausibility for one house, not operating limits: a reading outside them is a
broken sensor and must be refused, never clamped.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    PlainSerializer,
    StringConstraints,
)

Watts = Annotated[float, Field(strict=True, ge=-200_000, le=200_000, description="W")]
PositiveWatts = Annotated[float, Field(strict=True, ge=0, le=200_000, description="W")]
WattHours = Annotated[float, Field(strict=True, ge=-1e12, le=1e12, description="Wh")]
Celsius = Annotated[float, Field(strict=True, ge=-60, le=120, description="°C")]
Kelvin = Annotated[float, Field(strict=True, ge=-100, le=100, description="K, a difference")]
StateOfCharge = Annotated[
    float, Field(strict=True, ge=0, le=1, description="0 (empty) to 1 (full)")
]
Fraction = Annotated[float, Field(strict=True, ge=0, le=1, description="0 to 1")]
EurPerKwh = Annotated[float, Field(strict=True, ge=-10, le=10, description="EUR/kWh")]
EurPerMwh = Annotated[float, Field(strict=True, ge=-10_000, le=10_000, description="EUR/MWh")]
Irradiance = Annotated[float, Field(strict=True, ge=0, le=2_000, description="W/m2")]
Amperes = Annotated[float, Field(strict=True, ge=0, le=250, description="A per phase")]
Seconds = Annotated[int, Field(strict=True, ge=0, le=400 * 86_400, description="s")]
StepSeconds = Annotated[
    int, Field(strict=True, ge=60, le=86_400, description="s, length of one step")
]

Name = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=48),
]
"""A token of a subject: lower-case letters, digits and single hyphens."""

LEAD_PATTERN = r"^[1-9][0-9]*h$"
LeadHours = Annotated[str, StringConstraints(pattern=LEAD_PATTERN)]
"""A lead time in whole hours, as in ``24h``."""


def written_out(value: object) -> object:
    """Refuse an instant given as a bare number."""
    # It would be taken for seconds since 1970, or milliseconds, or a slip.
    if isinstance(value, datetime) or (isinstance(value, str) and "-" in value[1:]):
        return value
    raise ValueError("write an RFC 3339 instant, for example 2026-01-15T11:00:00Z")


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside the years 1 to 9999 in UTC; mend the instant") from None


def _write(value: datetime) -> str:
    return value.isoformat(timespec="microseconds" if value.microsecond else "seconds").replace(
        "+00:00", "Z"
    )


UtcTime = Annotated[
    AwareDatetime,
    BeforeValidator(written_out),
    AfterValidator(_to_utc),
    PlainSerializer(_write, return_type=str, when_used="json"),
]
"""An instant. Input without an offset is refused; inside it is always UTC."""
