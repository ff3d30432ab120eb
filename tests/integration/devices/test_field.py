"""The house's field over real MQTT: what is not known is named, and never a number."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from contracts.site import SiteConfig
from pems import config
from services.gateway.core.readings import LoadReading
from services.gateway.field import Addresses, HouseField
from tests.integration.devices.conftest import (
    START,
    Broker,
    FakeLoad,
    FakeObservation,
    FakeRoom,
    free_port,
)
from twin.devices.loxone import LoxoneTwin


@pytest.fixture
def small() -> SiteConfig:
    """Two rooms and a boiler: nothing but the Miniserver is there."""
    full = config.load_site()
    rooms = tuple(room.model_copy(update={"neighbours": ()}) for room in full.rooms[:2])
    inverter = full.inverter.model_copy(update={"curtailable": False})
    return full.model_copy(
        update={"rooms": rooms, "evs": (), "battery": None, "inverter": inverter}
    )


async def test_loads_are_read_commanded_and_named_when_they_are_not_known(
    broker: Broker, small: SiteConfig, tmp_path: Path
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    here = "127.0.0.1"
    field = HouseField(
        Addresses((here, broker.port), (here, free_port()), (here, free_port()), nobody, nobody),
        None, tmp_path,
    )  # fmt: skip
    twin = LoxoneTwin("home", [room.id for room in small.rooms], here, broker.port, loads=["boiler"])
    await twin.connect()
    await field.open(small)
    seen = FakeObservation(
        rooms={room.id: FakeRoom(20.0) for room in small.rooms}, loads={"boiler": FakeLoad(True, 1_980.0)}
    )
    await twin.publish(seen)
    sweep = await field.sweep(START, lock_step=True)
    assert sweep.loads == {"boiler": LoadReading(True, 1_980.0)}
    assert sweep.missing == ()
    assert await field.apply("load-boiler", 0, START + timedelta(minutes=15), "c-1")
    assert await field.read_back("load-boiler") == 0
    await twin.press("load-boiler", True, START + timedelta(minutes=15))
    later = START + timedelta(minutes=1)
    await twin.publish(replace(seen, time=later))
    sweep = await field.sweep(later, lock_step=True)
    assert [(change.target, change.value) for change in sweep.local_changes] == [("load-boiler", 1.0)]
    stale = await field.sweep(START + timedelta(hours=1), lock_step=False)
    assert stale.loads == {"boiler": LoadReading()}
    assert "load-boiler" in stale.missing
    await field.close()
    await twin.close()
