"""SiteConfig: one YAML file that describes a house.

The file says what the house *is* (rooms, battery, tariff, comfort); nothing in it tunes the
software. ``pems config check`` explains every error with the field and the fix, and
``pems config schema`` writes the JSON Schema that editors use.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from hashlib import sha256
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from contracts.base import Record
from contracts.local_time import DAYS, Day, LocalTime, some_days
from contracts.tariff import Tariff
from contracts.units import Celsius, EurPerKwh, Fraction, Name, PositiveWatts, StateOfCharge
from contracts.wishes import HeatingGroup, Load, Phase, Planner, PowerAtCharge

Degrees = Annotated[float, Field(ge=0, lt=360)]


def _known_zone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError(f"{value!r} is not an IANA time zone; write for example Europe/Prague")
    return value


def _wall_clock(value: datetime) -> datetime:
    if value.tzinfo is not None:
        raise ValueError('a local time has no offset; write "2026-02-07T10:00"')
    return value


LocalDateTime = Annotated[datetime, AfterValidator(_wall_clock)]


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
    """A temperature band that holds from a local time on, until the next period of that day.

    On the site's ``holidays`` the periods with ``on_holidays`` hold, or a Sunday's where a profile has none.
    """

    on_holidays: bool = False
    days: tuple[Day, ...] = DAYS
    start: Annotated[LocalTime, Field(description="local wall-clock time, HH:MM")]
    low_c: Celsius
    high_c: Celsius

    @field_validator("days")
    @classmethod
    def _some_day(cls, value: tuple[Day, ...], info: ValidationInfo) -> tuple[Day, ...]:
        return value if info.data.get("on_holidays") else some_days(value)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low_c >= self.high_c:
            raise ValueError(f"low_c {self.low_c} must be below high_c {self.high_c}")
        return self

    def holds_on(self, day: Day | None) -> bool:
        """Whether the period belongs to a weekday, or (None) to a holiday with periods of its own."""
        return self.on_holidays if day is None else day in self.days


class Absence(Record):
    """Nobody is there from one local wall-clock time to another: low edges drop to ``away_low_c``.

    What people do not plan is an override (``away``); it does the same for the whole house.
    """

    start: LocalDateTime
    end: Annotated[LocalDateTime, Field(description="when it is to be warm again")]
    rooms: Annotated[tuple[Name, ...], Field(description="all when none is named")] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"end {self.end} must be after start {self.start}")
        return self


class Room(Record):
    """A room with its own heating relay."""

    id: Annotated[Name, Field(max_length=42, description="short enough for relay-<id>")]
    name: str
    floor_area_m2: Annotated[float, Field(gt=0, le=1_000)]
    heater_w: Annotated[PositiveWatts, Field(description="electric power of the relay's load")]
    heat_loss_w_per_k: Annotated[float, Field(gt=0, le=2_000, description="to the outside")]
    windows: tuple[Window, ...] = ()
    neighbours: tuple[Name, ...] = ()
    comfort: Annotated[Name, Field(description="name of a comfort profile")]
    min_on_s: Annotated[int, Field(ge=0, le=86_400, description="shortest time on, s")] = 900
    min_off_s: Annotated[int, Field(ge=0, le=86_400, description="shortest time off, s")] = 900
    phase: Annotated[Phase | None, Field(description="none: spread over all three")] = None
    heating_group: Annotated[Name | None, Field(description="shared heat source or line")] = None
    away_low_c: Annotated[
        Celsius | None, Field(description="lowest while nobody is there; the site's when not given")
    ] = None


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
    curtailable: Annotated[bool, Field(description="PV can be turned down, by a limit on export")] = False
    phase: Annotated[Phase | None, Field(description="none: feeds all three")] = None


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
    standby_w: PositiveWatts = 0.0
    daily_cycle_limit: Annotated[
        float | None, Field(ge=0, le=20, description="energy drawn in 24 h over capacity")
    ] = None
    charge_limit_points: Annotated[
        tuple[PowerAtCharge, ...], Field(description="lower limit near full: soc 0 to 1, concave")
    ] = ()
    discharge_limit_points: Annotated[
        tuple[PowerAtCharge, ...], Field(description="lower limit near empty: soc 0 to 1, concave")
    ] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.soc_min >= self.soc_max:
            raise ValueError(f"soc_min {self.soc_min} must be below soc_max {self.soc_max}")
        return self


class Ev(Record):
    """A car at its charger; a session's target and departure come from the charger or the user."""

    id: Annotated[Name, Field(max_length=42)]
    capacity_wh: Annotated[float, Field(gt=0, le=500_000)]
    phases: Literal[1, 3] = 3
    voltage_v: Annotated[float, Field(ge=100, le=260)] = 230.0
    current_min_a: Annotated[float, Field(ge=6, le=80, description="IEC 61851: 6 A least")] = 6.0
    current_max_a: Annotated[float, Field(ge=6, le=80)] = 16.0
    efficiency: Annotated[Fraction, Field(gt=0.5)] = 0.92
    default_departure: Annotated[
        LocalTime, Field(description="local time, when none is given")
    ] = time(7, 0)
    default_energy_kwh: Annotated[float, Field(ge=0, le=200)] = 15.0
    price_cap_eur_per_kwh: Annotated[
        EurPerKwh | None, Field(description="no charging in steps whose price is above")
    ] = None
    phase: Annotated[Phase | None, Field(description="of a one-phase charger")] = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.current_min_a > self.current_max_a:
            raise ValueError(
                f"current_min_a {self.current_min_a} must not be above "
                f"current_max_a {self.current_max_a}"
            )
        return self

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
    phase_import_limit_w: Annotated[
        PositiveWatts | None, Field(gt=0, description="fuse of one phase; none: the sum counts")
    ] = None
    export_min_price_eur_per_kwh: Annotated[
        EurPerKwh | None, Field(description="no export in steps that earn less")
    ] = None


