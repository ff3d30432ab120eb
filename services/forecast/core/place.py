"""What a forecast must know of a site."""

from __future__ import annotations

from dataclasses import dataclass

from services.forecast.core.pv_physics import PvArray
from services.forecast.core.solar import Location


@dataclass(frozen=True, slots=True)
class Place:
    """What a forecast must know of the site; empty or None where unknown."""

    latitude: float | None = None
    longitude: float | None = None
    altitude_m: float = 200.0
    time_zone: str = "UTC"
    country: str = ""
    subdivision: str = ""
    capacity_w: float | None = None
    inverter_limit_w: float | None = None
    arrays: tuple[PvArray, ...] = ()
    annual_kwh: float = 3500.0

    @property
    def location(self) -> Location | None:
        """The coordinates, None where they are not known."""
        if self.latitude is None or self.longitude is None:
            return None
        return Location(self.latitude, self.longitude, self.altitude_m)
