import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from contracts.site import SiteConfig
from twin.calendar import utc
from twin.convert import HouseName, WeatherSource, app, convert
from twin.house import House
from twin.recorded import choose_weeks, czech_prices, fill_gaps, konstanz, shifted_times
from twin.scenario import Scenario

PRAGUE = ZoneInfo("Europe/Prague")


def _hourly(start: str, hours: int) -> pd.Series:
    index = pd.date_range(start, periods=hours, freq="h", tz="UTC")
    return pd.Series(np.arange(hours, dtype=float), index=index)


def test_short_gaps_are_lines_and_long_ones_are_other_weeks() -> None:
    series = _hourly("2024-01-01", 24 * 28)
    series.iloc[10:13] = np.nan
    series.iloc[400:410] = np.nan
    filled = fill_gaps(series)
    assert filled.iloc[10:13].tolist() == [10.0, 11.0, 12.0]
    assert filled.iloc[400:410].tolist() == [float(k) for k in range(400 - 168, 410 - 168)]
    with pytest.raises(ValueError, match="no neighbour"):
        fill_gaps(_hourly("2024-01-01", 100).where(lambda one: one < 50))


def test_weeks_keep_season_and_prefer_the_newest_year() -> None:
    series = _hourly("2020-01-01", 24 * 366 * 3)
    start = int(dt.datetime(2026, 6, 1, tzinfo=dt.UTC).timestamp())
    weeks, apart = choose_weeks(start, start + 7 * 86_400, series)
    assert utc(start - weeks * 7 * 86_400).year == 2022
    assert apart < 4
    with pytest.raises(ValueError, match="ask for fewer days"):
        choose_weeks(start, start + 2_000 * 86_400, series)


@pytest.mark.parametrize("month", [1, 3, 7, 10])
def test_moved_times_keep_weekday_and_wall_clock(month: int) -> None:
    begin = int(dt.datetime(2026, month, 20, tzinfo=dt.UTC).timestamp())
    times = begin + 3600 * np.arange(24 * 14)
    moved = shifted_times(times, 104, PRAGUE, PRAGUE)
    same = 0
    for new, old in zip(times, moved, strict=True):
        target, source = utc(int(new)).astimezone(PRAGUE), utc(int(old)).astimezone(PRAGUE)
        same += target.time() == source.time() and target.weekday() == source.weekday()
    assert same >= len(times) - 2  # the hours that a clock change skips or repeats


def test_konstanz_in_january(data: Path, site: SiteConfig) -> None:
    scenario = convert(HouseName.konstanz, dt.date(2026, 1, 12), 3, data)
    load, _ = konstanz(data)
    # Monday noon of the scenario is a Monday noon of the recording, unchanged.
    noon = int(dt.datetime(2026, 1, 12, 12, tzinfo=PRAGUE).timestamp())
    value = scenario.load["base_load_w"][scenario.load.index(noon)]
    wanted = load.series[(load.series - value).abs() < 1e-9].index.tz_convert("Europe/Berlin")
    assert any(one.weekday() == 0 and one.hour == 12 and one.month == 1 for one in wanted)
    assert scenario.weather["ghi_w_m2"].max() < 500
    assert scenario.pv is not None
    assert 0 < scenario.pv["w_per_kwp"].max() < 1_000
    assert {"load", "pv", "prices", "ev", "weather"} <= set(scenario.provenance)
    assert all("moved by" in scenario.provenance[k] for k in ("load", "pv", "prices", "ev"))
    house = House(site, scenario, 1, scenario.start)
    seen = house.step(scenario.start + dt.timedelta(days=1))
    assert 30_000 < seen.load_wh < 150_000


def test_prices_are_recorded_prices_at_the_same_local_time(data: Path) -> None:
    scenario = convert(HouseName.konstanz, dt.date(2025, 11, 3), 2, data)
    recording = czech_prices(data, quarter=True).series
    moment = dt.datetime(2025, 11, 4, 17, 30, tzinfo=PRAGUE)
    price = scenario.prices["eur_per_mwh"][scenario.prices.index(int(moment.timestamp()))]
    assert price == recording[pd.Timestamp(moment)]
    assert "moved by 0 weeks" in scenario.provenance["prices"]


def test_command_writes_a_folder_and_says_so(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "france"
    result = CliRunner().invoke(
        app,
        ["--house", "france", "--start", "2026-07-06", "--days", "2", "--out", str(out),
         "--data", str(data), "--no-announce"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "moved by" in result.output
    assert "MIT" in result.output
    scenario = Scenario.load_folder(out)
    assert scenario.weather.step_s == 1800
    assert all(one.announced_energy_wh is None for one in scenario.sessions)


def test_missing_data_and_long_stretches_are_explained(data: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--out", str(tmp_path), "--data", str(tmp_path)])
    assert result.exit_code == 1
    assert "set PEMS_DATA" in result.output
    with pytest.raises(ValueError, match="ask for fewer days"):
        convert(HouseName.france, dt.date(2026, 3, 1), 250, data)


def test_weather_falls_back_to_the_typical_year_and_says_so(data: Path) -> None:
    december = convert(HouseName.konstanz, dt.date(2025, 12, 11), 2, data)
    assert "no record within" in december.provenance["weather"]
    typical = convert(
        HouseName.konstanz, dt.date(2026, 1, 12), 2, data, weather=WeatherSource.typical
    )
    assert typical.provenance["weather"].startswith("temperature and wind: TMY3")
