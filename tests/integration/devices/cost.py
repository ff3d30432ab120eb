"""CPU time of the device boundary, both sides in one process: ``python -m`` this module."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable
from datetime import timedelta
from pathlib import Path
from typing import Any

from services.gateway.devices.ev import OcppCentralSystem
from services.gateway.devices.inverter import GrowattInverter, InverterConfig
from services.gateway.devices.loxone import LoxoneMiniserver
from tests.integration.devices.conftest import (
    START,
    FakeEv,
    FakeObservation,
    FakeRoom,
    start_broker,
)
from twin.devices.charger import ChargerTwin
from twin.devices.growatt import GrowattTwin
from twin.devices.loxone import LoxoneTwin

ROOMS = [f"room-{i}" for i in range(16)]
MINUTES = 1_000
COMMANDS = 100


def observation(minute: int) -> FakeObservation:
    return FakeObservation(
        START + timedelta(minutes=minute),
        {room: FakeRoom(20 + minute % 7 / 10, minute % 9 == 0) for room in ROOMS},
        evs={"car": FakeEv(True, 7_000.0, 10.0 * minute, 15_000.0, START + timedelta(hours=12))},
    )


async def main() -> None:
    spent: defaultdict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as folder:
        broker = start_broker(Path(folder))
        now = START
        loxone_twin = LoxoneTwin("home", ROOMS, "127.0.0.1", broker.port)
        loxone = LoxoneMiniserver("home", ROOMS, "127.0.0.1", broker.port)
        growatt = GrowattTwin(6_000, 6_000, 10_000)
        await growatt.connect()
        config = InverterConfig(6_000, 6_000, 10_000, 0.1, 0.9, True, 10_000)
        inverter = GrowattInverter("127.0.0.1", growatt.port, config)
        central = OcppCentralSystem("127.0.0.1", 0, {"car": "WB"}, lambda: now)
        await central.connect()
        wallbox = ChargerTwin("car", f"ws://127.0.0.1:{central.port}/ocpp/WB")
        for device in (loxone_twin, loxone, inverter, wallbox):
            await device.connect()
        car = central.charger("car")

        async def timed(name: str, work: Awaitable[Any]) -> None:
            began = time.process_time()
            await work
            spent[name] += time.process_time() - began

        for minute in range(MINUTES):
            seen = observation(minute)
            now = seen.time
            for name, work in (
                ("read: growatt publishes", growatt.publish(seen)),
                ("read: wallbox publishes, central answers", wallbox.publish(seen)),
                ("read: miniserver publishes", loxone_twin.publish(seen)),
                ("read: all states are in", loxone.wait_for_clock(now, 2)),
                ("read: inverter", inverter.read()),
                ("read: the rest", asyncio.gather(loxone.read(), car.read(), inverter.tidy(now))),
            ):
                await timed(name, work)
        for turn in range(COMMANDS):
            until = now + timedelta(minutes=15 + turn)
            relays = [loxone.relay(r).apply(turn % 2, until, f"{turn}-{r}") for r in ROOMS]
            await timed("16 relays", asyncio.gather(*relays))
            await timed("battery", inverter.battery.apply(1_000 + 60 * turn, until, "c"))
            await timed("battery read-back", inverter.battery.read_back())
            await timed("car", car.apply(10_000, until, "c"))
            await timed("car read-back", car.read_back())
        for device in (loxone, loxone_twin, inverter, wallbox, central, growatt):
            await device.close()
        broker.stop()
    reading = sum(t for name, t in spent.items() if name.startswith("read: "))
    print(f"{1_000 * reading / MINUTES:7.3f} ms a minute of readings")
    for name, seconds in spent.items():
        times = MINUTES if name.startswith("read: ") else COMMANDS
        print(f"{1_000 * seconds / times:7.3f} ms {name}")


if __name__ == "__main__":
    asyncio.run(main())
