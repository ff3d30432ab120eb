"""Home Assistant: the documented form of discovery, requests that the house understands, and a link
that comes and goes."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import yaml

from contracts.events.override import Requested
from contracts.site import SiteConfig
from services.gateway.core.readings import EvReading, HouseReading, LoadReading, RoomReading, Sweep
from services.gateway.devices.homeassistant import HomeAssistant, discovery, state, state_topic
from tests.integration.devices.conftest import Broker

SITE = SiteConfig.model_validate(
    yaml.safe_load((Path(__file__).parents[3] / "deploy" / "site.yaml").read_text())
)
# https://www.home-assistant.io/integrations/{sensor,binary_sensor,number,button}.mqtt/
REQUIRED = {
    "sensor": {"value_template"},
    "binary_sensor": {"value_template"},
    "number": {"command_topic"},
    "button": {"command_topic"},
}
CONFIG = "homeassistant/device/pems-home/config"
SWEEP = Sweep(
    rooms={room.id: RoomReading(20.5, True) for room in SITE.rooms},
    outdoor_c=-3.25,
    house=HouseReading(**{name: 0.5 for name in HouseReading.__slots__}),
    evs={ev.id: EvReading(True, 7_000.0, 1_500.0) for ev in SITE.evs},
    loads={load.id: LoadReading(True, 1_980.0) for load in SITE.loads},
)


@pytest.fixture
def message():
    topic, payload = discovery(SITE)
    assert topic == "homeassistant/device/pems-home/config"
    return json.loads(payload)


def test_the_message_has_the_documented_form(message):
    assert message["dev"]["ids"] == ["pems-home"]
    assert message["o"]["name"] == "pems"
    components = message["cmps"]
    unique = {component["unique_id"] for component in components.values()}
    assert len(unique) == len(components)
    for key, component in components.items():
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", key)
        assert REQUIRED[component["p"]] <= component.keys(), key
    assert sum(key.endswith("-temperature") for key in components) == len(SITE.rooms)
    assert components["grid_w"]["device_class"] == "power"
    assert components["import_wh"]["state_class"] == "total_increasing"


def test_every_button_and_number_asks_for_a_legal_override(message):
    asked = 0
    for component in message["cmps"].values():
        if component["p"] == "button":
            body = component["payload_press"]
        elif component["p"] == "number":
            body = component["command_template"].replace("{{ value }}", "21.5")
        else:
            continue
        wish = Requested.model_validate_json(body)
        assert component["command_topic"] == f"pems/home/override/{wish.target}/requested"
        assert (wish.actor, wish.source) == ("home-assistant", "mqtt")
        assert wish.minutes is not None
        asked += 1
    assert asked == len(SITE.rooms) + 2 * len(SITE.evs) + 2 * len(SITE.loads) + 1


def test_a_load_runs_as_long_as_its_programme_or_is_held_off(message):
    run, hold = (message["cmps"][f"load-boiler-{key}"] for key in ("run", "hold"))
    wishes = [Requested.model_validate_json(button["payload_press"]) for button in (run, hold)]
    assert [(w.target, w.quantity, w.value, w.minutes) for w in wishes] == [
        ("load-boiler", "relay", 1, 150), ("load-boiler", "relay", 0, 120),
    ]  # fmt: skip


def test_what_no_device_of_the_house_measures_is_no_entity():
    inverter = SITE.inverter.model_copy(update={"curtailable": False})
    plain = SITE.model_copy(update={"battery": None, "inverter": inverter, "evs": (), "loads": ()})
    components = json.loads(discovery(plain)[1])["cmps"]
    assert not {"pv_w", "grid_w", "import_wh", "soc"} & components.keys()
    assert {"outdoor_c", "mode", "away"} <= components.keys()
    assert not [key for key in components if key.startswith(("ev-", "load-"))]


PATH = re.compile(r"value_json((?:\.\w+|\['[^']+'\])+)")


def resolve(template: str, document: Any) -> list[Any]:
    """What the expressions of a template find in the document; KeyError where they find nothing."""
    found = []
    for path in PATH.findall(template):
        value = document
        for name, quoted in re.findall(r"\.(\w+)|\['([^']+)'\]", path):
            value = value[name or quoted]
        found.append(value)
    return found


@pytest.mark.parametrize(("sweep", "mode"), [(SWEEP, "normal"), (Sweep(), None)])
def test_every_template_finds_its_value_in_the_document(message, sweep, mode):
    document = json.loads(state(SITE, sweep, mode))
    read = 0
    for key, component in message["cmps"].items():
        reads = "value_template" in component
        assert (component.get("state_topic") == state_topic("home")) == reads, key
        if not reads:  # a number that had the document for its state would refuse it every minute
            assert "state_topic" not in component | message, key
            continue
        assert component["expire_after"] == 900, key
        values = resolve(component["value_template"], document)
        assert values and all((value is None) == (mode is None) for value in values), key
        read += 1
    assert read == 12 + 2 * (len(SITE.rooms) + len(SITE.evs) + len(SITE.loads))


def test_what_is_not_known_is_null_and_never_nan():
    sick = replace(
        SWEEP, outdoor_c=float("nan"), house=HouseReading(pv_w=float("inf"), soc=0.5),
        rooms={SITE.rooms[0].id: RoomReading(float("nan"), False)},
    )  # fmt: skip
    raw = state(SITE, sick, "safe")
    assert b"NaN" not in raw and b"Infinity" not in raw
    document = json.loads(raw)
    assert (document["outdoor_c"], document["pv_w"], document["soc"]) == (None, None, 0.5)
    assert document["rooms"][SITE.rooms[0].id] == {"temperature_c": None, "relay_on": False}
    assert document["rooms"][SITE.rooms[1].id] == {"temperature_c": None, "relay_on": None}
    assert document["mode"] == "safe"


class Watcher:
    """What somebody who reads everything has been sent."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self.client, self.seen = client, list[aiomqtt.Message]()

    async def run(self) -> None:
        with suppress(aiomqtt.MqttError):  # the broker is stopped
            async for message in self.client.messages:
                self.seen.append(message)

    def documents(self) -> list[Any]:
        return [json.loads(m.payload) for m in self.on(state_topic("home"))]

    def on(self, topic: str) -> list[aiomqtt.Message]:
        return [m for m in self.seen if m.topic.value == topic]


