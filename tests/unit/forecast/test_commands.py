"""The commands: files in, scores out; our scores agree with sktime's; the future cannot leak."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from chassis.models import FolderStore, name_of
from services.forecast.core.bands import Bands
from services.forecast.core.baselines import lag_baselines
from services.forecast.core.load import LoadPredictor
from services.forecast.core.place import Place
from services.forecast.core.registry import unpack
from services.forecast.core.scores import pinball, score
from services.forecast.core.series import Dataset, Series
from services.forecast.evaluate import app, daily_issues, duration_s, evaluate_file, instant
from services.forecast.files import read_dataset, read_place
from services.forecast.retrain import consider
from services.forecast.train import app as train_app

SITE = {"latitude": 50.08, "longitude": 14.43, "time_zone": "Europe/Prague", "country": "CZ"}


def write_load(
    folder: Path, days: int = 24, step: str = "1h", poison_from: str | None = None
) -> Path:
    index = pd.date_range("2025-03-03", periods=days * 24, freq="1h", tz="UTC")
    rng = np.random.default_rng(0)
    load = (400 + 300 * np.sin(index.hour / 24 * 2 * np.pi)) * rng.gamma(5, 0.2, len(index))
    frame = pd.DataFrame({"utc": index.strftime("%Y-%m-%dT%H:%M:%SZ"), "load_w": load})
    if poison_from is not None:
        frame.loc[index >= poison_from, "load_w"] = 1e6
    path = folder / f"load-{poison_from}.csv.gz"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.json"
    path.write_text(json.dumps(SITE))
    return path


def test_json_holds_ours_and_every_baseline_by_lead(tmp_path: Path, site: Path) -> None:
    plot = tmp_path / "plot.png"
    result = CliRunner().invoke(
        app,
        ["load", "--data", str(write_load(tmp_path)), "--site", str(site), "--from", "2025-03-22",
         "--to", "2025-03-25", "--lead", "48h", "--json", "--plot", str(plot)],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    out = json.loads(result.stdout)
    keys = {"n", "rmse", "mae", "bias", "pinball", "coverage_80"}
    assert keys <= set(out)
    assert keys <= set(out["ours"])
    assert {"yesterday", "last-week", "four-week-mean", "seasonal"} == set(out["baselines"])
    assert all(keys <= set(scores) for scores in out["baselines"].values())
    assert keys <= set(out["by_lead"]["24-48h"]["ours"])
    assert out["by_lead"]["0-24h"]["ours"]["n"] == 72
    assert out["n"] == 72 + 48  # the third day's second day lies beyond --to
    assert plot.stat().st_size > 10_000


def test_the_future_of_the_file_changes_no_forecast(tmp_path: Path, site: Path) -> None:
    forecasts = []
    for poison in (None, "2025-03-21 23:00+00:00"):  # local midnight of 22 March
        path = write_load(tmp_path, poison_from=poison)
        _, rolled, _ = evaluate_file(
            "load", path, "2025-03-21", "2025-03-22", site=site, lead="24h"
        )
        forecasts.append(rolled.ours)
    np.testing.assert_array_equal(forecasts[0].p90, forecasts[1].p90)
    np.testing.assert_array_equal(forecasts[0].p10, forecasts[1].p10)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--lead", "soon"], "lead"),
        (["--issue-at", "noon"], "issue-at"),
        (["--from", "later"], "from"),
        (["--from", "2031-01-01", "--to", "2031-02-01"], "from/to"),
    ],
)
def test_errors_name_the_option(tmp_path: Path, arguments: list[str], says: str) -> None:
    base = [
        "load",
        "--data",
        str(write_load(tmp_path)),
        "--from",
        "2025-03-22",
        "--to",
        "2025-03-25",
    ]
    result = CliRunner().invoke(app, [*base, *arguments])
    assert result.exit_code == 2
    assert says in result.output


def test_missing_column_and_broken_time_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("utc,watts\n2025-01-01T00:00:00Z,1\n")
    with pytest.raises(ValueError, match="load_w"):
        read_dataset(path, "load", Place())
    path.write_text("utc,load_w\nyesterday,1\n")
    with pytest.raises(ValueError, match="utc"):
        read_dataset(path, "load", Place())
    path.write_text("utc,load_w\n2025-01-01T00:00:00Z,many\n")
    with pytest.raises(ValueError, match="load_w"):
        read_dataset(path, "load", Place())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("utc;load_w\n2025-01-01T00:00:00Z;1,5\n", "separated by ';'.* write commas"),
        ('utc,load_w\n2025-01-01T00:00:00Z,"1,5"\n', "load_w: row 1: '1,5' is no number; .*12.5"),
        ("utc,load_w\n2025-01-01T00:00:00Z,1\n2025-01-01T01:00:00Z,inf\n", "load_w: row 2: 'inf'"),
        ("utc,load_w\n31.01.2025 00:00,1\n", "utc: row 1: '31.01.2025 00:00' .*2025-01-31T12"),
        ("utc,load_w\n", "no rows"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_row_and_the_fix(
    tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=says):
        read_dataset(path, "load", Place())


def test_blanks_around_names_and_in_empty_fields_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("utc, load_w \n2025-01-01T00:00:00Z,1\n2025-01-01T01:00:00Z, \n")
    np.testing.assert_array_equal(
        read_dataset(path, "load", Place()).series.values, [1.0, np.nan]
    )


def test_hours_of_a_clock_half_an_hour_beside_utc_stay_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    index = pd.date_range("2025-01-01T18:30", periods=48, freq="1h", tz="UTC")
    pd.DataFrame({"utc": index.strftime("%Y-%m-%dT%H:%M:%SZ"), "load_w": range(48)}).to_csv(path)
    series = read_dataset(path, "load", Place(time_zone="Asia/Kolkata")).series
    assert (series.start_s, len(series.values)) == (index[0].timestamp(), 48)


def test_a_recorder_some_seconds_beside_its_minute_has_the_same_steps(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    path = tmp_path / "x.csv"
    index = pd.date_range("2025-01-01", periods=96, freq="30min", tz="UTC")
    late = index + pd.to_timedelta(rng.integers(-20, 20, len(index)), unit="s")
    pd.DataFrame({"utc": late.strftime("%Y-%m-%dT%H:%M:%SZ"), "load_w": range(96)}).to_csv(path)
    series = read_dataset(path, "load", Place()).series
    assert (series.start_s, series.step_s) == (index[0].timestamp(), 1800)
    np.testing.assert_array_equal(series.values, np.arange(96.0))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("time_zone: Europe/Zuerich\n", "time_zone: 'Europe/Zuerich'"),
        ("latitude: 200\n", "latitude"),
        ("arrays: [\n", "site.yaml"),
    ],
)
def test_a_site_file_with_a_mistake_is_refused(tmp_path: Path, text: str, says: str) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(text)
    base = ["load", "--data", str(write_load(tmp_path)), "--site", str(site)]
    result = CliRunner().invoke(app, [*base, "--from", "2025-03-22", "--to", "2025-03-25"])
    assert result.exit_code == 2
    assert says in result.output


def test_norway_is_no_negation_and_codes_may_be_small(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    for code, country in (("NO", "NO"), ("cz", "CZ")):
        site.write_text(f"country: {code}\n")
        assert read_place(site).country == country


def test_weather_of_the_hour_beside_quarter_hours_is_hourly_weather(tmp_path: Path) -> None:
    path = tmp_path / "pv.csv"
    rows = ["utc,pv_w,ghi,issued"]
    for quarter in range(4 * 24):
        time = f"2025-06-01T{quarter // 4:02d}:{15 * (quarter % 4):02d}:00Z"
        told = f"{quarter},2025-05-31T00:00:00Z" if quarter % 4 == 0 else ","
        rows.append(f"{time},1,{told}")
    path.write_text("\n".join(rows) + "\n")
    data = read_dataset(path, "pv", Place())
    assert data.series.step_s == 900
    assert data.weather is not None
    assert data.weather.step_s == 3600
    times = data.series.times_s[8:12]
    # Hours hold in their middles: a quarter before 02:30 lies an eighth of an hour before it.
    between = data.weather.between("ghi", times, times, 900)
    np.testing.assert_allclose(between, [6.5, 7.5, 8.5, 9.5])


def test_codes_for_nothing_are_no_weather(tmp_path: Path) -> None:
    path = tmp_path / "pv.csv"
    index = pd.date_range("2025-06-01", periods=24, freq="1h", tz="UTC")
    frame = pd.DataFrame({"utc": index.strftime("%Y-%m-%dT%H:%M:%SZ"), "pv_w": 1.0})
    frame["ghi"], frame["temp_air"] = 500.0, 20.0
    frame.loc[[3, 7], "ghi"], frame.loc[[3, 9], "temp_air"] = [-999.0, 9999.0], [-999.0, -40.0]
    frame.to_csv(path, index=False)
    data = read_dataset(path, "pv", Place())
    assert data.weather is not None
    times = data.series.times_s
    light, air = (data.weather.as_of(name, times, times) for name in ("ghi", "temp_air"))
    assert np.flatnonzero(np.isnan(light)).tolist() == [3, 7]
    assert np.flatnonzero(np.isnan(air)).tolist() == [3]
    assert air[9] == -40.0


def test_hourly_light_beside_quarter_hours_of_temperature_is_read_between_its_hours(
    tmp_path: Path,
) -> None:
    path = tmp_path / "pv.csv"
    rows = ["utc,pv_w,ghi,temp_air"]
    for quarter in range(4 * 24):
        time = f"2025-06-01T{quarter // 4:02d}:{15 * (quarter % 4):02d}:00Z"
        rows.append(f"{time},1,{quarter if quarter % 4 == 0 else ''},{quarter / 4}")
    path.write_text("\n".join(rows) + "\n")
    weather = read_dataset(path, "pv", Place()).weather
    assert weather is not None
    assert weather.step_s == 900
    np.testing.assert_allclose(weather.columns["ghi"][8:12], [6.5, 7.5, 8.5, 9.5])
    np.testing.assert_array_equal(weather.columns["temp_air"], np.arange(96.0) / 4)


def test_scores_begin_when_there_is_history_enough(tmp_path: Path) -> None:
    path = write_load(tmp_path, days=9)
    summary, rolled, _ = evaluate_file("load", path, "2025-02-01", "2025-03-10")
    assert rolled.issue_s[0] == pd.Timestamp("2025-03-07", tz="UTC").timestamp()
    settings = summary["settings"]
    assert isinstance(settings, dict)
    assert settings["issues"] == 3
    with pytest.raises(ValueError, match="give at least 3"):
        evaluate_file("load", path, "2025-02-01", "2025-03-05")


def test_an_issue_within_a_step_forecasts_from_the_next(tmp_path: Path) -> None:
    path = write_load(tmp_path, days=12)
    _, rolled, _ = evaluate_file("load", path, "2025-03-12", "2025-03-13", issue_at="06:20")
    assert pd.to_datetime(rolled.target_s[[0, -1]], unit="s").hour.tolist() == [7, 23]
    with pytest.raises(ValueError, match="no issue time"):  # the first whole step is the next day's
        evaluate_file("load", path, "2025-03-12", "2025-03-13", issue_at="23:20")
    predictor = LoadPredictor(Place(), lead_s=7200)
    series = read_dataset(path, "load", Place()).series
    issue, target = predictor.training_rows(Dataset(series), 22_800)
    assert set((target - issue).tolist()) == {2400, 6000}


def test_hourly_then_quarter_hour_prices_land_on_quarters(tmp_path: Path) -> None:
    hours = pd.date_range("2025-08-01", "2025-09-30 23:00", freq="1h", tz="UTC")
    quarters = pd.date_range("2025-10-01", periods=96 * 3, freq="15min", tz="UTC")
    index = hours.append(quarters)
    frame = pd.DataFrame(
        {"utc": index.strftime("%Y-%m-%dT%H:%M:%SZ"), "price_eur_mwh": range(len(index))}
    )
    path = tmp_path / "p.csv"
    frame.to_csv(path, index=False)
    series = read_dataset(path, "price", Place()).series
    assert series.step_s == 900
    np.testing.assert_array_equal(series.values[:4], 0.0)
    assert series.values[-1] == len(index) - 1
    assert not np.isnan(series.values).any()


def test_several_runs_of_weather_share_one_measured_value(tmp_path: Path) -> None:
    path = tmp_path / "pv.csv"
    rows = ["utc,pv_w,ghi,issued"]
    for hour in range(48):
        time = f"2025-06-{1 + hour // 24:02d}T{hour % 24:02d}:00:00Z"
        rows.append(f"{time},{hour},100,2025-05-31T00:00:00Z")
        rows.append(f"{time},,200,2025-05-31T12:00:00Z")
    path.write_text("\n".join(rows) + "\n")
    data = read_dataset(path, "pv", Place())
    np.testing.assert_array_equal(data.series.values, np.arange(48.0))
    assert data.weather is not None
    early = data.weather.as_of("ghi", data.series.times_s * 0 + 1748690000, data.series.times_s)
    assert early.tolist() == [100.0] * 48


def test_issues_are_local_midnights_over_the_change_of_time() -> None:
    place = Place(time_zone="Europe/Prague")
    start, end = instant("2025-03-29", "from", place), instant("2025-04-01", "to", place)
    issues = daily_issues(start, end, "00:00", place)
    assert np.diff(issues).tolist() == [86_400, 82_800]
    assert duration_s("7d", "refit-every") == 604_800
    assert duration_s("15min", "step") == duration_s("15m", "step") == 900


def test_scores_agree_with_sktime() -> None:
    from sktime.performance_metrics.forecasting import mean_absolute_error, mean_squared_error
    from sktime.performance_metrics.forecasting.probabilistic import PinballLoss

    rng = np.random.default_rng(2)
    actual = rng.normal(size=200)
    q = np.sort(rng.normal(size=(200, 3)), axis=1)
    ours = score(actual, Bands(q[:, 0], q[:, 1], q[:, 2]))
    assert ours.mae == pytest.approx(mean_absolute_error(actual, q[:, 1]))
    assert ours.rmse**2 == pytest.approx(mean_squared_error(actual, q[:, 1]))
    columns = pd.MultiIndex.from_product([["y"], [0.1, 0.5, 0.9]])
    theirs = PinballLoss()(pd.DataFrame({"y": actual}), pd.DataFrame(q, columns=columns))
    assert float(pinball(actual, q).mean()) == pytest.approx(float(theirs))


def test_seasonal_naive_agrees_with_sktime() -> None:
    from sktime.forecasting.naive import NaiveForecaster

    values = np.random.default_rng(3).gamma(2, 200, 24 * 21)
    start = 1_741_046_400
    data = Dataset(Series(start, 3600, values))
    issue = start + 20 * 86_400
    target = issue + np.arange(24, dtype=np.int64) * 3600
    ours = lag_baselines(data, issue, target, Place())
    for name, period in (("yesterday", 24), ("last-week", 168)):
        model = NaiveForecaster(strategy="last", sp=period).fit(pd.Series(values[: 24 * 20]))
        np.testing.assert_allclose(ours[name].p50, model.predict(fh=range(1, 25)).to_numpy())


def test_train_promotes_then_says_it_is_the_incumbent_then_rolls_back(tmp_path: Path) -> None:
    base = [
        "load",
        "--data",
        str(write_load(tmp_path)),
        "--registry",
        str(tmp_path / "models"),
        "--json",
    ]
    runner = CliRunner()
    first = json.loads(runner.invoke(train_app, base).stdout)
    again = json.loads(runner.invoke(train_app, base).stdout)
    assert first["promoted"]
    assert not again["promoted"]
    assert again["model"] == first["model"]
    hour = runner.invoke(train_app, [*base, "--window", "1h"])
    assert hour.exit_code == 2
    assert "window" in hour.output
    alone = runner.invoke(train_app, ["roll-back", "load", "--registry", str(tmp_path / "models")])
    assert alone.exit_code == 2
    assert "no earlier model" in alone.output


def test_folder_store_stays_in_its_folder(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "s")
    store["a/b"] = b"1"
    assert dict(store) == {"a/b": b"1"}
    with pytest.raises(KeyError):
        store["../x"]
    del store["a/b"]
    assert len(store) == 0


def test_a_model_for_a_house_is_judged_as_there_and_can_be_promoted(tmp_path: Path, site: Path) -> None:
    data, out = write_load(tmp_path), tmp_path / "load.model"
    arguments = ["load", "--data", str(data), "--site", str(site), "--out", str(out)]
    result = CliRunner().invoke(train_app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.output)
    place = read_place(site)
    verdict = consider("load", read_dataset(data, "load", place), place, None, with_past=True)
    assert out.read_bytes() == verdict.content
    assert said["model"] == name_of(out.read_bytes())
    assert (said["better"], said["untrained_loss"]) == (verdict.better, verdict.incumbent_loss)
    assert unpack(out.read_bytes(), Place()).kind == "load"
    assert not (tmp_path / "models").exists(), "a file is no registry"
    result = CliRunner().invoke(train_app, [*arguments, "--window", "7d"])
    assert result.exit_code == 2
    assert "leave out --registry" in result.output
