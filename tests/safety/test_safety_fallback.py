"""Withdrawals and the fallback controller."""

from __future__ import annotations

from dataclasses import replace

import pytest
from safety_house import (
    INACTIVE,
    LIMITS,
    NOW,
    device_limits,
    healthy,
    leased,
    limits,
    reads,
    relay,
    unread,
)

from services.safety.core.fallback import fallback
from services.safety.core.gate import granted, judge, withdrawals
from services.safety.core.limits import BASE_LOAD, BATTERY_SOC, PV_POWER, ROOM_TEMPERATURE
from services.safety.core.rules import Proposal
from services.safety.core.state import Relay, SafetyState


def wishes(proposals: tuple[Proposal, ...]) -> list[tuple[str, int]]:
    """Device and value of each proposal, in order."""
    return [(item.device, item.value) for item in proposals]


def back(state: SafetyState, table=LIMITS) -> list[tuple[str, int]]:
    """What is withdrawn; every one of them must pass the gate in full."""
    proposals = withdrawals(state, table, NOW)
    for proposal in proposals:
        verdict = judge(proposal, state, table, NOW)
        assert verdict.approved, verdict
        state = granted(state, verdict)
        assert state.leases[proposal.device].value == proposal.value
    assert withdrawals(state, table, NOW) == ()
    return wishes(proposals)


# Withdrawals: a lease lasts only while it would be granted again.


def test_nothing_is_withdrawn_while_all_is_well():
    state = leased(leased(healthy(), "relay-a", 1), "battery", 2_000)
    state = leased(leased(state, "export", 5_000), "relay-b", 0)
    assert back(state) == []
    assert back(healthy()) == []


@pytest.mark.parametrize(
    ("until_s", "expected"), [(NOW + 1, [("relay-a", 0)]), (NOW, []), (NOW - 1, [])]
)
def test_lease_in_an_overheated_room_is_withdrawn(until_s, expected):
    hot = reads(healthy(), ROOM_TEMPERATURE, 26_000, "a")
    assert back(leased(hot, "relay-a", 1, until_s=until_s)) == expected


def test_lease_in_a_room_gone_silent_is_withdrawn():
    silent = unread(healthy(), ROOM_TEMPERATURE, "a")
    assert back(leased(silent, "relay-a", 1)) == [("relay-a", 0)]


def test_running_relay_is_not_withdrawn_for_wear():
    state = leased(healthy(), "relay-a", 1)
    times = tuple(NOW - 100 * back_s for back_s in range(9))
    state = replace(state, relays={"relay-a": Relay(value=1, changed_s=NOW, switched_on_s=times)})
    assert back(state) == []


def test_overload_sheds_loads_that_may_wait_after_the_battery_and_before_heat():
    state = leased(leased(healthy(), "battery", 2_000), "relay-a", 1)
    state = leased(state, "load-boiler", 1)
    rising = {
        5_800: [],
        5_801: [("battery", 1_999)],
        7_800: [("battery", 0)],
        7_801: [("battery", 0), ("load-boiler", 0)],
        9_000: [("battery", 0), ("load-boiler", 0)],
        9_001: [("battery", 0), ("load-boiler", 0), ("relay-a", 0)],
    }
    for base_w, expected in rising.items():
        assert back(reads(state, BASE_LOAD, base_w)) == expected, base_w


def test_overload_sheds_the_car_then_the_battery_then_heat():
    state = leased(leased(healthy(), "ev-car", 10_000), "battery", 2_000)
    state = leased(leased(state, "relay-a", 1), "relay-b", 1)
    rising = {
        0: [("ev-car", 7_246)],
        500: [("ev-car", 6_521)],
        900: [("ev-car", 0)],
        5_000: [("ev-car", 0)],
        5_001: [("ev-car", 0), ("battery", 1_999)],
        7_000: [("ev-car", 0), ("battery", 0)],
        7_001: [("ev-car", 0), ("battery", 0), ("relay-b", 0)],
        9_000: [("ev-car", 0), ("battery", 0), ("relay-b", 0)],
        9_001: [("ev-car", 0), ("battery", 0), ("relay-b", 0), ("relay-a", 0)],
    }
    for base_w, expected in rising.items():
        assert back(reads(state, BASE_LOAD, base_w)) == expected, base_w