@asynccontextmanager
async def watching(port: int) -> AsyncIterator[Watcher]:
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe("homeassistant/#")
        watcher = Watcher(client)
        task = asyncio.create_task(watcher.run())
        yield watcher
        task.cancel()


@asynccontextmanager
async def shown(port: int) -> AsyncIterator[HomeAssistant]:
    viewer = HomeAssistant(SITE, "127.0.0.1", port)
    await viewer.connect()
    yield viewer
    await viewer.close()


async def retained(port: int, topic: str) -> bytes:
    """What somebody who subscribes now is given. A retained message of QoS 0 may be on its way into
    the broker's store while he subscribes, and then reaches only those who come after him."""
    for _ in range(10):
        async with aiomqtt.Client("127.0.0.1", port) as client:
            await client.subscribe(topic)
            try:
                async with asyncio.timeout(1):
                    message = await anext(client.messages)
            except TimeoutError:
                continue
            if message.retain:
                assert isinstance(message.payload, bytes)
                return message.payload
    raise AssertionError(f"nothing is retained on {topic}")


async def test_whoever_comes_later_finds_what_the_house_is_but_no_old_values(own_broker: Broker, eventually):
    async with shown(own_broker.port) as viewer, watching(own_broker.port) as watcher:
        viewer.show(SWEEP, "normal")
        await eventually(lambda: len(watcher.documents()) == 1)
    announced = await retained(own_broker.port, CONFIG)
    assert json.loads(announced)["o"]["name"] == "pems"
    async with watching(own_broker.port) as late:
        await eventually(lambda: late.on(CONFIG))
        await asyncio.sleep(0.2)
        assert not late.documents()


async def test_home_assistant_that_starts_is_told_everything_again(own_broker: Broker, eventually):
    async with shown(own_broker.port) as viewer, watching(own_broker.port) as watcher:
        viewer.show(SWEEP, "degraded")
        await eventually(lambda: watcher.on(CONFIG) and watcher.documents())
        await asyncio.sleep(1.5)  # values that come while others are sent are sent once more
        for payload, announced in (("offline", 0), ("online", 1)):
            watcher.seen.clear()
            await watcher.client.publish("homeassistant/status", payload)
            await asyncio.sleep(1.5)
            assert len(watcher.on(CONFIG)) == len(watcher.documents()) == announced
        assert watcher.documents()[0]["mode"] == "degraded"
        assert watcher.documents()[0]["loads"]["boiler"] == {"on": True, "power_w": 1_980.0}


async def test_a_broker_that_is_away_holds_up_nobody_and_gets_the_newest_values(
    own_broker: Broker, eventually
):
    own_broker.stop()
    began = time.monotonic()
    async with shown(own_broker.port) as viewer:
        for outdoor_c in (1.0, 2.0, 3.0):
            viewer.show(replace(SWEEP, outdoor_c=outdoor_c), "normal")
        assert time.monotonic() - began < 0.2
        await asyncio.sleep(2.5)  # the first attempts have failed
        for last in (3.0, 4.0):  # it comes, and comes again after a restart
            own_broker.start()
            await asyncio.to_thread(own_broker.ready)
            async with watching(own_broker.port) as watcher:
                async with asyncio.timeout(15):
                    while not (watcher.documents() and watcher.on(CONFIG)):
                        await asyncio.sleep(0.05)
                assert {document["outdoor_c"] for document in watcher.documents()} == {last}
            own_broker.stop()
            viewer.show(replace(SWEEP, outdoor_c=4.0), "normal")


async def test_a_simulation_at_full_speed_shows_about_one_document_a_second(own_broker: Broker, eventually):
    async with shown(own_broker.port) as viewer, watching(own_broker.port) as watcher:
        began = time.monotonic()
        for minute in range(500):
            viewer.show(replace(SWEEP, outdoor_c=minute / 10), "normal")
            await asyncio.sleep(0.003)
        await eventually(lambda: watcher.documents() and watcher.documents()[-1]["outdoor_c"] == 49.9)
        assert 2 <= len(watcher.documents()) <= time.monotonic() - began + 2
