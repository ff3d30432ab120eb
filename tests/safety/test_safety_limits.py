"""The tables of limits: what is refused, what is kept, and that the documented defaults hold."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
from safety_house import LIMITS, device_limits, limits

from services.safety.core.limits import (
    BatteryLimits,
    EvLimits,
    ExportLimits,
    HeartbeatLimits,
    Limits,
    LoadLimits,
    ReadingLimits,
    RelayLimits,
)

RELAY = {"device": "relay-a", "room": "a", "power_w": 1_000}
LOAD = {"device": "load-boiler", "power_w": 1_000}
BATTERY = {
    "device": "battery",
    "capacity_wh": 1,
    "maximum_charge_w": 0,
    "maximum_discharge_w": 0,
}
EV = {"device": "ev", "normal_current_ma": 10_000, "maximum_current_ma": 16_000}
EXPORT = {"device": "export", "maximum_export_w": 10, "safe_export_w": 5}
READING = {"reading": "x", "maximum_age_s": 1, "minimum": 0, "maximum": 1}
BEAT = {"service": "x", "maximum_age_s": 1, "mode": "safe"}
HOUSE = {
    "grid_import_limit_w": 1,
    "assumed_base_load_w": 0,
    "devices": [{"kind": "relay", **RELAY}],
}


@pytest.mark.parametrize(
    ("record", "base", "changes", "field"),
    [
        (RelayLimits, RELAY, {}, None),
        (RelayLimits, RELAY, {"device": ""}, "needs a name"),
        (RelayLimits, RELAY, {"room": ""}, "room"),
        (RelayLimits, RELAY, {"power_w": 1}, None),
        (RelayLimits, RELAY, {"power_w": 0}, "power_w"),
        (RelayLimits, RELAY, {"maximum_lease_s": 1}, None),
        (RelayLimits, RELAY, {"maximum_lease_s": 0}, "maximum_lease_s"),
        (RelayLimits, RELAY, {"minimum_on_s": 0, "minimum_off_s": 0}, None),
        (RelayLimits, RELAY, {"minimum_on_s": -1}, "minimum_on_s"),
        (RelayLimits, RELAY, {"minimum_off_s": -1}, "minimum_off_s"),
        (RelayLimits, RELAY, {"maximum_switches_per_hour": 1}, None),
        (RelayLimits, RELAY, {"maximum_switches_per_hour": 0}, "maximum_switches_per_hour"),
        (RelayLimits, RELAY, {"hysteresis_milli_c": 1}, None),
        (RelayLimits, RELAY, {"hysteresis_milli_c": 0}, "hysteresis_milli_c"),
        (RelayLimits, RELAY, {"setpoint_milli_c": 25_699}, None),
        (RelayLimits, RELAY, {"setpoint_milli_c": 25_700}, "setpoint_milli_c"),
        (LoadLimits, LOAD, {}, None),
        (LoadLimits, LOAD, {"device": ""}, "needs a name"),
        (LoadLimits, LOAD, {"power_w": 0}, "power_w"),
        (LoadLimits, LOAD, {"maximum_lease_s": 0}, "maximum_lease_s"),
        (LoadLimits, LOAD, {"minimum_off_s": -1}, "minimum_off_s"),
        (LoadLimits, LOAD, {"minimum_off_s": 0}, None),
        (LoadLimits, LOAD, {"maximum_switches_per_hour": 0}, "maximum_switches_per_hour"),
        (BatteryLimits, BATTERY, {}, None),
        (BatteryLimits, BATTERY, {"device": ""}, "needs a name"),
        (BatteryLimits, BATTERY, {"capacity_wh": 0}, "capacity_wh"),
        (BatteryLimits, BATTERY, {"maximum_charge_w": -1}, "maximum_charge_w"),
        (BatteryLimits, BATTERY, {"maximum_discharge_w": -1}, "maximum_discharge_w"),
        (BatteryLimits, BATTERY, {"soc_floor_permille": 0, "soc_ceiling_permille": 1}, None),
        (BatteryLimits, BATTERY, {"soc_floor_permille": 950}, "soc_floor_permille"),
        (BatteryLimits, BATTERY, {"soc_floor_permille": -1}, "soc_floor_permille"),
        (BatteryLimits, BATTERY, {"soc_ceiling_permille": 1_000}, None),
        (BatteryLimits, BATTERY, {"soc_ceiling_permille": 1_001}, "soc_floor_permille"),
        (BatteryLimits, BATTERY, {"minimum_efficiency_permille": 1}, None),
        (BatteryLimits, BATTERY, {"minimum_efficiency_permille": 1_000}, None),
        (BatteryLimits, BATTERY, {"minimum_efficiency_permille": 0}, "minimum_efficiency"),
        (BatteryLimits, BATTERY, {"minimum_efficiency_permille": 1_001}, "minimum_efficiency"),
        (BatteryLimits, BATTERY, {"maximum_lease_s": 0}, "maximum_lease_s"),
        (EvLimits, EV, {}, None),
        (EvLimits, EV, {"device": ""}, "needs a name"),
        (EvLimits, EV, {"maximum_lease_s": 0}, "maximum_lease_s"),
        (EvLimits, EV, {"minimum_current_ma": 6_000}, None),
        (EvLimits, EV, {"minimum_current_ma": 5_999}, "minimum_current_ma"),
        (EvLimits, EV, {"minimum_current_ma": 10_000}, None),
        (EvLimits, EV, {"minimum_current_ma": 10_001}, "normal_current_ma"),
        (EvLimits, EV, {"normal_current_ma": 16_000}, None),
        (EvLimits, EV, {"normal_current_ma": 16_001}, "normal_current_ma"),
        (EvLimits, EV, {"phases": 1}, None),
        (EvLimits, EV, {"phases": 3}, None),
        (EvLimits, EV, {"phases": 2}, "phases"),
        (EvLimits, EV, {"phases": 0}, "phases"),
        (EvLimits, EV, {"phases": 4}, "phases"),
        (EvLimits, EV, {"voltage_v": 1}, None),
        (EvLimits, EV, {"voltage_v": 0}, "voltage_v"),
        (ExportLimits, EXPORT, {}, None),
        (ExportLimits, EXPORT, {"device": ""}, "needs a name"),
        (ExportLimits, EXPORT, {"maximum_lease_s": 0}, "maximum_lease_s"),
        (ExportLimits, EXPORT, {"safe_export_w": 0}, None),
        (ExportLimits, EXPORT, {"safe_export_w": 10}, None),
        (ExportLimits, EXPORT, {"safe_export_w": -1}, "safe_export_w"),
        (ExportLimits, EXPORT, {"safe_export_w": 11}, "safe_export_w"),
        (ReadingLimits, READING, {}, None),
        (ReadingLimits, READING, {"maximum_age_s": 0}, "maximum_age_s"),
        (ReadingLimits, READING, {"minimum": 1}, "minimum"),
        (HeartbeatLimits, BEAT, {}, None),
        (HeartbeatLimits, BEAT, {"mode": "degraded"}, None),
        (HeartbeatLimits, BEAT, {"mode": "normal"}, "mode"),
        (HeartbeatLimits, BEAT, {"maximum_age_s": 0}, "maximum_age_s"),
        (Limits, HOUSE, {}, None),
        (Limits, HOUSE, {"grid_import_limit_w": 0}, "grid_import_limit_w"),
        (Limits, HOUSE, {"assumed_base_load_w": -1}, "assumed_base_load_w"),
        (Limits, HOUSE, {"devices": HOUSE["devices"] * 2}, "devices: a name is used twice"),
        (Limits, HOUSE, {"heartbeats": [BEAT, BEAT]}, "heartbeats: a service is named twice"),
        (Limits, HOUSE, {"heartbeats": []}, None),
        (Limits, HOUSE, {"readings": []}, "room_temperature_milli_c is missing"),
        (Limits, HOUSE, {"readings": [READING, READING]}, "readings: a name is used twice"),
        (Limits, HOUSE, {"tolerated_stale_rooms": 0}, None),
        (Limits, HOUSE, {"tolerated_stale_rooms": -1}, "tolerated_stale_rooms"),
        (Limits, HOUSE, {"mismatches_to_latch": 1}, None),
        (Limits, HOUSE, {"mismatches_to_latch": 0}, "mismatches_to_latch"),
        (Limits, HOUSE, {"safe_hold_s": 1}, None),
        (Limits, HOUSE, {"safe_hold_s": 0}, "safe_hold_s"),
        (Limits, HOUSE, {"degraded_hold_s": 1}, None),
        (Limits, HOUSE, {"degraded_hold_s": 0}, "degraded_hold_s"),
        (Limits, HOUSE, {"maximum_tick_step_s": 1}, None),
        (Limits, HOUSE, {"maximum_tick_step_s": 0}, "maximum_tick_step_s"),
        (Limits, HOUSE, {"clock_tolerance_s": 0}, None),
        (Limits, HOUSE, {"clock_tolerance_s": -1}, "clock_tolerance_s"),
        (Limits, HOUSE, {"relay_settle_s": 0}, None),
        (Limits, HOUSE, {"relay_settle_s": -1}, "relay_settle_s"),
        (Limits, HOUSE, {"minimum_disk_free_bytes": 0}, None),
        (Limits, HOUSE, {"minimum_disk_free_bytes": -1}, "minimum_disk_free_bytes"),
    ],
)
def test_limits_that_make_no_sense_are_refused(record, base, changes, field):
    plain = {**base, **changes}
    if field is None:
        record.from_dict(plain)
        return
    with pytest.raises(ValueError, match=field):
        record.from_dict(plain)


@pytest.mark.parametrize(
    ("record", "base"),
    [
        (RelayLimits, RELAY),
        (LoadLimits, LOAD),
        (BatteryLimits, BATTERY),
        (EvLimits, EV),
        (ExportLimits, EXPORT),
        (ReadingLimits, READING),
        (HeartbeatLimits, BEAT),
        (Limits, {**HOUSE, "devices": ()}),
    ],
)
def test_every_number_must_be_an_int(record, base):
    full = record(**base)
    for field in fields(record):
        if field.type == "int":
            for wrong in (1.0, True, "1", None):
                with pytest.raises(ValueError, match=rf"{field.name}: must be int"):
                    record(**{**base, field.name: wrong})
            assert type(getattr(full, field.name)) is int
        if field.type == "str":
            with pytest.raises(ValueError, match=rf"{field.name}: must be str"):
                record(**{**base, field.name: 1})
        if field.type == "bool":
            with pytest.raises(ValueError, match=rf"{field.name}: must be bool"):
                record(**{**base, field.name: 1})


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({**HOUSE, "main_fuse": 1}, "main_fuse: unknown field"),
        ({"grid_import_limit_w": 1}, "missing"),
        ({**HOUSE, "devices": [{"kind": "pump", "device": "x"}]}, "devices.kind: must be one of"),
        ({**HOUSE, "devices": [{"device": "x"}]}, "devices.kind: must be one of"),
        ({**HOUSE, "devices": [{"kind": "relay", "device": "x"}]}, "missing"),
        ({**HOUSE, "devices": [{"kind": "relay", **RELAY, "pow": 1}]}, "pow: unknown field"),
    ],
)
def test_wrong_tables_are_named(plain, message):
    with pytest.raises(ValueError, match=message):
        Limits.from_dict(plain)


def test_each_needed_reading_must_have_bounds():
    full = LIMITS.to_dict()["readings"]
    assert Limits.from_dict({**HOUSE, "readings": full}).readings == LIMITS.readings
    for row in full:
        left = [item for item in full if item is not row]
        with pytest.raises(ValueError, match=f"{row['reading']} is missing"):
            Limits.from_dict({**HOUSE, "readings": left})


def test_limits_survive_json():
    again = Limits.from_dict(json.loads(json.dumps(LIMITS.to_dict())))
    assert again == LIMITS
    assert again.to_dict() == LIMITS.to_dict()
    assert [item["kind"] for item in LIMITS.to_dict()["devices"]] == [
        "relay",
        "relay",
        "relay",
        "battery",
        "ev",
        "inverter-export",
        "load",
    ]


def test_devices_are_found_by_name_and_kind():
    assert LIMITS.of_kind("relay") == ("relay-a", "relay-b", "relay-c")
    assert LIMITS.of_kind("ev") == ("ev-car",)
    assert LIMITS.of_kind("pump") == ()
    assert sorted(LIMITS.by_name) == [
        "battery",
        "ev-car",
        "export",
        "load-boiler",
        "relay-a",
        "relay-b",
        "relay-c",
    ]


def test_inactive_and_safe_values():
    assert {name: (item.inactive, item.safe) for name, item in LIMITS.by_name.items()} == {
        "relay-a": (0, 0),
        "relay-b": (0, 0),
        "relay-c": (0, 0),
        "battery": (0, 0),
        "ev-car": (0, 0),
        "export": (9_000, 3_000),
        "load-boiler": (0, 0),
    }


@pytest.mark.parametrize(
    ("phases", "voltage_v", "milliampere", "watt"),
    [(3, 230, 6_000, 4_140), (3, 230, 6_001, 4_141), (1, 230, 6_000, 1_380), (3, 231, 1, 1)],
)
def test_ev_power_is_never_flattered(phases, voltage_v, milliampere, watt):
    device = device_limits("ev-car", phases=phases, voltage_v=voltage_v).by_name["ev-car"]
    assert device.power_w(milliampere) == watt
    most = device.current_ma(watt)
    assert device.power_w(most) <= watt < device.power_w(most + 2)
    assert device.power_w(0) == 0


def test_changed_limits_are_looked_up_anew():
    assert limits(devices=()).by_name == {}
    assert device_limits("relay-a", power_w=7).by_name["relay-a"].power_w == 7


def documented() -> dict[str, str]:
    """The table of defaults in docs/safety.md: name -> value."""
    page = Path(__file__).resolve().parents[2] / "docs" / "safety.md"
    rows = {}
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 3:
            rows[cells[0]] = cells[1]
    return rows


def test_defaults_are_what_the_manual_says():
    found = {}
    for record in (RelayLimits, LoadLimits, BatteryLimits, EvLimits, ExportLimits, Limits):
        name = "house" if record is Limits else record.kind
        for field in fields(record):
            if isinstance(field.default, int):
                found[f"{name}.{field.name}"] = str(field.default).lower()
    for row in LIMITS.readings:
        found[f"reading.{row.reading}"] = f"{row.maximum_age_s} / {row.minimum} / {row.maximum}"
    for beat in LIMITS.heartbeats:
        found[f"heartbeat.{beat.service}"] = f"{beat.maximum_age_s} / {beat.mode}"
    found["house.tolerated_stale_rooms"] = str(Limits.tolerated_stale_rooms)
    assert documented() == found
