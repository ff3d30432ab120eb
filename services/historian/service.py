"""The historian: projections of the log. A Parquet archive, and a report after every local day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from chassis.service import Decision, Service, State
from contracts.envelope import Event
from contracts.events.clock import Ticked
from contracts.events.system import ReportIssued
from services.historian.core import archive
from services.historian.core.account import Account

PART_ROWS = 5_000


class HistorianState(State):
    """The account of the local day, and the one just closed."""

    day: Account = Account()
    today: str = ""
    closed: ReportIssued | None = None


class Historian(Service[HistorianState]):
    """Log -> archive and daily report."""

    name = "historian"
    state_type = HistorianState

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.archived = archive.last_of(folder) if folder is not None else 0

    def fold(self, state: HistorianState, event: Event) -> None:
        state.closed = None
        if isinstance(event.data, Ticked) and state.site is not None:
            today = event.data.time.astimezone(state.site.location.zone).date().isoformat()
            if state.today and today != state.today:
                state.closed = _report(state, event.data.time)
                state.day = _next_day(state.day)
            state.today = today
        state.day.fold(event)

    def decide(self, state: HistorianState, event: Event) -> Iterable[Decision]:
        if state.closed is not None:
            yield Decision("system.report-issued", "house", state.closed)

    async def act(self, state: HistorianState, event: Event) -> Sequence[Decision]:
        if event.sequence - self.archived >= PART_ROWS:
            await self._archive(event.sequence)
        return ()

    async def stop(self) -> None:
        if self.bus is not None:
            await self._archive(await self.bus.last_sequence())

    async def _archive(self, last: int) -> None:
        """Copy the log, as it stands on the broker, up to a sequence; a crash before the
        manifest line is written only means that the same rows are read again."""
        if self.bus is None or self.folder is None:
            return
        rows = [
            archive.row(entry.sequence, entry.subject, dict(entry.headers), entry.body)
            async for entry in self.bus.read(self.archived + 1, last)
        ]
        if rows:
            self.archived = archive.write_part(self.folder, rows).last


def _report(state: HistorianState, now: datetime) -> ReportIssued:
    day = state.day
    notes = tuple(f"{at:%H:%M} UTC: {mode} ({why or 'healthy'})" for at, mode, why in day.modes)
    return ReportIssued(
        time=now, since=day.since or now, until=day.until or now, figures=day.figures(),
        notes=notes,
    )  # fmt: skip


def _next_day(day: Account) -> Account:
    """A new account that goes on from the meters' newest readings."""
    fresh = Account(site=day.site, price=day.price)
    for name in ("house", "baseline"):
        meter = getattr(day, name)
        getattr(fresh, name).at = meter.at
        getattr(fresh, name).first = dict(meter.last)
        getattr(fresh, name).last = dict(meter.last)
    return fresh
