import datetime as dt
from dataclasses import replace
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from twin.calendar import epoch_s, utc
from twin.generate import default_scenario
from twin.scenario import ForecastTable, Scenario
from twin.tables import Table

PRAGUE = ZoneInfo("Europe/Prague")


def test_prices_appear_at_13_local(winter: Scenario) -> None:
    noon = dt.datetime(2026, 1, 12, 12, 59, tzinfo=PRAGUE)
    before, after = winter.published_prices(noon), winter.published_prices(noon.replace(hour=13))
    assert utc(before.end_s) == dt.datetime(2026, 1, 13, tzinfo=PRAGUE)
    assert utc(after.end_s) == dt.datetime(2026, 1, 14, tzinfo=PRAGUE)
    assert before.start_s == winter.prices.start_s
    np.testing.assert_array_equal(after["eur_per_mwh"][: len(before)], before["eur_per_mwh"])


@pytest.mark.parametrize(
    ("day", "quarters"), [(dt.date(2026, 3, 28), 92), (dt.date(2026, 10, 24), 100)]
)
def test_published_day_has_the_right_length_at_clock_changes(day: dt.date, quarters: int) -> None:
    start = dt.datetime.combine(day, dt.time(), PRAGUE)
    scenario = default_scenario(start, 2, 1)
    morning = scenario.published_prices(start.replace(hour=9))
    evening = scenario.published_prices(start.replace(hour=18))
    assert len(evening) - len(morning) == quarters


def test_prices_before_the_scenario_are_an_error(winter: Scenario) -> None:
    with pytest.raises(ValueError, match="add earlier prices"):
        winter.published_prices(winter.start - dt.timedelta(days=30))


def test_forecast_is_repeatable_wrong_and_worse_with_lead() -> None:
    scenario = default_scenario(dt.datetime(2026, 2, 1, tzinfo=PRAGUE), 30, 3)
    errors = []
    for day in range(30):
        issued = scenario.start + dt.timedelta(days=day, hours=7)
        forecast = scenario.weather_forecast(issued)
        assert len(forecast.times_s) == 72
        truth = scenario.weather.hold("temperature_c", forecast.times_s)
        errors.append(forecast.temperature_c - truth)
        sun = scenario.weather.hold("ghi_w_m2", forecast.times_s)
        assert np.all(forecast.ghi_w_m2[sun == 0] <= 30)
        assert np.all(forecast.ghi_w_m2 >= 0)
    spread = np.array(errors).std(axis=0)
    assert 0.3 < spread[:6].mean() < 1.2
    assert 1.0 < spread[60:].mean() < 3.0
    again = default_scenario(dt.datetime(2026, 2, 1, tzinfo=PRAGUE), 30, 3)
    np.testing.assert_array_equal(
        again.weather_forecast(issued).temperature_c, forecast.temperature_c
    )
    other = default_scenario(dt.datetime(2026, 2, 1, tzinfo=PRAGUE), 30, 4)
    assert not np.array_equal(other.weather_forecast(issued).temperature_c, forecast.temperature_c)


def test_forecasts_of_one_run_agree_on_the_hours_they_share(winter: Scenario) -> None:
    first = winter.weather_forecast(winter.start + dt.timedelta(hours=9, minutes=20))
    later = winter.weather_forecast(winter.start + dt.timedelta(hours=10))
    np.testing.assert_array_equal(first.temperature_c[1:], later.temperature_c[:-1])


def test_forecast_beyond_the_weather_is_an_error(winter: Scenario) -> None:
    with pytest.raises(ValueError, match="scenario ends earlier"):
        winter.weather_forecast(utc(winter.weather.end_s - 3600))


def test_recorded_forecast_takes_the_newest_issue(winter: Scenario) -> None:
    start = winter.start_s
    hours = np.arange(80) * 3600 + start
    table = ForecastTable(
        np.repeat([start, start + 6 * 3600], 80),
        np.concatenate((hours, hours + 6 * 3600)),
        {
            "temperature_c": np.concatenate((np.full(80, 1.0), np.full(80, 2.0))),
            "ghi_w_m2": np.zeros(160),
            "wind_m_s": np.zeros(160),
        },
    )
    scenario = replace(winter, forecasts=table)
    assert scenario.weather_forecast(utc(start + 5 * 3600)).temperature_c.tolist() == [1.0] * 72
    assert scenario.weather_forecast(utc(start + 7 * 3600)).temperature_c.tolist() == [2.0] * 72
    with pytest.raises(ValueError, match="no issue at or before"):
        scenario.weather_forecast(utc(start - 3600))
    with pytest.raises(ValueError, match="has no row for"):
        scenario.weather_forecast(utc(start + 20 * 3600))


def test_series_must_cover_the_run(winter: Scenario) -> None:
    with pytest.raises(ValueError, match="load covers"):
        replace(winter, load=winter.load.between(winter.start_s + 900, winter.end_s))


def test_table_between_hold_and_linear() -> None:
    table = Table(1000, 100, {"x": np.arange(5.0)})
    assert table.between(1050, 1301)["x"].tolist() == [1.0, 2.0, 3.0]
    assert table.hold("x", np.array([999, 1000, 1199, 9999])).tolist() == [0.0, 0.0, 1.0, 4.0]
    assert table.linear("x", np.array([1050, 1100])).tolist() == [0.0, 0.5]
    with pytest.raises(ValueError, match="outside the table"):
        table.index(1500)
    with pytest.raises(ValueError, match="one length"):
        Table(0, 1, {"x": np.zeros(2), "y": np.zeros(3)})


def test_default_start_is_midnight_in_prague(winter: Scenario) -> None:
    assert winter.start_s == epoch_s(dt.datetime(2026, 1, 12, tzinfo=PRAGUE))
    assert winter.end_s - winter.start_s == 2 * 86_400
    assert winter.start_s - winter.prices.start_s >= 7 * 86_400
