"""The Miniserver adapter against the twin's Miniserver over a real MQTT broker."""

from __future__ import annotations

import asyncio
import json
import math
from datetime import timedelta

import aiomqtt
import pytest

from services.gateway.devices.base import DeviceUnavailable
from services.gateway.devices.loxone import LocalChange, LoxoneMiniserver
from tests.integration.devices.conftest import START, Broker, FakeLoad, FakeObservation, FakeRoom
from twin.devices.loxone import LoxoneTwin

ROOMS = ("living", "kitchen")
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def pair(broker: Broker):
    twin = LoxoneTwin("home", ROOMS, "127.0.0.1", broker.port, loads=["boiler"])
    miniserver = LoxoneMiniserver("home", ROOMS, "127.0.0.1", broker.port, loads=["boiler"])
    await twin.connect()
    await miniserver.connect()
    yield twin, miniserver
    await miniserver.close()
    await twin.close()


async def test_all_readings_are_in_when_the_clock_arrives(pair):
    twin, miniserver = pair
    for minute in range(50):
        at = START + minute * MINUTE
        rooms = {"living": FakeRoom(20 + minute / 100), "kitchen": FakeRoom(19.5, minute % 2 == 0)}
        assert await twin.publish(FakeObservation(at, rooms))
        await miniserver.wait_for_clock(at, 2)
        reading = await miniserver.read()
        assert reading.time == at
        assert reading.rooms["living"].temperature_c == pytest.approx(20 + minute / 100)
        assert reading.rooms["kitchen"].relay_on is (minute % 2 == 0)
        assert reading.rooms["kitchen"].origin == "thermostat"
        assert (reading.outdoor_c, reading.ghi_w_m2, reading.wind_m_s) == (-3.25, 120.0, None)
    assert miniserver.faults() == {}


async def test_a_command_is_echoed_and_its_lease_ends_in_simulated_time(pair):
    twin, miniserver = pair
    await twin.publish(FakeObservation())
    relay = miniserver.relay("living")
    until = START + 15 * MINUTE
    assert await relay.apply(1, until, "c-1") is True
    assert (await relay.read_back()).value == 1
    assert (await relay.read_back()).command_id == "c-1"
    assert twin.actuation(START)["living"] is True
    assert twin.actuation(until - timedelta(seconds=1))["living"] is True
    assert twin.actuation(until)["living"] is None, "after the lease the thermostat decides"
    assert twin.actuation(START)["kitchen"] is None
    assert await relay.apply(0, until, "c-2") is True
    assert twin.actuation(START)["living"] is False
    assert await relay.apply(None, until, "c-3") is True
    assert twin.actuation(START)["living"] is None
    assert miniserver.take_local_changes() == []


async def test_a_load_is_metered_commanded_and_given_back_to_its_timer(pair):
    twin, miniserver = pair
    await twin.publish(FakeObservation(loads={"boiler": FakeLoad(True, 1_980.04)}))
    await miniserver.wait_for_clock(START, 2)
    seen = (await miniserver.read()).loads["boiler"]
    assert (seen.relay_on, seen.power_w, seen.origin) == (True, 1_980.0, "timer")
    supply, until = miniserver.load("boiler"), START + 15 * MINUTE
    assert supply.device == "load-boiler"
    assert await supply.apply(0, until, "c-1") is True
    assert (await supply.read_back()).value == 0
    assert (await supply.read_back()).command_id == "c-1"
    assert twin.supplies(START) == {"boiler": False}
    assert twin.supplies(until) == {"boiler": None}, "after the lease its timer decides"
    assert twin.actuation(START) == {"living": None, "kitchen": None}
    assert await supply.apply(None, until, "c-2") is True
    assert twin.supplies(START) == {"boiler": None}
    assert miniserver.take_local_changes() == []
    await twin.press("load-boiler", True, until)
    assert await supply.apply(0, until, "c-3") is False, "the person has priority"
    assert miniserver.take_local_changes() == [LocalChange("load-boiler", True, START)]
    with pytest.raises(KeyError, match="no load 'sauna'"):
        miniserver.load("sauna")


