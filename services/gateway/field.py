"""The real devices and public services of a house, behind the one interface the gateway knows."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol, TypeVar

from contracts.events.price import PricesPublished
from contracts.events.safety import Mode
from contracts.events.weather import WeatherForecastIssued
from contracts.site import SiteConfig
from services.gateway.core.readings import (
    EvReading,
    HouseReading,
    LoadReading,
    LocalChange,
    RoomReading,
    Sweep,
)
from services.gateway.devices.base import Actuator, DeviceUnavailable
from services.gateway.devices.ev import OcppCentralSystem
from services.gateway.devices.homeassistant import HomeAssistant
from services.gateway.devices.inverter import GrowattInverter, InverterConfig
from services.gateway.devices.loxone import LoxoneMiniserver
from services.gateway.devices.prices import EnergyCharts
from services.gateway.devices.weather import OpenMeteo

LOG = logging.getLogger("pems.field")
CLOCK_WAIT_S = 5.0
STALE_AFTER = timedelta(minutes=10)
"""A device whose own clock is older than this says nothing about now."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the devices are, from the environment; the defaults are this machine's twin.

    ``PEMS_MQTT``, ``PEMS_INVERTER`` (host:port), ``PEMS_OCPP_LISTEN`` (host:port that chargers
    connect to), ``PEMS_WEATHER_URL``, ``PEMS_PRICES_URL`` (base URLs).
    """

    mqtt: tuple[str, int]
    inverter: tuple[str, int]
    ocpp: tuple[str, int]
    weather_url: str
    prices_url: str

    @classmethod
    def from_environment(cls) -> Addresses:
        """Read the environment; ValueError names the variable that is malformed."""
        return cls(
            mqtt=host_port("PEMS_MQTT", "127.0.0.1:1883"),
            inverter=host_port("PEMS_INVERTER", "127.0.0.1:5020"),
            ocpp=host_port("PEMS_OCPP_LISTEN", "127.0.0.1:9000"),
            weather_url=os.environ.get("PEMS_WEATHER_URL", "https://api.open-meteo.com"),
            prices_url=os.environ.get("PEMS_PRICES_URL", "https://api.energy-charts.info"),
        )


def host_port(name: str, default: str) -> tuple[str, int]:
    """``host:port`` from an environment variable."""
    text = os.environ.get(name, default)
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{name}: {text!r} is not host:port")
    return host, int(port)


class Reads(Protocol):
    """Something that connects and closes."""

    async def connect(self) -> None: ...
    async def close(self) -> None: ...


class HouseField:
    """Loxone, inverter, chargers, weather and prices of one house, and Home Assistant that looks on.

    Parameters
    ----------
    mqtt_password : of the broker user ``gateway``, for its MQTT connection
    log_folder : on whose disk the log lies, to report free space
    """

    def __init__(self, addresses: Addresses, mqtt_password: str | None, log_folder: Path) -> None:
        self.addresses, self.mqtt_password, self.log_folder = addresses, mqtt_password, log_folder
        self._devices: list[Reads] = []
        self._actuators: dict[str, Actuator] = {}
        self._now = datetime.fromtimestamp(0, UTC)

    async def open(self, site: SiteConfig) -> None:
        """Connect to everything; what is away now is tried again by its adapter."""
        at = self.addresses
        user = "gateway" if self.mqtt_password else None
        self.loxone = LoxoneMiniserver(
            site.site, [room.id for room in site.rooms], *at.mqtt,
            loads=[load.id for load in site.loads], username=user, password=self.mqtt_password,
        )  # fmt: skip
        self.viewer = HomeAssistant(site, *at.mqtt, username=user, password=self.mqtt_password)
        self._devices = [self.loxone, self.viewer]
        self._actuators = {f"relay-{room.id}": self.loxone.relay(room.id) for room in site.rooms}
        self._actuators |= {f"load-{load.id}": self.loxone.load(load.id) for load in site.loads}
        self.inverter: GrowattInverter | None = None
        if site.battery is not None:
            battery = site.battery
            self.inverter = GrowattInverter(
                *at.inverter,
                InverterConfig(
                    charge_rated_w=battery.charge_max_w, discharge_rated_w=battery.discharge_max_w,
                    ac_rated_w=site.inverter.ac_limit_w, soc_min=battery.soc_min,
                    soc_max=battery.soc_max, grid_charge=battery.grid_charge,
                    export_limit_w=site.grid.export_limit_w, clock_zone=UTC,
                ),
            )  # fmt: skip
            self._devices.append(self.inverter)
            self._actuators["battery"] = self.inverter.battery
            self._actuators["inverter-export"] = self.inverter.export_limit
        self.chargers: dict[str, OcppCentralSystem] = {}
        if site.evs:
            central = OcppCentralSystem(
                *at.ocpp, {ev.id: ev.id for ev in site.evs}, lambda: self._now
            )
            self._devices.append(central)
            for ev in site.evs:
                self.chargers[ev.id] = central
                self._actuators[f"ev-{ev.id}"] = central.charger(ev.id)
        place = site.location
        self.meteo = OpenMeteo(place.latitude, place.longitude, url=at.weather_url)
        self.market = EnergyCharts(site.tariff.market, site.tariff.market, url=at.prices_url)
        self._devices += [self.meteo, self.market]
        for device in self._devices:
            await _quietly(device.connect(), "connecting")

    async def close(self) -> None:
        """Disconnect from everything."""
        for device in self._devices:
            await _quietly(device.close(), "closing")
        self._devices = []

    async def sweep(self, now: datetime, lock_step: bool) -> Sweep:
        """Read every device at once; in lock-step wait until the Miniserver's clock shows ``now``."""
        self._now = now
        missing: list[str] = []
        if lock_step:
            await _quietly(self.loxone.wait_for_clock(now, CLOCK_WAIT_S), "waiting for the clock")
        home, inverter = await asyncio.gather(
            _try(self.loxone.read(), "loxone", missing),
            _try(self._inverter(now), "inverter", missing),
        )
        cars = [
            await _try(central.charger(ev).read(), f"ev-{ev}", missing)
            for ev, central in self.chargers.items()
        ]
        fresh = home is not None and home.time is not None and now - home.time <= STALE_AFTER
        if home is not None and not fresh:
            missing.append("loxone")
        rooms = {
            room: RoomReading(
                seen.temperature_c if fresh else None, seen.relay_on if fresh else None
            )
            for room, seen in (home.rooms if home is not None else {}).items()
        }
        missing += [f"room-{room}" for room, seen in rooms.items() if seen.temperature_c is None]
        loads = {
            load: LoadReading(seen.relay_on, seen.power_w) if fresh else LoadReading()
            for load, seen in (home.loads if home is not None else {}).items()
        }
        missing += [f"load-{load}" for load, supply in loads.items() if supply.on is None]
        changes = tuple(
            LocalChange(change.device, "relay", float(change.relay_on))
            for change in self.loxone.take_local_changes()
        )
        evs = {
            ev: EvReading(
                plugged=car.plugged, power_w=car.power_w, session_wh=car.session_wh,
                target_wh=car.target_wh, departure=car.departure,
            ) if car is not None else EvReading()
            for ev, car in zip(self.chargers, cars, strict=True)
        }  # fmt: skip
        return Sweep(
            rooms=rooms,
            outdoor_c=home.outdoor_c if home is not None and fresh else None,
            ghi_w_m2=home.ghi_w_m2 if home is not None and fresh else None,
            wind_m_s=home.wind_m_s if home is not None and fresh else None,
            house=inverter,
            evs=evs,
            loads=loads,
            local_changes=changes,
            missing=tuple(sorted(set(missing))),
        )

    def show(self, sweep: Sweep, mode: Mode | None) -> None:
        """Hand it to Home Assistant, and wait for nothing."""
        self.viewer.show(sweep, mode)

    async def _inverter(self, now: datetime) -> HouseReading | None:
        if self.inverter is None:
            return None
        await self.inverter.tidy(now)
        seen = await self.inverter.read()
        return HouseReading(
            pv_w=seen.pv_w, load_w=seen.load_w, grid_w=seen.grid_w, battery_w=seen.battery_w,
            soc=seen.soc, import_wh=seen.import_wh, export_wh=seen.export_wh, pv_wh=seen.pv_wh,
            load_wh=seen.load_wh, battery_discharge_wh=seen.battery_discharge_wh,
        )  # fmt: skip

    async def apply(self, device: str, value: int, until: datetime, command_id: str) -> bool:
        """Hand a command to its device."""
        actuator = self._actuators.get(device)
        if actuator is None:
            raise DeviceUnavailable(device, "-", "is no device of this house")
        return await actuator.apply(value, until, command_id)

    async def read_back(self, device: str) -> int | None:
        """What a device says it follows."""
        return (await self._actuators[device].read_back()).value

    async def weather(self, now: datetime) -> WeatherForecastIssued | None:
        """The newest run of the forecast."""
        return await _try(self.meteo.forecast(now), "weather", [])

    async def prices(self, now: datetime, since: datetime) -> PricesPublished | None:
        """What the market has published, to the end of tomorrow at most."""
        return await _try(
            self.market.prices(now, since), "prices", []
        )

    def free_bytes(self) -> tuple[int, int]:
        """Free space beside the log; the log's own size when it lies here."""
        usage = shutil.disk_usage(self.log_folder)
        blocks = (path.stat().st_size for path in self.log_folder.glob("**/*.blk"))
        return usage.free, sum(blocks)


async def _try(work: Awaitable[T], name: str, missing: list[str]) -> T | None:
    """The reading, or None and the device's name among the missing."""
    try:
        return await work
    except (ConnectionError, TimeoutError, OSError, ValueError) as error:
        LOG.info("%s: %s", name, error)
        missing.append(name)
        return None


async def _quietly(work: Awaitable[None], what: str) -> None:
    try:
        await work
    except (ConnectionError, TimeoutError, OSError) as error:
        LOG.info("%s: %s", what, error)
