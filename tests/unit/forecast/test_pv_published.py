"""Following somebody else's PV forecast: its errors of late are taken out, nothing later is seen."""

from __future__ import annotations

import numpy as np

from services.forecast.core.bands import FloatArray, IntArray
from services.forecast.core.calendar import DAY_S
from services.forecast.core.pv_published import followed

START = 20_000 * DAY_S
TIMES: IntArray = START + np.arange(40 * 24, dtype=np.int64) * 3600
HOUR = TIMES % DAY_S // 3600


def history(seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Published and measured: too low by a fifth in the morning, by clear sky's tenth after noon."""
    rng = np.random.default_rng(seed)
    clear = np.maximum(np.sin((HOUR - 6) / 12 * np.pi), 0.0)
    told = clear * np.repeat(rng.uniform(0.2, 0.8, 40), 24)
    truth = np.where(HOUR < 12, told / 0.8, told + 0.1 * clear)
    truth = truth + 0.02 * clear * rng.normal(size=len(told))
    return np.column_stack([told, clear]), np.maximum(truth, 0.0)


def ask(x: FloatArray, y: FloatArray, day: int) -> FloatArray:
    target = START + day * DAY_S + np.arange(24, dtype=np.int64) * 3600
    rows = slice(day * 24, day * 24 + 24)
    return followed(np.full(24, START + day * DAY_S), target, x[rows], TIMES, x, y)


def test_errors_that_depend_on_the_hour_are_taken_out() -> None:
    x, y = history()
    rows = slice(35 * 24, 36 * 24)
    found = ask(x, y, 35)
    error = np.abs(found[:, 1] - y[rows]).mean()
    assert error < 0.4 * np.abs(x[rows, 0] - y[rows]).mean()
    assert (found[:, 0] <= found[:, 1]).all() and (found[:, 1] <= found[:, 2]).all()
    assert np.abs(found[:, 3] - y[rows]).mean() < 0.4 * np.abs(x[rows, 0] - y[rows]).mean()


def test_mornings_and_afternoons_are_corrected_apart() -> None:
    """A tree to the west: nothing but the time of day tells the two halves of a day apart."""
    x, _ = history()
    y = x[:, 0] * np.where(HOUR < 12, 1.2, 0.6)
    rows = slice(35 * 24, 36 * 24)
    error = np.abs(ask(x, y, 35)[:, 1] - y[rows]).sum()
    assert error < 0.4 * np.abs(x[rows, 0] - y[rows]).sum()


def test_a_new_bias_is_followed_within_two_weeks() -> None:
    left = []
    for seed in range(4):
        x, y = history(seed)
        x[20 * 24 :, 0] *= 0.7
        for day in (30, 34, 38):
            rows = slice(day * 24, day * 24 + 24)
            error = np.abs(ask(x, y, day)[:, 1] - y[rows]).sum()
            left.append(error / np.abs(x[rows, 0] - y[rows]).sum())
    assert np.mean(left) < 0.35


def test_nothing_at_or_after_the_issue_matters() -> None:
    x, y = history()
    poisoned = np.where(TIMES >= START + 30 * DAY_S, 99.0, y)
    np.testing.assert_array_equal(ask(x, y, 30), ask(x, poisoned, 30))


def test_missing_stays_missing_and_a_young_history_says_the_forecast_itself() -> None:
    x, y = history()
    hole = x.copy()
    hole[35 * 24 + 10, 0] = np.nan
    assert np.isnan(ask(hole, y, 35)[10]).all()
    np.testing.assert_allclose(ask(x, y, 0)[:, 1], x[:24, 0])
    assert (ask(x, y, 0)[8:16, 2] > x[8:16, 0]).all()
