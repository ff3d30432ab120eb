"""The Growatt adapter against the twin's inverter over real Modbus TCP."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.devices import growatt_registers as reg
from services.gateway.devices.base import DeviceUnavailable
from services.gateway.devices.inverter import GrowattInverter, InverterConfig
from tests.integration.devices.conftest import START, FakeObservation, free_port
from twin.devices.growatt import GrowattTwin

MINUTE = timedelta(minutes=1)
PRAGUE = ZoneInfo("Europe/Prague")


def config(zone=UTC, grid_charge=True) -> InverterConfig:
    return InverterConfig(
        charge_rated_w=6_000,
        discharge_rated_w=5_000,
        ac_rated_w=10_000,
        soc_min=0.1,
        soc_max=0.9,
        grid_charge=grid_charge,
        export_limit_w=9_000,
        clock_zone=zone,
    )


@pytest.fixture(params=[UTC, PRAGUE], ids=["utc", "prague"])
async def pair(request):
    twin = GrowattTwin(6_000, 5_000, 10_000, clock_zone=request.param)
    await twin.connect()
    inverter = GrowattInverter("127.0.0.1", twin.port, config(request.param))
    await inverter.connect()
    await twin.publish(FakeObservation())
    yield twin, inverter
    await inverter.close()
    await twin.close()


async def test_every_meter_arrives_in_its_unit(pair):
    _, inverter = pair
    reading = await inverter.read()
    assert (reading.pv_w, reading.load_w) == (1234.5, 3456.7)
    assert reading.grid_w == pytest.approx(1722.2)
    assert reading.battery_w == -500.0
    assert reading.soc == 0.42
    assert (reading.pv_wh, reading.load_wh) == (1_234_600, 7_654_300), "0.1 kWh is the resolution"
    assert (reading.import_wh, reading.export_wh) == (123_500, 98_800)
    assert (reading.battery_charge_wh, reading.battery_discharge_wh) == (45_700, 34_600)
    assert await inverter.read_clock() == START


@pytest.mark.parametrize("grid_w", [-7_000.0, 0.0, 17_000.0, 6_553.6])
async def test_grid_and_battery_keep_their_sign(pair, grid_w):
    twin, inverter = pair
    await twin.publish(FakeObservation(grid_w=grid_w, battery_w=-grid_w / 2))
    reading = await inverter.read()
    assert reading.grid_w == pytest.approx(grid_w)
    assert reading.battery_w == pytest.approx(-grid_w / 2)


@pytest.mark.parametrize(
    ("value", "granted"),
    [
        (6_000, 6_000), (3_000, 3_000), (3_059, 3_000), (-2_500, -2_500), (-5_000, -5_000),
        (50, 0), (-49, 0), (60, 60), (9_999, 6_000),
    ],
)  # fmt: skip
async def test_a_power_becomes_mode_and_rate_and_the_lease_ends_by_itself(pair, value, granted):
    twin, inverter = pair
    until = START + 15 * MINUTE
    assert await inverter.battery.apply(value, until, "c-1") is True
    assert twin.battery_power_w(START) == pytest.approx(granted)
    assert twin.battery_power_w(until - MINUTE) == pytest.approx(granted)
    assert twin.battery_power_w(until) is None, "the inverter returns to self-use by itself"
    back = await inverter.battery.read_back()
    assert back.value == granted
    assert abs(back.value - value) <= inverter.battery.tolerance or value == 9_999
    assert back.measured == -500.0
    await twin.publish(FakeObservation(until))
    assert (await inverter.battery.read_back()).value == 0


async def test_a_new_command_replaces_the_old_one(pair):
    twin, inverter = pair
    until = START + 15 * MINUTE
    await inverter.battery.apply(4_000, until, "c-1")
    await inverter.battery.apply(-1_000, until, "c-2")
    assert twin.battery_power_w(START) == pytest.approx(-1_000)
    assert twin.holding(1102) == 0, "the battery-first slot is off"
    await inverter.battery.apply(0, until, "c-3")
    assert twin.battery_power_w(START) is None
    assert (twin.holding(1082), twin.holding(1102)) == (0, 0)


async def test_a_lease_across_midnight_takes_two_slots(pair):
    twin, inverter = pair
    zone = inverter._config.clock_zone
    late = datetime(2026, 1, 15, 23, 52, tzinfo=zone).astimezone(UTC)
    await twin.publish(FakeObservation(late))
    assert await inverter.battery.apply(-2_000, late + 20 * MINUTE, "c-1")
    powers = [twin.battery_power_w(late + i * MINUTE) for i in range(22)]
    assert powers == [-2_000.0] * 20 + [None] * 2


async def test_an_unchanged_command_writes_nothing_new(pair):
    twin, inverter = pair
    until = START + 15 * MINUTE
    await inverter.battery.apply(3_000, until, "c-1")
    before = twin.writes
    await inverter.battery.apply(3_000, until, "c-2")
    assert twin.writes == before


async def test_a_lease_of_less_than_a_minute_is_refused(pair):
    twin, inverter = pair
    assert await inverter.battery.apply(3_000, START + timedelta(seconds=59), "c-1") is False
    assert await inverter.battery.apply(3_000, START - MINUTE, "c-2") is False
    assert twin.battery_power_w(START) is None


async def test_a_lease_of_days_is_cut_to_less_than_one(pair):
    twin, inverter = pair
    assert await inverter.battery.apply(3_000, START + timedelta(days=3), "c-1")
    powers = [twin.battery_power_w(START + i * MINUTE) for i in range(24 * 60)]
    assert powers == [3_000.0] * (24 * 60 - 2) + [None] * 2


async def test_slots_do_not_return_tomorrow_when_somebody_tidies(pair):
    twin, inverter = pair
    until = START + 15 * MINUTE
    await inverter.battery.apply(3_000, until, "c-1")
    tomorrow = START + timedelta(days=1)
    await inverter.tidy(until - MINUTE)
    assert twin.battery_power_w(tomorrow) == 3_000.0, "slots recur: this is what tidy is for"
    await inverter.tidy(until)
    assert twin.battery_power_w(tomorrow) is None


async def test_a_restarted_gateway_leaves_a_live_lease_and_removes_an_old_one(pair):
    twin, inverter = pair
    await inverter.battery.apply(3_000, START + 15 * MINUTE, "c-1")
    successor = GrowattInverter("127.0.0.1", twin.port, inverter._config)
    await successor.tidy(START)
    assert twin.battery_power_w(START) == 3_000.0
    await twin.publish(FakeObservation(START + 15 * MINUTE))
    await successor.tidy(START + 15 * MINUTE)
    assert twin.battery_power_w(START) is None
    await successor.close()


async def test_state_of_charge_limits_and_grid_charging_are_the_device_s_own(pair):
    twin, inverter = pair
    until = START + 15 * MINUTE
    await inverter.battery.apply(3_000, until, "c-1")
    assert (twin.holding(1091), twin.holding(1092)) == (90, 1)
    await twin.publish(FakeObservation(soc=0.9))
    assert twin.battery_power_w(START) == 0.0
    await inverter.battery.apply(-3_000, until, "c-2")
    assert twin.holding(1071) == 10
    await twin.publish(FakeObservation(soc=0.1))
    assert twin.battery_power_w(START) == 0.0
    thrifty = GrowattInverter("127.0.0.1", twin.port, config(inverter._config.clock_zone, False))
    await thrifty.battery.apply(3_000, until, "c-3")
    await twin.publish(FakeObservation(pv_w=1_000.0))
    assert twin.battery_power_w(START) == 1_000.0, "without grid charging only the sun charges"
    await thrifty.close()


async def test_the_export_limit_is_set_and_put_back(pair):
    twin, inverter = pair
    assert twin.export_limit_w() is None
    until = START + 15 * MINUTE
    assert await inverter.export_limit.apply(4_321, until, "c-1")
    assert twin.export_limit_w() == 4_320.0
    assert (await inverter.export_limit.read_back()).value == 4_320
    await inverter.tidy(until - MINUTE)
    assert twin.export_limit_w() == 4_320.0
    await inverter.tidy(until)
    assert twin.export_limit_w() == 9_000.0
    assert await inverter.export_limit.apply(-1, until, "c-2") is False


async def test_the_twin_refuses_what_the_protocol_refuses(pair):
    twin, inverter = pair
    for address, words in ((1044, [1]), (1100, [0x1800]), (1090, [101]), (1102, [2]), (500, [0])):
        with pytest.raises(DeviceUnavailable, match="refused"):
            await inverter._write(address, words)
    assert twin.writes == 0


async def test_a_lost_inverter_is_named_and_comes_back():
    port = free_port()
    inverter = GrowattInverter("127.0.0.1", port, config())
    with pytest.raises(DeviceUnavailable, match=f"inverter at modbus://127.0.0.1:{port}/1"):
        await inverter.connect()
    twin = GrowattTwin(6_000, 5_000, 10_000, port=port)
    await twin.connect()
    await twin.publish(FakeObservation())
    await asyncio.sleep(0.15)
    assert (await inverter.read()).pv_w == 1234.5
    await twin.close()
    with pytest.raises(DeviceUnavailable):
        await inverter.read()
    twin = GrowattTwin(6_000, 5_000, 10_000, port=port)
    await twin.connect()
    for _ in range(20):
        await asyncio.sleep(0.1)
        try:
            await inverter.read()
            break
        except DeviceUnavailable:
            continue
    assert (await inverter.read()).pv_w == 0.0
    await inverter.close()
    await twin.close()


async def test_a_silent_inverter_never_blocks_longer_than_promised():
    async def silent(reader, writer):
        await reader.read(-1)

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    inverter = GrowattInverter("127.0.0.1", server.sockets[0].getsockname()[1], config())
    began = time.monotonic()
    with pytest.raises(DeviceUnavailable, match=r"input registers 0\.\.92"):
        await inverter.read()
    assert 1.5 < time.monotonic() - began < 2.6
    await inverter.close()
    server.close()


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)),
    st.integers(0, 23 * 60),
)
def test_slots_cover_exactly_the_lease(now, minutes):
    until = now + timedelta(minutes=minutes)
    slots = reg.decode_slots(reg.encode_slots(reg.lease_slots(now, until)))
    first = now.replace(second=0, microsecond=0)
    for i in range(0, 24 * 60 - 1, 7):
        at = first + timedelta(minutes=i)
        wanted = at < until.replace(second=0, microsecond=0)
        if (first.hour, first.minute) == (23, 59) and i == 0:
            wanted = False  # a slot 23:59 to 23:59 could mean the whole day: left out
        assert any(reg.inside(slot, at) for slot in slots) is wanted


@given(st.integers(-20_000, 20_000))
def test_a_rate_never_exceeds_the_power_asked(value):
    setting = reg.Setting.of(value, [(0, 60)], 6_000, 5_000)
    if setting.battery_first and value > 0:
        assert 0 <= setting.rate_percent * 60 <= max(value, 0)
    elif setting.grid_first:
        assert value < 0
        assert 0 < setting.rate_percent * 50 <= -value
    else:
        assert setting.rate_percent == 0


class SlowTwin(GrowattTwin):
    """Answers its first request 2.4 s late."""

    late = False

    async def _serve(self, *request):
        if not self.late:
            self.late = True
            await asyncio.sleep(2.4)
        return await super()._serve(*request)


async def test_a_late_answer_does_not_meet_the_next_request():
    twin = SlowTwin(6_000, 5_000, 10_000)
    await twin.connect()
    await twin.publish(FakeObservation())
    inverter = GrowattInverter("127.0.0.1", twin.port, config())
    with pytest.raises(DeviceUnavailable):
        await inverter.read()
    await asyncio.sleep(0.6)
    assert (await inverter.read()).pv_w == 1234.5
    await inverter.close()
    await twin.close()
