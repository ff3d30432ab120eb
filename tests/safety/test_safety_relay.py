"""The rules of heating relays and of the main fuse, in both directions and at their edges."""

from __future__ import annotations

from dataclasses import replace

import pytest
from safety_house import (
    INACTIVE,
    NOW,
    answer,
    evidence,
    healthy,
    judged,
    leased,
    limits,
    reads,
    relay,
    unread,
)

from services.safety.core.limits import (
    BASE_LOAD,
    EV_POWER,
    ROOM_TEMPERATURE,
)
from services.safety.core.state import Lease

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
