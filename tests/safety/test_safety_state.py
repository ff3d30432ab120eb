"""The state and its folds."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from safety_house import LIMITS, NOW, healthy, leased, limits, reads, relay

from services.safety.core.limits import BASE_LOAD, ROOM_TEMPERATURE
from services.safety.core.state import (
    Lease,
    Reading,
    Relay,
    SafetyState,
    key,
    look,
    timely,
    with_heartbeat,
    with_lease,
    with_read_back,
    with_reading,
    with_relay,
    with_relay_seen,
    without_times,
)

EMPTY = SafetyState(context="live")


def test_house_starts_in_safe_and_knows_nothing():
    assert (
        SafetyState(
            context="live",
            mode="safe",
            reasons=("start",),
            latches=(),
            healthy_since_s=None,
            clock_s=None,
            readings={},
            heartbeats={},
            mismatches={},
            leases={},
            relays={},
        )
        == EMPTY
    )


def test_state_survives_json():
    state = leased(relay(healthy(), "relay-b", 1, 50, 50, 900), "ev-car", 12_000, boost=True)
    state = with_read_back(state, "battery", False)
    state = replace(state, latches=("estop", "mismatch:battery"), healthy_since_s=NOW - 4)
    again = SafetyState.from_dict(json.loads(json.dumps(state.to_dict())))
    assert again == state
    assert again.to_dict() == state.to_dict()
    assert again.relays["relay-b"].switched_on_s == (NOW - 50, NOW - 900)


def test_state_is_written_in_one_order():
    one = with_heartbeat(with_heartbeat(EMPTY, "a", 1), "b", 2)
    two = with_heartbeat(with_heartbeat(EMPTY, "b", 2), "a", 1)
    assert json.dumps(one.to_dict()) == json.dumps(two.to_dict())


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"mode": "party"}, "SafetyState.mode: must be one of"),
        ({"mode": 1}, "SafetyState.mode: must be str"),
        ({"context": None}, "SafetyState.context: must be str"),
        ({"clock_s": 1.0}, "SafetyState.clock_s: must be int"),
        ({"healthy_since_s": True}, "SafetyState.healthy_since_s: must be int"),
        ({"reasons": [1]}, "SafetyState.reasons: must be tuple"),
        ({"latches": "estop"}, "SafetyState.latches: must be tuple"),
        ({"heartbeats": {"a": 1.5}}, "SafetyState.heartbeats: must hold ints"),
        ({"heartbeats": {"a": True}}, "SafetyState.heartbeats: must hold ints"),
        ({"mismatches": {"a": None}}, "SafetyState.mismatches: must hold ints"),
        ({"readings": {"a": {"value": 1.0, "at_s": 1}}}, "Reading.value: must be int"),
        ({"readings": {"a": {"value": 1}}}, "Reading.*missing"),
        (
            {"relays": {"a": {"value": 1, "changed_s": 1, "switched_on_s": [1.0]}}},
            "Relay.switched_on_s: must be tuple",
        ),
        (
            {"leases": {"a": {"value": 1, "boost": 0, "until_s": 1, "sequence": 1}}},
            "Lease.boost: must be bool",
        ),
        ({"colour": "red"}, "SafetyState.colour: unknown field"),
    ],
)
def test_broken_snapshot_is_refused(broken, message):
    with pytest.raises(ValueError, match=message):
        SafetyState.from_dict({"context": "live", **broken})


def test_lists_are_no_tuples():
    for wrong in ([1], (1, True), (1.0,), 1):
        with pytest.raises(ValueError, match="switched_on_s"):
            Relay(value=1, changed_s=1, switched_on_s=wrong)


def test_first_unknown_field_is_named():
    with pytest.raises(ValueError, match="apple: unknown field; known: at_s, value"):
        Reading.from_dict({"value": 1, "zebra": 1, "apple": 1})


def test_reading_key():
    assert key("base_load_w") == "base_load_w"
    assert key("room_temperature_milli_c", "a") == "room_temperature_milli_c:a"


def test_last_reading_of_the_log_counts():
    state = with_reading(EMPTY, ROOM_TEMPERATURE, "a", 20_000, NOW + 10**9)
    state = with_reading(state, ROOM_TEMPERATURE, "a", 21_000, NOW)
    state = with_reading(state, ROOM_TEMPERATURE, "b", 22_000, NOW - 5)
    assert state.readings == {
        "room_temperature_milli_c:a": Reading(value=21_000, at_s=NOW),
        "room_temperature_milli_c:b": Reading(value=22_000, at_s=NOW - 5),
    }
    for value, at_s in ((20.5, NOW), (None, NOW), (True, NOW), (1, 1.5)):
        with pytest.raises(ValueError, match="Reading"):
            with_reading(state, ROOM_TEMPERATURE, "a", value, at_s)


def test_heartbeats_and_leases_are_kept_by_name():
    state = with_heartbeat(with_heartbeat(EMPTY, "a", 5), "b", 6)
    assert with_heartbeat(state, "a", 7).heartbeats == {"a": 7, "b": 6}
    lease = Lease(value=1, boost=False, until_s=2, sequence=3)
    state = with_lease(with_lease(EMPTY, "x", lease), "y", lease)
    assert state.leases == {"x": lease, "y": lease}
    with pytest.raises(ValueError, match="heartbeats"):
        with_heartbeat(state, "a", 1.5)


def test_match_ends_the_row_of_mismatches():
    state = EMPTY
    for count in (1, 2, 3):
        state = with_read_back(state, "a", False)
        assert state.mismatches == {"a": count}
    state = with_read_back(state, "b", False)
    assert with_read_back(state, "a", True).mismatches == {"a": 0, "b": 1}


def test_relay_switches_are_counted_for_an_hour():
    state = with_relay(EMPTY, "r", 0, 100)
    assert state.relays["r"] == Relay(value=0, changed_s=100, switched_on_s=())
    state = with_relay(state, "r", 1, 200)
    assert state.relays["r"] == Relay(value=1, changed_s=200, switched_on_s=(200,))
    assert with_relay(state, "r", 1, 250) is state
    state = with_relay(state, "r", 0, 300)
    assert state.relays["r"] == Relay(value=0, changed_s=300, switched_on_s=(200,))
    late = with_relay(state, "r", 1, 3_799)
    assert late.relays["r"].switched_on_s == (200, 3_799)
    late = with_relay(state, "r", 1, 3_800)
    assert late.relays["r"].switched_on_s == (3_800,)
    both = with_relay(late, "s", 1, 1)
    assert sorted(both.relays) == ["r", "s"]


@pytest.mark.parametrize(("after_s", "believed"), [(0, False), (119, False), (120, True)])
def test_echo_of_a_young_command_is_not_believed(after_s, believed):
    state = with_relay(EMPTY, "r", 1, NOW)
    seen = with_relay_seen(state, LIMITS, "r", 0, NOW + after_s)
    assert (seen.relays["r"].value == 0) == believed
    assert with_relay_seen(EMPTY, LIMITS, "r", 1, NOW).relays["r"].value == 1
    always = with_relay_seen(state, limits(relay_settle_s=0), "r", 0, NOW)
    assert always.relays["r"].value == 0


def test_what_a_clock_set_back_has_timed_is_forgotten():
    state = leased(relay(healthy(), "relay-b", 1, 50, 50), "relay-a", 0)
    state = with_read_back(state, "battery", False)
    bare = without_times(state)
    assert (bare.readings, bare.heartbeats, bare.leases) == ({}, {}, {})
    assert bare.relays == {
        "relay-a": Relay(value=0, changed_s=0),
        "relay-b": Relay(value=1, changed_s=0),
    }
    assert bare.mismatches == state.mismatches
    assert bare.mode == state.mode


@pytest.mark.parametrize(
    ("value", "age_s", "fresh"),
    [
        (0, 0, True),
        (0, 600, True),
        (0, 601, False),
        (0, -60, True),
        (0, -61, False),
        (-50_000, 0, True),
        (-50_001, 0, False),
        (100_000, 0, True),
        (100_001, 0, False),
    ],
)
def test_reading_is_believed_while_young_and_plausible(value, age_s, fresh):
    seen = look(reads(EMPTY, BASE_LOAD, value, age_s=age_s), LIMITS, BASE_LOAD, "", NOW)
    assert (seen.name, seen.value, seen.age_s) == ("base_load_w", value, age_s)
    assert seen.known == (value if fresh else None)
    unknown = look(EMPTY, LIMITS, BASE_LOAD, "", NOW)
    assert (unknown.value, unknown.age_s, unknown.known) == (None, None, None)


def test_timely():
    assert [timely(age, 10, LIMITS) for age in (-61, -60, 0, 10, 11)] == [
        False,
        True,
        True,
        True,
        False,
    ]
