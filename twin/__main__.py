"""``python -m twin``: the simulated house, its devices on the wire, and the clock of its site.

A tick at a time: wait until every service has finished the last tick, read what the devices were
told, let the house live, publish what the sensors show, append ``clock.ticked``.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import logging
import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chassis import bus as buses
from chassis.bus import Bus
from chassis.settings import Settings
from chassis.tracing import Tracing
from contracts import catalog
from contracts.base import Record
from contracts.envelope import Event, decode, event_id
from contracts.events.clock import Ticked
from contracts.events.system import ConfigLoaded
from contracts.site import SiteConfig
from twin.baseline import Baseline
from twin.devices.charger import ChargerTwin
from twin.devices.growatt import GrowattTwin
from twin.devices.loxone import LoxoneTwin
from twin.devices.web import WebTwin
from twin.events import baseline_event
from twin.generate import default_scenario
from twin.house import House
from twin.lockstep import Barrier, next_tick
from twin.scenario import Scenario
from twin.state import Actuation

LOG = logging.getLogger("pems.twin")
TICK_S = 60
METER_S = 900
SAVE_S = 3_600
CONNECT_S = 60.0
YEAR_DAYS = 365


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for."""

    scenario: Scenario
    days: float | None
    speed: float | None
    seed: int
    resume: bool


class Twin:
    """Both houses, the devices of one of them, and the clock."""

    def __init__(self, options: Options, settings: Settings, site: SiteConfig, bus: Bus) -> None:
        self.options, self.settings, self.site, self.bus = options, settings, site, bus
        start = options.scenario.start
        self.house = House.warmed(site, options.scenario, options.seed, start)
        self.baseline = Baseline.warmed(site, options.scenario, options.seed, start)
        self.tracing = Tracing("twin", settings.otlp_url)
        self.number = 0
        self.stopping = asyncio.Event()
        self.state_path = settings.state / "twin-state.json"

    async def open(self) -> None:
        """Start the devices."""
        site = self.site
        host = os.environ.get("PEMS_LISTEN_HOST", "127.0.0.1")
        mqtt_host, _, mqtt_port = os.environ.get("PEMS_MQTT", "127.0.0.1:1883").rpartition(":")
        password = self.settings.password("miniserver")
        self.loxone = LoxoneTwin(
            site.site, [room.id for room in site.rooms], mqtt_host, int(mqtt_port),
            loads=[load.id for load in site.loads], username="miniserver", password=password,
        )  # fmt: skip
        battery = site.battery
        port = int(os.environ.get("PEMS_INVERTER", "127.0.0.1:5020").rpartition(":")[2])
        self.inverter = GrowattTwin(
            battery.charge_max_w if battery else 0.0, battery.discharge_max_w if battery else 0.0,
            site.inverter.ac_limit_w, host=host, port=port,
        )  # fmt: skip
        url = os.environ.get("PEMS_OCPP_URL", "ws://127.0.0.1:9000")
        self.chargers = {
            ev.id: ChargerTwin(
                ev.id, f"{url}/ocpp/{ev.id}", current_max_a=ev.current_max_a,
                voltage_v=ev.voltage_v, phases=ev.phases,
            )
            for ev in site.evs
        }  # fmt: skip
        scenario = self.options.scenario
        web = int(os.environ.get("PEMS_WEATHER_URL", "http://127.0.0.1:8080").rpartition(":")[2])
        self.web = WebTwin(scenario.weather_forecast, scenario.published_prices, host=host, port=web)
        for device in self._devices():
            await _patiently(device.connect, type(device).__name__)

    def _devices(self) -> list[Any]:
        return [self.inverter, self.web, self.loxone, *self.chargers.values()]

    async def close(self) -> None:
        """Stop the devices."""
        for device in self._devices():
            await device.close()
        self.tracing.shutdown()

    def actuation(self, now: dt.datetime) -> Actuation:
        """What the devices were told, where their leases still hold."""
        return Actuation(
            relays=self.loxone.actuation(now),
            battery_power_w=self.inverter.battery_power_w(now),
            ev_current_a={ev: charger.current_a(now) for ev, charger in self.chargers.items()},
            export_limit_w=self.inverter.export_limit_w(),
            loads=self.loxone.supplies(now),
        )

    async def publish(self) -> None:
        """Show the sensors; the Miniserver's clock comes last and says that all is in."""
        seen = self.house.observe()
        self.web.set_time(seen.time)
        devices: list[Any] = [self.inverter, *self.chargers.values(), self.loxone]
        for device in devices:
            if not await device.publish(seen):
                LOG.info("%s: the other side is away", type(device).__name__)

    async def say(self, type_: str, entity: str, data: Record, now: dt.datetime) -> None:
        """Append one event; every tick begins a new trace."""
        event = Event(
            type=type_, version=catalog.BY_TYPE[type_].version, site=self.site.site, entity=entity,
            id=event_id(f"twin/{now.isoformat()}", "twin", type_, 0), source="twin", data=data,
            time=now, mode="simulated",
        )  # fmt: skip
        at = time.time_ns()
        traced = self.tracing.record(event, [event], at, at)[0]
        await self.bus.append([replace(event, traceparent=traced)])

    async def tick(self, interval_s: int) -> None:
        """Say the time that the house has reached."""
        now = self.house.time
        if int(now.timestamp()) % METER_S == 0:
            self.baseline.advance(now)
            sample = baseline_event(self.baseline, self.house)
            await self.say("baseline.sampled", "house", sample, now)
        data = Ticked(time=now, interval_s=interval_s, number=self.number)
        await self.say("clock.ticked", "site", data, now)
        self.number += 1

    async def run(self, monitor_url: str) -> None:
        """Until the end of the stretch or a signal."""
        options = self.options
        end = options.scenario.end
        if options.days is not None:
            end = min(end, options.scenario.start + dt.timedelta(days=options.days))
        barrier = Barrier(self.bus.client, self.bus.stream, monitor_url)
        await barrier.wait()
        await self.publish()
        await self.tick(TICK_S)
        due = time.monotonic()
        absent: set[str] = set()
        while not self.stopping.is_set() and self.house.time < end:
            missed = await barrier.wait()
            if missed != absent:
                LOG.warning("not waited for: %s", ", ".join(sorted(missed)) or "nobody")
                absent = missed
            now = self.house.time
            then = next_tick(now, every_minute=options.speed is not None)
            seconds = int((then - now).total_seconds())
            if options.speed is not None:
                due = max(due + seconds / options.speed, time.monotonic() - 1)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            self.house.step(then, self.actuation(now))
            await self.publish()
            await self.tick(seconds)
            self._report()
            if int(self.house.time.timestamp()) % SAVE_S == 0:
                self.save()
        await barrier.wait()
        self.save()
        if options.days is None and not self.stopping.is_set():
            LOG.warning("the scenario ends at %s; the clock stands still", end.isoformat())
            while not self.stopping.is_set():
                self._report()
                await asyncio.sleep(5)

    def _report(self) -> None:
        """The health file, as the services write theirs."""
        path = self.settings.state / "health" / "twin.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"time": time.time(), "sequence": self.number}))

    def save(self) -> None:
        """Keep both houses for the next start."""
        state = {
            "number": self.number,
            "house": self.house.save(),
            "baseline": self.baseline.house.save(),
            "meter": self.baseline.meter.save(),
        }
        self.state_path.parent.mkdir(parents=True, exist_ok=True)
        new = self.state_path.with_suffix(".new")
        new.write_text(json.dumps(state))
        new.replace(self.state_path)

    def load(self, last: Ticked) -> None:
        """Go on where the log's clock stands; the stretch since the last save is lived again by
        the house's own rules, because what it was told then is known to the devices only."""
        if self.state_path.exists():
            state: dict[str, Any] = json.loads(self.state_path.read_text())
            self.house.load(state["house"])
            self.baseline.house.load(state["baseline"])
            self.baseline.meter.load(state["meter"], self.baseline.house)
        if self.house.time < last.time:
            self.house.step(last.time)
            self.baseline.advance(last.time)
        if self.house.time == last.time:
            self.house.step(last.time + dt.timedelta(seconds=TICK_S))
        self.number = last.number + 1


