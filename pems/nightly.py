"""Waiting for the night: the trainer beside a running house follows the clock of its log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from contracts import catalog
from contracts.envelope import decode
from contracts.events.clock import Ticked
from contracts.events.system import ConfigLoaded
from pems.home import broker_of, bus_of

NIGHT_H = 3
LOOK_S = 20.0


def night_of(now: datetime, zone: ZoneInfo) -> datetime:
    """The last three o'clock (local, the day before until then), as a local date and hour."""
    local = now.astimezone(zone).replace(tzinfo=None)
    return (local - timedelta(hours=NIGHT_H)).replace(hour=NIGHT_H, minute=0, second=0, microsecond=0)


async def nights(home: Path, train: Callable[[], None]) -> None:
    """Call ``train`` once each night that begins while this runs; in a thread of its own."""
    seen: datetime | None = None
    with broker_of(home) as settings:
        while True:
            async with bus_of(settings) as bus:
                tick = await bus.last_on(catalog.subject(settings.site, "clock.ticked", "site"))
                loaded = await bus.last_on(
                    catalog.subject(settings.site, "system.config-loaded", "site")
                )
            if tick is not None and loaded is not None:
                ticked, site = (
                    decode(e.subject, e.headers, e.body, e.sequence).data for e in (tick, loaded)
                )
                assert isinstance(ticked, Ticked)
                assert isinstance(site, ConfigLoaded)
                assert site.site is not None
                night = night_of(ticked.time, site.site.location.zone)
                if seen is not None and night > seen:
                    await asyncio.to_thread(train)
                seen = night
            await asyncio.sleep(LOOK_S)
