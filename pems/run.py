"""``pems run`` and ``pems up``: broker, services and twin as processes of this machine."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from chassis.bus import Bus
from chassis.provision import assert_durable, provision
from chassis.settings import Settings
from contracts import catalog
from contracts.envelope import Event, decode, event_id
from contracts.events.clock import Ticked
from contracts.events.system import ConfigLoaded, ModelPromoted, config_hash
from contracts.site import SiteConfig
from pems import config
from pems.broker import Broker, Ports, free_ports
from pems.home import House, bus_of, remember
from pems.processes import PROCESSES, Supervisor
from pems.promotion import promote
from services.historian.core.account import Account

SERVICES = [row.name for row in PROCESSES if row.name not in ("twin", "trainer")]
POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is to be simulated."""

    scenario: Path | None
    days: float | None
    speed: float | None
    """Simulated seconds a second; None as fast as the services finish."""
    seed: int


class RunningHouse:
    """A house whose broker and processes this object started."""

    def __init__(
        self,
        root: Path,
        home: Path,
        ports: Ports,
        site: SiteConfig,
        safety: dict[str, object],
        simulated: bool = True,
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.site, self.safety, self.home, self.ports = site, safety, home.resolve(), ports
        self.settings = Settings(
            site=site.site, nats_url=f"nats://127.0.0.1:{ports.nats}", home=self.home,
            otlp_url=os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        )  # fmt: skip
        remember(root, self.home, House(site.site, ports.nats, ports.mqtt, ports.monitor))
        self.models: list[tuple[ModelPromoted, bytes]] = []
        """Promoted at the start, unless they were before."""
        self.broker = Broker(self.settings, ports)
        environment = {
            "PEMS_SITE": site.site,
            "PEMS_NATS_URL": self.settings.nats_url,
            "PEMS_HOME": str(self.home),
            "PEMS_MQTT": f"127.0.0.1:{ports.mqtt}",
            "PEMS_MONITOR_URL": self.broker.monitor_url,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        if simulated:  # with real devices their addresses come from the environment as it is
            inverter, ocpp, web = free_ports(3)
            environment |= {
                "PEMS_INVERTER": f"127.0.0.1:{inverter}",
                "PEMS_OCPP_LISTEN": f"127.0.0.1:{ocpp}",
                "PEMS_OCPP_URL": f"ws://127.0.0.1:{ocpp}",
                "PEMS_WEATHER_URL": f"http://127.0.0.1:{web}",
                "PEMS_PRICES_URL": f"http://127.0.0.1:{web}",
            }
        self.supervisor = Supervisor(environment, self.home / "logs")

    def start(self, twin_arguments: list[str] | None, trains: bool = False) -> None:
        """Broker, provisioning, configuration, services; twin and trainer when they are wanted."""
        self.broker.start()
        assert_durable(self.broker.monitor_url)
        asyncio.run(prepare(self.settings, self.site, self.safety))
        for promoted, content in self.models:
            asyncio.run(promote(self.settings, promoted, content))
        names = SERVICES + (["twin"] if twin_arguments is not None else [])
        names += ["trainer"] if trains else []
        self.supervisor.start(names, {"twin": twin_arguments or []})

    def stop(self) -> None:
        """Services first, then the broker."""
        self.supervisor.stop()
        self.broker.stop()

    def log_bytes(self) -> int:
        """Size of the log on disk."""
        folder = self.home / "nats"
        return sum(path.stat().st_size for path in folder.rglob("*.blk"))


async def prepare(settings: Settings, site: SiteConfig, safety: dict[str, object]) -> None:
    """Provision the broker and put the configuration on the log, unless it is there already."""
    async with bus_of(settings, "operator") as bus:
        await provision(bus.js, settings, site)
        contents = (
            ConfigLoaded(kind="site", content_hash=site.content_hash(), site=site),
            ConfigLoaded(kind="safety", content_hash=config_hash(dict(safety)), safety=dict(safety)),
        )
        for content in contents:
            subject = catalog.subject(site.site, "system.config-loaded", content.kind)
            last = await bus.last_on(subject)
            if last is not None:
                known = decode(last.subject, last.headers, last.body, last.sequence).data
                if isinstance(known, ConfigLoaded) and known.content_hash == content.content_hash:
                    continue
            place = f"{content.kind}/{content.content_hash}/{last.sequence if last else 0}"
            event = Event(
                type="system.config-loaded", version=1, site=site.site, entity=content.kind,
                id=event_id(place, "operator", "system.config-loaded", 0), source="operator",
                data=content, time=None,
            )  # fmt: skip
            await bus.append([event])


async def follow(
    settings: Settings,
    take: Callable[[Event], None],
    running: Callable[[], bool],
) -> None:
    """Hand every event of the log to ``take`` while ``running``, then the rest."""
    next_sequence = 1
    async with bus_of(settings) as bus:
        while True:
            going = running()
            next_sequence = await _drain(bus, next_sequence, take)
            if not going:
                return
            await asyncio.sleep(POLL_S)


async def _drain(bus: Bus, first: int, take: Callable[[Event], None]) -> int:
    async for entry in bus.read(first):
        first = entry.sequence + 1
        try:
            take(decode(entry.subject, entry.headers, entry.body, entry.sequence))
        except ValueError:
            continue
    return first


def simulate(house: RunningHouse, stretch: Stretch, console: Console) -> Account:
    """Run a simulated stretch to its end with a progress bar; the account of it.

    Raises
    ------
    RuntimeError
        when the twin ends in error; the end of its log is quoted.
    """
    arguments = ["--seed", str(stretch.seed)]
    if stretch.scenario is not None:
        arguments += ["--scenario", str(stretch.scenario)]
    if stretch.days is not None:
        arguments += ["--days", str(stretch.days)]
    if stretch.speed is not None:
        arguments += ["--speed", str(stretch.speed)]
    console.print(f"Starting the broker and {len(SERVICES)} services in {house.home} ...")
    house.start(arguments)
    account = Account()
    bar = Progress(
        TextColumn("{task.fields[clock]:<22}"), BarColumn(bar_width=40),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[note]}"), TimeRemainingColumn(),
        console=console,
    )  # fmt: skip
    task = bar.add_task("", total=max(1.0, (stretch.days or 2) * 86_400), clock="starting", note="")

    def take(event: Event) -> None:
        account.fold(event)
        if isinstance(event.data, Ticked) and account.since is not None:
            local = event.data.time.astimezone(house.site.location.zone)
            commands = account.counts.get("command.verified", 0)
            bar.update(
                task, completed=(event.data.time - account.since).total_seconds(),
                clock=f"{local:%a %d %b %H:%M}", note=f"{commands} commands verified",
            )  # fmt: skip

    def running() -> bool:
        house.supervisor.tend(lambda name, code: name == "twin")
        return house.supervisor.code("twin") is None

    with bar:
        asyncio.run(follow(house.settings, take, running))
    code = house.supervisor.code("twin")
    if code != 0:
        log = (house.supervisor.logs / "twin.log").read_text(errors="replace").splitlines()
        raise RuntimeError(f"the twin ended with code {code}:\n" + "\n".join(log[-12:]))
    return account


def new_home(root: Path) -> Path:
    """A fresh folder for a run."""
    return root / "runs" / time.strftime("%Y%m%d-%H%M%S")


def load(site_file: Path, safety_file: Path) -> tuple[SiteConfig, dict[str, object]]:
    """Both files, checked against each other; ConfigError says what to mend."""
    site, safety = config.load_site(site_file), config.load_safety(safety_file)
    problems = config.cross_check(site, safety)
    if problems:
        raise config.ConfigError("\n".join(problems))
    return site, safety
