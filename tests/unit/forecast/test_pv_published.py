"""Following somebody else's PV forecast: its errors of late are taken out, nothing later is seen."""

from __future__ import annotations

import numpy as np

from services.forecast.core.bands import FloatArray, IntArray
from services.forecast.core.calendar import DAY_S
from services.forecast.core.place import Place
from services.forecast.core.pv import PvPredictor
from services.forecast.core.pv_physics import PvArray
from services.forecast.core.pv_published import followed, followed_columns
from services.forecast.core.series import Dataset, Series, weather_runs

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


def test_what_a_week_taught_is_believed_by_a_sixteenth_and_moves_the_whole_band() -> None:
    rng = np.random.default_rng(0)
    x, _ = history()
    y = x[:, 0] + np.where(x[:, 0] > 0, 0.1 + 0.01 * rng.normal(size=len(x)), 0.0)
    noon = slice(11, 13)
    for day, share in ((7, 1 / 16), (14, 1 / 4), (28, 1.0)):
        added = ask(x, y, day)[noon] - x[day * 24 : day * 24 + 24, :1][noon]
        np.testing.assert_allclose(added[:, [1, 3]], 0.1 * share, atol=0.02)
        assert (np.diff(added[:, :3], axis=1) > 0).all()


def test_missing_stays_missing_and_a_young_history_says_the_forecast_itself() -> None:
    x, y = history()
    hole = x.copy()
    hole[35 * 24 + 10, 0] = np.nan
    assert np.isnan(ask(hole, y, 35)[10]).all()
    np.testing.assert_allclose(ask(x, y, 0)[:, 1], x[:24, 0])
    assert (ask(x, y, 0)[8:16, 2] > x[8:16, 0]).all()


def test_the_forecast_times_its_share_of_clear_sky_is_looked_at() -> None:
    told, clear = np.array([0.2, 0.6, 0.01]), np.array([0.4, 0.3, 0.0])
    dark = {"others": told, "others_day": np.full(3, 0.3)}
    np.testing.assert_allclose(followed_columns(dark), [[0.2, 0.3], [0.6, 0.3], [0.01, 0.3]])
    found = followed_columns(dark | {"clear_power": clear})
    np.testing.assert_allclose(found[:, 2], clear)
    np.testing.assert_allclose(found[:, 3], [0.2 * 0.5, 0.6 * 1.5, 0.01 * 0.2])


def model(given: dict[str, FloatArray], power: FloatArray) -> PvPredictor:
    place = Place(latitude=48.5, longitude=6.5, arrays=(PvArray(30, 180, 5000),), capacity_w=5000.0)
    predictor = PvPredictor(place, lead_s=DAY_S, parameters={"rounds": 5})
    predictor.train(Dataset(Series(START, 3600, power), weather_runs(TIMES, given)), 0)
    return predictor


def test_beside_a_published_forecast_no_week_corrects_the_next_and_alone_it_needs_no_line() -> None:
    x, y = history()
    power = 5000.0 * y
    power[33 * 24 :] *= 1.3  # the last week gave more than anybody said
    told = {"pv_forecast_w": 5000.0 * x[:, 0]}
    light = {"ghi": 900.0 * x[:, 1]}
    alone, both, without = (model(given, power) for given in (told, told | light, light))
    assert "linear" not in alone.member_names()
    assert "linear" in both.member_names() and "others-followed" in both.member_names()
    assert alone.bias == both.bias == 1.0
    assert without.bias > 1.02
    again = PvPredictor(alone.place)
    again.load(alone.save())
    again.refresh()
    assert again.bias == 1.0 and again.member_names() == alone.member_names()
