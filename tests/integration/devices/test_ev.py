"""The OCPP central system against the twin's wallbox over a real websocket."""

from __future__ import annotations

import asyncio
import json
import math
from datetime import timedelta

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from services.gateway.devices.base import DeviceUnavailable
from services.gateway.devices.ev import OcppCentralSystem
from services.gateway.devices.ev_session import Session
from tests.integration.devices.conftest import START, FakeEv, FakeObservation, free_port
from twin.devices.charger import ChargerTwin

MINUTE = timedelta(minutes=1)


class Clock:
    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now


def seen(at=START, **ev) -> FakeObservation:
    return FakeObservation(at, evs={"car": FakeEv(**ev)})


@pytest.fixture
async def trio():
    clock = Clock()
    central = OcppCentralSystem("127.0.0.1", 0, {"car": "WB-1"}, clock)
    await central.connect()
    twin = ChargerTwin("car", f"ws://127.0.0.1:{central.port}/ocpp/WB-1")
    await twin.connect()
    yield twin, central.charger("car"), clock
    await twin.close()
    await central.close()


async def test_a_session_from_plug_to_plug(trio):
    twin, charger, _ = trio
    assert await twin.publish(seen())
    reading = await charger.read()
    assert (reading.time, reading.plugged, reading.power_w) == (START, False, 0.0)
    assert (reading.session_wh, reading.target_wh, reading.departure) == (None, None, None)
    leaves = START + timedelta(hours=20)
    for minute in range(1, 6):
        at = START + minute * MINUTE
        car = {"plugged": True, "power_w": 7_360.0, "session_energy_wh": 100.0 * minute}
        assert await twin.publish(seen(at, target_energy_wh=15_000.0, departure=leaves, **car))
        reading = await charger.read()
        assert (reading.time, reading.plugged, reading.power_w) == (at, True, 7_360.0)
        assert reading.session_wh == 100.0 * minute
        assert (reading.target_wh, reading.departure) == (15_000.0, leaves)
        assert reading.offered_a == 16.0
    await twin.publish(seen(START + 6 * MINUTE))
    reading = await charger.read()
    assert (reading.plugged, reading.session_wh, reading.target_wh) == (False, None, None)
    await twin.publish(seen(START + 7 * MINUTE, plugged=True, session_energy_wh=30.0))
    reading = await charger.read()
    assert (reading.plugged, reading.session_wh, reading.target_wh) == (True, 30.0, None)
    assert charger.faults() == {}


@pytest.mark.parametrize("plugged", [True, False])
async def test_a_limit_holds_for_its_lease_and_then_the_wallbox_s_own_default(trio, plugged):
    twin, charger, _ = trio
    await twin.publish(seen(plugged=plugged))
    until = START + 15 * MINUTE
    assert twin.current_a(START) is None
    assert await charger.apply(10_099, until, "c-1") is True
    assert twin.current_a(START) == 10.0, "rounded down to 0.1 A"
    assert (await charger.read_back()).value == 10_000
    assert await charger.apply(0, until, "c-2") is True
    assert twin.current_a(until - timedelta(seconds=1)) == 0.0
    assert twin.current_a(until) is None, "the wallbox falls back by itself"
    assert (await charger.read_back()).value == 0
    assert await charger.apply(None, until, "c-3") is True
    assert twin.current_a(START) is None
    assert (await charger.read_back()).value == 16_000


async def test_a_limit_given_before_plugging_in_holds_for_the_new_session(trio):
    twin, charger, clock = trio
    await twin.publish(seen())
    await charger.apply(6_000, START + 60 * MINUTE, "c-1")
    await twin.publish(seen(START + MINUTE, plugged=True))
    assert twin.current_a(START + MINUTE) == 6.0
    clock.now = START + MINUTE
    await charger.apply(12_000, START + 10 * MINUTE, "c-2")
    assert twin.current_a(START + MINUTE) == 12.0, "the transaction's profile goes first"
    assert twin.current_a(START + 10 * MINUTE) == 6.0
    await twin.publish(seen(START + 2 * MINUTE))
    assert "TxProfile" not in twin.profiles, "it ends with its transaction"


async def test_a_lease_that_is_over_is_refused(trio):
    twin, charger, _ = trio
    await twin.publish(seen())
    assert await charger.apply(6_000, START, "c-1") is False
    assert await charger.apply(-6_000, START + MINUTE, "c-2") is False
    assert twin.profiles == {}


async def test_a_restarted_central_system_learns_the_running_session():
    clock, port = Clock(), free_port()
    central = OcppCentralSystem("127.0.0.1", port, {"car": "WB-1"}, clock)
    await central.connect()
    twin = ChargerTwin("car", f"ws://127.0.0.1:{port}/ocpp/WB-1")
    await twin.connect()
    car = {"plugged": True, "power_w": 3_000.0, "target_energy_wh": 9_000.0}
    await twin.publish(seen(**car, session_energy_wh=500.0))
    await central.close()
    with pytest.raises(DeviceUnavailable, match=r"ev-car at ws://127.0.0.1:\d+/ocpp/WB-1"):
        await central.charger("car").read()
    assert await twin.publish(seen(START + MINUTE, **car, session_energy_wh=550.0)) is False
    successor = OcppCentralSystem("127.0.0.1", port, {"car": "WB-1"}, clock)
    await successor.connect()
    charger = successor.charger("car")
    for _ in range(200):
        await asyncio.sleep(0.01)
        try:
            if (await charger.read()).time is not None:
                break
        except DeviceUnavailable:
            continue
    reading = await charger.read()
    assert (reading.plugged, reading.session_wh, reading.target_wh) == (True, 550.0, 9_000.0)
    assert await charger.apply(8_000, START + 20 * MINUTE, "c-1") is True
    assert "TxProfile" in twin.profiles, "the transaction's id came with the meter values"
    await twin.close()
    await successor.close()


