"""``python -m pems.nightly``: the trainer beside a running house, at three each night of its log.

Settings come from the environment, as for the services. It never ends by itself: what goes wrong is
logged and tried again the next night, and meanwhile the house keeps the models that it has.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from nats.errors import Error as NatsError

from chassis import health
from chassis.settings import Settings
from contracts import catalog
from contracts.envelope import decode
from contracts.events.clock import Ticked
from contracts.events.system import ConfigLoaded
from pems import trainer
from pems.home import bus_of
from pems.learning import learn, put_in_force
from pems.promotion import USER

LOG = logging.getLogger("pems.nightly")

NIGHT_H = 3
LOOK_S = 10.0
NICENESS = 10
"""Plans, commands and the gate come first."""


def night_of(now: datetime, zone: ZoneInfo) -> datetime:
    """The last three o'clock (local, the day before until then), as a local date and hour."""
    local = now.astimezone(zone).replace(tzinfo=None)
    return (local - timedelta(hours=NIGHT_H)).replace(hour=NIGHT_H, minute=0, second=0, microsecond=0)


async def _night(settings: Settings) -> datetime | None:
    """The night that the log's clock is in, None before its first tick."""
    async with bus_of(settings, USER) as bus:
        tick = await bus.last_on(catalog.subject(settings.site, "clock.ticked", "site"))
        loaded = await bus.last_on(catalog.subject(settings.site, "system.config-loaded", "site"))
    if tick is None or loaded is None:
        return None
    ticked, site = (
        decode(e.subject, e.headers, e.body, e.sequence).data for e in (tick, loaded)
    )
    assert isinstance(ticked, Ticked)
    assert isinstance(site, ConfigLoaded)
    assert site.site is not None
    return night_of(ticked.time, site.site.location.zone)


async def nights(settings: Settings, train: Callable[[], None], look_s: float = LOOK_S) -> None:
    """Call ``train`` once each night that begins while this runs; in a thread of its own."""
    seen: datetime | None = None
    training: asyncio.Task[None] | None = None
    while True:
        try:
            night = await _night(settings)
            if training is None and seen is not None and night is not None and night > seen:
                training = asyncio.create_task(asyncio.to_thread(train))
            seen = night or seen
            health.report(settings, "trainer", {"night": str(seen)})
        except (OSError, NatsError) as error:
            LOG.info("the broker is away: %r", error)
        if training is not None and training.done():
            if failure := training.exception():
                LOG.error("training failed, next try tomorrow night", exc_info=failure)
            training = None
        await asyncio.sleep(look_s)


def train(settings: Settings) -> None:
    """Train what is due and promote what is better; says for each kind what came of it."""
    outcomes = learn(settings, trainer.KINDS, "auto", lambda kind: LOG.info("training %s", kind))
    put_in_force(settings, outcomes)
    for outcome in outcomes:
        LOG.info("%s", outcome.sentence)


def main() -> None:
    """Follow the broker that the environment names."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    os.nice(NICENESS)
    settings = Settings.from_environment()
    asyncio.run(nights(settings, lambda: train(settings)))


if __name__ == "__main__":
    main()
