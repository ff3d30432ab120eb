"""What a forecast must know of a site."""

from __future__ import annotations

import math
from dataclasses import dataclass

from services.forecast.core.calendar import known_zone
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


def place_from_mapping(raw: dict[str, object]) -> Place:
    """A `Place` from a site file: either the house's SiteConfig or a flat mapping.

    Flat keys: latitude, longitude, altitude_m, time_zone, country, subdivision, capacity_w,
    inverter_limit_w, annual_kwh, arrays (tilt_deg, azimuth_deg, peak_power_w, ...). Everything may be absent.

    Raises
    ------
    ValueError
        naming the key that cannot be read.
    """
    flat = dict(raw)
    nested = flat.pop("location", None)
    if isinstance(nested, dict):
        flat = {**nested, **flat}
    inverter = flat.get("inverter")
    limit = flat.get("inverter_limit_w")
    if limit is None and isinstance(inverter, dict):
        limit = inverter.get("ac_limit_w")
    rows = flat.get("arrays") or flat.get("pv") or ()
    if not isinstance(rows, list | tuple):
        raise ValueError("arrays: give a list of {tilt_deg, azimuth_deg, peak_power_w}")
    arrays = tuple(_array(row, index) for index, row in enumerate(rows))

    def number(*names: str, most: float = math.inf) -> float | None:
        for name in names:
            value = flat.get(name)
            if value is not None:
                try:
                    found = float(str(value))
                except ValueError as error:
                    raise ValueError(f"{name}: {value!r} is not a number") from error
                if not abs(found) <= most:
                    raise ValueError(f"{name}: {value!r} lies beyond {most:g} degrees")
                return found
        return None

    def text(*names: str) -> str:
        return next((str(flat[name]) for name in names if flat.get(name)), "")

    if flat.get("country") is False:  # YAML reads Norway's code as the word no
        flat["country"] = "NO"
    country = text("country")
    time_zone = text("time_zone", "timezone", "tz") or "UTC"
    known_zone(time_zone)
    altitude_m = number("altitude_m", "altitude")
    return Place(
        latitude=number("latitude", "lat", most=90.0),
        longitude=number("longitude", "lon", most=180.0),
        altitude_m=200.0 if altitude_m is None else altitude_m,
        time_zone=time_zone,
        country=country.upper() if len(country) == 2 else country,
        subdivision=text("subdivision"),
        capacity_w=number("capacity_w"),
        inverter_limit_w=None if limit is None else float(str(limit)),
        arrays=arrays,
        annual_kwh=number("annual_kwh") or 3500.0,
    )


def _array(row: object, index: int) -> PvArray:
    if not isinstance(row, dict):
        raise ValueError(f"arrays[{index}]: give tilt_deg, azimuth_deg and peak_power_w")
    tilt, azimuth = row.get("tilt_deg", row.get("tilt")), row.get("azimuth_deg", row.get("azimuth"))
    peak = row.get("peak_power_w", row.get("peak_w", row.get("power_w")))
    if tilt is None or azimuth is None or peak is None:
        raise ValueError(f"arrays[{index}]: give tilt_deg, azimuth_deg and peak_power_w")
    horizon = tuple((float(a), float(e)) for a, e in row.get("horizon", ()))
    own_limit = row.get("inverter_limit_w")
    coefficient = row.get("temperature_coefficient_per_k", -0.0037)
    return PvArray(
        float(tilt), float(azimuth), float(peak), float(coefficient),
        float(row.get("losses_fraction", 0.14)),
        None if own_limit is None else float(own_limit), horizon,
    )  # fmt: skip
