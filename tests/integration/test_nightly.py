"""The trainer beside a running house: a process, a real broker, and a night that comes."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from random import Random

import pytest

from chassis import health
from chassis.bus import Bus
from chassis.models import Objects
from contracts.events.price import PricesPublished
from contracts.events.system import ModelPromoted
from pems import nightly
from pems.broker import Broker
from pems.home import bus_of
from tests.conftest import START, eventually, make_event, tick
from tests.integration.test_runner import _at_least, ticks

DAYS = 28
LOCAL_THREE = 120
"""Minutes from START to three o'clock near Prague in winter."""


@pytest.fixture
def trainer(house: Broker) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ, "PEMS_SITE": house.settings.site, "PEMS_NATS_URL": house.settings.nats_url,
        "PEMS_HOME": str(house.settings.home),
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "pems.nightly"], env=environment)
    yield process
    process.terminate()
    process.wait(30)


async def publish_prices(bus: Bus) -> None:
    """Four weeks up to the start: the same wave each day and noise, which last week's repeats."""
    chance = Random(5)
    for day in range(-DAYS, 1):
        begin = START + timedelta(days=day)
        prices = [
            90.0 + 40.0 * math.sin(hour / 24 * 4 * math.pi) + chance.gauss(0.0, 15.0)
            for hour in range(24)
        ]
        published = PricesPublished(
            market="OTE", published=begin - timedelta(hours=11), start=begin, step_s=3600,
            eur_per_mwh=tuple(prices),
        )  # fmt: skip
        await bus.append([make_event(
            "price.published", "market", published, "gateway", key=f"price/{day}",
            time=published.published,
        )])  # fmt: skip


async def test_a_night_brings_the_models_that_are_better(
    house: Broker, trainer: subprocess.Popen[bytes]
) -> None:
    settings = house.settings
    async with bus_of(settings, "gateway") as bus:
        await publish_prices(bus)
    await ticks(settings, 0, LOCAL_THREE - 1)
    await eventually(lambda: "2026-01-11" in seen(settings.state / "health" / "trainer.json"), 60)
    assert health.problem("trainer", settings, time.time()) is None
    assert not await _at_least(settings, ModelPromoted, 1), "not before the night"
    await ticks(settings, LOCAL_THREE - 1, LOCAL_THREE + 2)
    [event, *_] = await eventually(lambda: _at_least(settings, ModelPromoted, 1), 150)
    assert event.data.quantity == "price"
    assert event.source == "trainer"
    async with bus_of(settings) as bus:
        assert await Objects(bus.client, settings).get(event.data.content_hash)
    assert trainer.poll() is None


def seen(path: os.PathLike[str]) -> str:
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return ""


async def test_it_trains_once_a_night_and_outlives_a_failure(house: Broker) -> None:
    calls: list[float] = []
    done = threading.Event()

    def train() -> None:
        calls.append(time.monotonic())
        done.set()
        raise ValueError("no history")

    async with bus_of(house.settings, "twin") as bus:
        await bus.append([tick(LOCAL_THREE - 5)])
        task = asyncio.create_task(nightly.nights(house.settings, train, look_s=0.05))
        await asyncio.sleep(1.0)
        assert not calls, "the night that goes on when it starts is not its own"
        for night in range(2):
            done.clear()
            await bus.append([tick(LOCAL_THREE + night * 1440), tick(LOCAL_THREE + night * 1440 + 60)])
            assert await asyncio.to_thread(done.wait, 20)
            await asyncio.sleep(0.5)
            assert len(calls) == night + 1
        assert not task.done()
        task.cancel()
