"""The whole boundary at once: the simulated house, its devices on the wire, every adapter."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from contracts.site import SiteConfig
from services.gateway.devices.ev import OcppCentralSystem
from services.gateway.devices.inverter import GrowattInverter, InverterConfig
from services.gateway.devices.loxone import LoxoneMiniserver
from tests.integration.devices.conftest import Broker
from twin.devices.charger import ChargerTwin
from twin.devices.growatt import GrowattTwin
from twin.devices.loxone import LoxoneTwin
from twin.generate import default_scenario
from twin.house import House
from twin.state import Actuation

SITE = SiteConfig.model_validate(
    yaml.safe_load((Path(__file__).parents[3] / "deploy" / "site.yaml").read_text())
)
MINUTE = timedelta(minutes=1)
MINUTES = 45
LEASE = 12 * MINUTE


async def live(broker: Broker) -> list[object]:
    """Live through 45 minutes with commands every 15; the readings and what was obeyed."""
    battery, rooms = SITE.battery, [room.id for room in SITE.rooms]
    assert battery is not None
    scenario = default_scenario()
    house = House.warmed(SITE, scenario, 7, scenario.start)
    now = scenario.start
    loads = [load.id for load in SITE.loads]
    loxone_twin = LoxoneTwin("home", rooms, "127.0.0.1", broker.port, loads=loads)
    loxone = LoxoneMiniserver("home", rooms, "127.0.0.1", broker.port, loads=loads)
    growatt = GrowattTwin(
        battery.charge_max_w, battery.discharge_max_w, SITE.inverter.ac_limit_w, port=0
    )
    await growatt.connect()
    inverter = GrowattInverter(
        "127.0.0.1",
        growatt.port,
        InverterConfig(
            charge_rated_w=battery.charge_max_w,
            discharge_rated_w=battery.discharge_max_w,
            ac_rated_w=SITE.inverter.ac_limit_w,
            soc_min=battery.soc_min,
            soc_max=battery.soc_max,
            grid_charge=battery.grid_charge,
            export_limit_w=SITE.grid.export_limit_w,
        ),
    )
    central = OcppCentralSystem("127.0.0.1", 0, {"car": "WB"}, lambda: now)
    await central.connect()
    wallbox = ChargerTwin("car", f"ws://127.0.0.1:{central.port}/ocpp/WB")
    devices = (loxone_twin, loxone, inverter, wallbox)
    for device in devices:
        await device.connect()
    record: list[object] = []
    for minute in range(MINUTES):
        seen = house.observe()
        now = seen.time
        for twin in (growatt, wallbox, loxone_twin):
            assert await twin.publish(seen)
        await loxone.wait_for_clock(now, 2)
        home, meters = await loxone.read(), await inverter.read()
        car = await central.charger("car").read()
        for room in rooms:
            assert home.rooms[room].temperature_c == pytest.approx(seen.rooms[room].temperature_c)
            assert home.rooms[room].relay_on == seen.rooms[room].relay_on
        for load in loads:
            assert home.loads[load].relay_on == seen.loads[load].relay_on
            assert home.loads[load].power_w == pytest.approx(seen.loads[load].power_w, abs=0.06)
        assert meters.grid_w == pytest.approx(seen.grid_w, abs=0.11)
        assert meters.battery_w == pytest.approx(seen.battery_w, abs=0.06)
        assert meters.import_wh == pytest.approx(seen.import_wh, abs=51)
        assert car.plugged == seen.evs["car"].plugged
        record += [asdict(meters), asdict(home), asdict(car)]
        await inverter.tidy(now)
        if minute % 15 == 0:
            until, turn = now + LEASE, minute // 15
            for i, room in enumerate(rooms):
                assert await loxone.relay(room).apply((i + turn) % 2, until, f"{minute}-{room}")
            for load in loads:
                assert await loxone.load(load).apply(turn % 2, until, f"{minute}-{load}")
            power = (3_000, -2_000)[turn % 2]
            assert await inverter.battery.apply(power, until, f"{minute}-battery")
            assert await central.charger("car").apply(8_000, until, f"{minute}-car")
        leased = minute % 15 < LEASE // MINUTE
        told = Actuation(
            relays=loxone_twin.actuation(now),
            battery_power_w=growatt.battery_power_w(now),
            ev_current_a={"car": wallbox.current_a(now)},
            export_limit_w=growatt.export_limit_w(),
            loads=loxone_twin.supplies(now),
        )
        others = (*told.loads.values(), told.battery_power_w, told.ev_current_a["car"])
        for state in (*told.relays.values(), *others):
            assert (state is not None) is leased, f"minute {minute}"
        record.append(told)
        house.step(now + MINUTE, told)
    for device in (*devices, central, growatt):
        await device.close()
    return record


async def test_the_house_obeys_and_reports_the_same_every_time(broker):
    assert await live(broker) == await live(broker)
