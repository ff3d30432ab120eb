"""Who may say what: the broker enforces the catalogue alone, whatever a client's code does."""

from __future__ import annotations

import asyncio
import json

import aiomqtt
import pytest
from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig

from chassis.provision import USERS, permissions
from contracts import catalog
from contracts.site import SiteConfig
from pems.broker import Broker
from pems.home import bus_of
from services.gateway.devices.homeassistant import BIRTH_TOPIC, discovery, state_topic
from tests.conftest import tick

VERDICT = "pems.home.command.relay-living.approved"
OTHERS = [user for user in USERS if user != "safety"]


async def last_sequence(house: Broker) -> int:
    async with bus_of(house.settings) as bus:
        return await bus.last_sequence()


@pytest.mark.parametrize("user", OTHERS)
async def test_nobody_but_safety_can_put_a_verdict_on_the_log(house: Broker, user: str) -> None:
    before = await last_sequence(house)
    async with bus_of(house.settings, user) as bus:
        await bus.client.publish(VERDICT, b"{}")
        await bus.client.flush()
    await asyncio.sleep(0.1)
    assert await last_sequence(house) == before


async def test_safety_itself_can(house: Broker) -> None:
    before = await last_sequence(house)
    async with bus_of(house.settings, "safety") as bus:
        await bus.js.publish(VERDICT, b"{}", stream=bus.stream)
    assert await last_sequence(house) == before + 1


async def test_a_client_may_ask_and_nothing_else(house: Broker) -> None:
    async with bus_of(house.settings, "client") as bus:
        await bus.js.publish("pems.home.override.house.requested", b"{}", stream=bus.stream)
        before = await bus.last_sequence()
        for row in catalog.CATALOG:
            if "client" in row.by:
                continue
            entity = row.entity.split("{")[0] + "x" if "{" in row.entity else row.entity
            await bus.client.publish(catalog.subject("home", row.type, entity), b"{}")
        await bus.client.flush()
        await asyncio.sleep(0.1)
        assert await bus.last_sequence() == before


@pytest.mark.parametrize("user", [*catalog.SERVICES, "twin", "client", "reader", "miniserver"])
async def test_no_service_may_create_or_change_a_consumer_or_stream(
    house: Broker, user: str
) -> None:
    async with bus_of(house.settings, user) as bus:
        with pytest.raises((NatsError, asyncio.TimeoutError)):
            async with asyncio.timeout(1):
                await bus.js.add_consumer(
                    house.settings.stream,
                    ConsumerConfig(name="evil", deliver_subject=VERDICT),
                )
        for subject in (
            f"$JS.API.STREAM.UPDATE.{house.settings.stream}",
            f"$JS.API.STREAM.DELETE.{house.settings.stream}",
            f"$JS.API.CONSUMER.CREATE.{house.settings.stream}.evil.pems.home.command.*.proposed",
        ):
            await bus.client.publish(subject, json.dumps({"deliver_subject": VERDICT}).encode())
        await bus.client.flush()
    async with bus_of(house.settings, "operator") as bus:
        names = {info.name for info in await bus.js.consumers_info(house.settings.stream)}
        assert names == set(catalog.SERVICES)


@pytest.mark.parametrize("user", [*catalog.SERVICES, "reader", "twin"])
async def test_a_reply_subject_cannot_smuggle_a_message_onto_the_verdict_subject(
    house: Broker, user: str
) -> None:
    """The server answers requests on the requester's reply subject; that must not be a way in."""
    async with bus_of(house.settings, "twin") as bus:
        await bus.append([tick(0)])
    async with bus_of(house.settings, user) as bus:
        before = await bus.last_sequence()
        stream = house.settings.stream
        await bus.client.publish(
            f"$JS.API.DIRECT.GET.{stream}", b'{"seq":3}', reply=VERDICT
        )
        await bus.client.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{user}", b'{"batch":1,"no_wait":true}',
            reply=VERDICT,
        )  # fmt: skip
        await bus.client.flush()
        await asyncio.sleep(0.2)
        smuggled = [e async for e in bus.read(before + 1) if e.subject == VERDICT]
    # what may arrive is a copy of what stands on the log, never what the user wrote, and it
    # carries no valid signature for that subject: the gateway's own check refuses it
    for entry in smuggled:
        assert entry.headers.get("ce-type") != "command.approved"


async def test_home_assistant_reads_what_is_shown_and_says_when_it_starts(
    house: Broker, site: SiteConfig
) -> None:
    """Home Assistant is the user client; only the gateway shows, on two topics."""
    shown = [discovery(site)[0], state_topic(site.site)]
    held_back = ["homeassistant/sensor/x/config", "homeassistant/pems/other/state", "tasmota/x"]
    async with mqtt_of(house, "operator") as watcher:
        await watcher.subscribe([("homeassistant/#", 0), ("tasmota/#", 0)])
        for user in USERS:
            if user == "operator":
                continue
            async with mqtt_of(house, user) as mqtt:
                for topic in (*shown, *held_back, BIRTH_TOPIC):
                    await mqtt.publish(topic, user, qos=1)
        await watcher.publish("homeassistant/end", "", qos=1)
        heard = []
        async with asyncio.timeout(10):
            async for message in watcher.messages:
                if message.topic.matches("homeassistant/end"):
                    break
                heard.append((message.payload.decode(), message.topic.value))
    assert heard == [*(("gateway", topic) for topic in shown), ("client", BIRTH_TOPIC)]


async def test_what_home_assistant_may_subscribe_to(house: Broker) -> None:
    granted = {
        user: await subscriptions(house, user, "homeassistant/#", BIRTH_TOPIC, "homeassistant/+/+/config",
                                  "loxone/home/state", "pems/home/#", "tasmota/discovery/#")
        for user in ("client", "gateway", "miniserver", "dispatcher", "reader")
    }  # fmt: skip
    assert granted == {
        "client": [True, True, True, False, False, False],
        "gateway": [False, True, False, True, False, False],
        "miniserver": [False, False, False, True, False, False],
        "dispatcher": [False] * 6,
        "reader": [False] * 6,
    }


async def subscriptions(house: Broker, user: str, *topics: str) -> list[bool]:
    """Which of them the broker grants, asked in one message as Home Assistant does."""
    async with mqtt_of(house, user) as mqtt:
        return [not code.is_failure for code in await mqtt.subscribe([(topic, 0) for topic in topics])]


def mqtt_of(house: Broker, user: str) -> aiomqtt.Client:
    """A connection to the broker's MQTT listener, with a last will as Home Assistant has one."""
    return aiomqtt.Client(
        "127.0.0.1", house.ports.mqtt, username=user, password=house.settings.password(user),
        will=aiomqtt.Will(BIRTH_TOPIC, "offline"),
    )  # fmt: skip


def test_permissions_grant_no_wildcard_api(house: Broker) -> None:
    for user in USERS:
        granted = permissions(user, house.settings)["publish"]
        subjects = granted if isinstance(granted, list) else []
        assert "$JS.API.>" not in subjects
        assert ">" not in subjects
        assert not [s for s in subjects if s.startswith("$JS.API.CONSUMER.CREATE")]
    assert permissions("operator", house.settings)["publish"] == {
        "deny": ["pems.home.command.>"]
    }


def test_secrets_are_for_their_owner_only(house: Broker) -> None:
    files = [path for path in (house.settings.home / "secrets").rglob("*") if path.is_file()]
    assert len(files) == len(USERS) + 1
    for path in [*files, house.settings.home / "nats-server.conf"]:
        assert path.stat().st_mode & 0o077 == 0, path
