"""Power as meters give them: glitches, a day on one value, and what is fed in counted against what is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from services.forecast.core.bands import Bands, FloatArray
from services.forecast.core.calendar import DAY_S
from services.forecast.core.load import LoadPredictor
from services.forecast.core.meters import without_stuck
from services.forecast.core.place import Place
from services.forecast.core.pv import PvPredictor
from services.forecast.core.series import Dataset, Series

START = 20_150 * DAY_S
DAYS = 24


def household(seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    hour = np.arange(DAYS * 24) % 24
    return (400 + 300 * np.sin(hour / 24 * 2 * np.pi)) * rng.gamma(5, 0.2, len(hour))


def ask(values: FloatArray, day: int = DAYS - 1) -> Bands:
    """What is said of a day after learning from all days before the one before it."""
    data = Dataset(Series(START, 3600, values))
    predictor = LoadPredictor(Place(), lead_s=DAY_S)
    predictor.train(data.before(START + (day - 1) * DAY_S), 0)
    issue = START + day * DAY_S
    return predictor.predict(data, issue, issue + np.arange(24, dtype=np.int64) * 3600)


@pytest.mark.parametrize("wrong", [[200], [24 * (DAYS - 1) - 5]])
def test_a_glitch_is_as_if_nothing_had_been_measured(wrong: list[int]) -> None:
    told = []
    for glitch in (5e6, -5e6, np.nan):
        values = household()
        values[wrong] = glitch
        told.append(ask(values))
    for bands in told[:2]:
        np.testing.assert_array_equal(bands.expected, told[2].expected)
        np.testing.assert_array_equal(bands.p90, told[2].p90)


def test_a_day_on_one_value_is_missing_but_a_meter_that_never_moves_is_believed() -> None:
    values = household()
    values[100:130], values[300:320] = 227.38, 227.38
    seen = without_stuck(Series(START, 3600, values)).values
    assert np.isnan(seen[100:130]).all()
    assert np.isnan(seen).sum() == 30
    constant = Series(START, 3600, np.full(240, 300.0))
    np.testing.assert_array_equal(without_stuck(constant).values, 300.0)
    assert ask(np.full(DAYS * 24, 300.0)).p50 == pytest.approx(300.0, abs=3.0)


def test_a_meter_that_counts_what_is_fed_in_may_go_below_zero_and_others_not() -> None:
    values = household()
    odd = values.copy()
    odd[[50, 400]] = -40.0
    assert (ask(odd).p10 >= 0.0).all()
    net = values - np.where(np.isin(np.arange(DAYS * 24) % 24, range(9, 16)), 3000.0, 0.0)
    assert (ask(net).p50[9:16] < -2000.0).all()


def test_a_glitch_of_the_pv_meter_teaches_nothing_and_lifts_no_limit() -> None:
    sun = np.maximum(np.sin((np.arange(DAYS * 24) % 24 - 6) / 12 * np.pi), 0.0)
    rng = np.random.default_rng(0)
    values = 3000.0 * sun * np.repeat(rng.uniform(0.2, 1.0, DAYS), 24)
    told = []
    for glitch in (1e6, np.nan):
        values[[100, 24 * (DAYS - 1) - 12]] = glitch
        data = Dataset(Series(START, 3600, values.copy()))
        predictor = PvPredictor(Place(50.0, 14.0), lead_s=DAY_S)
        predictor.train(data.before(START + (DAYS - 1) * DAY_S), 0)
        issue = START + (DAYS - 1) * DAY_S
        told.append(predictor.predict(data, issue, issue + np.arange(24, dtype=np.int64) * 3600))
    np.testing.assert_array_equal(told[0].expected, told[1].expected)
    np.testing.assert_array_equal(told[0].p90, told[1].p90)
