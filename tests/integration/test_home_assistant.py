"""Home Assistant beside the house: gateway and dispatcher as processes, the broker as it is provisioned."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from chassis.settings import Settings
from contracts.envelope import Event
from contracts.events.measurement import SweepCompleted
from contracts.events.override import Granted
from contracts.events.safety import ModeChanged
from contracts.site import SiteConfig
from pems.broker import Broker, free_ports
from pems.home import bus_of, read_events
from tests.conftest import START, eventually, make_event, tick
from tests.integration.devices.conftest import FakeLoad, FakeObservation, FakeRoom
from twin.devices.loxone import LoxoneTwin

HERE = "127.0.0.1"


@pytest.fixture
def services(house: Broker) -> Iterator[None]:
    """Gateway and dispatcher; inverter, chargers, weather and prices are nowhere."""
    inverter, ocpp, web = free_ports(3)
    settings = house.settings
    environment = {
        **os.environ, "PEMS_SITE": settings.site, "PEMS_NATS_URL": settings.nats_url,
        "PEMS_HOME": str(settings.home), "PEMS_MQTT": f"{HERE}:{house.ports.mqtt}",
        "PEMS_INVERTER": f"{HERE}:{inverter}", "PEMS_OCPP_LISTEN": f"{HERE}:{ocpp}",
        "PEMS_WEATHER_URL": f"http://{HERE}:{web}", "PEMS_PRICES_URL": f"http://{HERE}:{web}",
    }  # fmt: skip
    processes = [
        subprocess.Popen([sys.executable, "-m", f"services.{name}"], env=environment)
        for name in ("gateway", "dispatcher")
    ]
    yield
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        process.wait(30)


async def found(settings: Settings, kind: type) -> list[Event]:
    async with bus_of(settings) as bus:
        return [
            e async for e in read_events(bus) if isinstance(e, Event) and isinstance(e.data, kind)
        ]


class Client:
    """What Home Assistant knows: it learns every topic but its own two from the discovery message."""

    def __init__(self, mqtt: aiomqtt.Client) -> None:
        self.mqtt = mqtt
        self.components: dict[str, Any] = {}
        self.documents: list[dict[str, Any]] = []

    async def run(self) -> None:
        async for message in self.mqtt.messages:
            if message.topic.matches("homeassistant/+/+/config"):
                self.components = json.loads(message.payload)["cmps"]
                for topic in {c["state_topic"] for c in self.components.values() if "state_topic" in c}:
                    await self.mqtt.subscribe(topic)
            elif not message.topic.matches("homeassistant/status"):
                self.documents.append(json.loads(message.payload))


@pytest.fixture(params=["directly", "by Mosquitto"])
def way(request: pytest.FixtureRequest, house: Broker, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """How Home Assistant comes to the house's broker: as ``client`` with MQTT 3.1.1, or with MQTT 5 to a
    Mosquitto that has the bridge of docs/devices.md."""
    password = house.settings.password("client")
    if request.param == "directly":
        yield {"port": house.ports.mqtt, "username": "client", "password": password}
        return
    binary = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        pytest.skip("mosquitto is missing: install the package mosquitto")
    page = (Path(__file__).parents[2] / "docs" / "devices.md").read_text()
    (bridge,) = re.findall(r"```\n(connection pems\n.*?)```", page, re.DOTALL)
    bridge = re.sub(r"(?m)^address .*", f"address {HERE}:{house.ports.mqtt}", bridge)
    bridge = re.sub(r"(?m)^remote_password .*", f"remote_password {password}", bridge)
    (port,) = free_ports(1)
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} {HERE}\nallow_anonymous true\n{bridge}")
    process = subprocess.Popen([binary, "-c", str(config)])
    yield {"port": port, "protocol": aiomqtt.ProtocolVersion.V5}
    process.terminate()
    process.wait(15)


@asynccontextmanager
async def home_assistant(way: dict[str, Any]) -> AsyncIterator[Client]:
    """Home Assistant, started again until it has met the house and been shown values: whoever meets it for
    the first time subscribes to its values after they were sent, and waits for the next minute's."""
    will = aiomqtt.Will("homeassistant/status", "offline")
    async with aiomqtt.Client(HERE, will=will, **way) as mqtt:
        await mqtt.subscribe("homeassistant/+/+/config")
        client = Client(mqtt)
        task = asyncio.create_task(client.run())
        for _ in range(20):
            await mqtt.publish("homeassistant/status", "online")
            await asyncio.sleep(1)
            if client.documents:
                break
        yield client
        task.cancel()


@pytest.mark.usefixtures("services")
async def test_home_assistant_sees_the_house_and_its_button_is_granted(
    house: Broker, site: SiteConfig, way: dict[str, Any]
) -> None:
    settings = house.settings
    miniserver = LoxoneTwin(
        "home", [room.id for room in site.rooms], HERE, house.ports.mqtt,
        loads=[load.id for load in site.loads], username="miniserver",
        password=settings.password("miniserver"),
    )  # fmt: skip
    await miniserver.connect()
    await miniserver.publish(
        FakeObservation(
            time=START, rooms={room.id: FakeRoom(20.5, True) for room in site.rooms},
            loads={"boiler": FakeLoad(True, 1_980.0)},
        )
    )  # fmt: skip
    mode = ModeChanged(time=START, before="safe", after="degraded", reasons=("starting",))
    async with bus_of(settings, "safety") as bus:
        await bus.append([make_event("safety.mode-changed", "house", mode, "safety")])
    async with bus_of(settings, "twin") as bus:
        await bus.append([tick(0)])
    await eventually(lambda: found(settings, SweepCompleted), 60)
    async with home_assistant(way) as client:
        seen = client.documents[-1]
        assert seen["mode"] == "degraded"
        assert seen["rooms"]["living"] == {"temperature_c": 20.5, "relay_on": True}
        assert seen["loads"] == {"boiler": {"on": True, "power_w": 1_980.0}}
        assert seen["soc"] is None  # the inverter is away
        button = client.components["load-boiler-run"]
        await client.mqtt.publish(button["command_topic"], button["payload_press"])
        (granted,) = await eventually(lambda: found(settings, Granted), 20)
        wish = granted.data
        assert (wish.target, wish.quantity, wish.value, wish.actor) == (
            "load-boiler", "relay", 1, "home-assistant",
        )  # fmt: skip
    await miniserver.close()