def test_relay_shed_frees_its_load_for_the_next():
    state = leased(leased(healthy(), "relay-a", 1), "relay-c", 1)
    assert back(reads(state, BASE_LOAD, 8_000)) == [("relay-c", 0)]


def test_degrading_ends_grid_charging_and_boost():
    state = leased(healthy("degraded"), "battery", 2_000)
    assert back(state) == [("battery", 0)]
    assert back(reads(state, PV_POWER, 2_400)) == [("battery", 1_900)]
    assert back(reads(state, PV_POWER, 2_500)) == []
    table = limits(grid_import_limit_w=20_000)
    boosted = leased(healthy("degraded"), "ev-car", 16_000, boost=True)
    assert back(boosted, table) == [("ev-car", 10_000)]
    gentle = leased(healthy("degraded"), "ev-car", 8_000, boost=True)
    assert back(gentle, table) == [("ev-car", 8_000)]
    assert back(leased(healthy("degraded"), "ev-car", 8_000), table) == []


def test_boost_stays_boost_when_only_the_fuse_is_short():
    state = leased(reads(healthy(), BASE_LOAD, 1_720), "ev-car", 16_000, boost=True)
    (taken,) = withdrawals(state, LIMITS, NOW)
    assert (taken.device, taken.value, taken.boost) == ("ev-car", 12_000, True)


def test_degrading_leaves_heat_to_the_fallback():
    state = leased(leased(healthy("degraded"), "relay-a", 1), "battery", -2_000)
    assert back(leased(state, "export", 5_000)) == []


def test_safe_withdraws_everything_active():
    state = healthy("safe")
    for device, value in {"relay-a": 1, "relay-b": 0, "battery": -5, "ev-car": 6_000}.items():
        state = leased(state, device, value)
    assert back(leased(state, "export", 5_000)) == [
        ("ev-car", 0),
        ("battery", 0),
        ("export", 9_000),
        ("relay-a", 0),
    ]
    assert back(leased(healthy("safe"), "export", 3_000)) == []


def test_withdrawal_is_a_whole_proposal():
    state = leased(reads(healthy(), ROOM_TEMPERATURE, 27_000, "a"), "relay-a", 1, sequence=77)
    assert withdrawals(state, LIMITS, NOW) == (
        Proposal(
            device="relay-a",
            kind="relay",
            value=0,
            valid_from_s=NOW,
            expires_s=NOW + 300,
            until_s=NOW + 300,
            sequence=77,
            context="live",
            origin="fallback",
            boost=False,
        ),
    )


# Fallback.


def run(state: SafetyState, table=LIMITS, **more) -> list[tuple[str, int]]:
    """What the fallback proposes; every one of them must pass the gate in full, in order."""
    proposals = fallback(state, table, NOW, 100, **more)
    for proposal in proposals:
        verdict = judge(proposal, state, table, NOW)
        assert (verdict.approved, verdict.value) == (True, proposal.value), verdict
        state = granted(state, verdict)
    assert fallback(state, table, NOW, 100, **more) == ()
    return wishes(proposals)


def cool(*milli_c: int, **more) -> SafetyState:
    """A degraded house with these room temperatures."""
    state = healthy("degraded", **more)
    for room, value in zip("abc", milli_c, strict=True):
        state = reads(state, ROOM_TEMPERATURE, value, room)
    return state


REST = [("battery", 0), ("ev-car", 0), ("export", 9_000)]
OFF = [("relay-a", 0), ("relay-b", 0), ("relay-c", 0)]


def test_normal_needs_no_fallback():
    assert fallback(healthy(), LIMITS, NOW, 1) == ()


def test_safe_sets_every_safe_value_even_when_blind():
    expected = [("battery", 0), ("ev-car", 0), ("export", 3_000), ("load-boiler", 0), *OFF]
    assert run(healthy("safe")) == expected
    assert run(healthy("safe", readings={})) == expected
    cold = replace(cool(1_000, 1_000, 1_000), mode="safe")
    assert run(cold, ev_need_wh={"ev-car": 9}) == expected