async def _patiently(connect: Any, name: str) -> None:
    """Connect, waiting up to a minute for the other side to come up."""
    deadline = time.monotonic() + CONNECT_S
    while True:
        try:
            await connect()
            return
        except (OSError, TimeoutError) as error:
            if time.monotonic() > deadline:
                LOG.warning("%s: %r; it goes on trying", name, error)
                return
            await asyncio.sleep(0.5)


async def _on_log(bus: Bus, settings: Settings, type_: str, entity: str) -> Record | None:
    """The newest payload of a subject, None when there is none."""
    entry = await bus.last_on(catalog.subject(settings.site, type_, entity))
    if entry is None:
        return None
    return decode(entry.subject, entry.headers, entry.body, entry.sequence).data


async def start(options: Options) -> None:
    """Connect, take the site from the log, run."""
    settings = Settings.from_environment()
    client = await buses.connect(settings, "twin")
    bus = Bus(client, settings)
    found = await _on_log(bus, settings, "system.config-loaded", "site")
    if not isinstance(found, ConfigLoaded) or found.site is None:
        raise SystemExit("no site configuration on the log: run provisioning first (pems up)")
    twin = Twin(options, settings, found.site, bus)
    last = await _on_log(bus, settings, "clock.ticked", "site")
    if isinstance(last, Ticked):
        if not options.resume:
            raise SystemExit("this log has a clock already: --resume goes on, or use a new folder")
        twin.load(last)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, twin.stopping.set)
    await twin.open()
    try:
        await twin.run(os.environ.get("PEMS_MONITOR_URL", ""))
    finally:
        await twin.close()
        await client.close()


def main() -> None:
    """Read the command line and run."""
    logging.basicConfig(
        level=os.environ.get("PEMS_LOG_LEVEL", "WARNING"),
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
    )
    parser = argparse.ArgumentParser(prog="python -m twin", description=__doc__)
    parser.add_argument("--scenario", type=Path, help="folder; the built-in winter by default")
    parser.add_argument("--days", type=float, help="length of the stretch; the scenario's by default")
    parser.add_argument("--speed", default="max", help="simulated seconds a second, or max")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--resume", action="store_true", help="go on where the log's clock stands")
    given = parser.parse_args()
    if given.scenario is not None:
        scenario = Scenario.load_folder(given.scenario)
    else:
        scenario = default_scenario(days=max(2, round(given.days + 0.5)) if given.days else YEAR_DAYS)
    speed = None if given.speed == "max" else float(given.speed)
    asyncio.run(start(Options(scenario, given.days, speed, given.seed, given.resume)))


if __name__ == "__main__":
    main()
