"""Price without training: the like days of the last weeks, which also carry a learnt model's first weeks."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from services.forecast.core.bands import Bands
from services.forecast.core.calendar import DAY_S, calendar
from services.forecast.core.place import Place
from services.forecast.core.price import PricePredictor
from services.forecast.core.price_seasonal import seasonal_price
from services.forecast.core.series import Dataset, Series

MARKET = Place(time_zone="Europe/Prague", country="CZ")
HOUR_S = 3600


def epoch(*args: int) -> int:
    return int(dt.datetime(*args, tzinfo=dt.UTC).timestamp())  # type: ignore[arg-type]


def hours(start_s: int, days: float) -> np.ndarray:
    return start_s + np.arange(round(24 * days), dtype=np.int64) * HOUR_S


def shape(times_s: np.ndarray) -> np.ndarray:
    """A price that depends on the local hour alone."""
    return 50.0 + 2.0 * (calendar(times_s, "Europe/Prague").second_of_day // HOUR_S)


def weekend(times_s: np.ndarray) -> np.ndarray:
    return calendar(times_s, "Europe/Prague").weekday >= 5


def history(now_s: int, days: int, price: np.ndarray | None = None) -> Series:
    times = hours(now_s - days * DAY_S, days)
    return Series(int(times[0]), HOUR_S, shape(times) if price is None else price)


def ahead(series: Series, days: float = 1.0) -> Bands:
    return seasonal_price(series, series.end_s, hours(series.end_s, days), MARKET)


def test_what_is_published_is_exact_and_the_like_hours_follow() -> None:
    now = epoch(2025, 3, 3)
    hourly = history(now + DAY_S, 61)
    published = Series(hourly.start_s, 900, np.repeat(hourly.values, 4))
    target = now + np.arange(192, dtype=np.int64) * 900
    bands = seasonal_price(published, now, target, MARKET)
    np.testing.assert_array_equal(bands.p10[:96], published.values[-96:])
    np.testing.assert_array_equal(bands.p90[:96], published.values[-96:])
    np.testing.assert_allclose(bands.p50[96:], shape(target[96:]))
    assert (bands.p90[96:] > bands.p10[96:]).all()
    assert bands.flags == ("price-extrapolated",)


def test_wall_clock_holds_over_the_change_of_time() -> None:
    series = history(epoch(2025, 3, 31), 60)
    np.testing.assert_allclose(ahead(series, 2).p50, shape(hours(series.end_s, 2)), atol=0.1)


@pytest.mark.parametrize(("at", "like_a_sunday"), [((2025, 4, 30, 22), True), ((2025, 5, 4, 22), False)])
def test_a_holiday_is_like_a_sunday(at: tuple[int, ...], like_a_sunday: bool) -> None:
    """1 May was a Thursday, 5 May 2025 a Monday."""
    times = hours(epoch(*at) - 28 * DAY_S, 28)
    series = history(epoch(*at), 28, np.where(weekend(times), 20.0, 100.0))
    cheap = ahead(series).p50 < 65.0  # a little of the working days is in it
    assert cheap.all() if like_a_sunday else not cheap.any()


def test_half_of_what_the_last_days_rose_by_is_carried_on() -> None:
    now = epoch(2025, 3, 6, 23)
    times = hours(now - 28 * DAY_S, 28)
    risen = np.where(times >= now - 4 * DAY_S, 80.0, 0.0)
    like = ahead(history(now, 28, shape(times) + risen)).p50 - shape(hours(now, 1))
    assert ((like > 40.0) & (like < 70.0)).all()
    fallen = ahead(history(now, 28, shape(times) - risen)).p50 - shape(hours(now, 1))
    np.testing.assert_allclose(fallen, -like)


def test_a_handful_of_days_has_the_wider_band() -> None:
    rng = np.random.default_rng(2)
    now = epoch(2025, 3, 6, 23)
    noisy = shape(hours(now - 28 * DAY_S, 28)) + rng.normal(0.0, 20.0, 28 * 24)
    widths = []
    for days in (28, 5):
        found = ahead(history(now, days, noisy[-24 * days:]))
        widths.append(float(np.mean(found.p90 - found.p10)))
        assert ("history-short" in found.flags) == (days == 5)
    assert widths[1] > 1.2 * widths[0]


def test_days_that_never_differed_still_have_a_band() -> None:
    now = epoch(2025, 3, 6, 23)
    bands = ahead(history(now, 28, np.full(28 * 24, -20.0)))
    np.testing.assert_allclose(bands.p50, -20.0)
    np.testing.assert_allclose(bands.p90 - bands.p10, 2 * 0.2 * 8.0)


def test_nothing_known_is_missing_not_zero() -> None:
    bands = ahead(Series(epoch(2025, 3, 3), HOUR_S, np.full(48, np.nan)))
    assert np.isnan(bands.p50).all()
    assert {"price-missing", "history-short"} <= set(bands.flags)


def test_the_like_days_carry_the_first_weeks_and_then_step_back() -> None:
    now = epoch(2025, 6, 5, 22)
    rng = np.random.default_rng(4)
    times = hours(now - 400 * DAY_S, 400)
    price = shape(times) + 15.0 * np.sin(times / DAY_S) + rng.normal(0.0, 10.0, len(times))
    shares = {}
    for days in (5, 40, 400):
        series = history(now, days, price[-24 * days:])
        predictor = PricePredictor(MARKET, parameters={"rounds": 20})
        predictor.train(Dataset(series), 0)
        assert predictor.combination is not None
        shares[days] = float(predictor.combination.band_weights[predictor.member_names().index("like-days")])
        again = PricePredictor(MARKET)
        again.load(predictor.save())
        again.refresh()
        assert again.combination is not None
        np.testing.assert_allclose(again.combination.band_weights, predictor.combination.band_weights)
    assert shares[5] > 0.98
    assert shares[40] == pytest.approx(0.5, abs=0.01)
    assert shares[400] < 0.01


def test_quarters_that_stray_from_their_hours_widen_both_sides_of_the_band() -> None:
    now = epoch(2025, 3, 6, 23)
    hourly = history(now, 28)
    stray = np.random.default_rng(5).normal(0.0, 25.0, (28 * 24, 4))
    stray -= stray.mean(axis=1, keepdims=True)
    target = now + np.arange(96, dtype=np.int64) * 900
    still, straying = (
        seasonal_price(Series(hourly.start_s, 900, quarters.ravel()), now, target, MARKET)
        for quarters in (hourly.values[:, None] + 0.0 * stray, hourly.values[:, None] + stray)
    )
    assert np.mean(straying.p50 - straying.p10) > 10.0 + np.mean(still.p50 - still.p10)
    assert np.mean(straying.p90 - straying.p50) > 10.0 + np.mean(still.p90 - still.p50)
