"""The mode machine: every trigger down, the holds up, the latches."""

from __future__ import annotations

from dataclasses import replace

import pytest
from safety_house import LIMITS, NOW, SERVICES, healthy, limits, reads, relay, unread

from services.safety.core.limits import BASE_LOAD, BATTERY_SOC, PV_POWER, ROOM_TEMPERATURE
from services.safety.core.modes import MISMATCH, Signals, Transition, rank, step, triggers
from services.safety.core.state import SafetyState, with_heartbeat, with_read_back, with_reading

FINE = Signals()


def silent(service: str, age_s: int | None) -> SafetyState:
    """All is well but one service was last heard ``age_s`` ago (None: never)."""
    state = healthy()
    beats = {name: at for name, at in state.heartbeats.items() if name != service}
    state = replace(state, heartbeats=beats)
    return state if age_s is None else with_heartbeat(state, service, NOW - age_s)


def mismatched(count: int, device: str = "relay-a") -> SafetyState:
    """All is well but ``count`` read-backs in a row did not match."""
    state = healthy()
    for _ in range(count):
        state = with_read_back(state, device, False)
    return state


def rooms(*ages_s: int) -> SafetyState:
    """All is well but the rooms' temperatures have these ages."""
    state = healthy()
    for room, age_s in zip("abc", ages_s, strict=True):
        state = reads(state, ROOM_TEMPERATURE, 20_000, room, age_s)
    return state


def test_nothing_wrong_stays_normal():
    state, changes = step(healthy(), FINE, LIMITS, NOW)
    assert (state.mode, state.reasons, changes) == ("normal", (), ())
    assert state == healthy()


def test_signals_default_to_nothing_wrong():
    assert (
        Signals(
            log_accepting=True,
            disk_free_bytes=None,
            configuration_known=True,
            estop=False,
            cleared=False,
        )
        == FINE
    )


@pytest.mark.parametrize(
    ("state", "signals", "mode", "reasons"),
    [
        (healthy(), Signals(estop=True), "safe", ("estop",)),
        (healthy(), Signals(estop=True, cleared=True), "safe", ("estop",)),
        (healthy(), Signals(log_accepting=False), "safe", ("log-not-accepting",)),
        (healthy(), Signals(configuration_known=False), "degraded", ("configuration-unknown",)),
        (healthy(), Signals(disk_free_bytes=0), "degraded", ("disk-nearly-full",)),
        (healthy(), Signals(disk_free_bytes=10**9 - 1), "degraded", ("disk-nearly-full",)),
        (healthy(), Signals(disk_free_bytes=10**9), "normal", ()),
        (healthy(), Signals(disk_free_bytes=None), "normal", ()),
        (healthy(clock_s=None), FINE, "normal", ()),
        (healthy(clock_s=NOW - 1_800), FINE, "normal", ()),
        (healthy(clock_s=NOW - 1_801), FINE, "safe", ("clock-jump",)),
        (healthy(clock_s=NOW + 60), FINE, "normal", ()),
        (silent("optimizer", 1_800), FINE, "normal", ()),
        (silent("optimizer", 1_801), FINE, "degraded", ("heartbeat:optimizer",)),
        (silent("optimizer", None), FINE, "degraded", ("heartbeat:optimizer",)),
        (silent("optimizer", -60), FINE, "normal", ()),
        (silent("optimizer", -61), FINE, "degraded", ("heartbeat:optimizer",)),
        (silent("thermal", 1_801), FINE, "degraded", ("heartbeat:thermal",)),
        (silent("dispatcher", 900), FINE, "normal", ()),
        (silent("dispatcher", 901), FINE, "degraded", ("heartbeat:dispatcher",)),
        (silent("gateway", 900), FINE, "normal", ()),
        (silent("gateway", 901), FINE, "safe", ("heartbeat:gateway",)),
        (mismatched(2), FINE, "normal", ()),
        (mismatched(3), FINE, "degraded", ("mismatch:relay-a",)),
        (mismatched(4, "battery"), FINE, "degraded", ("mismatch:battery",)),
        (reads(healthy(), BASE_LOAD, 0, age_s=600), FINE, "normal", ()),
        (reads(healthy(), BASE_LOAD, 0, age_s=601), FINE, "degraded", ("stale:base_load_w",)),
        (unread(healthy(), BASE_LOAD), FINE, "degraded", ("stale:base_load_w",)),
        (reads(healthy(), BASE_LOAD, 10**6), FINE, "degraded", ("stale:base_load_w",)),
        (
            reads(healthy(), BATTERY_SOC, 500, "battery", 601),
            FINE,
            "degraded",
            ("stale:battery_soc_permille:battery",),
        ),
        (reads(healthy(), BATTERY_SOC, 500, "battery", 600), FINE, "normal", ()),
        (unread(healthy(), PV_POWER), FINE, "normal", ()),
        (rooms(0, 0, 1_200), FINE, "normal", ()),
        (rooms(0, 0, 1_201), FINE, "normal", ()),
        (rooms(0, 1_201, 1_201), FINE, "degraded", ("stale:rooms(2)",)),
        (rooms(1_201, 1_201, 1_201), FINE, "degraded", ("stale:rooms(3)",)),
    ],
)
def test_every_trigger_takes_the_house_down_at_once(state, signals, mode, reasons):
    after, changes = step(state, signals, LIMITS, NOW)
    assert (after.mode, after.reasons) == (mode, reasons)
    assert after.clock_s == NOW
    if mode == "normal":
        assert changes == ()
    else:
        assert changes == (
            Transition(
                before="normal",
                after=mode,
                reasons=reasons,
                latched=bool(after.latches),
                at_s=NOW,
            ),
        )
        assert after.healthy_since_s is None


