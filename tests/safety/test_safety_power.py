"""The rules of battery, car and export limit, in both directions and at their edges."""

from __future__ import annotations

import pytest
from safety_house import (
    NOW,
    answer,
    device_limits,
    evidence,
    healthy,
    judged,
    leased,
    limits,
    reads,
    unread,
)

from services.safety.core.limits import (
    BASE_LOAD,
    BATTERY_SOC,
    PV_POWER,
)

# Battery.


@pytest.mark.parametrize(
    ("value", "expected", "limit"),
    [
        (1, 1, 5_000),
        (5_000, 5_000, 5_000),
        (5_001, 5_000, 5_000),
        (10**30, 5_000, 5_000),
        (-1, -1, 4_000),
        (-4_000, -4_000, 4_000),
        (-4_001, -4_000, 4_000),
        (-(10**30), -4_000, 4_000),
    ],
)
def test_battery_power_is_cut_to_the_inverter(value, expected, limit):
    verdict = judged(value, "battery")
    assert answer(verdict) == expected
    assert ("battery-power" in verdict.clamped_by) == (value != expected)
    assert evidence(verdict, "battery-power") == (
        "",
        value,
        None,
        limit,
        limit,
        value == expected,
    )


# 600 s of lease at 10 kWh: one permille (10 Wh) is 60 W, discharging 51 W at 85 % efficiency.
@pytest.mark.parametrize(
    ("value", "soc", "age_s", "expected"),
    [
        (5_000, 800, 0, 5_000),
        (5_000, 840, 0, 3_600),
        (5_000, 899, 0, 60),
        (60, 899, 0, 60),
        (61, 899, 0, 60),
        (5_000, 900, 0, "battery-soc"),
        (5_000, 901, 0, "battery-soc"),
        (1, 1_000, 0, "battery-soc"),
        (5_000, 899, 120, 50),
        (5_000, 899, -60, 60),
        (5_000, 840, -60, 3_600),
        (5_000, 500, 600, 5_000),
        (5_000, 500, 601, "battery-soc"),
        (5_000, -1, 0, "battery-soc"),
        (5_000, 1_001, 0, "battery-soc"),
        (-4_000, 200, 0, -4_000),
        (-4_000, 140, 0, -2_040),
        (-4_000, 101, 0, -51),
        (-52, 101, 0, -51),
        (-51, 101, 0, -51),
        (-1, 100, 0, "battery-soc"),
        (-4_000, 99, 0, "battery-soc"),
        (-4_000, 0, 0, "battery-soc"),
        (-4_000, 500, 601, "battery-soc"),
        (-4_000, 1_001, 0, "battery-soc"),
    ],
)
def test_battery_tapers_to_its_floor_and_ceiling(value, soc, age_s, expected):
    verdict = judged(value, "battery", reads(healthy(), BATTERY_SOC, soc, "battery", age_s))
    assert answer(verdict) == expected
    reading, seen, age, limit, allowed, ok = evidence(verdict, "battery-soc")
    assert (reading, seen, age) == ("battery_soc_permille:battery", soc, age_s)
    assert limit == (900 if value > 0 else 100)
    assert ok == (expected == value)
    if limit is not None and soc in (99, 0, 901, 1_000):
        assert allowed == 0
    if isinstance(expected, int) and expected != value:
        assert allowed == abs(expected)
        assert verdict.clamped_by == ("battery-soc",)


def test_battery_of_unknown_charge_is_left_to_itself():
    state = unread(healthy(), BATTERY_SOC, "battery")
    for value in (100, -100):
        verdict = judged(value, "battery", state)
        assert answer(verdict) == "battery-soc"
        reading, seen, age, _, allowed, ok = evidence(verdict, "battery-soc")
        assert (reading, seen, age) == ("battery_soc_permille:battery", None, None)
        assert (allowed, ok) == (None, False)
    assert answer(judged(0, "battery", state)) == 0


