"""How wrong the weather has been here is learnt from what came, and felt by the rooms as the model says."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from contracts import grid
from contracts.events.measurement import OutdoorSampled
from contracts.events.weather import WeatherForecastIssued
from services.thermal.core.discretise import FIRST_ROOM_INPUT, discretise
from services.thermal.core.dynamics import Outlook, Planned, lead_s, weather_half_width_k
from services.thermal.core.solar import SunPath, clear_sky_ghi, solar_gains, sun_path
from services.thermal.core.weather_errors import (
    BLOCK_S,
    BLOCKS,
    PARTS,
    PRIOR_CORRELATION,
    PRIOR_SD,
    Errors,
    Run,
    WeatherErrors,
)
from tests.unit.thermal.house import LATITUDE, LONGITUDE, START, true_house

HOUR_S = 3_600
LONG = 100
LATER = 48
NEAR_5 = (4.99, 5.01)


def at(epoch_s: int) -> datetime:
    return datetime.fromtimestamp(epoch_s, UTC)


def clear(epoch_s: np.ndarray) -> np.ndarray:
    return clear_sky_ghi(sun_path(epoch_s, LATITUDE, LONGITUDE))


def steady(blocks: int, correlation: float, rng: np.random.Generator) -> np.ndarray:
    """Errors of unit variance, block by block."""
    found = rng.standard_normal(blocks)
    for k in range(1, blocks):
        found[k] = correlation * found[k - 1] + np.sqrt(1.0 - correlation**2) * found[k]
    return found


def lived(
    days: int, sd: float = 0.0, correlation: float = 0.0, sun_sd: float = 0.0, ghi: bool = True,
    silent: tuple[int, int] = (0, 0),
) -> WeatherErrors:  # fmt: skip
    """A record of days around 5 degC and half of clear sky, each run wrong on its own, ever wronger ahead.

    The standard deviation grows from `sd` to twice that. In the hours `silent` nothing is measured.
    """
    rng, record = np.random.default_rng(2), WeatherErrors()
    run: WeatherForecastIssued | None = None
    above = clear(START + 900.0 + 1_800.0 * np.arange(48 * days + 100))
    for half_hour in range(48 * days):
        now = START + 1_800 * half_hour
        if not silent[0] <= half_hour / 2 < silent[1]:
            sky = 0.5 * float(above[half_hour])
            sample = OutdoorSampled(
                time=at(now), temperature_c=NEAR_5[half_hour % 2], ghi_w_m2=sky if ghi else None
            )  # fmt: skip
            record.take(sample, run, LATITUDE, LONGITUDE)
        if (now + 1_800) % (6 * HOUR_S) == 0:  # known before the next block
            start = now + 1_800
            sky_ahead = above[half_hour + 1 : half_hour + 97]
            grown = np.repeat(1.0 + np.arange(BLOCKS) / (BLOCKS - 1), 6)
            off = [grown * np.repeat(steady(BLOCKS, correlation, rng), 6) for _ in range(2)]
            run = WeatherForecastIssued(
                issued=at(now), start=at(start), step_s=1_800, source="test",
                temperature_c=tuple((5.0 + sd * off[0]).tolist()),
                ghi_w_m2=tuple(np.maximum(0.0, (0.5 + sun_sd * off[1]) * sky_ahead).tolist()),
            )  # fmt: skip
    return record


def factors(record: WeatherErrors) -> list[np.ndarray]:
    """Of a forecast of which nothing is known yet: from two days after what was measured last."""
    return [coming.factor for coming in record.coming((record.part + 2 * LATER) * 1_800.0)]


def deviation(factor: np.ndarray) -> np.ndarray:
    return np.sqrt((factor**2).sum(axis=1))


def correlation_of(factor: np.ndarray, apart: int = 1) -> np.ndarray:
    covariance, sd = factor @ factor.T, deviation(factor)
    return np.array([covariance[k, k + apart] / sd[k] / sd[k + apart] for k in range(BLOCKS - apart)])


@pytest.fixture(scope="module")
def long_record() -> WeatherErrors:
    return lived(LONG, sd=2.0, correlation=0.5, sun_sd=0.05)


def test_in_the_long_run_the_record_is_what_came(long_record: WeatherErrors) -> None:
    temperature, sun = factors(long_record)
    true = 1.0 + np.arange(BLOCKS) / (BLOCKS - 1)
    np.testing.assert_allclose(deviation(temperature), 2.0 * true, rtol=0.25)
    assert deviation(temperature).mean() == pytest.approx(3.0, rel=0.08)
    assert deviation(sun).mean() == pytest.approx(0.075, rel=0.2)  # known by day only, so nearer to the prior
    assert correlation_of(temperature).mean() == pytest.approx(0.5, abs=0.07)
    assert (correlation_of(temperature, 2) < correlation_of(temperature)[:-1]).all()


def test_at_first_it_is_the_prior_and_a_few_days_move_it_a_little() -> None:
    temperature, sun = factors(WeatherErrors())
    np.testing.assert_allclose(deviation(temperature), PRIOR_SD["temperature"])
    np.testing.assert_allclose(deviation(sun), PRIOR_SD["sun"])
    np.testing.assert_allclose(correlation_of(temperature), PRIOR_CORRELATION["temperature"])
    few, more = (deviation(factors(lived(days))[0]).mean() for days in (3, 12))  # came as told
    assert 0.4 * deviation(temperature).mean() < more < few < 0.95 * deviation(temperature).mean()


def test_what_is_not_measured_teaches_nothing() -> None:
    record = lived(6, sd=2.0, ghi=False)
    assert sum(record.temperature.days) > 0.0
    assert sum(record.sun.days) == 0.0
    np.testing.assert_allclose(deviation(factors(record)[1]), PRIOR_SD["sun"])
    night = WeatherErrors()
    run = WeatherForecastIssued(
        issued=at(START), start=at(START), step_s=HOUR_S, source="test",
        temperature_c=(9.0,) * 72, ghi_w_m2=(0.0,) * 72,
    )  # fmt: skip
    for minute in range(0, 7 * 60, 5):  # of the second block only its last hour is measured
        if not 3 * 60 <= minute < 5 * 60:
            value = NEAR_5[minute // 30 % 2]
            sample = OutdoorSampled(time=at(START + 60 * minute), temperature_c=value, ghi_w_m2=0.0)
            night.take(sample, run, LATITUDE, LONGITUDE)
    assert [days > 0.0 for days in night.temperature.days] == [True] + [False] * (BLOCKS - 1)
    assert sum(night.sun.days) == 0.0


def test_silence_costs_every_run_that_waits_its_lead() -> None:
    whole, gap = (lived(4, silent=hours).temperature for hours in ((0, 0), (51, 54)))
    waiting = 8  # runs of the last two days, six hours apart
    assert sum(whole.days) - sum(gap.days) == pytest.approx(waiting * 6 / 24, rel=0.1)


def test_an_error_pairs_with_its_neighbour_only() -> None:
    """Of four blocks the second is silent; the first sample of the next one closes a block."""
    first = START // BLOCK_S
    record = WeatherErrors(
        part=first * PARTS, temperature=Errors(waiting={first: Run(told=(6.0,) * BLOCKS)})
    )  # fmt: skip
    pairs = []
    for block in (first, first + 2, first + 3, first + 4):
        for part in range(6):
            sample = OutdoorSampled(
                time=at(block * BLOCK_S + part * 1_800), temperature_c=NEAR_5[part % 2], ghi_w_m2=None
            )  # fmt: skip
            record.take(sample, None, LATITUDE, LONGITUDE)
        pairs.append(record.temperature.neighbours.squares)
    squares = record.temperature.squares[:5]
    assert [square > 0.0 for square in squares] == [True, False, True, True, False]
    assert pairs[:3] == [0.0, 0.0, 0.0] and pairs[3] > 0.0


def test_a_faulty_sensor_or_a_late_sample_does_no_great_harm() -> None:
    right, told = lived(2), None
    wrong = right.model_copy(deep=True)
    begin = START + 2 * 86_400
    for half_hour in range(12):
        for record, value in ((right, 0.0), (wrong, -50.0)):
            sample = OutdoorSampled(
                time=at(begin + 1_800 * half_hour), temperature_c=value + NEAR_5[half_hour % 2], ghi_w_m2=None
            )  # fmt: skip
            record.take(sample, told, LATITUDE, LONGITUDE)
    before, after = (deviation(factors(record)[0]).mean() for record in (right, wrong))
    assert before < after < 2.0 * before
    same = right.model_copy(deep=True)
    late = OutdoorSampled(time=at(begin), temperature_c=30.0, ghi_w_m2=None)
    same.take(late, told, LATITUDE, LONGITUDE)
    assert same == right


def test_the_record_stays_small_and_comes_back_from_a_snapshot(long_record: WeatherErrors) -> None:
    text = long_record.model_dump_json()
    assert len(text) < 10_000
    assert WeatherErrors.model_validate_json(text) == long_record


def outlook(record: WeatherErrors) -> Outlook:
    start = START + 6 * HOUR_S
    hours = start + HOUR_S * (np.arange(72) + 0.5)
    run = WeatherForecastIssued(
        issued=at(start), start=at(start), step_s=HOUR_S, source="test", temperature_c=(2.0,) * 72,
        ghi_w_m2=tuple((0.5 * clear(hours)).tolist()),
    )  # fmt: skip
    return Outlook(run, Planned(), *record.coming((record.part + 2 * LATER) * 1_800.0))


@pytest.mark.parametrize("sun_alone", [False, True])
def test_nine_of_ten_courses_under_wrong_weather_end_inside_the_band(
    long_record: WeatherErrors, sun_alone: bool
) -> None:
    """Temperature and sun wrong as the record says, everything else known: simulated step by step."""
    model, start, record = true_house(2), START + 6 * HOUR_S, long_record.model_copy(deep=True)
    if sun_alone:
        record.temperature = Errors(days=(1e9,) * BLOCKS)
    seen = outlook(record)
    half = weather_half_width_k(model, seen, at(start))
    assert half.shape == (len(grid.STEPS_S), 2)
    dynamics, rng, runs = discretise(model, grid.QUARTER_S), np.random.default_rng(5), 1_500
    outside, sky = (rng.standard_normal((runs, BLOCKS)) @ f.T for f in factors(record))
    x = np.zeros((runs, dynamics.layout.size))
    for k in range(48 * 4):
        begin, block = start + k * grid.QUARTER_S, k * grid.QUARTER_S // BLOCK_S
        middle = np.array([begin + grid.QUARTER_S / 2])
        told = seen.ghi_w_m2(middle)
        ghi = np.maximum(0.0, told + sky[:, block] * clear(middle))
        sun = sun_path(middle, LATITUDE, LONGITUDE)
        many = SunPath(*(np.repeat(v, runs) for v in vars(sun).values()))
        warmed = np.hstack(solar_gains(model, middle, ghi, sun=many))
        expected = np.hstack(solar_gains(model, middle, told, sun=sun))
        given = np.zeros((runs, dynamics.layout.input_count))
        given[:, 0] = outside[:, block]
        given[:, FIRST_ROOM_INPUT + 2 :] = warmed - expected
        x = x @ dynamics.A.T + given @ dynamics.B.T
        lead = (k + 1) * grid.QUARTER_S
        if lead in (HOUR_S, 6 * HOUR_S, 24 * HOUR_S, 48 * HOUR_S):
            inside = np.abs(x[:, dynamics.layout.air]) <= half[lead_s().index(lead)]
            np.testing.assert_allclose(inside.mean(axis=0), 0.90, atol=0.03)


def test_rooms_without_windows_feel_only_the_air_outside() -> None:
    model = true_house(2)
    dark = tuple(room.model_copy(update={"solar_apertures": ()}) for room in model.rooms)
    none = outlook(WeatherErrors())
    lit = weather_half_width_k(model, none, at(START + 6 * HOUR_S))
    unlit = weather_half_width_k(model.model_copy(update={"rooms": dark}), none, at(START + 6 * HOUR_S))
    noon, end = lead_s().index(6 * HOUR_S), -1
    assert (lit[[noon, end]] > 1.05 * unlit[[noon, end]]).all()
    assert (np.diff(unlit[:12], axis=0) > 0.0).all()
