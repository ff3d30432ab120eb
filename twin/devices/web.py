"""The public web services of the simulated world: Open-Meteo's and energy-charts' formats.

``/v1/forecast`` and ``/price`` answer as of the simulated instant last set with ``set_time``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Protocol

from twin.devices.base import known
from twin.devices.http import HttpServer
from twin.tables import FloatArray, IntArray

HOUR_S = 3_600


class Forecast(Protocol):
    """Means of hourly intervals that start at ``times_s``; see ``twin.scenario``."""

    @property
    def times_s(self) -> IntArray: ...
    @property
    def temperature_c(self) -> FloatArray: ...
    @property
    def ghi_w_m2(self) -> FloatArray: ...
    @property
    def wind_m_s(self) -> FloatArray: ...


class Prices(Protocol):
    """An even table with a column ``eur_per_mwh``."""

    @property
    def start_s(self) -> int: ...
    @property
    def step_s(self) -> int: ...
    @property
    def columns(self) -> Mapping[str, FloatArray]: ...


class WebTwin:
    """A local web server with the forecast and the prices that were public at the instant.

    Parameters
    ----------
    forecast : the forecast held at an instant, as ``Scenario.weather_forecast``
    prices : the prices published at an instant, as ``Scenario.published_prices``
    """

    def __init__(
        self,
        forecast: Callable[[datetime], Forecast],
        prices: Callable[[datetime], Prices],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._forecast = forecast
        self._prices = prices
        self._now: datetime | None = None
        self._server = HttpServer(self._answer, host, port)

    @property
    def port(self) -> int:
        """The port, known after ``connect``."""
        return self._server.port

    @property
    def url(self) -> str:
        """Base address, for ``OpenMeteo(url=...)`` and ``EnergyCharts(url=...)``."""
        return self._server.url

    async def connect(self) -> None:
        """Open the port."""
        await self._server.connect()

    async def close(self) -> None:
        """Close the port."""
        await self._server.close()

    def set_time(self, at: datetime) -> None:
        """The simulated instant of which the answers are."""
        self._now = at

    def _answer(self, path: str, query: Mapping[str, str]) -> tuple[int, object]:
        if self._now is None:
            return 400, {"error": True, "reason": "the simulation has not begun"}
        try:
            if path == "/v1/forecast":
                return 200, self._weather(self._now, query)
            if path == "/price":
                return self._price(self._now, query)
        except ValueError as error:
            return 400, {"error": True, "reason": str(error)}
        return 404, {"error": True, "reason": f"no {path} here"}

    def _weather(self, now: datetime, query: Mapping[str, str]) -> dict[str, object]:
        """As Open-Meteo: hours from 00:00 UTC; radiation is the mean of the preceding hour."""
        forecast = self._forecast(now)
        first = int(forecast.times_s[0])
        midnight = first - first % 86_400
        unknown: list[float | None] = [None] * ((first - midnight) // HOUR_S)
        steps = len(forecast.times_s)
        metres = query.get("wind_speed_unit") == "ms"
        wind_factor, wind_unit = (1.0, "m/s") if metres else (3.6, "km/h")
        series: dict[str, tuple[str, list[float | None]]] = {
            "temperature_2m": ("°C", unknown + _instants(forecast.temperature_c, 1.0, 2)),
            "wind_speed_10m": (wind_unit, unknown + _instants(forecast.wind_m_s, wind_factor, 2)),
            "shortwave_radiation": (
                "W/m²",
                [*unknown, None, *(known(round(float(v), 1)) for v in forecast.ghi_w_m2)],
            ),
        }
        times = [midnight + i * HOUR_S for i in range(len(unknown) + steps + 1)]
        hourly: dict[str, object] = {
            "time": [f"{datetime.fromtimestamp(t, UTC):%Y-%m-%dT%H:%M}" for t in times]
        }
        units = {"time": "iso8601"}
        defaults = {"cloud_cover": "%"}
        for name in filter(None, query.get("hourly", "").split(",")):
            unit, values = series.get(name, (defaults.get(name, "W/m²"), [None] * len(times)))
            hourly[name], units[name] = values, unit
        return {
            "latitude": float(query.get("latitude", "nan")),
            "longitude": float(query.get("longitude", "nan")),
            "utc_offset_seconds": 0,
            "timezone": "GMT",
            "timezone_abbreviation": "GMT",
            "hourly_units": units,
            "hourly": hourly,
        }

    def _price(self, now: datetime, query: Mapping[str, str]) -> tuple[int, object]:
        """As energy-charts: what is published between start and end, both in unix seconds."""
        table = self._prices(now)
        start, end = int(query.get("start", "0")), int(query.get("end", str(2**40)))
        rows = [
            (table.start_s + i * table.step_s, float(price))
            for i, price in enumerate(table.columns["eur_per_mwh"])
        ]
        rows = [(at, price) for at, price in rows if start <= at <= end]
        if not rows:
            return 404, {"detail": "no content available"}
        return 200, {
            "license_info": "simulated",
            "unix_seconds": [at for at, _ in rows],
            "price": [known(round(price, 3)) for _, price in rows],
            "unit": "EUR / MWh",
            "deprecated": False,
        }


def _instants(means: FloatArray, factor: float, digits: int) -> list[float | None]:
    """Values at the edges of the intervals: halfway between the means on both sides."""
    edges = [float(means[0]), *map(float, means), float(means[-1])]
    halves = [(a + b) / 2 * factor for a, b in pairwise(edges)]
    return [None if math.isnan(v) else round(v, digits) for v in halves]