def test_longer_lease_grants_less_power_near_the_end():
    state = reads(healthy(), BATTERY_SOC, 890, "battery")
    assert judged(5_000, "battery", state, until_s=NOW + 300).value == 1_200
    assert judged(5_000, "battery", state, until_s=NOW + 9_999).value == 400


@pytest.mark.parametrize(
    ("mode", "allowed", "pv_w", "expected"),
    [
        ("normal", True, 0, 2_000),
        ("normal", False, 0, "battery-grid"),
        ("normal", False, 500, "battery-grid"),
        ("normal", False, 501, 1),
        ("normal", False, 1_500, 1_000),
        ("normal", False, 2_499, 1_999),
        ("normal", False, 2_500, 2_000),
        ("degraded", True, 500, "battery-grid"),
        ("degraded", True, 1_500, 1_000),
        ("degraded", True, 2_500, 2_000),
        ("degraded", False, 2_500, 2_000),
    ],
)
def test_grid_charging_only_in_normal_and_where_allowed(mode, allowed, pv_w, expected):
    table = device_limits("battery", grid_charge_allowed=allowed)
    state = reads(healthy(mode), PV_POWER, pv_w)
    verdict = judged(2_000, "battery", state, table, origin="fallback")
    assert answer(verdict) == expected
    reading, seen, age, limit, granted_w, ok = evidence(verdict, "battery-grid")
    free = mode == "normal" and allowed
    assert (reading, seen, age) == ("pv_power_w", pv_w, 0)
    assert limit == (None if free else 500)
    assert granted_w == (None if free else max(0, pv_w - 500))
    assert ok == (expected == 2_000)
    assert answer(judged(-2_000, "battery", state, table, origin="fallback")) == -2_000


def test_discharging_is_no_business_of_the_grid_rules():
    state = reads(reads(healthy("degraded"), PV_POWER, 0), BASE_LOAD, 20_000)
    verdict = judged(-2_000, "battery", state, origin="fallback")
    assert answer(verdict) == -2_000
    assert evidence(verdict, "battery-grid") == ("pv_power_w", 0, 0, None, None, True)
    assert evidence(verdict, "fuse") == ("base_load_w", 20_000, 0, 10_000, None, True)


def test_surplus_is_what_nobody_else_uses():
    table = device_limits("battery", grid_charge_allowed=False)
    state = reads(healthy(), PV_POWER, 5_000)
    assert judged(5_000, "battery", state, table).value == 4_500
    assert judged(5_000, "battery", leased(state, "relay-b", 1), table).value == 2_500
    assert judged(5_000, "battery", unread(state, BASE_LOAD), table).value == 2_000
    for unknown in (
        unread(state, PV_POWER),
        reads(state, PV_POWER, 5_000, age_s=601),
        reads(state, PV_POWER, 100_001),
    ):
        verdict = judged(5_000, "battery", unknown, table)
        assert answer(verdict) == "battery-grid"
        assert evidence(verdict, "battery-grid")[4] == 0


@pytest.mark.parametrize(
    ("base_w", "expected"),
    [(0, 5_000), (5_000, 5_000), (5_001, 4_999), (9_999, 1), (10_000, "fuse"), (12_000, "fuse")],
)
def test_battery_charges_only_what_fits_under_the_fuse(base_w, expected):
    verdict = judged(5_000, "battery", reads(healthy(), BASE_LOAD, base_w))
    assert answer(verdict) == expected
    room_w = max(0, 10_000 - base_w)
    assert evidence(verdict, "fuse") == (
        "base_load_w",
        base_w,
        0,
        10_000,
        room_w,
        room_w >= 5_000,
    )
    if base_w == 5_001:
        assert verdict.clamped_by == ("fuse",)


def test_pv_lends_no_room_under_the_fuse():
    state = reads(reads(healthy(), BASE_LOAD, 9_000), PV_POWER, 9_000)
    assert judged(5_000, "battery", state).value == 1_000


def test_every_rule_that_granted_less_is_named():
    state = reads(reads(healthy(), BASE_LOAD, 7_000), BATTERY_SOC, 840, "battery")
    verdict = judged(9_000, "battery", state)
    assert answer(verdict) == 3_000
    assert verdict.clamped_by == ("battery-power", "battery-soc", "fuse")


