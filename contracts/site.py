"""SiteConfig: one YAML file that describes a house.

The file says what the house *is* (rooms, battery, tariff, comfort); nothing in it tunes the
software. ``pems config check`` explains every error with the field and the fix, and
``pems config schema`` writes the JSON Schema that editors use.
"""

from __future__ import annotations

from datetime import datetime, time
from hashlib import sha256
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field, ValidationError, model_validator

from contracts.base import Record
from contracts.units import Celsius, EurPerKwh, Fraction, Name, PositiveWatts, StateOfCharge

Degrees = Annotated[float, Field(ge=0, lt=360)]
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def _known_zone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError(f"{value!r} is not an IANA time zone; write for example Europe/Prague")
    return value


class Location(Record):
    """Where the house stands; times that people see are in ``timezone``."""

    latitude: Annotated[float, Field(ge=-90, le=90, description="degrees north")]
    longitude: Annotated[float, Field(ge=-180, le=180, description="degrees east")]
    altitude_m: Annotated[float, Field(ge=-500, le=5_000)] = 0.0
    timezone: Annotated[str, AfterValidator(_known_zone)]
    country: Annotated[str, Field(pattern="^[A-Z]{2}$", description="ISO 3166 code, for holidays")]

    @property
    def zone(self) -> ZoneInfo:
        """The local time zone, for tariffs, comfort and display."""
        return ZoneInfo(self.timezone)


class Window(Record):
    """Glass of a room on one facade."""

    azimuth_deg: Annotated[Degrees, Field(description="0 north, 90 east, 180 south")]
    area_m2: Annotated[float, Field(gt=0, le=100)]


class ComfortPeriod(Record):
    """A temperature band that holds from a local time on, until the next period of that day."""

    days: tuple[Day, ...] = DAYS
    start: Annotated[time, Field(description="local wall-clock time, HH:MM")]
    low_c: Celsius
    high_c: Celsius

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low_c >= self.high_c:
            raise ValueError(f"low_c {self.low_c} must be below high_c {self.high_c}")
        return self


class Room(Record):
    """A room with its own heating relay."""

    id: Name
    name: str
    floor_area_m2: Annotated[float, Field(gt=0, le=1_000)]
    heater_w: Annotated[PositiveWatts, Field(description="electric power of the relay's load")]
    heat_loss_w_per_k: Annotated[float, Field(gt=0, le=2_000, description="to the outside")]
    windows: tuple[Window, ...] = ()
    neighbours: tuple[Name, ...] = ()
    comfort: Annotated[Name, Field(description="name of a comfort profile")]


class PvArray(Record):
    """Modules that share one orientation."""

    name: Name
    tilt_deg: Annotated[float, Field(ge=0, le=90)]
    azimuth_deg: Degrees
    peak_w: Annotated[PositiveWatts, Field(gt=0)]


class Inverter(Record):
    """The hybrid inverter between modules, battery and house."""

    ac_limit_w: Annotated[PositiveWatts, Field(gt=0)]
    efficiency: Annotated[Fraction, Field(gt=0.5)] = 0.97


class Battery(Record):
    """The battery behind the inverter. Powers are at the inverter's AC side."""

    capacity_wh: Annotated[float, Field(gt=0, le=1e6)]
    charge_max_w: Annotated[PositiveWatts, Field(gt=0)]
    discharge_max_w: Annotated[PositiveWatts, Field(gt=0)]
    soc_min: StateOfCharge = 0.10
    soc_max: StateOfCharge = 0.90
    charge_efficiency: Annotated[Fraction, Field(gt=0.5)] = 0.95
    discharge_efficiency: Annotated[Fraction, Field(gt=0.5)] = 0.95
    wear_eur_per_kwh: Annotated[EurPerKwh, Field(ge=0, description="per kWh discharged")] = 0.02
    grid_charge: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.soc_min >= self.soc_max:
            raise ValueError(f"soc_min {self.soc_min} must be below soc_max {self.soc_max}")
        return self


class Ev(Record):
    """A car at its charger; a session's target and departure come from the charger or the user."""

    id: Name
    capacity_wh: Annotated[float, Field(gt=0, le=500_000)]
    phases: Literal[1, 3] = 3
    voltage_v: Annotated[float, Field(ge=100, le=260)] = 230.0
    current_min_a: Annotated[float, Field(ge=6, le=80, description="IEC 61851: 6 A least")] = 6.0
    current_max_a: Annotated[float, Field(ge=6, le=80)] = 16.0
    efficiency: Annotated[Fraction, Field(gt=0.5)] = 0.92
    default_departure: Annotated[time, Field(description="local time, when none is given")] = time(
        7, 0
    )
    default_energy_kwh: Annotated[float, Field(ge=0, le=200)] = 15.0

    @property
    def max_w(self) -> float:
        """Electric power at the highest current, W."""
        return self.current_max_a * self.voltage_v * self.phases

    @property
    def min_w(self) -> float:
        """Electric power at the lowest current, W."""
        return self.current_min_a * self.voltage_v * self.phases


class Grid(Record):
    """The connection point."""

    import_limit_w: Annotated[PositiveWatts, Field(gt=0, description="main fuse")]
    export_limit_w: PositiveWatts


class LowTariffHours(Record):
    """A span of local wall-clock time with the cheap distribution rate (Czech HDO)."""

    start: time
    end: Annotated[time, Field(description="exclusive; 00:00 means midnight at the end")]
    days: tuple[Day, ...] = DAYS


