"""Home Assistant discovery: the documented form, and requests that the house understands."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import aiomqtt
import pytest
import yaml

from contracts.events.override import Requested
from contracts.site import SiteConfig
from services.gateway.devices.homeassistant import HomeAssistant, discovery, state, state_topic

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
    assert asked == len(SITE.rooms) + 2 * len(SITE.evs) + 1


def test_values_are_plain_json_and_nan_is_refused():
    assert json.loads(state({"pv_w": 1.5, "soc": None})) == {"pv_w": 1.5, "soc": None}
    with pytest.raises(ValueError, match="JSON"):
        state({"pv_w": float("nan")})


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


async def test_whoever_comes_later_finds_the_retained_message(broker):
    house = HomeAssistant(SITE, "127.0.0.1", broker.port)
    await house.connect()
    announced = await retained(broker.port, "homeassistant/device/pems-home/config")
    assert json.loads(announced)["o"]["name"] == "pems"
    await house.close()


async def test_values_reach_whoever_is_there(broker):
    house = HomeAssistant(SITE, "127.0.0.1", broker.port)
    await house.connect()
    async with aiomqtt.Client("127.0.0.1", broker.port) as home_assistant:
        await home_assistant.subscribe(state_topic("home"))
        await house.publish({"pv_w": 5.0})
        async with asyncio.timeout(5):
            message = await anext(home_assistant.messages)
    assert json.loads(message.payload) == {"pv_w": 5.0}
    assert not message.retain
    await house.close()
