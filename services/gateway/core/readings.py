"""One reading of everything that the gateway can reach. None is "not known", never zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from contracts.events.override import Quantity
from contracts.events.price import PricesPublished
from contracts.events.safety import Mode
from contracts.events.weather import WeatherForecastIssued
from contracts.site import SiteConfig


@dataclass(frozen=True, slots=True)
class RoomReading:
    """A room: air temperature in °C, relay state."""

    temperature_c: float | None
    relay_on: bool | None


@dataclass(frozen=True, slots=True)
class HouseReading:
    """The inverter's meters: W (grid + import, battery + charge), 0..1, Wh counters."""

    pv_w: float | None = None
    load_w: float | None = None
    grid_w: float | None = None
    battery_w: float | None = None
    soc: float | None = None
    import_wh: float | None = None
    export_wh: float | None = None
    pv_wh: float | None = None
    load_wh: float | None = None
    battery_discharge_wh: float | None = None


@dataclass(frozen=True, slots=True)
class EvReading:
    """A charger and its car: W, Wh."""

    plugged: bool | None = None
    power_w: float | None = None
    session_wh: float | None = None
    target_wh: float | None = None
    departure: datetime | None = None


@dataclass(frozen=True, slots=True)
class LoadReading:
    """A load that may wait: its supply, and W where it is metered."""

    on: bool | None = None
    power_w: float | None = None


@dataclass(frozen=True, slots=True)
class LocalChange:
    """A person changed a device at the device."""

    target: str
    quantity: Quantity
    value: float


@dataclass(frozen=True, slots=True)
class Sweep:
    """Everything at one tick; devices that did not answer are named in ``missing``."""

    rooms: Mapping[str, RoomReading] = field(default_factory=dict)
    outdoor_c: float | None = None
    ghi_w_m2: float | None = None
    wind_m_s: float | None = None
    house: HouseReading | None = None
    evs: Mapping[str, EvReading] = field(default_factory=dict)
    loads: Mapping[str, LoadReading] = field(default_factory=dict)
    local_changes: tuple[LocalChange, ...] = ()
    missing: tuple[str, ...] = ()


class Field(Protocol):
    """The devices and public services as the gateway needs them."""

    async def open(self, site: SiteConfig) -> None:
        """Connect; devices that are away are tried again later."""

    async def close(self) -> None:
        """Disconnect."""

    async def sweep(self, now: datetime, lock_step: bool) -> Sweep:
        """Read everything. In lock-step wait until the devices' clock has reached ``now``."""

    def show(self, sweep: Sweep, mode: Mode | None) -> None:
        """Show people what was read and the safety mode, None while unknown; waits for nobody."""

    async def apply(self, device: str, value: int, until: datetime, command_id: str) -> bool:
        """Hand a command to a device; False when it refuses, ConnectionError when it is away."""

    async def read_back(self, device: str) -> int | None:
        """The setting a device follows now, in command units; None when it does not say."""

    async def weather(self, now: datetime) -> WeatherForecastIssued | None:
        """The newest forecast run; None when the service does not answer."""

    async def prices(self, now: datetime, since: datetime) -> PricesPublished | None:
        """Published day-ahead prices from ``since`` on; None when there are none."""

    def free_bytes(self) -> tuple[int, int]:
        """Free disk space and size of the log, bytes."""
