"""The folder of a house (broker data, secrets, snapshots, archive) and how to reach its log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nats.errors import Error as NatsError

from chassis import bus as buses
from chassis import monitor
from chassis.bus import Bus
from chassis.models import FolderStore, ModelProblem, Objects, verified
from chassis.settings import Settings
from contracts.envelope import Event, PoisonError, decode
from contracts.events.system import ModelPromoted
from pems.broker import Broker, Ports, free_ports

LAST = "last"


@dataclass(frozen=True, slots=True)
class House:
    """What is known of a folder: its site and where its broker was started last."""

    site: str
    nats: int
    mqtt: int
    monitor: int

    @property
    def ports(self) -> Ports:
        """The broker's ports."""
        return Ports(self.nats, self.mqtt, self.monitor)


def remember(root: Path, home: Path, house: House) -> None:
    """Note a house's ports in its folder, and the folder as the last one used."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "house.json").write_text(json.dumps(asdict(house)) + "\n")
    (root / LAST).write_text(str(home.resolve()) + "\n")


def find(root: Path, given: Path | None = None) -> Path:
    """The folder that was named, or the last one used.

    Raises
    ------
    FileNotFoundError
        when there is none yet.
    """
    if given is not None:
        return given
    pointer = root / LAST
    if not pointer.exists():
        raise FileNotFoundError("no house has run here yet; start one with: pems run")
    return Path(pointer.read_text().strip())


def describe(home: Path) -> House:
    """Read a folder's notes; FileNotFoundError when it is no house's folder."""
    path = home / "house.json"
    if not path.exists():
        raise FileNotFoundError(f"{home} holds no house (house.json is missing)")
    return House(**json.loads(path.read_text()))


def settings_of(home: Path, house: House) -> Settings:
    """Settings to talk to a folder's broker on this machine."""
    return Settings(
        site=house.site, nats_url=f"nats://127.0.0.1:{house.nats}", home=home, otlp_url=""
    )


@contextmanager
def broker_of(home: Path) -> Iterator[Settings]:
    """The folder's broker: the one that runs, else one started for this purpose and stopped."""
    house = describe(home)
    try:
        page = monitor.ask(f"http://127.0.0.1:{house.monitor}", "varz", timeout_s=1)
        ours = page.get("server_name") == f"pems-{house.site}"
    except OSError:
        ours = False
    if ours:
        yield settings_of(home, house)
        return
    ports = Ports(*free_ports())
    own = replace(house, nats=ports.nats, mqtt=ports.mqtt, monitor=ports.monitor)
    settings = settings_of(home, own)
    broker = Broker(settings, ports)
    broker.start()
    try:
        yield settings
    finally:
        broker.stop()


@asynccontextmanager
async def bus_of(settings: Settings, user: str = "reader") -> AsyncIterator[Bus]:
    """A connection to the log as one of the broker's users."""
    client = await buses.connect(settings, user)
    try:
        yield Bus(client, settings)
    finally:
        await client.close()


@dataclass(frozen=True, slots=True)
class Poison:
    """A message of the log that is no event."""

    sequence: int
    subject: str
    error: str


async def read_events(
    bus: Bus, first: int = 1, last: int | None = None
) -> AsyncIterator[Event | Poison]:
    """The log as events; what does not decode comes as ``Poison``."""
    async for entry in bus.read(first, last):
        try:
            yield decode(entry.subject, entry.headers, entry.body, entry.sequence)
        except PoisonError as error:
            yield Poison(entry.sequence, entry.subject, str(error))


def load_log(home: Path) -> tuple[list[Event], list[Poison]]:
    """The whole log of a folder."""

    async def load(settings: Settings) -> tuple[list[Event], list[Poison]]:
        events: list[Event] = []
        poison: list[Poison] = []
        async with bus_of(settings) as bus:
            async for item in read_events(bus):
                (events if isinstance(item, Event) else poison).append(item)  # type: ignore[arg-type]
        return events, poison

    with broker_of(home) as settings:
        try:
            return asyncio.run(load(settings))
        except NatsError as error:
            raise ConnectionError(f"the log of {home} cannot be read: {error!r}") from error


def models_named(events: Iterable[Event]) -> set[str]:
    """Hashes of the models that a log promotes."""
    return {e.data.content_hash for e in events if isinstance(e.data, ModelPromoted)}


def load_models(home: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Models by hash: from the folder's copies, else from its broker's store.

    One that is nowhere is left out; replay then shows whether a decision had needed it.
    """
    names = set(names)
    copies, found = FolderStore(home / "models"), {}
    for name in sorted(names):
        try:
            found[name] = verified(copies, name)
        except ModelProblem:
            continue

    if missing := names - found.keys():
        with broker_of(home) as settings:
            found |= asyncio.run(fetch_models(settings, missing))
    return found


async def fetch_models(
    settings: Settings, names: Iterable[str], user: str = "reader"
) -> dict[str, bytes]:
    """Models by hash from the broker's store; one that is not there is left out."""
    found = {}
    async with bus_of(settings, user) as bus:
        objects = Objects(bus.client, settings)
        for name in sorted(set(names)):
            content = await objects.get(name)
            if content is not None:
                found[name] = content
    return found