class Tariff(Record):
    """From the day-ahead price to what a kWh costs and earns. All fees without VAT."""

    market: str = "CZ"
    supplier_fee_eur_per_kwh: EurPerKwh = 0.0
    distribution_high_eur_per_kwh: EurPerKwh = 0.0
    distribution_low_eur_per_kwh: EurPerKwh = 0.0
    low_hours: tuple[LowTariffHours, ...] = ()
    system_fees_eur_per_kwh: EurPerKwh = 0.0
    vat: Annotated[Fraction, Field(description="0.21 in the Czech Republic")] = 0.21
    sell_fee_eur_per_kwh: EurPerKwh = 0.0
    monthly_fee_eur: Annotated[float, Field(ge=0, le=1_000)] = 0.0

    def buy_eur_per_kwh(self, spot_eur_per_mwh: float, local: datetime) -> float:
        """Price of one imported kWh.

        Parameters
        ----------
        spot_eur_per_mwh : day-ahead price of the interval, EUR/MWh
        local : aware local time inside the interval
        """
        low = any(_inside(span, local) for span in self.low_hours)
        distribution = (
            self.distribution_low_eur_per_kwh if low else self.distribution_high_eur_per_kwh
        )
        net = (
            spot_eur_per_mwh / 1_000
            + self.supplier_fee_eur_per_kwh
            + distribution
            + self.system_fees_eur_per_kwh
        )
        return net * (1 + self.vat)

    def sell_eur_per_kwh(self, spot_eur_per_mwh: float) -> float:
        """What one exported kWh earns: the day-ahead price less the fee; households add no VAT."""
        return spot_eur_per_mwh / 1_000 - self.sell_fee_eur_per_kwh


def _inside(span: LowTariffHours, local: datetime) -> bool:
    now, start, end = local.time(), span.start, span.end
    today = DAYS[local.weekday()] in span.days
    yesterday = DAYS[local.weekday() - 1] in span.days
    if end == time(0, 0):
        return today and now >= start
    if start < end:
        return today and start <= now < end
    return (today and now >= start) or (yesterday and now < end)


class SiteConfig(Record):
    """The whole house."""

    site: Name
    location: Location
    pv: tuple[PvArray, ...] = ()
    inverter: Inverter
    battery: Battery | None = None
    evs: tuple[Ev, ...] = ()
    grid: Grid
    tariff: Tariff
    comfort: dict[Name, tuple[ComfortPeriod, ...]]
    comfort_price_eur_per_kh: Annotated[
        float, Field(ge=0, le=100, description="what one K below the band for one hour is worth")
    ] = 0.5
    rooms: Annotated[tuple[Room, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ids = [room.id for room in self.rooms]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"rooms: id {twice[0]!r} is used twice; give each room its own")
        for room in self.rooms:
            if room.comfort not in self.comfort:
                raise ValueError(
                    f"rooms.{room.id}.comfort: no profile {room.comfort!r}; "
                    f"known: {', '.join(sorted(self.comfort))}"
                )
            for other in room.neighbours:
                if other not in ids or other == room.id:
                    raise ValueError(
                        f"rooms.{room.id}.neighbours: {other!r} is no other room of the house"
                    )
        for name, periods in self.comfort.items():
            for day in DAYS:
                if not any(day in period.days for period in periods):
                    raise ValueError(f"comfort.{name}: no period on {day}; add one")
        return self

    @property
    def pv_peak_w(self) -> float:
        """Sum of all modules, W."""
        return sum(array.peak_w for array in self.pv)

    def room(self, room_id: str) -> Room:
        """The room with this id; KeyError when there is none."""
        for room in self.rooms:
            if room.id == room_id:
                return room
        raise KeyError(room_id)

    def comfort_band(self, room_id: str, local: datetime) -> tuple[float, float]:
        """The comfort band of a room at a local time, (low, high) in °C.

        A day's first period reaches back to midnight through the last period of the day before.
        """
        periods = self.comfort[self.room(room_id).comfort]
        for back in range(8):
            day = DAYS[(local.weekday() - back) % 7]
            known = [
                p
                for p in periods
                if day in p.days and (back > 0 or p.start <= local.time().replace(tzinfo=None))
            ]
            if known:
                latest = max(known, key=lambda p: p.start)
                return latest.low_c, latest.high_c
        raise AssertionError("unreachable: every day has a period")

    def devices(self) -> tuple[str, ...]:
        """Every commandable device: a relay a room, the battery, each EV."""
        return (
            *(f"relay-{room.id}" for room in self.rooms),
            *(("battery",) if self.battery else ()),
            *(f"ev-{ev.id}" for ev in self.evs),
        )

    def content_hash(self) -> str:
        """SHA-256 of the canonical JSON, the identity of this configuration."""
        return sha256(self.model_dump_json().encode()).hexdigest()


def explain(error: ValidationError) -> str:
    """Say every problem of a configuration in a line of its own: field, problem, what was given."""
    lines = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"]) or "site file"
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "missing":
            message = "is missing; add it"
        elif item["type"] == "extra_forbidden":
            message = "is not a known field; check the spelling or remove it"
        given = item.get("input")
        shown = f" (given: {given!r})" if isinstance(given, int | float | str) else ""
        lines.append(f"{place}: {message}{shown}")
    return "\n".join(lines)
