"""The gate, rule by rule, each in both directions and at its very edge."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from safety_house import (
    ACTIVE,
    INACTIVE,
    LIMITS,
    NOW,
    ask,
    device_limits,
    evidence,
    healthy,
    judged,
    leased,
    limits,
    reads,
    relay,
    unread,
)

from services.safety.core.gate import Verdict, granted, judge
from services.safety.core.limits import (
    BASE_LOAD,
    BATTERY_SOC,
    EV_POWER,
    PV_POWER,
    ROOM_TEMPERATURE,
)
from services.safety.core.rules import Proposal
from services.safety.core.state import Lease, Relay


def answer(verdict: Verdict) -> Any:
    """The value granted, or the rule that refused."""
    assert verdict.approved == (verdict.value is not None) == (verdict.rule == "")
    assert (verdict.until_s is None) == (verdict.expires_s is None) == (not verdict.approved)
    return verdict.value if verdict.approved else verdict.rule


# Form: the whitelist.


@pytest.mark.parametrize("value", [float("nan"), 1.0, "1", True, False, None, [1], {}, b"1"])
def test_value_that_is_no_int_is_refused(value):
    for device in INACTIVE:
        verdict = judged(value, device)
        assert answer(verdict) == "form"
        assert [item.rule for item in verdict.evidence] == ["form"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("device", None),
        ("device", ["relay-a"]),
        ("kind", 1),
        ("context", None),
        ("origin", 3),
        ("valid_from_s", None),
        ("valid_from_s", float(NOW)),
        ("valid_from_s", True),
        ("expires_s", float("inf")),
        ("expires_s", True),
        ("until_s", None),
        ("sequence", None),
        ("sequence", "100"),
        ("boost", 1),
        ("boost", None),
    ],
)
def test_ill_typed_fields_are_refused(field, value):
    for wish in (0, 1):
        verdict = judge(replace(ask(wish), **{field: value}), healthy(), LIMITS, NOW)
        assert answer(verdict) == "form"
    assert verdict.device == ("" if field == "device" else "relay-a")
    assert verdict.kind == ("" if field == "kind" else "relay")
    assert verdict.sequence == (0 if field == "sequence" else 100)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0),
        ({"device": "relay-x"}, "device"),
        ({"device": ""}, "device"),
        ({"kind": "battery"}, "kind"),
        ({"kind": ""}, "kind"),
        ({"context": "replay"}, "context"),
        ({"context": "shadow"}, "context"),
        ({"context": "mate"}, "context"),
        ({"origin": "optimizer"}, 0),
        ({"origin": "fallback"}, 0),
        ({"origin": "override"}, 0),
        ({"origin": "stranger"}, "origin"),
        ({"origin": "zebra"}, "origin"),
        ({"valid_from_s": NOW - 1}, 0),
        ({"valid_from_s": NOW}, 0),
        ({"valid_from_s": NOW + 1}, "valid-from"),
        ({"expires_s": None}, "expiry"),
        ({"expires_s": NOW - 1}, "expiry"),
        ({"expires_s": NOW}, "expiry"),
        ({"expires_s": NOW + 1}, 0),
        ({"until_s": NOW}, "until"),
        ({"until_s": NOW - 1}, "until"),
        ({"until_s": NOW + 1}, 0),
    ],
)
def test_whitelist_binds_even_the_inactive_value(changes, expected):
    assert answer(judged(0, **changes)) == expected
    if expected != 0:
        assert answer(judged(1, **changes)) == expected


def test_form_quotes_what_it_saw():
    verdict = judged(0)
    assert [item.rule for item in verdict.evidence] == [
        "form",
        "device",
        "kind",
        "context",
        "origin",
        "valid-from",
        "expiry",
        "until",
        "inactive",
    ]
    assert evidence(verdict, "form") == ("", None, None, None, None, True)
    assert evidence(verdict, "device") == ("relay-a", None, None, None, None, True)
    assert evidence(verdict, "kind") == ("relay", None, None, None, None, True)
    assert evidence(verdict, "context") == ("live", None, None, None, None, True)
    assert evidence(verdict, "origin") == ("optimizer", None, None, None, None, True)
    assert evidence(verdict, "valid-from") == ("", NOW, None, NOW, None, True)
    assert evidence(verdict, "expiry") == ("", NOW, None, NOW + 300, None, True)
    assert evidence(verdict, "until") == ("", NOW, None, NOW + 600, None, True)
    assert evidence(verdict, "inactive") == ("", 0, None, 0, None, True)


def test_verdict_carries_who_when_and_mode():
    verdict = judged(1)
    assert verdict.device == "relay-a"
    assert verdict.kind == "relay"
    assert verdict.sequence == 100
    assert verdict.mode == "normal"
    assert verdict.judged_s == NOW
    assert verdict.boost is False
    assert verdict.clamped_by == ()
    refused = judged(1, state=healthy("safe"))
    assert (refused.mode, refused.rule, refused.clamped_by) == ("safe", "mode", ())
    assert refused.boost is False


@pytest.mark.parametrize("now_s", [None, 1.5, True, "now"])
def test_time_must_be_an_int(now_s):
    with pytest.raises(ValueError, match="now_s"):
        judge(ask(0), healthy(), LIMITS, now_s)


@pytest.mark.parametrize(
    ("until_s", "expires_s", "lease", "expiry"),
    [
        (NOW + 600, NOW + 300, NOW + 600, NOW + 300),
        (NOW + 899, NOW + 5_000, NOW + 899, NOW + 899),
        (NOW + 901, NOW + 899, NOW + 900, NOW + 899),
        (NOW + 9_999, NOW + 9_999, NOW + 900, NOW + 900),
    ],
)
def test_lease_is_cut_to_its_longest(until_s, expires_s, lease, expiry):
    for value in (0, 1):
        verdict = judged(value, until_s=until_s, expires_s=expires_s)
        assert (verdict.until_s, verdict.expires_s) == (lease, expiry)


# Health.


@pytest.mark.parametrize("mode", ["normal", "degraded", "safe"])
@pytest.mark.parametrize("device", sorted(INACTIVE))
def test_inactive_is_always_allowed(mode, device):
    worst = healthy(mode, latches=("estop", f"mismatch:{device}"), readings={}, heartbeats={})
    worst = leased(worst, device, ACTIVE[device], sequence=10_000)
    for origin in ("optimizer", "fallback", "override"):
        verdict = judged(INACTIVE[device], device, worst, origin=origin, boost=True)
        assert answer(verdict) == INACTIVE[device]
        assert verdict.boost is False
        assert verdict.clamped_by == ()


@pytest.mark.parametrize(
    ("mode", "origin", "active", "safe"),
    [
        ("normal", "optimizer", True, True),
        ("normal", "override", True, True),
        ("normal", "fallback", True, True),
        ("degraded", "optimizer", False, True),
        ("degraded", "override", False, True),
        ("degraded", "fallback", True, True),
        ("safe", "optimizer", False, True),
        ("safe", "override", False, True),
        ("safe", "fallback", False, True),
    ],
)
def test_mode_decides_who_may(mode, origin, active, safe):
    state = reads(healthy(mode), PV_POWER, 9_000)
    for device, value in ACTIVE.items():
        verdict = judged(value, device, state, origin=origin)
        assert answer(verdict) == (value if active else "mode"), device
    assert answer(judged(3_000, "export", state, origin=origin)) == (3_000 if safe else "mode")


@pytest.mark.parametrize(
    ("mode", "origin", "value", "number", "most"),
    [
        ("normal", "optimizer", 5_000, 0, 0),
        ("degraded", "fallback", 5_000, 1, 1),
        ("safe", "optimizer", 3_000, 2, 2),
    ],
)
def test_mode_evidence(mode, origin, value, number, most):
    verdict = judged(value, "export", healthy(mode), origin=origin)
    assert evidence(verdict, "mode") == (f"mode:{mode}", number, None, most, None, True)


def test_device_that_does_not_obey_gets_nothing_active():
    for device, value in ACTIVE.items():
        latched = healthy(latches=(f"mismatch:{device}",), mismatches={device: 3})
        verdict = judged(value, device, latched)
        assert answer(verdict) == "obeys"
        assert evidence(verdict, "obeys") == (f"mismatches:{device}", 3, None, 3, None, False)
    other = healthy(latches=("mismatch:relay-b",))
    fine = judged(1, "relay-a", other)
    assert answer(fine) == 1
    assert evidence(fine, "obeys") == ("mismatches:relay-a", 0, None, 3, None, True)


@pytest.mark.parametrize(("number", "expected"), [(99, "sequence"), (100, 1), (101, 1)])
def test_older_proposal_than_the_one_in_force_is_refused(number, expected):
    state = leased(healthy(), "relay-a", 1, sequence=100)
    verdict = judged(1, state=state, sequence=number)
    assert answer(verdict) == expected
    assert evidence(verdict, "sequence") == ("", number, None, 100, None, number >= 100)
    assert evidence(judged(1, sequence=7), "sequence") == ("", 7, None, 7, None, True)


# Relay.


@pytest.mark.parametrize(("value", "expected"), [(1, 1), (0, 0), (2, "relay-range"), (-1, None)])
def test_relay_knows_only_on_and_off(value, expected):
    expected = "relay-range" if expected is None else expected
    assert answer(judged(value)) == expected
    if value == 2:
        assert evidence(judged(2), "relay-range") == ("", 2, None, 1, None, False)


@pytest.mark.parametrize(
    ("milli_c", "age_s", "expected"),
    [
        (20_000, 0, 1),
        (25_999, 0, 1),
        (26_000, 0, "room-temperature"),
        (26_001, 0, "room-temperature"),
        (20_000, 1_200, 1),
        (20_000, 1_201, "room-temperature"),
        (20_000, -60, 1),
        (20_000, -61, "room-temperature"),
        (-20_000, 0, 1),
        (-20_001, 0, "room-temperature"),
        (-127_000, 0, "room-temperature"),
        (85_000, 0, "room-temperature"),
    ],
)
def test_room_too_warm_or_unknown_gets_no_heat(milli_c, age_s, expected):
    state = reads(healthy(), ROOM_TEMPERATURE, milli_c, "a", age_s)
    verdict = judged(1, state=state)
    assert answer(verdict) == expected
    assert evidence(verdict, "room-temperature") == (
        "room_temperature_milli_c:a",
        milli_c,
        age_s,
        26_000,
        None,
        expected == 1,
    )
    assert answer(judged(1, "relay-b", state)) == 1
    assert answer(judged(0, state=state)) == 0


def test_room_never_seen_gets_no_heat():
    verdict = judged(1, state=unread(healthy(), ROOM_TEMPERATURE, "a"))
    assert answer(verdict) == "room-temperature"
    assert evidence(verdict, "room-temperature") == (
        "room_temperature_milli_c:a",
        None,
        None,
        26_000,
        None,
        False,
    )


@pytest.mark.parametrize(
    ("value", "since_s", "expected", "quoted"),
    [
        (0, 0, "relay-rest", 0),
        (0, 299, "relay-rest", 299),
        (0, 300, 1, 300),
        (1, 0, 1, None),
        (1, 10, 1, None),
    ],
)
def test_relay_rests_after_it_was_switched_off(value, since_s, expected, quoted):
    state = relay(healthy(), "relay-a", value, since_s)
    verdict = judged(1, state=state)
    assert answer(verdict) == expected
    assert evidence(verdict, "relay-rest") == (
        "off_s:relay-a",
        quoted,
        None,
        300,
        None,
        expected == 1,
    )
    assert answer(judged(0, state=state)) == 0


def test_relay_never_seen_may_be_switched_on():
    verdict = judged(1)
    assert answer(verdict) == 1
    assert evidence(verdict, "relay-rest") == ("off_s:relay-a", None, None, 300, None, True)
    assert evidence(verdict, "relay-rate") == ("switches_on:relay-a", 0, None, 6, None, True)


@pytest.mark.parametrize(
    ("value", "ago_s", "expected", "count"),
    [
        (0, (3_500, 3_000, 2_500, 2_000, 1_500), 1, 5),
        (0, (3_599, 3_000, 2_500, 2_000, 1_500, 1_000), "relay-rate", 6),
        (0, (3_600, 3_000, 2_500, 2_000, 1_500, 1_000), 1, 5),
        (1, (3_500, 3_000, 2_500, 2_000, 1_500, 1_000), 1, 6),
        (0, (3_500, 3_000, 2_500, 2_000, 1_500, 1_000, 900), "relay-rate", 7),
    ],
)
def test_relay_switches_so_often_an_hour(value, ago_s, expected, count):
    state = relay(healthy(), "relay-a", value, 400, *ago_s)
    verdict = judged(1, state=state)
    assert answer(verdict) == expected
    assert evidence(verdict, "relay-rate") == (
        "switches_on:relay-a",
        count,
        None,
        6,
        None,
        expected == 1,
    )


# The main fuse: limit 10 kW; relays 1, 2 and 1.5 kW; 6 A on three phases are 4140 W.


@pytest.mark.parametrize(
    ("base_w", "expected"), [(0, 1), (8_999, 1), (9_000, 1), (9_001, "fuse"), (-5_000, 1)]
)
def test_relay_must_fit_under_the_fuse(base_w, expected):
    verdict = judged(1, state=reads(healthy(), BASE_LOAD, base_w))
    assert answer(verdict) == expected
    assert evidence(verdict, "fuse") == (
        "base_load_w",
        base_w,
        0,
        10_000,
        None,
        expected == 1,
    )


def test_negative_base_load_lends_no_room():
    for granted_w, expected in ((9_000, 1), (9_001, "fuse")):
        state = leased(reads(healthy(), BASE_LOAD, -9_000), "battery", granted_w)
        assert answer(judged(1, state=state)) == expected


@pytest.mark.parametrize(("assumed_w", "expected"), [(9_000, 1), (9_001, "fuse")])
def test_unknown_base_load_is_taken_at_its_worst(assumed_w, expected):
    table = limits(assumed_base_load_w=assumed_w)
    for state in (
        unread(healthy(), BASE_LOAD),
        reads(healthy(), BASE_LOAD, 100, age_s=601),
        reads(healthy(), BASE_LOAD, 100_001),
    ):
        assert answer(judged(1, state=state, limits=table)) == expected
    fresh = reads(healthy(), BASE_LOAD, 100, age_s=600)
    assert answer(judged(1, state=fresh, limits=table)) == 1


@pytest.mark.parametrize(
    ("others", "draw_w"),
    [
        ({}, 0),
        ({"relay-b": 1}, 2_000),
        ({"relay-b": 1, "relay-c": 1}, 3_500),
        ({"relay-b": 0}, 0),
        ({"battery": 3_000}, 3_000),
        ({"battery": -3_000}, 0),
        ({"ev-car": 6_000}, 4_140),
        ({"ev-car": 6_001}, 4_141),
        ({"export": 5_000}, 0),
        ({"relay-a": 1}, 0),
    ],
)
def test_fuse_counts_every_other_lease(others, draw_w):
    state = healthy()
    for device, value in others.items():
        state = leased(state, device, value)
    room_w = 10_000 - 1_000 - draw_w
    assert answer(judged(1, state=reads(state, BASE_LOAD, room_w))) == 1
    assert answer(judged(1, state=reads(state, BASE_LOAD, room_w + 1))) == "fuse"


@pytest.mark.parametrize(("until_s", "counts"), [(NOW + 1, True), (NOW, False), (NOW - 1, False)])
def test_fuse_counts_a_lease_until_it_ends(until_s, counts):
    state = reads(leased(healthy(), "battery", 4_000, until_s=until_s), BASE_LOAD, 6_000)
    assert answer(judged(1, state=state)) == ("fuse" if counts else 1)


def test_fuse_counts_a_relay_that_is_on_of_its_own():
    state = reads(healthy(), BASE_LOAD, 7_500)
    assert answer(judged(1, state=relay(state, "relay-b", 0, 900))) == 1
    assert answer(judged(1, state=relay(state, "relay-b", 1, 900))) == "fuse"
    ended = leased(state, "relay-b", 1, until_s=NOW)
    assert answer(judged(1, state=ended)) == "fuse"


def test_fuse_counts_a_relay_that_is_granted_but_not_seen_on():
    state = reads(healthy(), BASE_LOAD, 7_500)
    state = replace(
        state, leases={"relay-b": Lease(value=1, boost=False, until_s=NOW + 9, sequence=1)}
    )
    assert answer(judged(1, state=state)) == "fuse"


@pytest.mark.parametrize(
    ("granted_ma", "measured_w", "age_s", "draw_w"),
    [
        (0, 3_000, 0, 3_000),
        (6_000, 3_000, 0, 4_140),
        (6_000, 5_000, 0, 5_000),
        (6_000, 5_000, 601, 4_140),
        (0, 100_001, 0, 0),
    ],
)
def test_fuse_counts_the_car_as_granted_or_measured(granted_ma, measured_w, age_s, draw_w):
    state = leased(healthy(), "ev-car", granted_ma)
    state = reads(state, EV_POWER, measured_w, "ev-car", age_s)
    room_w = 9_000 - draw_w
    assert answer(judged(1, state=reads(state, BASE_LOAD, room_w))) == 1
    assert answer(judged(1, state=reads(state, BASE_LOAD, room_w + 1))) == "fuse"


@pytest.mark.parametrize(
    ("device", "draw_w"),
    [("relay-b", 2_000), ("battery", 5_000), ("ev-car", 11_040), ("export", 0)],
)
def test_fuse_counts_a_disobedient_device_with_all_it_has(device, draw_w):
    table = limits(grid_import_limit_w=20_000)
    room_w = 20_000 - 1_000 - draw_w
    state = leased(healthy(latches=(f"mismatch:{device}",)), device, INACTIVE[device])
    assert answer(judged(1, state=reads(state, BASE_LOAD, room_w), limits=table)) == 1
    assert answer(judged(1, state=reads(state, BASE_LOAD, room_w + 1), limits=table)) == "fuse"


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


# Folding verdicts.


def test_granted_verdict_becomes_a_lease():
    state = granted(healthy(), judged(12_000, "ev-car", boost=True, sequence=7))
    assert state.leases["ev-car"] == Lease(value=12_000, boost=True, until_s=NOW + 600, sequence=7)
    assert state.relays == {}
    state = granted(healthy(), judged(1))
    assert state.leases["relay-a"].value == 1
    assert state.relays["relay-a"] == Relay(value=1, changed_s=NOW, switched_on_s=(NOW,))


def test_rejected_verdict_changes_nothing():
    before = healthy()
    assert granted(before, judged(2)) is before


def test_verdict_survives_json():
    for verdict in (judged(9_000, "battery"), judged(2), judged(None)):
        assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict


def test_proposal_defaults_to_no_boost():
    fields = {name: getattr(ask(0), name) for name in Proposal.__dataclass_fields__}
    del fields["boost"]
    assert Proposal(**fields).boost is False
