"""One service on a real broker: in order, once, through kill -9, poison and a broker restart."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from chassis.bus import Bus, FencedError
from chassis.settings import Settings
from contracts.envelope import Event
from contracts.events.override import Granted, Refused
from contracts.events.system import Heartbeat, MessageQuarantined
from pems.broker import Broker
from pems.home import bus_of, read_events
from tests.conftest import eventually, make_event, tick


def spawn(settings: Settings, name: str) -> subprocess.Popen[bytes]:
    """A service as a process of its own."""
    environment = {
        **os.environ, "PEMS_SITE": settings.site, "PEMS_NATS_URL": settings.nats_url,
        "PEMS_HOME": str(settings.home), "PEMS_LOG_LEVEL": "INFO",
    }  # fmt: skip
    return subprocess.Popen([sys.executable, "-m", f"services.{name}"], env=environment)


@pytest.fixture
def dispatcher(house: Broker) -> Iterator[subprocess.Popen[bytes]]:
    """The dispatcher, running."""
    process = spawn(house.settings, "dispatcher")
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


async def events_of(settings: Settings, kind: type) -> list[Event]:
    """All events of a payload type on the log."""
    async with bus_of(settings) as bus:
        return [
            e async for e in read_events(bus) if isinstance(e, Event) and isinstance(e.data, kind)
        ]


@asynccontextmanager
async def as_user(settings: Settings, user: str) -> AsyncIterator[Bus]:
    async with bus_of(settings, user) as bus:
        yield bus


async def ticks(settings: Settings, first: int, last: int) -> None:
    async with as_user(settings, "twin") as bus:
        await bus.append([tick(n) for n in range(first, last)])


async def beats(settings: Settings, count: int) -> list[Event]:
    return await eventually(
        lambda: _at_least(settings, Heartbeat, count), 40
    )  # fmt: skip


async def _at_least(settings: Settings, kind: type, count: int) -> list[Event] | None:
    found = await events_of(settings, kind)
    return found if len(found) >= count else None


@pytest.mark.usefixtures("dispatcher")
async def test_reads_decides_and_appends_in_order(house: Broker) -> None:
    await ticks(house.settings, 0, 16)
    found = await beats(house.settings, 4)
    assert [e.data.time.minute for e in found] == [0, 5, 10, 15]
    assert [e.as_of for e in found] == sorted(e.as_of for e in found)
    assert all(e.cause and e.traceparent and e.correlation for e in found)


async def test_kill_nine_in_between_loses_and_doubles_nothing(
    house: Broker, dispatcher: subprocess.Popen[bytes]
) -> None:
    await ticks(house.settings, 0, 30)
    await beats(house.settings, 2)
    dispatcher.kill()
    dispatcher.wait()
    await ticks(house.settings, 30, 61)
    again = spawn(house.settings, "dispatcher")
    try:
        await beats(house.settings, 13)
        await asyncio.sleep(0.5)
        found = await events_of(house.settings, Heartbeat)
        minutes = [e.data.time for e in found]
        assert len(minutes) == len(set(minutes)) == 13
    finally:
        again.send_signal(signal.SIGTERM)
        assert again.wait(30) == 0


@pytest.mark.usefixtures("dispatcher")
async def test_poison_is_quarantined_and_the_service_goes_on(house: Broker) -> None:
    await ticks(house.settings, 0, 1)
    async with as_user(house.settings, "client") as bus:
        subject = "pems.home.override.house.requested"
        for body in (b"not json", b'{"target":"house"}', b"{}"):
            await bus.js.publish(subject, body, stream=bus.stream)
    await ticks(house.settings, 1, 6)
    await beats(house.settings, 2)
    found = await events_of(house.settings, MessageQuarantined)
    mine = [e for e in found if e.source == "dispatcher"]
    assert len(mine) == 3
    assert "quantity: is missing; add it" in mine[1].data.error


@pytest.mark.usefixtures("dispatcher")
async def test_bare_nats_and_command_line_requests_are_answered(house: Broker) -> None:
    await ticks(house.settings, 0, 2)
    async with as_user(house.settings, "client") as bus:
        await bus.js.publish(
            "pems.home.override.room-living.requested",
            b'{"target":"room-living","quantity":"temperature_c","value":23,"minutes":60,'
            b'"actor":"a person","source":"nats"}',
            stream=bus.stream,
        )
        await bus.js.publish(
            "pems.home.override.room-attic.requested",
            b'{"target":"room-attic","quantity":"temperature_c","value":23,"minutes":60,'
            b'"actor":"a person"}',
            stream=bus.stream,
        )
    granted = await eventually(lambda: _at_least(house.settings, Granted, 1))
    refused = await eventually(lambda: _at_least(house.settings, Refused, 1))
    assert granted[0].data.value == 23
    assert "no room 'room-attic'" in refused[0].data.reason


async def test_broker_killed_and_restarted_nothing_acknowledged_is_lost(
    house: Broker, dispatcher: subprocess.Popen[bytes]
) -> None:
    await ticks(house.settings, 0, 11)
    await beats(house.settings, 3)
    async with bus_of(house.settings) as bus:
        before = await bus.last_sequence()
    house.kill()
    await asyncio.sleep(1)
    house.start()
    async with bus_of(house.settings) as bus:
        assert await bus.last_sequence() >= before
    await ticks(house.settings, 11, 21)
    found = await beats(house.settings, 5)
    assert dispatcher.poll() is None, "the service reconnects by itself"
    minutes = [e.data.time for e in found]
    assert len(minutes) == len(set(minutes))


async def test_a_second_instance_is_fenced(house: Broker) -> None:
    async with as_user(house.settings, "dispatcher") as bus:
        first = _beat(1)
        await bus.append([first], expected_last={first.id: 0})
        late = _beat(2)
        with pytest.raises(FencedError, match="only one may run"):
            await bus.append([late], expected_last={late.id: 0})
        assert await bus.append([first], expected_last={first.id: 0}) == [3], "a retry is the same"


def _beat(number: int) -> Event:
    data = Heartbeat(service="dispatcher", time=tick(number).time, handled=number)
    return make_event("system.heartbeat", "dispatcher", data, "dispatcher", key=f"beat/{number}")
