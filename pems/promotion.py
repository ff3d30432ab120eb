"""Putting models into the house's store and into force, as the broker user ``trainer``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from chassis.models import FolderStore, Objects, verified
from chassis.settings import Settings
from contracts import catalog
from contracts.envelope import Event, event_id
from contracts.events.system import ModelPromoted
from pems.home import bus_of

USER = "trainer"


async def promote(settings: Settings, promoted: ModelPromoted, content: bytes) -> int:
    """Store a model, then say that it is to be used; the sequence of that event.

    The services answer with ``system.model-checked``; until then the previous model is in force.
    """
    async with bus_of(settings, USER) as bus:
        await Objects(bus.client, settings).put(content)
        subject = catalog.subject(settings.site, "system.model-promoted", promoted.quantity)
        last = await bus.last_on(subject)
        place = f"{promoted.content_hash}/{last.sequence if last else 0}"
        event = Event(
            type="system.model-promoted", version=1, site=settings.site, entity=promoted.quantity,
            id=event_id(place, USER, "system.model-promoted", 0), source=USER, data=promoted,
            time=None,
        )  # fmt: skip
        return (await bus.append([event]))[0]


def promote_now(settings: Settings, promoted: ModelPromoted, content: bytes) -> int:
    """``promote`` for callers without an event loop."""
    return asyncio.run(promote(settings, promoted, content))


def save(folder: Path, models: Iterable[tuple[ModelPromoted, bytes]]) -> None:
    """Write models with their promotions into a folder, for another house to start with."""
    store = FolderStore(folder)
    for promoted, content in models:
        store[promoted.content_hash] = content
        store[f"{promoted.quantity}.json"] = promoted.model_dump_json(indent=1).encode() + b"\n"


def load(folder: Path) -> list[tuple[ModelPromoted, bytes]]:
    """What ``save`` wrote; raises FileNotFoundError when the folder holds no promotion."""
    store = FolderStore(folder)
    found = [
        ModelPromoted.model_validate_json(store[name]) for name in store if name.endswith(".json")
    ]
    if not found:
        raise FileNotFoundError(f"{folder} holds no models; make them with: pems train house --out")
    return [(promoted, verified(store, promoted.content_hash)) for promoted in found]