def test_tolerated_rooms_are_a_limit():
    state = rooms(0, 0, 1_201)
    assert step(state, FINE, limits(tolerated_stale_rooms=0), NOW)[0].mode == "degraded"
    all_silent = rooms(1_201, 1_201, 1_201)
    assert step(all_silent, FINE, limits(tolerated_stale_rooms=3), NOW)[0].mode == "normal"


def test_room_with_two_relays_counts_once():
    twins = tuple(
        replace(item, room="a") if item.device == "relay-b" else item for item in LIMITS.devices
    )
    state = rooms(1_201, 0, 0)
    assert step(state, FINE, limits(devices=twins), NOW)[0].mode == "normal"


def test_all_reasons_are_told_in_a_fixed_order_and_the_worst_decides():
    state = unread(silent("gateway", None), BASE_LOAD)
    state = unread(state, BATTERY_SOC, "battery")
    state = replace(state, latches=("estop", "mismatch:battery", "mismatch:relay-a"))
    signals = Signals(log_accepting=False, configuration_known=False, disk_free_bytes=1)
    found = triggers(state, signals, LIMITS, NOW + 2_000)
    assert found == (
        ("safe", "estop"),
        ("safe", "log-not-accepting"),
        ("safe", "clock-jump"),
        ("degraded", "heartbeat:dispatcher"),
        ("safe", "heartbeat:gateway"),
        ("degraded", "heartbeat:optimizer"),
        ("degraded", "heartbeat:thermal"),
        ("degraded", "mismatch:battery"),
        ("degraded", "mismatch:relay-a"),
        ("degraded", "configuration-unknown"),
        ("degraded", "disk-nearly-full"),
        ("degraded", "stale:base_load_w"),
        ("degraded", "stale:battery_soc_permille:battery"),
        ("degraded", "stale:rooms(3)"),
    )
    assert step(state, signals, LIMITS, NOW + 2_000)[0].mode == "safe"
    assert [rank(mode) for mode in ("normal", "degraded", "safe")] == [0, 1, 2]


def alive(state: SafetyState, now_s: int) -> SafetyState:
    """The same modes with everything fresh at ``now_s``."""
    fresh = healthy(now_s=now_s)
    return replace(state, readings=fresh.readings, heartbeats=fresh.heartbeats)


def walk(state: SafetyState, times_s: list[int]) -> list[tuple[int, str]]:
    """Step through healthy ticks; the changes as (s since NOW, mode)."""
    changes = []
    for offset_s in times_s:
        state, moved = step(alive(state, NOW + offset_s), FINE, LIMITS, NOW + offset_s)
        changes += [(offset_s, item.after) for item in moved]
    return changes


def test_house_earns_its_way_up():
    start = SafetyState(context="live")
    assert walk(start, [0, 59, 60, 659, 660, 700]) == [(60, "degraded"), (660, "normal")]
    assert walk(start, [0, 1_000, 1_599, 1_600]) == [(1_000, "degraded"), (1_600, "normal")]
    assert walk(start, [0]) == []


def test_up_is_one_mode_at_a_time_and_says_why():
    state = replace(healthy("safe"), healthy_since_s=NOW - 5_000, reasons=("estop",))
    after, changes = step(state, FINE, LIMITS, NOW)
    assert (after.mode, after.reasons, after.healthy_since_s) == ("degraded", (), NOW)
    assert changes == (
        Transition(before="safe", after="degraded", reasons=(), latched=False, at_s=NOW),
    )


def test_safe_becomes_degraded_while_something_is_still_wrong():
    state = replace(silent("optimizer", None), mode="safe", healthy_since_s=NOW - 60)
    after, changes = step(state, FINE, LIMITS, NOW)
    assert (after.mode, after.reasons) == ("degraded", ("heartbeat:optimizer",))
    assert changes[0].reasons == ("heartbeat:optimizer",)
    later, _ = step(after, FINE, LIMITS, NOW + 600)
    assert later.mode == "degraded"
    assert later.healthy_since_s is None


