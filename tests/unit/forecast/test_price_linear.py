"""Price: the linear member bends, so spikes do not lead it, and sees every hour of the last day known."""

from __future__ import annotations

import numpy as np

from services.forecast.core.calendar import DAY_S
from services.forecast.core.learners import LinearQuantiles
from services.forecast.core.place import Place
from services.forecast.core.price import PricePredictor
from services.forecast.core.price_hours import within_hour
from services.forecast.core.series import Dataset, Series

MARKET = Place(time_zone="Europe/Prague", country="CZ")
START = 20_000 * DAY_S - 3600  # midnight of the market in winter


def fitted(bend: float, x: np.ndarray, y: np.ndarray) -> LinearQuantiles:
    line = LinearQuantiles(ridge=1.0, iterations=40, bend=bend)
    line.fit(x, y, np.ones(len(y)), np.zeros(len(y), dtype=np.int64), 1)
    return line


def test_quantiles_of_bent_targets_are_taken_back_exactly() -> None:
    """A straight line with even noise under the bend: P10, P50 and P90 are its own, bent."""
    rng = np.random.default_rng(0)
    x, noise = rng.uniform(-1.0, 1.0, (4000, 1)), rng.normal(0.0, 0.5, 4000)
    y = np.sinh(2.0 * x[:, 0] + noise) / 1.5
    found = fitted(1.5, x, y).predict(x, np.zeros(4000, dtype=np.int64))
    for row, shift in enumerate((-1.2816, 0.0, 1.2816)):
        wanted = 2.0 * x[:, 0] + 0.5 * shift
        assert np.abs(np.arcsinh(1.5 * found[:, row]) - wanted).mean() < 0.05
    straight = fitted(0.0, x, y).predict(x, np.zeros(4000, dtype=np.int64))
    np.testing.assert_allclose(found[:, 3], straight[:, 3])  # the mean is of y itself


def test_a_bent_line_ends_far_outside_and_is_stored_with_its_bend() -> None:
    x = np.linspace(-1.0, 1.0, 200)[:, None]
    line = fitted(1.5, x, np.sinh(9.0 * x[:, 0]))
    far = line.predict(np.array([[6.0]]), np.zeros(1, dtype=np.int64))
    assert far[0, 1] == np.sinh(4.0) / 1.5
    again = LinearQuantiles()
    again.from_files("line", line.to_files("line"))
    slot = np.zeros(200, dtype=np.int64)
    np.testing.assert_array_equal(again.predict(x, slot), line.predict(x, slot))


def market(swap: tuple[int, int] | None = None) -> Series:
    """Sixty days; on the last one two hours may have changed their prices."""
    rng = np.random.default_rng(1)
    prices = 80.0 + 30.0 * np.sin(np.arange(60 * 24) * np.pi / 6) + rng.normal(0, 8, 60 * 24)
    if swap is not None:
        first, second = (59 * 24 + hour for hour in swap)
        prices[[first, second]] = prices[[second, first]]
    return Series(START, 3600, prices)


def table(series: Series) -> tuple[np.ndarray, np.ndarray]:
    target = series.end_s + np.arange(48, dtype=np.int64) * 3600
    made = PricePredictor(MARKET).features(Dataset(series), np.full(48, series.end_s), target)
    return made.linear, made.slot


def test_each_hour_of_the_last_day_known_speaks_to_every_hour_ahead() -> None:
    before, slot = table(market())
    for hour in range(1, 20):
        after, _ = table(market((hour, hour + 1)))
        changed = ~np.isclose(before, after)
        assert changed.any(axis=1).all()
        assert (changed.sum(axis=1) >= 2).all()
    assert sorted(slot) == list(range(48))  # and a line for each hour of each day ahead


def test_quarters_lead_from_the_hour_before_to_the_hour_after() -> None:
    """A market of quarters since ten days; before, hours were traded."""
    rng = np.random.default_rng(3)
    hours = 80.0 + 20.0 * rng.normal(size=42 * 24 + 48)
    way = (np.roll(hours, -1) - np.roll(hours, 1)) / 2.0
    share = np.array([-0.375, -0.125, 0.125, 0.375])
    quarters = hours[:, None] + way[:, None] * share
    quarters[: 32 * 24] = hours[: 32 * 24, None]
    past = Series(START, 900, quarters[:-48].ravel())
    ahead = past.end_s + np.arange(48, dtype=np.int64) * 3600
    target = past.end_s + np.arange(47 * 4, dtype=np.int64) * 900
    apart, scatter = within_hour(past, ahead, hours[-48:], target)
    wanted = (way[:, None] * share)[-48:-1].ravel()
    assert np.abs(apart - wanted).mean() < 0.02 * np.abs(wanted).mean()
    assert scatter < 0.02 * np.abs(wanted).mean()
    flat = Series(START, 900, np.repeat(hours[:-48], 4))
    np.testing.assert_array_equal(within_hour(flat, ahead, hours[-48:], target)[0], 0.0)
