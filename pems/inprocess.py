"""A simulated house and all services in one process: no broker, no sockets, the same decisions.

Used for what-if, training, property tests and long simulations. The devices' leases are kept here
as the real devices keep them: when one runs out, the device's own rule takes over.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

from chassis.loop import Loop
from chassis.service import Service
from chassis.signing import Signer, Verifier
from contracts.envelope import Event
from contracts.events.clock import Ticked
from contracts.events.price import PricesPublished
from contracts.events.safety import Mode
from contracts.events.system import ConfigLoaded, ModelPromoted, config_hash
from contracts.events.weather import WeatherForecastIssued
from contracts.site import SiteConfig
from services.dispatcher.service import Dispatcher
from services.forecast.service import Forecast
from services.gateway.core.readings import EvReading, HouseReading, LoadReading, RoomReading, Sweep
from services.gateway.service import Gateway
from services.historian.service import Historian
from services.optimizer.service import Optimizer
from services.safety.core.limits import Limits
from services.safety.service import Safety
from services.thermal.service import Thermal
from twin.baseline import Baseline
from twin.events import baseline_event, prices_of, weather_of
from twin.house import House
from twin.lockstep import next_tick
from twin.scenario import Scenario
from twin.state import Actuation, Observation

TICK_S = 60
METER_S = 900
SIGNER = Signer(b"in-process simulation, no secret"[:32])
"""Of every verdict in a simulation: its gateway takes no other."""


class Leases:
    """Commands in force at the devices, judged in simulated time."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[int, dt.datetime]] = {}

    def hold(self, device: str, value: int, until: dt.datetime) -> None:
        """Follow a command until its lease ends."""
        self._held[device] = (value, until)

    def value(self, device: str, now: dt.datetime) -> int | None:
        """The command in force, None when the device follows its own rules."""
        held = self._held.get(device)
        return held[0] if held is not None and now < held[1] else None

    def actuation(self, site: SiteConfig, now: dt.datetime) -> Actuation:
        """All commands in force, for the house."""
        relays = {room.id: self.value(f"relay-{room.id}", now) for room in site.rooms}
        supplies = {load.id: self.value(f"load-{load.id}", now) for load in site.loads}
        battery = self.value("battery", now)
        export_limit = self.value("inverter-export", now)
        return Actuation(
            relays={room: None if value is None else bool(value)
                    for room, value in relays.items()},
            battery_power_w=None if not battery else float(battery),
            export_limit_w=None if export_limit is None else float(export_limit),
            ev_current_a={
                ev.id: None if (value := self.value(f"ev-{ev.id}", now)) is None else value / 1_000
                for ev in site.evs
            },
            loads={load: None if value is None else bool(value) for load, value in supplies.items()},
        )  # fmt: skip


class TwinField:
    """The simulated house as the gateway's devices, without a wire."""

    def __init__(self, site: SiteConfig, scenario: Scenario, house: House) -> None:
        self.site, self.scenario, self.house = site, scenario, house
        self.leases = Leases()
        self.seen: Observation = house.observe()

    async def open(self, site: SiteConfig) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    def step(self, until: dt.datetime) -> None:
        """Let the house live until an instant."""
        self.seen = self.house.step(until, self.leases.actuation(self.site, self.house.time))

    async def sweep(self, now: dt.datetime, lock_step: bool) -> Sweep:
        """What the sensors show."""
        return sweep_of(self.seen)

    def show(self, sweep: Sweep, mode: Mode | None) -> None:
        """Nobody looks on."""

    async def apply(self, device: str, value: int, until: dt.datetime, command_id: str) -> bool:
        """The device follows at once."""
        self.leases.hold(device, value, until)
        return True

    async def read_back(self, device: str) -> int | None:
        """What it follows."""
        return self.leases.value(device, self.house.time)

    async def weather(self, now: dt.datetime) -> WeatherForecastIssued | None:
        """The scenario's forecast."""
        return weather_of(self.scenario, now)

    async def prices(self, now: dt.datetime, since: dt.datetime) -> PricesPublished | None:
        """The scenario's market."""
        return prices_of(self.scenario, self.site.tariff.market, now, since)

    def free_bytes(self) -> tuple[int, int]:
        """A disk that never fills."""
        return 10**12, 0