def test_warm_house_rests():
    assert run(cool(20_000, 20_000, 20_000)) == [*REST, *OFF]


def test_proposals_are_whole():
    first = fallback(cool(20_000, 20_000, 20_000), LIMITS, NOW, 100)[0]
    assert first == Proposal(
        device="battery",
        kind="battery",
        value=0,
        valid_from_s=NOW,
        expires_s=NOW + 900,
        until_s=NOW + 900,
        sequence=100,
        context="live",
        origin="fallback",
    )


@pytest.mark.parametrize(
    ("milli_c", "on_since_s", "expected"),
    [
        (18_700, None, 1),
        (18_701, None, 0),
        (18_000, None, 1),
        (19_299, 300, 1),
        (19_300, 300, 0),
        (19_300, 299, 1),
        (25_999, 299, 1),
        (26_000, 299, 0),
        (18_701, 300, 1),
        (19_000, 9_000, 1),
    ],
)
def test_thermostat_with_hysteresis_and_minimum_on_time(milli_c, on_since_s, expected):
    state = cool(milli_c, 20_000, 20_000)
    if on_since_s is not None:
        state = relay(state, "relay-a", 1, on_since_s)
    assert ("relay-a", expected) in run(state)


def test_relay_that_is_off_stays_off_within_the_band():
    for milli_c in (18_701, 19_000, 19_299):
        assert ("relay-a", 0) in run(relay(cool(milli_c, 20_000, 20_000), "relay-a", 0, 9_000))


@pytest.mark.parametrize(
    ("off_since_s", "expected"), [(299, None), (300, ("relay-a", 1)), (9_000, ("relay-a", 1))]
)
def test_relay_rests_before_it_heats_again(off_since_s, expected):
    found = run(relay(cool(15_000, 20_000, 20_000), "relay-a", 0, off_since_s))
    assert [item for item in found if item[0] == "relay-a"] == ([expected] if expected else [])


def test_setpoints_are_given_per_call():
    state = cool(20_000, 20_000, 18_000)
    assert run(state, setpoints_milli_c={"b": 20_300, "c": 17_000}) == [
        *REST,
        ("relay-a", 0),
        ("relay-c", 0),
        ("relay-b", 1),
    ]


def test_silent_room_is_left_to_its_own_thermostat():
    state = unread(cool(15_000, 15_000, 20_000), ROOM_TEMPERATURE, "a")
    assert run(state) == [*REST, ("relay-c", 0), ("relay-b", 1)]


def test_old_temperature_is_no_temperature():
    for milli_c in (15_000, 25_000):
        state = reads(cool(20_000, 15_000, 20_000), ROOM_TEMPERATURE, milli_c, "a", 1_201)
        assert run(state) == [*REST, ("relay-c", 0), ("relay-b", 1)]


def test_need_belongs_to_cars():
    assert ("battery", 0) in run(cool(20_000, 20_000, 20_000), ev_need_wh={"battery": 5})


def test_coldest_room_first_and_only_what_the_fuse_carries():
    state = cool(16_000, 15_000, 17_000)
    assert run(reads(state, BASE_LOAD, 5_500)) == [
        *REST,
        ("relay-b", 1),
        ("relay-a", 1),
        ("relay-c", 1),
    ]
    assert run(reads(state, BASE_LOAD, 6_000)) == [*REST, ("relay-b", 1), ("relay-a", 1)]
    assert run(reads(state, BASE_LOAD, 7_500)) == [*REST, ("relay-b", 1)]
    assert run(reads(state, BASE_LOAD, 8_500)) == [*REST, ("relay-a", 1)]
    assert run(reads(state, BASE_LOAD, 9_500)) == REST


def test_cold_is_measured_against_the_setpoint_and_ties_go_by_name():
    state = cool(17_000, 17_000, 16_000)
    assert run(state, setpoints_milli_c={"b": 22_000, "c": 18_000}) == [
        *REST,
        ("relay-b", 1),
        ("relay-a", 1),
        ("relay-c", 1),
    ]


