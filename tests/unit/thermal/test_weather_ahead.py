"""What the weather forecast is wrong by now is taken off what it tells of the hours ahead, while it lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest

from contracts.events.measurement import OutdoorSampled
from contracts.events.weather import WeatherForecastIssued
from services.thermal.core.dynamics import Outlook, Planned
from services.thermal.core.weather_errors import (
    BLOCK_S,
    BLOCKS,
    CLIP,
    DAY,
    PARTS,
    PAST,
    PRIOR_SD,
    Errors,
    WeatherErrors,
    given,
)
from tests.unit.thermal.house import LATITUDE, LONGITUDE, START

HOUR_S = 3_600
HOURS = 72
WARMED_C = (4.8, 5.2)
"""Measured in the halves of an hour: a sensor that lives."""
SD_C = float(PRIOR_SD["temperature"][0])

Hourly = Callable[[int], float]
Measured = Callable[[int], float | None]


def at(epoch_s: int) -> datetime:
    return datetime.fromtimestamp(epoch_s, UTC)


def run_of(hour: int, told: Hourly) -> WeatherForecastIssued:
    """Hourly from `hour` after START on."""
    values = tuple(told(later) for later in range(hour, hour + HOURS))
    start = at(START + HOUR_S * hour)
    return WeatherForecastIssued(
        issued=start, start=start, step_s=HOUR_S, source="test", temperature_c=values,
        ghi_w_m2=(0.0,) * HOURS,
    )  # fmt: skip


def live(record: WeatherErrors, halves: Iterable[int], told: Hourly, measured: Measured) -> WeatherErrors:
    """Half hours after START pass by; hourly runs tell `told` of an hour, whenever they are made."""
    for half in halves:
        sample = OutdoorSampled(
            time=at(START + 1_800 * half + 5), temperature_c=measured(half), ghi_w_m2=None
        )  # fmt: skip
        record.take(sample, run_of(half // 2, told), LATITUDE, LONGITUDE)
    return record


def five(half: int) -> float:
    return WARMED_C[half % 2]


def expected(record: WeatherErrors, half: int, leads_h: Iterable[float]) -> np.ndarray:
    """Expected errors at leads from the beginning of a half hour on, K."""
    start = START + 1_800 * half
    return record.coming(float(start))[0].at(start + HOUR_S * np.array(list(leads_h)))


def joint(correlation: float, carried: float) -> np.ndarray:
    """Covariance of what was seen in PAST blocks and the AR(1) from the last of them on, made from noise."""
    blocks, share = PAST + BLOCKS, carried / correlation
    chain = np.zeros((blocks, blocks + PAST))
    chain[0, 0] = 1.0
    for k in range(1, blocks):
        chain[k] = correlation * chain[k - 1]
        chain[k, k] = np.sqrt(1.0 - correlation**2)
    seen = share * chain[:PAST]
    seen[:, blocks:] = np.sqrt(1.0 - share**2) * np.eye(PAST)
    whole = np.vstack([seen, chain[PAST - 1 :]])
    return whole @ whole.T


@pytest.mark.parametrize("missing", [(), (7,), (0, 3, 6, 7), tuple(range(PAST))])
@pytest.mark.parametrize(("correlation", "carried"), [(0.75, 0.6), (0.9, 0.9), (0.5, 0.05)])
def test_what_comes_is_the_gaussian_given_what_was_seen(
    correlation: float, carried: float, missing: tuple[int, ...]
) -> None:
    past = np.random.default_rng(3).standard_normal(PAST)
    past[list(missing)] = np.nan
    mean, factor = given(past, correlation, carried)
    seen = np.flatnonzero(np.isfinite(past))
    coming = np.arange(PAST, PAST + 1 + BLOCKS)
    if len(coming) and carried == correlation:
        coming = coming[1:]  # the last block is seen as it is
    kept = np.concatenate([seen, coming])
    precision = np.linalg.inv(joint(correlation, carried)[np.ix_(kept, kept)])
    a = len(seen)
    covariance = np.linalg.inv(precision[a:, a:])
    conditional = -covariance @ precision[a:, :a] @ past[seen]
    np.testing.assert_allclose(mean[coming - PAST], conditional, atol=1e-10)
    np.testing.assert_allclose(factor @ factor.T, covariance[-BLOCKS:, -BLOCKS:], atol=1e-10)
    if not a:
        assert not mean.any()


def test_too_cold_for_a_day_is_warmer_by_most_of_it_now_and_by_less_later() -> None:
    record = live(WeatherErrors(), range(49), lambda hour: 3.5, five)
    found = -expected(record, 48, (0, 6, 12, 24, 48))
    assert 0.7 * 1.5 < found[0] < 1.5
    assert (np.diff(found) < 0.0).all() and found[-1] < 0.25 * 1.5
    outlook = Outlook.of(run_of(24, lambda hour: 3.5), Planned(), record, at(START + 86_400))
    now = np.array([START + 86_400.0])
    assert outlook.outside_c(now)[0] == pytest.approx(3.5 + found[0])
    narrower = [np.sqrt((r.coming(START + 86_400.0)[0].factor ** 2).sum(axis=1)) for r in (
        record, WeatherErrors())]  # fmt: skip
    assert narrower[0][0] < 0.8 * narrower[1][0]


def test_a_bias_is_learnt_by_the_time_of_day_where_it_is_more_than_chance() -> None:
    """Right from 12 to 24 h, else 2 K too warm: after days of silence only that is expected."""

    def told(hour: int) -> float:
        return 7.0 if (START // HOUR_S + hour) % 24 < 12 else 5.0

    records = [live(WeatherErrors(), range(48 * days + 1), told, five) for days in (2, 8, 25)]
    leads = [(hour - START // HOUR_S) % 24 for hour in (6, 18)]
    night, day = np.array([expected(record, 48 * 30, leads) for record in records]).T
    assert night[0] == day[0] == 0.0
    assert 0.5 < night[1] < night[2] and night[2] == pytest.approx(2.0, abs=0.2)
    assert np.abs(day).max() < 0.4 and abs(day[2]) < 0.2


def test_errors_that_last_a_day_are_no_bias() -> None:
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        off = 1.5 * rng.standard_normal(24 * 12 + HOURS)
        for k in range(1, len(off)):
            off[k] = 0.97 * off[k - 1] + np.sqrt(1.0 - 0.97**2) * off[k]
        record = live(WeatherErrors(), range(48 * 12), lambda hour, off=off: 5.0 + float(off[hour]), five)
        found.append(np.abs(record.temperature.bias).max() * SD_C)
    assert np.count_nonzero(found) <= 1


def test_another_run_s_error_now_is_the_measured_one_and_what_it_changed_by() -> None:
    """Runs said 7 for 5 degC; the next one says 5 for what the one before says 7 for."""
    same = live(WeatherErrors(), range(49), lambda hour: 7.0, five)
    right = live(WeatherErrors(), range(48), lambda hour: 7.0, five)
    live(right, range(48, 49), lambda hour: 5.0, five)
    assert expected(same, 48, (1,))[0] > 1.2
    assert abs(expected(right, 48, (1,))[0]) < 0.45
    np.testing.assert_allclose(  # learnt from what was told
        right.temperature.bias, same.temperature.bias, atol=1e-6
    )  # fmt: skip


def test_what_is_told_of_hours_that_have_passed_does_not_count() -> None:
    """A run that comes within a half hour and knows better of it, but tells the same of those to come."""
    told = live(WeatherErrors(), range(48), lambda hour: 7.0, five)
    knowing = told.model_copy(deep=True)
    live(told, range(48, 49), lambda hour: 7.0, five)
    wise = run_of(20, lambda hour: 5.0 if hour < 24 else 7.0)
    sample = OutdoorSampled(time=at(START + 86_400 + 5), temperature_c=five(48), ghi_w_m2=None)
    knowing.take(sample, wise, LATITUDE, LONGITUDE)
    np.testing.assert_array_equal(expected(told, 48, range(48)), expected(knowing, 48, range(48)))


def test_a_half_hour_is_held_against_what_was_told_of_it() -> None:
    """Told right, hour by hour, of a day that warms by half a kelvin an hour."""

    def told(hour: int) -> float:
        return -20.0 + 0.5 * hour

    record = live(WeatherErrors(), range(49), told, lambda half: told(half // 2) + five(half) - 5.0)
    assert np.abs(expected(record, 48, range(48))).max() < 0.1


def test_without_measurements_nothing_is_taken_off() -> None:
    silent = live(WeatherErrors(), range(49), lambda hour: 2.0, lambda half: None)
    assert not expected(silent, 48, range(48)).any()
    untold = WeatherErrors()
    for half in range(49):
        sample = OutdoorSampled(time=at(START + 1_800 * half), temperature_c=five(half), ghi_w_m2=None)
        untold.take(sample, None, LATITUDE, LONGITUDE)
    assert not expected(untold, 48, range(48)).any()


def test_silence_fades_and_is_not_zero() -> None:
    """Of a day in which forecasts are 2 K too warm the last hours are silent."""

    def silent_from(hours: int) -> float:
        record = live(
            WeatherErrors(), range(49), lambda hour: 7.0, lambda half: five(half) if half < 2 * hours else None
        )  # fmt: skip
        return float(expected(record, 48, (0,))[0])

    found = [silent_from(hours) for hours in (24, 21, 15, 6)]
    assert all(later < earlier for earlier, later in pairwise(found))
    assert 0.0 < found[-1] < 0.5


@pytest.mark.parametrize("value", [-20.0, 5.0])
def test_a_stuck_sensor_is_as_a_silent_one(value: float) -> None:
    def told(hour: int) -> float:
        return 5.0 + 6.0 * np.sin(2.0 * np.pi * hour / 24.0)

    right = live(WeatherErrors(), range(48 * 3), told, lambda half: told(half // 2) + five(half) - 6.0)
    stuck, silent = (right.model_copy(deep=True) for _ in range(2))
    live(stuck, range(48 * 3, 48 * 5 + 1), told, lambda half: value)
    live(silent, range(48 * 3, 48 * 5 + 1), told, lambda half: None)
    leads = range(48)
    np.testing.assert_array_equal(expected(stuck, 48 * 5, leads), expected(silent, 48 * 5, leads))
    assert stuck.temperature.squares == silent.temperature.squares


def test_a_spike_is_no_error_of_the_forecast_and_a_wrong_sensor_is_left_alone() -> None:
    def spiked(half: int) -> float:
        return -40.0 if half == 46 else five(half)

    clean, spike = (live(WeatherErrors(), range(49), lambda hour: 5.5, m) for m in (five, spiked))
    np.testing.assert_allclose(expected(clean, 48, range(48)), expected(spike, 48, range(48)), atol=0.1)
    broken = live(WeatherErrors(), range(49), lambda hour: 5.5, lambda half: five(half) - 30.0)
    assert not expected(broken, 48, range(48)).any()


def test_the_correction_is_bounded() -> None:
    record = live(WeatherErrors(), range(48 * 20 + 1), lambda hour: 5.0 + 0.02 * hour, five)
    assert np.abs(expected(record, 48 * 20, range(48))).max() < 2.0 * CLIP * SD_C
    extreme = Errors(bias_days=(30.0,) * DAY, bias_sums=(3_000.0,) * DAY)
    assert extreme.bias.max() <= CLIP


def test_a_snapshot_goes_on_as_if_nothing_had_happened() -> None:
    def told(hour: int) -> float:
        return 5.0 + (hour // 6) % 3

    whole = live(WeatherErrors(), range(301), told, five)
    half = live(WeatherErrors(), range(150), told, five)
    again = live(WeatherErrors.model_validate_json(half.model_dump_json()), range(150, 301), told, five)
    assert again == whole
    assert whole.temperature.carried.squares > 0.0 and len(whole.temperature.recent) == PAST * PARTS
    np.testing.assert_array_equal(expected(again, 300, range(48)), expected(whole, 300, range(48)))


def test_the_band_of_the_next_block_is_what_it_turns_out_to_be() -> None:
    """Errors that last, all runs alike: expected ones are nearer, and nine of ten within their band."""
    rng, days = np.random.default_rng(12), 60
    off = rng.standard_normal(24 * days + HOURS)
    for k in range(1, len(off)):
        off[k] = 0.95 * off[k - 1] + np.sqrt(1.0 - 0.95**2) * off[k]

    def told(hour: int) -> float:
        return 5.0 + 1.5 * float(off[hour])

    record, raw, left, inside = WeatherErrors(), [], [], []
    for day in range(days):
        for three in range(8):
            begin = 48 * day + 6 * three
            live(record, range(begin + 1 if begin else 0, begin + 7), told, five)
            if day >= 20 and begin % 12 == 0:
                coming = record.coming(float(START + 1_800 * (begin + 6)))[0]
                first = begin // 2 + 3
                wrong = 1.5 * float(off[first : first + 3].mean())
                middle = np.array([coming.start_s + BLOCK_S / 2])
                raw.append(abs(wrong))
                left.append(abs(wrong - float(coming.at(middle)[0])))
                inside.append(left[-1] <= 1.645 * coming.factor[0, 0])
    assert np.mean(left) < 0.6 * np.mean(raw)
    assert np.mean(inside) == pytest.approx(0.9, abs=0.06)