def _unique(where: str, names: list[str], thing: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{where} {name!r} is used twice; give each {thing} its own")


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
    away_low_c: Annotated[Celsius, Field(description="lowest in a room while nobody is there")] = 12.0
    absences: tuple[Absence, ...] = ()
    holidays: Annotated[
        tuple[date, ...],
        Field(description="local dates that are no working days; pems config holidays lists them"),
    ] = ()
    comfort_price_eur_per_kh: Annotated[
        float, Field(ge=0, le=100, description="what one K below the band for one hour is worth")
    ] = 0.5
    rooms: Annotated[tuple[Room, ...], Field(min_length=1)]
    heating_groups: tuple[HeatingGroup, ...] = ()
    loads: tuple[Load, ...] = ()
    planner: Planner = Planner()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ids = [room.id for room in self.rooms]
        _unique("rooms: id", ids, "room")
        _unique("evs: id", [ev.id for ev in self.evs], "car")
        _unique("pv: name", [array.name for array in self.pv], "array")
        _unique("loads: id", [load.id for load in self.loads], "load")
        if self.inverter.curtailable and self.battery is None:
            raise ValueError(
                "inverter.curtailable: the export limit is set at a hybrid inverter, which a site without "
                "battery has not; describe the battery or leave it false"
            )
        groups = [group.name for group in self.heating_groups]
        _unique("heating_groups: name", groups, "group")
        for room in self.rooms:
            if room.comfort not in self.comfort:
                raise ValueError(
                    f"rooms.{room.id}.comfort: no profile {room.comfort!r}; "
                    f"known: {', '.join(sorted(self.comfort))}"
                )
            if room.heating_group is not None and room.heating_group not in groups:
                raise ValueError(
                    f"rooms.{room.id}.heating_group: no group {room.heating_group!r}; "
                    f"known: {', '.join(groups) or 'none'}"
                )
            for other in room.neighbours:
                if other not in ids or other == room.id:
                    raise ValueError(
                        f"rooms.{room.id}.neighbours: {other!r} is no other room of the house"
                    )
        for absence in self.absences:
            for name in absence.rooms:
                if name not in ids:
                    raise ValueError(f"absences: {name!r} is no room of the house")
        for name, periods in self.comfort.items():
            for day in (*DAYS, None):
                starts = [period.start for period in periods if period.holds_on(day)]
                if not starts and day is not None:
                    raise ValueError(f"comfort.{name}: no period on {day}; add one")
                if len(set(starts)) < len(starts):
                    twice = next(start for start in starts if starts.count(start) > 1)
                    raise ValueError(
                        f"comfort.{name}: two periods start at {twice:%H:%M} on "
                        f"{day or 'holidays'}; drop one"
                    )
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
        """The comfort band of a room at a local time, (low, high) in °C; planned absences lower it."""
        room = self.room(room_id)
        low, high = self.profile_band(room.comfort, local)
        wall = local.replace(tzinfo=None)
        for absence in self.absences:
            if absence.start <= wall < absence.end and (
                not absence.rooms or room_id in absence.rooms
            ):
                low = min(low, self.away_c(room))
        return low, high

    def profile_band(self, profile: str, local: datetime) -> tuple[float, float]:
        """The band of a comfort profile at a local time, (low, high) in °C.

        A day's first period reaches back to midnight through the last period of the day before.
        """
        periods = self.comfort[profile]
        for back in range(8):
            day = self._comfort_day(local.date() - timedelta(days=back), periods)
            known = [
                p
                for p in periods
                if p.holds_on(day) and (back > 0 or p.start <= local.time())
            ]
            if known:
                latest = max(known, key=lambda p: p.start)
                return latest.low_c, latest.high_c
        raise AssertionError("unreachable: every day has a period")

    def _comfort_day(self, day: date, periods: tuple[ComfortPeriod, ...]) -> Day | None:
        """The weekday that counts on a date; None for a holiday with periods of its own."""
        if day not in self.holidays:
            return DAYS[day.weekday()]
        return None if any(period.on_holidays for period in periods) else "sun"

    def away_c(self, room: Room) -> float:
        """The lowest temperature of a room while nobody is there, °C."""
        return self.away_low_c if room.away_low_c is None else room.away_low_c

    def devices(self) -> tuple[str, ...]:
        """Every commandable device: a relay a room, the battery, the export limit, each EV and load."""
        return (
            *(f"relay-{room.id}" for room in self.rooms),
            *(("battery",) if self.battery else ()),
            *(("inverter-export",) if self.inverter.curtailable else ()),
            *(f"ev-{ev.id}" for ev in self.evs),
            *(f"load-{load.id}" for load in self.loads),
        )

    def content_hash(self) -> str:
        """SHA-256 of the canonical JSON, the identity of this configuration."""
        return sha256(self.model_dump_json().encode()).hexdigest()


FIXES = {
    "finite_number": "; fill the gap first",
    "float_type": "; fill the gap or take off the quotes",
    "int_type": "; round it or take off the quotes",
    "string_type": "; put it in quotes",
    "timezone_aware": "; write for example 2026-01-15T11:00:00Z",
}
"""What is to be done, where pydantic says only what is wrong."""


def explain(error: ValidationError, whole: str = "site file") -> str:
    """Say every problem of a configuration in a line of its own: field, problem, what was given.

    Of values of one list that have the same problem the first is shown, and how many more there are.
    """
    lines: list[str] = []
    more: dict[tuple[object, ...], tuple[int, int]] = {}
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"]) or whole
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "missing":
            message = "is missing; add it"
        elif item["type"] == "extra_forbidden":
            message = "is not a known field; check the spelling or remove it"
        elif item["type"] in FIXES:
            message += FIXES[item["type"]]
        given = item.get("input")
        shown = f" (given: {_short(given)})" if isinstance(given, int | float | str) else ""
        where = item["loc"]
        same = (where[:-1], message) if where and isinstance(where[-1], int) else (where, message)
        if same in more:
            line, count = more[same]
            more[same] = line, count + 1
            continue
        more[same] = len(lines), 0
        lines.append(f"{place}: {message}{shown}")
    for line, count in more.values():
        if count:
            lines[line] += f", and so {count} more values of the list"
    return "\n".join(lines)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