def test_what_goes_off_makes_room_for_what_goes_on():
    state = leased(cool(15_000, 22_000, 20_000), "relay-b", 1)
    assert run(reads(state, BASE_LOAD, 8_500)) == [
        *REST,
        ("relay-b", 0),
        ("relay-c", 0),
        ("relay-a", 1),
    ]


@pytest.mark.parametrize(
    ("need", "expected"),
    [
        ({}, 0),
        ({"ev-car": 0}, 0),
        ({"ev-car": -5}, 0),
        ({"ev-car": 1}, 6_000),
        ({"ev-other": 9_000}, 0),
    ],
)
def test_car_charges_at_the_least_current_while_it_needs(need, expected):
    assert ("ev-car", expected) in run(cool(20_000, 20_000, 20_000), ev_need_wh=need)


def test_heat_comes_before_the_car():
    state = cool(15_000, 16_000, 17_000)
    need = {"ev-car": 5_000}
    heat = [("relay-a", 1), ("relay-b", 1), ("relay-c", 1)]
    rest = [("battery", 0), ("export", 9_000)]
    assert run(reads(state, BASE_LOAD, 1_360), ev_need_wh=need) == [
        *rest,
        *heat,
        ("ev-car", 6_000),
    ]
    assert run(reads(state, BASE_LOAD, 1_361), ev_need_wh=need) == [*rest, *heat]


def test_device_that_does_not_obey_is_told_inactive_only():
    state = cool(15_000, 20_000, 20_000, latches=("mismatch:relay-a",))
    assert [item for item in run(state) if item[0] == "relay-a"] == []
    warm = cool(20_000, 20_000, 20_000, latches=("mismatch:relay-a",))
    assert ("relay-a", 0) in run(warm)


@pytest.mark.parametrize(
    ("value", "boost", "left_s", "renewed"),
    [
        (0, False, 451, False),
        (0, False, 450, True),
        (6_000, False, 451, True),
        (0, True, 451, True),
    ],
)
def test_lease_that_says_the_same_is_left_alone_for_half_its_time(value, boost, left_s, renewed):
    state = leased(cool(20_000, 20_000, 20_000), "ev-car", value, boost=boost, until_s=NOW + left_s)
    assert (("ev-car", 0) in wishes(fallback(state, LIMITS, NOW, 100))) == renewed


def test_running_relay_lease_is_taken_over():
    state = leased(cool(18_000, 20_000, 20_000), "relay-a", 1, until_s=NOW + 800)
    assert ("relay-a", 1) not in run(state)
    state = leased(cool(18_000, 20_000, 20_000), "relay-a", 1, until_s=NOW + 400)
    assert ("relay-a", 1) in run(state)


def test_fallback_never_charges_the_battery_by_order():
    state = reads(cool(20_000, 20_000, 20_000), PV_POWER, 9_000)
    state = reads(state, BATTERY_SOC, 200, "battery")
    assert ("battery", 0) in run(state)


def test_export_returns_to_the_agreement():
    state = leased(cool(20_000, 20_000, 20_000), "export", 1_000, until_s=NOW + 800)
    assert ("export", 9_000) in run(state)


def test_switches_run_out_and_the_room_waits():
    table = device_limits("relay-a", maximum_switches_per_hour=2)
    state = relay(cool(15_000, 20_000, 20_000), "relay-a", 0, 400, 900, 2_000)
    assert [item for item in run(state, table) if item[0] == "relay-a"] == []


def test_same_state_same_proposals():
    state = cool(16_000, 15_000, 17_000)
    turned = replace(state, readings=dict(reversed(list(state.readings.items()))))
    assert fallback(state, LIMITS, NOW, 1) == fallback(turned, LIMITS, NOW, 1)
    assert set(dict(run(state))) == set(INACTIVE) - {"load-boiler"}


@pytest.mark.parametrize("value", [0, 1])
def test_a_load_that_may_wait_is_left_to_its_own_timer(value):
    state = leased(cool(20_000, 20_000, 20_000), "load-boiler", value, until_s=NOW + 100)
    assert "load-boiler" not in dict(run(state))
