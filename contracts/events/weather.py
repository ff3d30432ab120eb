"""Weather forecasts, with the time they were issued."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from contracts.base import Record
from contracts.units import Celsius, Irradiance, StepSeconds, UtcTime


class WeatherForecastIssued(Record):
    """A forecast run. Value i is the mean over the step that starts at ``start + i * step_s``."""

    issued: UtcTime
    start: UtcTime
    step_s: StepSeconds
    source: str
    temperature_c: tuple[Celsius | None, ...]
    ghi_w_m2: tuple[Irradiance | None, ...]
    dni_w_m2: tuple[Irradiance | None, ...] = ()
    dhi_w_m2: tuple[Irradiance | None, ...] = ()
    wind_m_s: tuple[Annotated[float, Field(ge=0, le=120)] | None, ...] = ()
    cloud_cover_percent: tuple[Annotated[float, Field(ge=0, le=100)] | None, ...] = ()

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        wanted = len(self.temperature_c)
        for name in ("ghi_w_m2", "dni_w_m2", "dhi_w_m2", "wind_m_s", "cloud_cover_percent"):
            found = len(getattr(self, name))
            if found != wanted and (found or name == "ghi_w_m2"):
                raise ValueError(f"{name} has {found} values, temperature_c has {wanted}")
        return self
