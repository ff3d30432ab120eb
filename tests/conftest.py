"""Fixtures that every suite shares: the real broker, provisioned, with users and signing keys."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from chassis.settings import Settings
from contracts import catalog
from contracts.base import Record
from contracts.envelope import Event, event_id
from contracts.events.clock import Ticked
from contracts.site import SiteConfig
from pems import config
from pems.broker import Broker, Ports, free_ports
from pems.run import prepare

# a loaded machine is no finding; in CI the same examples every time, elsewhere new ones
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")

START = datetime(2026, 1, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def site() -> SiteConfig:
    """The house near Prague."""
    return config.load_site()


@pytest.fixture(scope="session")
def safety_limits() -> dict[str, Any]:
    """The gate's own limits for it."""
    return config.load_safety()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A real nats-server with JetStream and MQTT on free ports, its data in a folder of its own."""
    ports = Ports(*free_ports())
    settings = Settings(
        site="home", nats_url=f"nats://127.0.0.1:{ports.nats}", home=tmp_path / "home", otlp_url=""
    )
    settings.home.mkdir()
    server = Broker(settings, ports)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def house(broker: Broker, site: SiteConfig, safety_limits: dict[str, Any]) -> Broker:
    """The broker with stream, consumers and both configurations on the log."""
    asyncio.run(prepare(broker.settings, site, safety_limits))
    return broker


def make_event(type_: str, entity: str, data: Record, source: str, key: str = "", **more: Any) -> Event:
    """An event as its producer would make it."""
    return Event(
        type=type_, version=catalog.BY_TYPE[type_].version, site="home", entity=entity,
        id=event_id(key or f"{type_}/{entity}", source, type_, 0), source=source, data=data,
        **{"time": START, "mode": "simulated", **more},
    )  # fmt: skip


def tick(number: int) -> Event:
    """The number-th minute after the start."""
    now = START + timedelta(minutes=number)
    return make_event(
        "clock.ticked", "site", Ticked(time=now, interval_s=60, number=number), "twin",
        key=f"tick/{number}", time=now,
    )  # fmt: skip


async def eventually(check: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait until an (async) check gives something true; its value. Fails with a clear message."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        value = check()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if asyncio.get_running_loop().time() > deadline:
            pytest.fail(f"nothing came true within {seconds:.0f} s: {check}")
        await asyncio.sleep(0.05)
