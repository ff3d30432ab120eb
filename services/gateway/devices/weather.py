"""Weather forecasts from the Open-Meteo API.

Source: https://open-meteo.com/en/docs (``/v1/forecast``; free for non-commercial use, CC BY 4.0).
``temperature_2m``, ``cloud_cover`` and ``wind_speed_10m`` are values at the instant; radiation is
the mean of the PRECEDING hour. The event wants means of the step that starts at its time, so an
instant becomes the mean of both ends of its hour, and radiation moves back by one hour.
The answer does not say when the model ran; ``issued`` is the instant of the request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from contracts.events.weather import WeatherForecastIssued
from services.gateway.devices.base import parse_number
from services.gateway.devices.web import WebService

URL = "https://api.open-meteo.com"
HOUR = timedelta(hours=1)
FORECAST_DAYS = 4  # from 00:00 UTC today: at least 72 h ahead

Variable = tuple[str, tuple[float, float]]
INSTANTS: dict[str, Variable] = {
    "temperature_2m": ("°C", (-60.0, 60.0)),
    "cloud_cover": ("%", (0.0, 100.0)),
    "wind_speed_10m": ("m/s", (0.0, 120.0)),
}
RADIATION: dict[str, Variable] = {
    "shortwave_radiation": ("W/m²", (0.0, 2_000.0)),
    "direct_normal_irradiance": ("W/m²", (0.0, 2_000.0)),
    "diffuse_radiation": ("W/m²", (0.0, 2_000.0)),
}


class OpenMeteo(WebService):
    """Forecasts for one place, degrees north and east; ``url`` is the base address."""

    def __init__(self, latitude: float, longitude: float, url: str = URL) -> None:
        super().__init__("open-meteo", f"{url}/v1/forecast")
        self._parameters = {
            "latitude": f"{latitude:.4f}",
            "longitude": f"{longitude:.4f}",
            "hourly": ",".join([*INSTANTS, *RADIATION]),
            "timezone": "UTC",
            "wind_speed_unit": "ms",
            "forecast_days": str(FORECAST_DAYS),
        }

    async def forecast(self, now: datetime) -> WeatherForecastIssued:
        """The newest forecast, hourly from the hour of ``now`` on.

        Raises DeviceUnavailable when the service does not answer, ValueError (naming the field)
        when it answers something else than documented.
        """
        body = await self.get(self._parameters)
        if body is None:
            raise self.unavailable("status 404; is the address right?")
        return read_forecast(body, now)


def read_forecast(body: Mapping[str, Any], now: datetime) -> WeatherForecastIssued:
    """An answer of ``/v1/forecast`` as the event, from the hour of ``now`` on, UTC."""
    if body.get("utc_offset_seconds") != 0:
        raise ValueError("utc_offset_seconds: must be 0; ask with timezone=UTC")
    hourly, units = body.get("hourly"), body.get("hourly_units")
    if not isinstance(hourly, Mapping) or not isinstance(units, Mapping):
        raise ValueError("hourly: missing; is it an answer of the forecast API?")
    times = _times(hourly.get("time"))
    first = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    start = max(0, (first - times[0]) // HOUR)
    steps = len(times) - 1 - start
    if steps < 1:
        raise ValueError(f"hourly.time: ends {times[-1]:%Y-%m-%dT%H:%M}Z, before the next hour")
    columns: dict[str, tuple[float | None, ...]] = {}
    for name, (unit, bounds) in INSTANTS.items():
        values = _column(hourly, units, name, unit, bounds, len(times))
        columns[name] = tuple(
            None if a is None or b is None else (a + b) / 2
            for a, b in zip(values[start:-1], values[start + 1 :], strict=True)
        )
    for name, (unit, bounds) in RADIATION.items():
        values = _column(hourly, units, name, unit, bounds, len(times))
        columns[name] = tuple(values[start + 1 :])
    if all(value is None for value in columns["temperature_2m"]):
        raise ValueError("hourly.temperature_2m: no value at all from this hour on")
    return WeatherForecastIssued(
        issued=now,
        start=times[start],
        step_s=3_600,
        source="open-meteo",
        temperature_c=columns["temperature_2m"],
        ghi_w_m2=columns["shortwave_radiation"],
        dni_w_m2=_if_any(columns["direct_normal_irradiance"]),
        dhi_w_m2=_if_any(columns["diffuse_radiation"]),
        wind_m_s=_if_any(columns["wind_speed_10m"]),
        cloud_cover_percent=_if_any(columns["cloud_cover"]),
    )


def _times(values: object) -> list[datetime]:
    if not isinstance(values, list) or len(values) < 2:
        raise ValueError("hourly.time: missing or too short")
    try:
        times = [datetime.fromisoformat(value).replace(tzinfo=UTC) for value in values]
    except (TypeError, ValueError) as error:
        raise ValueError(f"hourly.time: {error}; ask with timeformat=iso8601") from error
    for before, after in pairwise(times):
        if after - before != HOUR:
            raise ValueError(f"hourly.time: {before} is followed by {after}, not by the next hour")
    return times


def _column(
    hourly: Mapping[str, Any],
    units: Mapping[str, Any],
    name: str,
    unit: str,
    bounds: tuple[float, float],
    length: int,
) -> list[float | None]:
    values = hourly.get(name)
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != length:
        raise ValueError(f"hourly.{name}: missing, or not one value an hour")
    if units.get(name) != unit:
        raise ValueError(f"hourly_units.{name}: {units.get(name)!r}, wanted {unit!r}")
    return [parse_number(value, *bounds, f"hourly.{name}") for value in values]


def _if_any(values: tuple[float | None, ...]) -> tuple[float | None, ...]:
    """Empty when nothing is known: the event's way to say that a quantity was not forecast."""
    return values if any(value is not None for value in values) else ()
