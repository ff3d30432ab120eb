"""What the house's sensors and the weather service have said last, and what stands in where they are silent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from contracts.base import Record
from contracts.events.measurement import OutdoorSampled, RoomSampled
from contracts.events.weather import WeatherForecastIssued
from contracts.thermal_model import HouseModel
from services.thermal.core.solar import clear_sky_ghi, sun_path

Array = NDArray[np.float64]

OUTDOOR_MAX_AGE = timedelta(hours=1)


def series(run: WeatherForecastIssued, values: Sequence[float | None], at_s: Array) -> Array:
    """A forecast's values at epoch seconds: linear between the middles of its steps, held at its ends."""
    known = [(i, v) for i, v in enumerate(values) if v is not None]
    middles = [int(run.start.timestamp()) + (i + 0.5) * run.step_s for i, _ in known]
    found: Array = np.interp(at_s, middles, np.array([v for _, v in known], dtype=np.float64))
    return found


class RelayTime(BaseModel):
    """Seconds during which a relay was confirmed, and of these how long it was on."""

    on_s: float = 0.0
    known_s: float = 0.0

    def add(self, seconds: float, on: bool) -> None:
        """Count a stretch."""
        self.known_s += seconds
        self.on_s += seconds if on else 0.0

    def share(self, least_s: float = 0.0) -> float | None:
        """Fraction on, None when no more than `least_s` is known."""
        return self.on_s / self.known_s if self.known_s > least_s else None


class RoomInput(BaseModel):
    """A room's last sample, and what its relay did since the last filter step and the last row."""

    temperature_c: float | None = None
    at: datetime | None = None
    event: str = ""
    fresh: bool = False
    """Sampled since the last filter step."""
    relay_on: bool | None = None
    since: datetime | None = None
    step: RelayTime = RelayTime()
    row: RelayTime = RelayTime()


class Intake(BaseModel):
    """Newest samples by room, outdoor air, irradiance, and the newest weather run."""

    rooms: dict[str, RoomInput] = {}
    outdoor_c: float | None = None
    outdoor_at: datetime | None = None
    ghi_w_m2: float | None = None
    ghi_at: datetime | None = None
    ghi_sum: float = 0.0
    ghi_count: int = 0
    """Irradiance samples since the last row."""
    weather: WeatherForecastIssued | None = None

    def take(self, data: Record, event: str = "") -> None:
        """Fold one payload of the log; others than the three it knows are ignored."""
        if isinstance(data, RoomSampled):
            self._room(data, event)
        elif isinstance(data, OutdoorSampled):
            if data.temperature_c is not None:
                self.outdoor_c, self.outdoor_at = data.temperature_c, data.time
            self.ghi_w_m2, self.ghi_at = data.ghi_w_m2, data.time
            if data.ghi_w_m2 is not None:
                self.ghi_sum += data.ghi_w_m2
                self.ghi_count += 1
        elif isinstance(data, WeatherForecastIssued):
            self.weather = data

    def _room(self, data: RoomSampled, event: str) -> None:
        """Keep the newest temperature and how long the relay has been on."""
        room = self.rooms.setdefault(data.room, RoomInput())
        if room.since is not None and data.time < room.since:
            return  # overtaken by a newer sample
        if room.since is not None and room.relay_on is not None:
            seconds = max(0.0, (data.time - room.since).total_seconds())
            room.step.add(seconds, room.relay_on)
            room.row.add(seconds, room.relay_on)
        room.relay_on, room.since = data.relay_on, data.time
        if data.temperature_c is not None:
            room.temperature_c, room.at, room.event = data.temperature_c, data.time, event
            room.fresh = True

    def outside_c(self, now: datetime) -> float | None:
        """Measured when fresh, else as forecast, else the last that is known."""
        if self.outdoor_at is not None and now - self.outdoor_at <= OUTDOOR_MAX_AGE:
            return self.outdoor_c
        told = self.told("temperature_c", now)
        return told if told is not None else self.outdoor_c

    def ghi_of_step(self, model: HouseModel, now: datetime, seconds: int) -> float:
        """Irradiance of a step that ends `now`, W/m2: measured when fresh, else as forecast, else
        half of clear sky."""
        fresh = self.ghi_at is not None and now - self.ghi_at <= OUTDOOR_MAX_AGE
        if fresh and self.ghi_w_m2 is not None:
            return self.ghi_w_m2
        middle = now - timedelta(seconds=seconds / 2)
        told = self.told("ghi_w_m2", middle)
        if told is not None:
            return told
        sun = sun_path(np.array([middle.timestamp()]), model.latitude_deg, model.longitude_deg)
        return 0.5 * float(clear_sky_ghi(sun)[0])

    def told(self, column: str, at: datetime) -> float | None:
        """The newest weather run's value for an instant, None outside it."""
        run = self.weather
        if run is None:
            return None
        index = int((at - run.start).total_seconds() // run.step_s)
        values: tuple[float | None, ...] = getattr(run, column)
        return values[index] if 0 <= index < len(values) else None
