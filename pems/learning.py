"""Training on a broker's log: read it, train, put what is better into force.

By hand (`pems train house`) or every night (`pems.nightly`); both as the broker user ``trainer``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from chassis.settings import Settings
from contracts.envelope import Event
from pems import promotion, trainer
from pems.home import bus_of, fetch_models, read_events


def learn(
    settings: Settings, kinds: Sequence[str], depth: str,
    progress: Callable[[str], None] = lambda kind: None,
) -> list[trainer.Outcome]:
    """Read the whole log and train on it; `kinds`, `depth`, `progress` as in ``train_house``.

    Nothing is promoted yet.
    """

    async def read() -> tuple[trainer.Past, dict[str, bytes]]:
        past = trainer.Past()
        async with bus_of(settings, promotion.USER) as bus:
            async for item in read_events(bus):
                if isinstance(item, Event):
                    past.take(item)
        return past, await fetch_models(settings, past.in_force.values(), promotion.USER)

    past, models = asyncio.run(read())
    return trainer.train_house(past, models, kinds, depth, progress)


def put_in_force(settings: Settings, outcomes: Iterable[trainer.Outcome]) -> None:
    """Store and promote every candidate that was better."""
    for outcome in outcomes:
        if outcome.promoted is not None:
            promotion.promote_now(settings, outcome.promoted, outcome.content)
