"""The level of each side of a band follows what the issued bands missed."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from services.forecast.core.bands import FloatArray, IntArray
from services.forecast.core.calendar import DAY_S
from services.forecast.core.ensemble import ADAPTATION, LEVEL_BOUNDS, Memory, combine
from services.forecast.core.load import LoadPredictor
from services.forecast.core.place import Place
from services.forecast.core.series import Dataset, Series

START = int(dt.datetime(2025, 3, 3, tzinfo=dt.UTC).timestamp())
HOURS = np.arange(24, dtype=np.int64) * 3600


def settled(days: list[FloatArray], band: FloatArray | None) -> Memory:
    """A memory of days of hours, forecast as 0 within -1..1, with the bands that were issued."""
    memory = Memory()
    for number, actual in enumerate(days):
        n = len(actual)
        target: IntArray = START + number * DAY_S + HOURS[:n]
        member = np.tile([-1.0, 0.0, 1.0, 0.0], (n, 1, 1))
        issued = None if band is None else np.tile(band, (n, 1))
        memory.add(target, actual, member, np.zeros(n, dtype=np.int64), issued)
    return memory


def test_too_many_outcomes_above_raise_the_upper_level_alone() -> None:
    half_above = np.where(HOURS < DAY_S // 2, 2.0, 0.0)
    memory = settled([half_above] * 4, np.array([-1.0, 1.0]))
    lower, upper = memory.levels()
    assert upper == pytest.approx(0.9 + ADAPTATION * 4 * (0.5 - 0.1))
    assert lower == pytest.approx(0.9 + ADAPTATION * 4 * (0.0 - 0.1))


def test_a_day_counts_once_however_many_of_its_steps_are_known() -> None:
    whole = settled([np.full(24, 2.0)], np.array([-1.0, 1.0])).levels()
    part = settled([np.full(3, 2.0)], np.array([-1.0, 1.0])).levels()
    assert whole == pytest.approx(part)


def test_without_issued_bands_and_beyond_bounds() -> None:
    assert settled([np.full(24, 5.0)] * 9, None).levels() == pytest.approx([0.9, 0.9])
    wild = settled([np.full(24, 5.0)] * 110, np.array([-1.0, 1.0])).levels()
    assert wild == pytest.approx(LEVEL_BOUNDS)


def test_a_side_that_missed_too_much_gets_wider() -> None:
    rng = np.random.default_rng(3)
    days = [rng.normal(size=24) for _ in range(40)]
    fair = combine(settled(days, np.array([-1.2816, 1.2816])), 1, 0.01).stretch[0]
    missed = combine(settled(days, np.array([-1.2816, 0.3])), 1, 0.01).stretch[0]
    assert missed[0] == pytest.approx(fair[0])
    assert missed[1] > 1.1 * fair[1]


def test_the_band_that_was_issued_is_the_one_judged() -> None:
    rng = np.random.default_rng(4)
    times = START + np.arange(24 * 24, dtype=np.int64) * 3600
    data = Dataset(Series(START, 3600, 400.0 * rng.gamma(4.0, 0.25, len(times))))
    place = Place(time_zone="Europe/Prague", country="CZ")
    predictor = LoadPredictor(place, lead_s=DAY_S, parameters={"rounds": 10})
    issue = START + 23 * DAY_S
    predictor.train(data.before(issue), 0)
    out = predictor.predict(data, issue, issue + HOURS, remember=True)
    assert np.isnan(predictor.memory.band).all()  # a backtest has issued nothing
    scale = predictor.pending[0].scale
    predictor.settle(data.series)
    issued = predictor.memory.band[-24:] * scale[:, None]
    np.testing.assert_allclose(issued, np.column_stack([out.p10, out.p90]))
    again = LoadPredictor(place, lead_s=DAY_S)
    again.load(predictor.save())
    np.testing.assert_array_equal(again.memory.band, predictor.memory.band)
    np.testing.assert_array_equal(again.memory.levels(), predictor.memory.levels())
