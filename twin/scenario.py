"""A scenario: the world a house meets. Weather, prices, base load, EV sessions, and forecasts."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from twin.calendar import epoch_s, local_day_start_s, utc
from twin.forecast_errors import ForecastErrors
from twin.tables import FloatArray, IntArray, Table

QUARTER_S = 900
FORECAST_HOURS = 72
PUBLICATION = dt.time(13, 0)
WEATHER_COLUMNS = ("temperature_c", "ghi_w_m2", "wind_m_s")


@dataclass(frozen=True)
class EvSession:
    """A car's stay at its charger.

    energy_wh : electric energy (AC) until the car is full enough
    announced_energy_wh, announced_departure_s : what the charger is told; None when nobody says
    """

    ev_id: str
    plug_in_s: int
    departure_s: int
    energy_wh: float
    announced_energy_wh: float | None = None
    announced_departure_s: int | None = None


@dataclass(frozen=True, eq=False)
class WeatherForecast:
    """A forecast as it was issued: 72 hourly intervals from the hour that holds `issued`.

    times_s : epoch seconds of each interval's start, shape (72,)
    temperature_c degC, ghi_w_m2 W/m2, wind_m_s m/s : interval means, shape (72,)
    """

    issued: dt.datetime
    times_s: IntArray
    temperature_c: FloatArray
    ghi_w_m2: FloatArray
    wind_m_s: FloatArray


@dataclass(frozen=True, eq=False)
class ForecastTable:
    """Recorded forecasts. All arrays have shape (rows,), sorted by (issued_s, time_s)."""

    issued_s: IntArray
    times_s: IntArray
    columns: Mapping[str, FloatArray]


@dataclass(frozen=True, eq=False)
class Scenario:
    """Series on UTC grids; the run is [start_s, end_s), everything before it is history.

    weather : temperature_c (degC), ghi_w_m2 (W/m2), wind_m_s (m/s); hourly or finer
    prices : eur_per_mwh, day-ahead, quarter hours
    load : base_load_w (W), everything in the house except heating and EV
    pv : w_per_kwp (W per kWp, AC), measured, replaces the PV model; None = model
    forecasts : recorded weather forecasts; None = the seeded error model of forecast_errors.py
    """

    name: str
    seed: int
    start_s: int
    end_s: int
    time_zone: str
    latitude: float
    longitude: float
    altitude_m: float
    weather: Table
    prices: Table
    load: Table
    sessions: tuple[EvSession, ...] = ()
    pv: Table | None = None
    forecasts: ForecastTable | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.end_s <= self.start_s:
            raise ValueError("end must lie after start")
        tables = {"weather": self.weather, "prices": self.prices, "load": self.load}
        if self.pv is not None:
            tables["pv"] = self.pv
        for name, table in tables.items():
            if table.start_s > self.start_s or table.end_s < self.end_s:
                raise ValueError(
                    f"{name} covers {utc(table.start_s):%Y-%m-%dT%H:%MZ} to "
                    f"{utc(table.end_s):%Y-%m-%dT%H:%MZ}, but the run is "
                    f"{utc(self.start_s):%Y-%m-%dT%H:%MZ} to {utc(self.end_s):%Y-%m-%dT%H:%MZ}; "
                    "add rows or shorten the run"
                )

    @property
    def start(self) -> dt.datetime:
        """Start of the run, UTC."""
        return utc(self.start_s)

    @property
    def end(self) -> dt.datetime:
        """End of the run, UTC."""
        return utc(self.end_s)

    @property
    def zone(self) -> ZoneInfo:
        """The local time zone of market and house."""
        return ZoneInfo(self.time_zone)

    @property
    def simulated_from_s(self) -> int:
        """Earliest instant a house can be simulated at."""
        return max(table.start_s for table in self._driving())

    @property
    def simulated_to_s(self) -> int:
        """Latest instant a house can be simulated to."""
        return min(table.end_s for table in self._driving())

    def _driving(self) -> list[Table]:
        return [self.weather, self.load] + ([self.pv] if self.pv is not None else [])

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over every series and session: the identity of this world."""
        digest = hashlib.sha256()
        head = (self.seed, self.start_s, self.end_s, self.time_zone, self.latitude, self.longitude)
        digest.update(repr((*head, self.altitude_m, self.sessions)).encode())
        tables = [self.weather, self.prices, self.load] + ([self.pv] if self.pv else [])
        for table in tables:
            digest.update(repr((table.start_s, table.step_s, tuple(table.columns))).encode())
            for values in table.columns.values():
                digest.update(np.ascontiguousarray(values).tobytes())
        if self.forecasts is not None:
            digest.update(self.forecasts.issued_s.tobytes() + self.forecasts.times_s.tobytes())
            for values in self.forecasts.columns.values():
                digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def published_prices(self, at: dt.datetime) -> Table:
        """Day-ahead prices known at an instant: history and the last published local day.

        The market publishes at 13:00 local for the next local day (of 23, 24 or 25 hours), so the
        table ends at the end of today before 13:00 and at the end of tomorrow from then on.
        Column `eur_per_mwh`. ValueError when the scenario has no price for any published day.
        """
        local = at.astimezone(self.zone)
        days = 2 if local.time() >= PUBLICATION else 1
        known_to = local_day_start_s(local.date() + dt.timedelta(days=days), self.zone)
        table = self.prices.between(self.prices.start_s, known_to)
        if len(table) == 0:
            raise ValueError(
                f"prices: the first row is {utc(self.prices.start_s):%Y-%m-%dT%H:%MZ}, nothing is "
                f"published at {at:%Y-%m-%dT%H:%M%z}; add earlier prices"
            )
        return table

    def weather_forecast(self, issued: dt.datetime) -> WeatherForecast:
        """The forecast a house would hold at `issued`: 72 hourly values, wrong as forecasts are.

        From weather_forecast.csv the newest issue not later than `issued`; without that file the
        seeded error model of `twin.forecast_errors`. Hours beyond the scenario's weather are
        not invented: ValueError names the missing end.
        """
        issued_s = epoch_s(issued)
        first = issued_s - issued_s % 3600
        times = first + 3600 * np.arange(FORECAST_HOURS, dtype=np.int64)
        if self.forecasts is not None:
            columns = self._recorded_forecast(issued_s, times)
        else:
            columns = self._errors.forecast(issued_s, times)
        return WeatherForecast(utc(issued_s), times, *(columns[name] for name in WEATHER_COLUMNS))

    def _recorded_forecast(self, issued_s: int, times: IntArray) -> Mapping[str, FloatArray]:
        table = self.forecasts
        assert table is not None
        known = table.issued_s[table.issued_s <= issued_s]
        if len(known) == 0:
            raise ValueError(
                f"weather_forecast.csv: no issue at or before {utc(issued_s):%Y-%m-%dT%H:%MZ}"
            )
        rows = np.flatnonzero(table.issued_s == known[-1])
        position = np.searchsorted(table.times_s[rows], times)
        clipped = np.minimum(position, len(rows) - 1)
        missing = table.times_s[rows][clipped] != times
        if missing.any():
            raise ValueError(
                f"weather_forecast.csv: issue {utc(int(known[-1])):%Y-%m-%dT%H:%MZ} has no row for "
                f"{utc(int(times[missing][0])):%Y-%m-%dT%H:%MZ}; give 72 hourly rows an issue, "
                "and an issue at least every 6 hours with 78 rows"
            )
        return {name: values[rows][clipped] for name, values in table.columns.items()}

    @cached_property
    def _errors(self) -> ForecastErrors:
        return ForecastErrors(
            self.weather, self.seed, self.latitude, self.longitude, self.altitude_m
        )

    @staticmethod
    def load_folder(folder: Path | str) -> Scenario:
        """Read a scenario folder; see twin/scenario_files.py for the format and its errors."""
        from twin.scenario_files import read_folder

        return read_folder(Path(folder))

    def save_folder(self, folder: Path | str) -> Path:
        """Write the scenario as a folder of CSV files; returns the folder."""
        from twin.scenario_files import write_folder

        return write_folder(self, Path(folder))