def test_relapse_starts_the_hold_anew():
    state = replace(healthy("degraded"), healthy_since_s=NOW - 599)
    state, changes = step(state, FINE, LIMITS, NOW)
    assert (state.mode, changes, state.healthy_since_s) == ("degraded", (), NOW - 599)
    state, _ = step(alive(state, NOW + 1), Signals(configuration_known=False), LIMITS, NOW + 1)
    assert (state.mode, state.healthy_since_s) == ("degraded", None)
    state, _ = step(alive(state, NOW + 2), FINE, LIMITS, NOW + 2)
    assert (state.mode, state.healthy_since_s) == ("degraded", NOW + 2)
    state, _ = step(alive(state, NOW + 601), FINE, LIMITS, NOW + 601)
    assert state.mode == "degraded"
    state, _ = step(alive(state, NOW + 602), FINE, LIMITS, NOW + 602)
    assert state.mode == "normal"


def test_hold_may_begin_at_time_zero():
    state = replace(healthy("safe", now_s=0), healthy_since_s=0, clock_s=0)
    after, _ = step(state, FINE, LIMITS, 60)
    assert after.mode == "degraded"


def test_holds_are_limits():
    table = limits(safe_hold_s=7, degraded_hold_s=9)
    state = replace(healthy("safe"), healthy_since_s=NOW - 7)
    assert step(state, FINE, table, NOW)[0].mode == "degraded"
    assert step(replace(state, healthy_since_s=NOW - 6), FINE, table, NOW)[0].mode == "safe"
    state = replace(healthy("degraded"), healthy_since_s=NOW - 9)
    assert step(state, FINE, table, NOW)[0].mode == "normal"
    assert step(replace(state, healthy_since_s=NOW - 8), FINE, table, NOW)[0].mode == "degraded"


@pytest.mark.parametrize(("latch", "stays"), [("estop", "safe"), ("mismatch:relay-a", "degraded")])
def test_latch_holds_until_a_person_clears_it(latch, stays):
    state = healthy(stays, latches=(latch,))
    for offset_s in range(0, 7_200, 600):
        state, changes = step(alive(state, NOW + offset_s), FINE, LIMITS, NOW + offset_s)
        assert (state.mode, state.latches, changes) == (stays, (latch,), ())
    state, _ = step(alive(state, NOW + 7_200), Signals(cleared=True), LIMITS, NOW + 7_200)
    assert (state.mode, state.latches, state.healthy_since_s) == (stays, (), NOW + 7_200)


def test_good_read_back_does_not_clear_a_latch():
    state, _ = step(mismatched(3), FINE, LIMITS, NOW)
    state = with_read_back(state, "relay-a", True)
    state, _ = step(state, FINE, LIMITS, NOW)
    assert state.latches == ("mismatch:relay-a",)


def test_clearing_starts_the_count_of_mismatches_anew():
    state, changes = step(mismatched(5), FINE, LIMITS, NOW)
    assert changes[0].latched is True
    state, _ = step(state, Signals(cleared=True), LIMITS, NOW)
    assert (state.latches, state.mismatches) == ((), {})


def test_latches_add_up_in_order():
    state = with_read_back(mismatched(3, "relay-b"), "relay-a", False)
    state = replace(state, mismatches={"relay-b": 3, "relay-a": 3})
    state, _ = step(state, Signals(estop=True), LIMITS, NOW)
    assert state.latches == ("estop", "mismatch:relay-a", "mismatch:relay-b")
    assert state.reasons == ("estop", "mismatch:relay-a", "mismatch:relay-b")
    assert MISMATCH == "mismatch:"


def test_mismatches_to_latch_is_a_limit():
    assert step(mismatched(1), FINE, limits(mismatches_to_latch=1), NOW)[0].mode == "degraded"


@pytest.mark.parametrize(("back_s", "forgets"), [(60, False), (61, True)])
def test_clock_set_back_voids_what_it_timed(back_s, forgets):
    state = relay(with_reading(healthy(), PV_POWER, "", 5, NOW), "relay-a", 0, 5)
    after, _ = step(state, FINE, LIMITS, NOW - back_s)
    assert (after.readings == {}) == forgets
    assert (after.heartbeats == {}) == forgets
    assert (after.mode == "safe") == forgets
    assert ("clock-jump" in after.reasons) == forgets
    assert after.clock_s == NOW - back_s
    assert after.relays["relay-a"].value == 0
    again, _ = step(after, FINE, LIMITS, NOW - back_s)
    assert "clock-jump" not in again.reasons


def test_first_step_forgets_nothing():
    strict = limits(clock_tolerance_s=0)
    after, _ = step(healthy(clock_s=None), FINE, strict, NOW)
    assert after.readings == healthy().readings
    after, _ = step(healthy(clock_s=NOW), FINE, strict, NOW)
    assert after.readings == healthy().readings


def test_clock_jump_forward_voids_nothing():
    after, _ = step(healthy(), FINE, LIMITS, NOW + 5_000)
    assert after.readings == healthy().readings


def test_every_service_of_the_table_is_watched():
    assert tuple(beat.service for beat in LIMITS.heartbeats) == SERVICES


@pytest.mark.parametrize("now_s", [None, 1.5, True])
def test_time_must_be_an_int(now_s):
    with pytest.raises(ValueError, match="now_s"):
        step(healthy(), FINE, LIMITS, now_s)