async def test_a_load_without_a_meter_and_a_miniserver_that_names_no_origin(pair, broker, eventually):
    twin, miniserver = pair
    await twin.publish(FakeObservation())
    await miniserver.wait_for_clock(START, 2)
    bodies = {
        "state": '{"time": "2026-01-15T06:01:00Z", "loads": {"boiler": {"on": true}, "sauna": {}}}',
        "load/sauna/state": '{"on": true}',
        "clock": "2026-01-15T06:01:00Z",
    }
    async with aiomqtt.Client("127.0.0.1", broker.port) as stranger:
        for topic, body in bodies.items():
            await stranger.publish(f"loxone/home/{topic}", body)
    await miniserver.wait_for_clock(START + MINUTE, 2)
    seen = (await miniserver.read()).loads["boiler"]
    assert (seen.relay_on, seen.power_w, seen.origin) == (True, None, "timer")
    assert miniserver.faults() == {"state.loads.sauna": 1, "echo.sauna": 1}


async def test_a_lease_that_is_over_is_refused(pair):
    twin, miniserver = pair
    await twin.publish(FakeObservation())
    assert await miniserver.relay("living").apply(1, START, "late") is False
    assert await miniserver.relay("living").apply(2, START + MINUTE, "two") is False
    assert twin.actuation(START)["living"] is None


async def test_a_person_at_the_switch_wins_and_is_noticed_once(pair, eventually):
    twin, miniserver = pair
    await twin.publish(FakeObservation())
    relay = miniserver.relay("living")
    assert await relay.apply(0, START + 30 * MINUTE, "c-1")
    await twin.press("relay-living", True, START + 10 * MINUTE)
    assert await relay.apply(0, START + 30 * MINUTE, "c-2") is False, "the person has priority"
    assert (await relay.read_back()).value == 1
    for minute in (1, 2, 3):
        at = START + minute * MINUTE
        await twin.publish(FakeObservation(at, {"living": FakeRoom(20, True)}))
        await miniserver.wait_for_clock(at, 2)
    assert miniserver.take_local_changes() == [LocalChange("relay-living", True, START)]
    assert miniserver.take_local_changes() == []
    assert twin.actuation(START + 10 * MINUTE)["living"] is False, "the command's lease still runs"


async def test_a_command_of_somebody_else_is_noticed(pair, broker, eventually):
    twin, miniserver = pair
    await twin.publish(FakeObservation())
    await miniserver.wait_for_clock(START, 2)
    body = json.dumps({"on": True, "until": "2026-01-15T07:00:00Z", "id": "rogue"})
    async with aiomqtt.Client("127.0.0.1", broker.port) as stranger:
        await stranger.publish("loxone/home/room/living/relay/command", body)
        await eventually(lambda: twin.actuation(START)["living"] is True, "the foreign command")
        await eventually(lambda: len(miniserver._changes) == 1, "the notice")
    assert [change.device for change in miniserver.take_local_changes()] == ["relay-living"]


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        (b"\xff\xfe", "'utf-8' codec can't decode byte 0xff"),
        (b"[]", "loxone/home/state"),
        (b'{"time": "2026-01-15T06:01:00"}', "state.time"),
        (b'{"time": 5}', "state.time"),
        (b'{"time": "2026-01-15T06:01:00Z", "rooms": {"cellar": {}}}', "state.rooms.cellar"),
        (
            b'{"time": "2026-01-15T06:01:00Z", "rooms": {"living": {"temperature_c": 85.0}}}',
            "living.temperature_c",
        ),
        (
            b'{"time": "2026-01-15T06:01:00Z", "rooms": {"living": {"temperature_c": "21"}}}',
            "living.temperature_c",
        ),
        (
            b'{"time": "2026-01-15T06:01:00Z", "rooms": {"living": {"temperature_c": NaN}}}',
            "living.temperature_c",
        ),
        (
            b'{"time": "2026-01-15T06:01:00Z", "rooms": {"living": {"on": 1}}}',
            "relay-living.on",
        ),
        (b"[" * 100_000, "maximum recursion depth exceeded while decoding a JSON array"),
    ],
)
async def test_garbage_is_counted_and_never_becomes_a_value(pair, broker, payload, fault):
    twin, miniserver = pair
    await twin.publish(FakeObservation())
    await miniserver.wait_for_clock(START, 2)
    async with aiomqtt.Client("127.0.0.1", broker.port) as stranger:
        await stranger.publish("loxone/home/state", payload)
        await stranger.publish("loxone/home/clock", "2026-01-15T06:01:00Z")
    await miniserver.wait_for_clock(START + MINUTE, 2)
    assert any(key.startswith(fault[:40]) for key in miniserver.faults()), miniserver.faults()
    living = (await miniserver.read()).rooms["living"]
    broken = "temperature" in fault
    assert living.temperature_c == (None if broken else 20.9)
    assert living.relay_on is (None if "relay-" in fault else False)


