"""The live view of ``pems up``: what is happening, what comes next, why."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import datetime

from rich.columns import Columns
from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from contracts.envelope import Event, decode
from contracts.events import command
from contracts.events.measurement import EvSampled, HouseSampled, LoadSampled, RoomSampled
from contracts.events.override import Ended, Granted
from contracts.events.plan import PlanComputed
from contracts.events.safety import ModeChanged
from contracts.site import SiteConfig
from pems.home import bus_of
from pems.processes import Supervisor
from pems.run import RunningHouse
from services.historian.core.account import Account

MODE_STYLE = {"normal": "green", "degraded": "yellow", "safe": "red"}
RECENT = 8


@dataclass
class View:
    """What the terminal shows, folded from the log."""

    site: SiteConfig
    supervisor: Supervisor
    account: Account = field(default_factory=Account)
    now: datetime | None = None
    rooms: dict[str, RoomSampled] = field(default_factory=dict)
    house: HouseSampled | None = None
    evs: dict[str, EvSampled] = field(default_factory=dict)
    loads: dict[str, LoadSampled] = field(default_factory=dict)
    plan: PlanComputed | None = None
    mode: str = "safe"
    reasons: str = "starting"
    overrides: dict[str, Granted] = field(default_factory=dict)
    recent: list[tuple[datetime, str]] = field(default_factory=list)

    def take(self, event: Event) -> None:
        """Fold one event."""
        self.account.fold(event)
        data = event.data
        if event.type == "clock.ticked":
            self.now = event.time
        elif isinstance(data, RoomSampled):
            self.rooms[data.room] = data
        elif isinstance(data, HouseSampled):
            self.house = data
        elif isinstance(data, EvSampled):
            self.evs[data.ev] = data
        elif isinstance(data, LoadSampled):
            self.loads[data.load] = data
        elif isinstance(data, PlanComputed):
            self.plan = data
        elif isinstance(data, ModeChanged):
            self.mode, self.reasons = data.after, ", ".join(data.reasons) or "healthy"
        elif isinstance(data, Granted):
            self.overrides[data.override] = data
        elif isinstance(data, Ended):
            self.overrides.pop(data.override, None)
        elif isinstance(data, command.Proposed) and event.time is not None:
            self.recent = [*self.recent[-RECENT + 1 :], (event.time, f"{data.device}: {data.reason}")]

    def render(self) -> Group:
        """The whole screen."""
        zone = self.site.location.zone
        clock = f"{self.now.astimezone(zone):%A %d %B %Y %H:%M}" if self.now else "no clock yet"
        head = Text.assemble(
            (f" {self.site.site} ", "bold reverse"), f"  {clock}   mode ",
            (self.mode, MODE_STYLE[self.mode]), f" ({self.reasons})",
        )  # fmt: skip
        return Group(
            head,
            Columns([self._energy(), self._money()], expand=False),
            self._rooms(),
            self._doing(),
            self._processes(),
        )

    def _energy(self) -> Panel:
        table = Table.grid(padding=(0, 2))
        table.add_column()
        table.add_column(justify="right")
        house = self.house
        for label, value in (
            ("sun", house.pv_w if house else None),
            ("house", house.load_w if house else None),
            ("grid", house.grid_w if house else None),
            ("battery", house.battery_w if house else None),
        ):
            table.add_row(label, _kw(value), _bar(value))
        soc = f"{house.soc:.0%}" if house and house.soc is not None else "-"
        table.add_row("charge", soc, _bar((house.soc or 0) * 10_000 if house else None))
        for car in self.evs.values():
            power_w = car.power_w if car.plugged else None
            table.add_row(car.ev, _kw(power_w) if car.plugged else "away", _bar(power_w))
        for load in self.loads.values():
            power_w = load.power_w if load.on else None
            table.add_row(load.load, _kw(power_w) if load.on else "off", _bar(power_w))
        return Panel(table, title="Energy now", title_align="left")

    def _money(self) -> Panel:
        figures = self.account.figures()
        table = Table.grid(padding=(0, 2))
        for label, name, form in (
            ("cost", "cost_eur", "{:.2f} EUR"),
            ("by simple rules", "baseline_cost_eur", "{:.2f} EUR"),
            ("self-consumption", "self_consumption", "{:.0%}"),
            ("below comfort", "comfort_below_kh", "{:.2f} K·h"),
            ("plans", "plans", "{:.0f}"),
            ("verified commands", "commands_verified", "{:.0f}"),
        ):
            value = figures[name]
            table.add_row(label, "-" if value is None else form.format(value))
        return Panel(table, title="So far", title_align="left")

    def _rooms(self) -> Panel:
        cells = []
        zone = self.site.location.zone
        for room in self.site.rooms:
            seen = self.rooms.get(room.id)
            if seen is None or seen.temperature_c is None or self.now is None:
                cells.append(Text(f"{room.name:<18}   -    ", style="dim"))
                continue
            low, high = self.site.comfort_band(room.id, self.now.astimezone(zone))
            style = "blue" if seen.temperature_c < low - 0.1 else (
                "red" if seen.temperature_c > high + 0.1 else "green")  # fmt: skip
            mark = "●" if seen.relay_on else " "
            cells.append(
                Text.assemble(f"{room.name:<18}", (f"{seen.temperature_c:5.1f}", style), " °C ",
                              (mark, "bold red"))
            )  # fmt: skip
        return Panel(Columns(cells, equal=True), title="Rooms (● heating)", title_align="left")

    def _doing(self) -> Panel:
        zone = self.site.location.zone
        lines = [f"{at.astimezone(zone):%H:%M}  {what}" for at, what in self.recent]
        lines += [
            f"until {wish.until.astimezone(zone):%H:%M}  {wish.actor} wants {wish.quantity} "
            f"{wish.value:g} for {wish.target}"
            for wish in self.overrides.values()
        ]
        return Panel("\n".join(lines) or "-", title="What it does, and why", title_align="left")

    def _processes(self) -> Text:
        text = Text("processes  ")
        for name, item in self.supervisor.running.items():
            alive = item.popen.poll() is None
            text.append(f"{name} ", style="green" if alive else "red")
            if item.restarts:
                text.append(f"({item.restarts} restarts) ", style="yellow")
        return text


def _kw(value: float | None) -> str:
    return "-" if value is None else f"{value / 1000:6.2f} kW"


def _bar(value: float | None, full: float = 10_000, width: int = 16) -> Text:
    if value is None:
        return Text("")
    filled = min(width, round(abs(value) / full * width))
    return Text("█" * filled + "░" * (width - filled), style="green" if value >= 0 else "magenta")


def follow(house: RunningHouse, view: View, screen: Live) -> None:
    """Show the log until interrupted, keeping every process up."""
    asyncio.run(_follow(house, view, screen))


async def _follow(house: RunningHouse, view: View, screen: Live) -> None:
    first, drawn = 1, 0.0
    async with bus_of(house.settings) as bus:
        while True:
            house.supervisor.tend()
            async for entry in bus.read(first):
                first = entry.sequence + 1
                try:
                    view.take(decode(entry.subject, entry.headers, entry.body, entry.sequence))
                except ValueError:
                    continue
            if time.monotonic() - drawn > 0.5:
                screen.update(view.render())
                drawn = time.monotonic()
            await asyncio.sleep(0.3)