async def test_a_silent_charger_is_named_within_two_seconds(trio):
    twin, charger, _ = trio
    await twin.publish(seen())
    twin._link.route_map = {}
    twin._link.route_message = lambda message: asyncio.sleep(0)
    with pytest.raises(DeviceUnavailable, match="SetChargingProfile"):
        await asyncio.wait_for(charger.apply(6_000, START + MINUTE, "c-1"), 3)


@pytest.mark.parametrize(
    ("answer", "lost"),
    [
        ('[3,"{id}",{}]', True),
        ('[3,"{id}",{"status":"Perhaps"}]', True),
        ('[3,"{id}",{"status":"Rejected"}]', False),
        ('[4,"{id}","GenericError","",{}]', False),
    ],
)
async def test_an_answer_that_ocpp_does_not_know_accepts_nothing(trio, answer, lost):
    twin, charger, _ = trio
    await twin.publish(seen())
    link = twin._link

    async def reply(message):
        asked = json.loads(message)
        if asked[0] == 2:
            await link._connection.send(answer.replace("{id}", asked[1]))

    link.route_message = reply
    if lost:
        with pytest.raises(DeviceUnavailable, match="SetChargingProfile"):
            await charger.apply(6_000, START + MINUTE, "c-1")
    else:
        assert await charger.apply(6_000, START + MINUTE, "c-1") is False


async def test_strangers_and_wrong_passwords_stay_outside():
    central = OcppCentralSystem("127.0.0.1", 0, {"car": "WB-1"}, Clock(), {"WB-1": "secret"})
    await central.connect()
    root = f"127.0.0.1:{central.port}/ocpp"
    for address in (f"ws://{root}/WB-2", f"ws://{root}/WB-1", f"ws://WB-1:wrong@{root}/WB-1"):
        with pytest.raises(InvalidStatus):
            await connect(address, subprotocols=["ocpp1.6"])
    twin = ChargerTwin("car", f"ws://{root}/WB-1", password="secret")
    await twin.connect()
    assert await twin.publish(seen())
    await twin.close()
    await central.close()


@pytest.mark.parametrize(
    "message",
    ["", "[]", "5", "[2]", '{"a": 1}', '[2,"1","MeterValues",[]]', '[2,"1","MeterValues",{}]'],
)
async def test_garbage_does_not_end_the_connection(trio, message):
    twin, charger, _ = trio
    await twin.publish(seen())
    await twin._link._connection.send(message)
    assert await twin.publish(seen(START + MINUTE, plugged=True, power_w=1_000.0))
    assert (await charger.read()).power_w == 1_000.0


def meter(*samples, at="2026-01-15T06:00:00Z"):
    return {"meter_value": [{"timestamp": at, "sampled_value": list(samples)}]}


def power(value, **more):
    return {"value": value, "measurand": "Power.Active.Import", **more}


@pytest.mark.parametrize(
    ("sample", "watts"),
    [
        ([power("7360")], 7_360.0),
        ([power("7.36", unit="kW")], 7_360.0),
        ([power("1000", phase="L1"), power("2000", phase="L2"), power("0", phase="L3")], 3_000.0),
        ([power("nan")], None),
        ([power("inf")], None),
        ([power("-5")], None),
        ([power("7 kW")], None),
        ([power("5", unit="hp")], None),
        ([power("1000", phase="L1"), power("?", phase="L2")], None),
        ([{"measurand": "Power.Active.Import"}], None),
        ([{"value": "5", "measurand": "Temperature"}], None),
        (["text"], None),
    ],
)
def test_meter_values_are_read_strictly(sample, watts):
    session = Session()
    session.on_meter(meter(power("1")))
    assert session.reading().power_w == 1.0
    session.on_meter(meter(*sample))
    assert session.reading().power_w == watts
    counted = watts is None and sample != [{"value": "5", "measurand": "Temperature"}]
    assert bool(session.faults) is counted


@pytest.mark.parametrize("at", [None, "yesterday", "2026-01-15T06:00:00", 17])
def test_meter_values_without_a_time_change_nothing(at):
    session = Session()
    session.on_meter(meter(power("1")))
    session.on_meter(meter(power("2"), at=at))
    assert session.reading().power_w == 1.0
    assert sum(session.faults.values()) == 1


@pytest.mark.parametrize(
    "data",
    [None, "", "[]", "{", json.dumps({"target_wh": -1}), json.dumps({"target_wh": math.inf}),
     json.dumps({"target_wh": "many"}), json.dumps({"departure": "soon"})],
)  # fmt: skip
def test_a_vendor_message_that_cannot_be_read_changes_nothing(data):
    session = Session()
    assert session.on_session('{"target_wh": 5000}')
    assert not session.on_session(data)
    assert session.reading().target_wh == 5_000.0
    assert sum(session.faults.values()) == 1


def test_transaction_ids_grow():
    session = Session()
    first = session.on_start({"timestamp": "2026-01-15T06:00:00Z", "meter_start": 5})
    again = session.on_start({"timestamp": "2026-01-15T06:00:00Z", "meter_start": 5})
    assert first == int(START.timestamp())
    assert again == first + 1
