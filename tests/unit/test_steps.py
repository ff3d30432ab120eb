"""States that hold and energy counters, as means of steps: nothing invented, nothing lost."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.gateway.core.steps import MOST_W, Held, Steps, counted

STEP_S = 900
MINUTES = 24 * 60


def held(times_s, values, hold_s=86_400.0, count=8, cuts=()):
    """Means of a history that is told in parts, which end at the cuts."""
    times_s, values = np.asarray(times_s, float), np.asarray(values, float)
    told = Held(Steps(0, STEP_S, count), hold_s)
    bounds = [-np.inf, *cuts, count * STEP_S]
    for begin, end in itertools.pairwise(bounds):
        now = (times_s >= begin) & (times_s < end)
        told.take(times_s[now], values[now], float(end))
    return told.steps.means()


def powers(times_s, energy_wh, gap_s=3_600.0, count=8):
    steps = Steps(0, STEP_S, count)
    steps.add(*counted(np.asarray(times_s, float), np.asarray(energy_wh, float), gap_s))
    return steps.means()


def test_a_relay_on_for_five_of_fifteen_minutes_is_a_third():
    found = held([0, 300, 600], [0, 2_400, 0])
    np.testing.assert_allclose(found[:2], [800, 0])


def test_a_state_holds_over_steps_but_no_longer_than_stated():
    found = held([-60, 5 * STEP_S], [1, 0], hold_s=2.5 * STEP_S + 60)
    np.testing.assert_array_equal(found, [1, 1, 1, np.nan, np.nan, 0, 0, 0])


def test_a_state_that_is_not_known_is_neither_old_nor_zero():
    found = held([0, STEP_S, 3 * STEP_S], [1, np.nan, 1])
    np.testing.assert_array_equal(found, [1, np.nan, np.nan, 1, 1, 1, 1, 1])


def test_less_than_half_a_step_known_is_not_known():
    assert np.isnan(held([STEP_S * 0.51], [1])[0])
    assert held([STEP_S * 0.5], [1])[0] == 1


def test_hourly_prices_hold_for_their_hour_and_quarter_hours_for_theirs():
    found = held([0, 3_600, 4_500, 5_400, 6_300], [50, 10, 20, 30, 40], hold_s=3_600)
    np.testing.assert_array_equal(found, [50] * 4 + [10, 20, 30, 40])


@given(
    st.lists(st.tuples(st.integers(-900, 7_199), st.integers(-50, 50)), min_size=1, max_size=20),
    st.integers(60, 9_000),
    st.lists(st.integers(1, 7_199), max_size=3),
)
@example([(0, 1)], 9_000, [900, 1_800])
@example([(-900, 1)], 1_000, [50])
def test_states_come_out_as_second_by_second_and_in_whatever_parts(changes, hold_s, cuts):
    """Beside the plainest way to say it: every second has the last value not older than the hold."""
    states = dict(changes)
    times = np.array(sorted(states))
    values = np.array([states[t] for t in times], float)
    seconds = np.arange(8 * STEP_S)
    last = np.searchsorted(times, seconds, side="right") - 1
    known = (last >= 0) & (seconds - times[last] < hold_s)
    table = np.where(known, values[last], np.nan).reshape(8, STEP_S)
    share = np.isfinite(table).mean(axis=1)
    expected = np.where(share >= 0.5, np.nansum(table, axis=1) / np.maximum(share * STEP_S, 1), np.nan)
    np.testing.assert_allclose(held(times, values, hold_s, cuts=sorted(set(cuts))), expected, atol=1e-6)


def test_a_counter_gives_its_mean_power():
    # 250 Wh in the first quarter hour, 1 kW; then nothing, which is known
    np.testing.assert_allclose(powers([0, 900, 1_800], [1_000, 1_250, 1_250], count=2), [1_000, 0])


@pytest.mark.parametrize(
    ("readings", "unknown"),
    [
        ([100, 350, 600, 0, 250, 500, 750, 1_000, 1_250], {2}),
        ([100, 350, 600, 0, 0, 1_100, 1_350, 1_600, 1_850], {2, 3, 4}),
        ([100, 350, 600, 0, 600, 850, 1_100, 1_350, 1_600], {2, 3}),
        ([99_500, 99_750, 99_999, 249, 499, 749, 999, 1_249, 1_499], {2}),
        ([100, 350, 600, 9e6, 1_100, 1_350, 1_600, 1_850, 2_100], {2, 3}),
    ],
    ids=["reset", "silent at zero", "one reading of zero", "roll-over", "one reading too high"],
)
def test_a_counter_that_falls_or_jumps_is_not_known_there_and_right_elsewhere(readings, unknown):
    found = powers(np.arange(9) * 900, readings)
    assert set(np.flatnonzero(np.isnan(found))) == unknown
    np.testing.assert_allclose(found[np.isfinite(found)], 1_000, rtol=0.01)


def test_a_gap_of_a_counter_is_not_known_even_if_it_rose():
    found = powers([0, 900, 6_300, 7_200], [0, 250, 1_750, 2_000])
    np.testing.assert_array_equal(np.isnan(found), [False] + [True] * 6 + [False])


def test_a_coarse_counter_does_not_give_all_power_to_the_minute_of_its_tick():
    """A counter of 0.1 kWh read every minute, behind a steady 400 W: a tick every quarter hour."""
    minutes = np.arange(8 * 15 + 1) * 60.0
    found = powers(minutes + 1, np.floor((400 * minutes / 3_600 + 37) / 100) * 100)
    np.testing.assert_allclose(found[1:-1], 400, rtol=0.08)


def test_a_pump_that_was_off_for_an_hour_did_not_run_in_it():
    found = powers(np.arange(9) * 900, [0, 500, 510, 510, 510, 510, 1_010, 1_510, 2_010])
    np.testing.assert_allclose(found, [2_000, 40, 0, 0, 0, 2_000, 2_000, 2_000])


@given(
    st.lists(st.integers(0, 3_000), min_size=MINUTES, max_size=MINUTES),
    st.sets(st.integers(1, MINUTES - 1), max_size=4),
    st.sets(st.integers(1, MINUTES - 1), max_size=4),
    st.sampled_from([1, 100]),
)
def test_whatever_a_counter_meets_power_stays_in_what_was_drawn(power_w, resets, gaps, tick_wh):
    """Resets and silences of two hours: never below zero, never above the most that ran, energy right."""
    energy = np.append(0.0, np.cumsum(power_w) / 60)
    times = 60.0 * np.arange(MINUTES + 1)
    for at in sorted(resets):
        energy[at:] -= energy[at]
    energy = np.floor(energy / tick_wh) * tick_wh
    heard = np.ones(len(times), bool)
    for at in gaps:
        heard[at : at + 120] = False
    begin, end, level = counted(times[heard], energy[heard], 3_600.0)
    known = np.isfinite(level)
    assert (level[known] >= 0).all()
    assert (level[known] <= max(power_w) + 60 * tick_wh + 1e-6).all()
    assert (end >= begin).all() and (begin[1:] >= end[:-1] - 1e-9).all()
    silent = [(a, b) for a, b in zip(times[heard], times[heard][1:], strict=False) if b - a > 3_600]
    for a, b in silent:
        assert not known[(begin < b) & (end > a)].any()
    told = ((end - begin) * np.nan_to_num(level)).sum() / 3_600
    assert told <= sum(power_w) / 60 + tick_wh * (1 + len(resets))
    if not resets and not gaps:
        assert told == pytest.approx(energy[-1])


def test_no_readings_are_no_power():
    assert np.isnan(powers([0], [5])).all()
    assert MOST_W == 200_000