def sweep_of(seen: Observation) -> Sweep:
    """An observation as the gateway reads it."""
    return Sweep(
        rooms={
            room: RoomReading(state.temperature_c, state.relay_on)
            for room, state in seen.rooms.items()
        },
        outdoor_c=seen.outdoor_c,
        ghi_w_m2=seen.ghi_w_m2,
        house=HouseReading(
            pv_w=seen.pv_w, load_w=seen.load_w, grid_w=seen.grid_w, battery_w=seen.battery_w,
            soc=seen.soc, import_wh=seen.import_wh, export_wh=seen.export_wh, pv_wh=seen.pv_wh,
            load_wh=seen.load_wh, battery_discharge_wh=seen.battery_discharge_wh,
        ),
        evs={
            ev: EvReading(
                plugged=car.plugged, power_w=car.power_w, session_wh=car.session_energy_wh,
                target_wh=car.target_energy_wh, departure=car.departure,
            )
            for ev, car in seen.evs.items()
        },
        loads={
            load: LoadReading(state.relay_on, state.power_w) for load, state in seen.loads.items()
        },
    )  # fmt: skip


def all_services(*instead: Service[Any]) -> list[Service[Any]]:
    """Every service but the gateway, in the order in which they run; those given replace their namesakes."""
    chosen = {service.name: service for service in instead}
    usual = (Forecast(), Thermal(), Optimizer(), Dispatcher(), Safety(SIGNER), Historian())
    return [chosen.get(service.name, service) for service in usual]


class Simulation:
    """The controlled house and the rule-based one, side by side in one process."""

    def __init__(
        self,
        site: SiteConfig,
        safety: dict[str, Any],
        scenario: Scenario,
        seed: int = 1,
        sink: Callable[[Event], None] | None = None,
        services: Sequence[Service[Any]] | None = None,
        mode: str = "simulated",
        models: MutableMapping[str, bytes] | None = None,
    ) -> None:
        self.site, self.scenario = site, scenario
        self.house = House.warmed(site, scenario, seed, scenario.start)
        self.baseline = Baseline.warmed(site, scenario, seed, scenario.start)
        self.field = TwinField(site, scenario, self.house)
        gateway = Gateway(self.field, Verifier(SIGNER.public_bytes))
        chain = services or all_services()
        self.models: MutableMapping[str, bytes] = {} if models is None else models
        for service in chain:
            service.models = self.models
        self.loop = Loop(site.site, [gateway, *chain], mode, sink)
        self.number = 0
        Limits.from_dict(safety)
        for kind, config in (
            ("site", ConfigLoaded(kind="site", content_hash=site.content_hash(), site=site)),
            ("safety", ConfigLoaded(kind="safety", content_hash=config_hash(safety), safety=safety)),
        ):
            self.loop.say("operator", "system.config-loaded", kind, config, scenario.start)
        self._tick(scenario.start, TICK_S)

    def promote(self, promoted: ModelPromoted, content: bytes) -> None:
        """Put a model into the store and into force, as the trainer does it on the broker."""
        self.models[promoted.content_hash] = content
        self.loop.say(
            "trainer", "system.model-promoted", promoted.quantity, promoted, self.house.time
        )

    def _tick(self, now: dt.datetime, interval_s: int) -> None:
        tick = Ticked(time=now, interval_s=interval_s, number=self.number)
        self.loop.say("twin", "clock.ticked", "site", tick, now)
        self.number += 1

    def advance(self) -> dt.datetime:
        """One tick: the houses live to the next one, then the clock says so."""
        now = next_tick(self.house.time, every_minute=False)
        seconds = int((now - self.house.time).total_seconds())
        self.field.step(now)
        if int(now.timestamp()) % METER_S == 0:
            self.baseline.advance(now)
            sample = baseline_event(self.baseline, self.house)
            self.loop.say("twin", "baseline.sampled", "house", sample, now)
        self._tick(now, seconds)
        return now