def test_refusal_by_clamp_names_the_tightest_rule():
    state = reads(reads(healthy(), BASE_LOAD, 9_500), BATTERY_SOC, 900, "battery")
    verdict = judged(5_000, "battery", state)
    assert answer(verdict) == "battery-soc"
    assert verdict.clamped_by == ()


# EV.


@pytest.mark.parametrize(
    ("value", "boost", "mode", "expected", "granted_boost"),
    [
        (6_000, False, "normal", 6_000, False),
        (10_000, False, "normal", 10_000, False),
        (10_001, False, "normal", 10_000, False),
        (16_000, False, "normal", 10_000, False),
        (10_001, True, "normal", 10_001, True),
        (16_000, True, "normal", 16_000, True),
        (16_001, True, "normal", 16_000, True),
        (16_000, True, "degraded", 10_000, False),
        (8_000, True, "degraded", 8_000, False),
        (8_000, True, "normal", 8_000, True),
        (5_999, False, "normal", "ev-range", False),
        (1, True, "normal", "ev-range", False),
        (-1, False, "normal", "ev-range", False),
        (-8_000, False, "normal", "ev-range", False),
    ],
)
def test_car_current(value, boost, mode, expected, granted_boost):
    table = limits(grid_import_limit_w=20_000)
    verdict = judged(value, "ev-car", healthy(mode), table, boost=boost, origin="fallback")
    assert answer(verdict) == expected
    assert verdict.boost is granted_boost
    most = 16_000 if boost and mode == "normal" else 10_000
    whole = abs(value) <= most and (mode == "normal" or not boost)
    assert evidence(verdict, "ev-current") == (
        f"mode:{mode}",
        0 if mode == "normal" else 1,
        None,
        most,
        most,
        whole,
    )
    assert verdict.clamped_by == (("ev-current",) if verdict.approved and not whole else ())
    reading, seen, age, limit, allowed, ok = evidence(verdict, "ev-range")
    assert (reading, seen, age, limit, allowed) == ("", value, None, 6_000, None)
    assert ok == (value >= 6_000)


# 6 A on three phases at 230 V are 4140 W; 690 W is one ampere.
@pytest.mark.parametrize(
    ("base_w", "expected"),
    [
        (3_100, 10_000),
        (3_101, 9_998),
        (5_860, 6_000),
        (5_861, "fuse"),
        (10_000, "fuse"),
        (12_000, "fuse"),
    ],
)
def test_car_takes_only_what_fits_under_the_fuse(base_w, expected):
    verdict = judged(10_000, "ev-car", reads(healthy(), BASE_LOAD, base_w))
    assert answer(verdict) == expected
    allowed = max(0, 10_000 - base_w) * 1_000 // 690
    assert evidence(verdict, "fuse") == (
        "base_load_w",
        base_w,
        0,
        10_000,
        allowed,
        allowed >= 10_000,
    )
    if expected == 9_998:
        assert verdict.clamped_by == ("fuse",)


def test_car_on_one_phase_draws_a_third():
    table = device_limits("ev-car", phases=1)
    state = reads(healthy(), BASE_LOAD, 8_620)
    assert judged(10_000, "ev-car", state, table).value == 6_000
    assert answer(judged(10_000, "ev-car", reads(state, BASE_LOAD, 8_621), table)) == "fuse"


# Inverter export.


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0), (1, 1), (8_999, 8_999), (9_000, 9_000), (9_001, 9_000), (-1, "export-range")],
)
def test_export_limit(value, expected):
    verdict = judged(value, "export")
    assert answer(verdict) == expected
    if value == 9_001:
        assert verdict.clamped_by == ("export-maximum",)
        assert evidence(verdict, "export-maximum") == ("", 9_001, None, 9_000, 9_000, False)
    if value in (1, -1):
        assert evidence(verdict, "export-range") == ("", value, None, 0, None, value == 1)
        assert evidence(verdict, "export-maximum") == ("", value, None, 9_000, 9_000, True)
