import datetime as dt
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from twin.climate import DAILY_HIGH_C, DAILY_LOW_C
from twin.generate import PRAGUE, default_scenario
from twin.scenario import Scenario
from twin.tables import Table

ZONE = ZoneInfo("Europe/Prague")


@pytest.fixture(scope="module")
def year() -> Scenario:
    return default_scenario(dt.datetime(2025, 1, 1, tzinfo=ZONE), 365, 1)


def _by_month(table: Table, column: str) -> list[np.ndarray]:
    months = (table.times_s + 3600).astype("datetime64[s]").astype("datetime64[M]").astype(int) % 12
    return [table[column][months == month] for month in range(12)]


def test_same_seed_same_world_other_seed_other_world(winter: Scenario) -> None:
    assert default_scenario().content_hash == winter.content_hash
    other = default_scenario(seed=7)
    assert other.content_hash != winter.content_hash
    np.testing.assert_array_equal(other.weather["ghi_w_m2"], winter.weather["ghi_w_m2"])


def test_default_days_are_ordinary_january_days(winter: Scenario) -> None:
    run = winter.weather.between(winter.start_s, winter.end_s)
    assert run["temperature_c"].min() > -6
    assert run["temperature_c"].max() < 7
    bright, dull = run["ghi_w_m2"].reshape(2, 24).sum(axis=1)
    assert bright > 3 * dull
    assert any(winter.start_s <= one.plug_in_s < winter.end_s for one in winter.sessions)


def test_year_has_the_climate_of_the_normals(year: Scenario) -> None:
    weather = year.weather.between(year.start_s, year.end_s)
    temperatures = _by_month(weather, "temperature_c")
    for month, values in enumerate(temperatures):
        normal = (DAILY_HIGH_C[month] + DAILY_LOW_C[month]) / 2
        assert values.mean() == pytest.approx(normal, abs=0.6), month
    sun = [values.mean() * 24 / 1000 for values in _by_month(weather, "ghi_w_m2")]
    assert 0.5 < sun[0] < 1.3
    assert 4.5 < sun[6] < 6.0
    assert 950 < np.mean(sun) * 365 < 1250  # kWh/m2 a year; the Czech lands get about 1000-1150


def test_prices_look_like_the_market(year: Scenario) -> None:
    price = year.prices["eur_per_mwh"]
    by_day = price[: 365 * 96].reshape(-1, 96)
    quarter_of_day = by_day.mean(axis=0)
    assert 80 < price.mean() < 105
    evening, midday, night = (quarter_of_day[4 * h : 4 * h + 4].mean() for h in (19, 13, 3))
    assert evening > midday + 30
    assert evening > night + 30
    summer = price[180 * 96 : 240 * 96]
    winter = price[: 50 * 96]
    assert 0.01 < (summer < 0).mean() < 0.15
    assert (winter < 0).mean() < 0.02


def test_load_is_a_family(year: Scenario) -> None:
    daily_kwh = year.load["base_load_w"][: 360 * 96].reshape(-1, 96).sum(axis=1) / 4000
    assert 10 < daily_kwh.mean() < 16
    assert year.load["base_load_w"].min() > 100
    assert year.load["base_load_w"].max() < 9_000


def test_sessions_do_not_overlap_and_fit_the_charger(year: Scenario) -> None:
    sessions = year.sessions
    assert 150 < len(sessions) < 290
    for before, after in pairwise(sessions):
        assert after.plug_in_s > before.departure_s
    for one in sessions:
        assert one.energy_wh < 11_000 * (one.departure_s - one.plug_in_s) / 3600
    told = np.mean([one.announced_energy_wh is not None for one in sessions])
    assert 0.7 < told < 0.9


def test_leap_day_and_other_weather() -> None:
    leap = default_scenario(dt.datetime(2028, 2, 28, tzinfo=ZONE), 3, 1)
    assert np.isfinite(leap.weather["temperature_c"]).all()
    shifted = default_scenario(weather_shift_days=0)
    assert not np.array_equal(
        shifted.weather["temperature_c"], default_scenario().weather["temperature_c"]
    )
    assert PRAGUE.timezone == "Europe/Prague"
