"""Tariffs on the planning grid: cheap hours follow local time, gaps are refused."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from contracts.tariff import LowTariffHours, Tariff
from services.optimizer.core.prices import build_prices

PRAGUE = ZoneInfo("Europe/Prague")
TARIFF = Tariff(
    supplier_fee_eur_per_kwh=0.01, distribution_high_eur_per_kwh=0.08,
    distribution_low_eur_per_kwh=0.03, vat=0.21, sell_fee_eur_per_kwh=0.015,
    low_hours=(LowTariffHours(start=dt.time(1, 0), end=dt.time(5, 0)),),
)


def _prices(start, step_s, spot):
    return build_prices(TARIFF, PRAGUE, start, 3600, spot, start, step_s)


def test_buy_and_sell_follow_the_formula():
    start = dt.datetime(2025, 1, 10, 12, tzinfo=dt.UTC)
    buy, sell = _prices(start, (3600,), [100.0])
    assert buy[0] == pytest.approx((0.1 + 0.01 + 0.08) * 1.21)
    assert sell[0] == pytest.approx(0.1 - 0.015)


@pytest.mark.parametrize(
    ("day", "cheap"), [((2025, 3, 29), 3), ((2025, 10, 25), 5), ((2025, 1, 9), 4)]
)
def test_cheap_hours_are_local_hours_on_days_of_23_and_25_hours(day, cheap):
    start = dt.datetime(*day, 20, tzinfo=dt.UTC)
    buy, _ = _prices(start, (3600,) * 12, [0.0] * 12)
    assert sum(price == pytest.approx(0.04 * 1.21) for price in buy) == cheap


def test_long_steps_get_the_mean_of_their_quarter_hours():
    start = dt.datetime(2025, 1, 10, 12, tzinfo=dt.UTC)
    buy, sell = _prices(start, (7200,), [100.0, 200.0])
    assert sell[0] == pytest.approx(0.15 - 0.015)
    assert buy[0] == pytest.approx((0.15 + 0.09) * 1.21)


@pytest.mark.parametrize(
    ("spot", "word"), [([100.0], "ends before"), ([100.0, float("nan")], "gap")]
)
def test_missing_prices_are_refused(spot, word):
    start = dt.datetime(2025, 1, 10, 12, tzinfo=dt.UTC)
    with pytest.raises(ValueError, match=word):
        _prices(start, (3600, 3600), spot)