async def test_null_is_unknown_and_no_fault(pair):
    twin, miniserver = pair
    await twin.publish(FakeObservation(rooms={"living": FakeRoom(math.nan)}))
    await miniserver.wait_for_clock(START, 2)
    assert (await miniserver.read()).rooms["living"].temperature_c is None
    assert (await miniserver.read()).rooms["kitchen"].temperature_c is None
    assert miniserver.faults() == {}


async def test_a_missing_clock_is_named(pair):
    twin, miniserver = pair
    await twin.publish(FakeObservation())
    with pytest.raises(DeviceUnavailable, match=r"loxone at mqtt://.*no clock 2026-01-15T07:00"):
        await miniserver.wait_for_clock(START + 60 * MINUTE, 0.2)


async def test_an_update_that_began_before_we_listened_is_not_complete(broker):
    miniserver = LoxoneMiniserver("home", ROOMS, "127.0.0.1", broker.port)
    await miniserver.connect()
    async with aiomqtt.Client("127.0.0.1", broker.port) as stranger:
        await stranger.publish("loxone/home/clock", "2026-01-15T06:00:00Z")
        with pytest.raises(DeviceUnavailable, match="no clock"):
            await miniserver.wait_for_clock(START, 0.3)
        await stranger.publish("loxone/home/state", '{"time": "2026-01-15T06:01:00Z"}')
        await stranger.publish("loxone/home/clock", "2026-01-15T06:01:00Z")
        await miniserver.wait_for_clock(START + MINUTE, 2)
    await miniserver.close()


async def test_no_echo_is_a_lost_device(broker):
    miniserver = LoxoneMiniserver("home", ROOMS, "127.0.0.1", broker.port)
    await miniserver.connect()
    with pytest.raises(DeviceUnavailable, match="no echo of command c-1"):
        await miniserver.relay("living").apply(1, START, "c-1")
    await miniserver.close()


async def test_a_gateway_that_starts_later_gets_the_last_states(broker):
    twin = LoxoneTwin("home", ROOMS, "127.0.0.1", broker.port)
    await twin.connect()
    await twin.publish(FakeObservation())
    miniserver = LoxoneMiniserver("home", ROOMS, "127.0.0.1", broker.port)
    await miniserver.connect()
    await miniserver.wait_for_clock(START, 2)
    assert (await miniserver.read()).rooms["living"].temperature_c == 20.9
    await miniserver.close()
    await twin.close()


async def test_a_lost_broker_is_named_and_both_sides_come_back(own_broker, eventually):
    twin = LoxoneTwin("home", ROOMS, "127.0.0.1", own_broker.port)
    miniserver = LoxoneMiniserver("home", ROOMS, "127.0.0.1", own_broker.port)
    await twin.connect()
    await miniserver.connect()
    await twin.publish(FakeObservation())
    await miniserver.wait_for_clock(START, 2)
    own_broker.stop()
    await eventually(lambda: not miniserver._link.connected, "the loss")
    with pytest.raises(DeviceUnavailable, match=r"loxone at mqtt://127\.0\.0\.1"):
        await miniserver.read()
    with pytest.raises(DeviceUnavailable):
        await miniserver.relay("living").apply(1, START + MINUTE, "c-1")
    await eventually(lambda: twin._client is None, "the loss at the twin")
    assert await twin.publish(FakeObservation(START + MINUTE)) is False
    own_broker.start()
    await asyncio.to_thread(own_broker.ready)
    await eventually(lambda: twin._client is not None and miniserver._link.connected, "both back")
    await twin.publish(FakeObservation(START + 2 * MINUTE))
    await miniserver.wait_for_clock(START + 2 * MINUTE, 2)
    assert await miniserver.relay("living").apply(1, START + 9 * MINUTE, "c-2") is True
    await miniserver.close()
    await twin.close()
