"""A model learnt from a past with less weather than the house hears, or in other steps, answers too."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from services.forecast.core.bands import Bands
from services.forecast.core.calendar import DAY_S
from services.forecast.core.load import LoadPredictor
from services.forecast.core.predictor import Predictor
from services.forecast.core.price import PricePredictor
from services.forecast.core.pv import PvPredictor
from services.forecast.core.registry import pack, unpack
from services.forecast.core.series import Dataset, Series, WeatherRuns, weather_runs
from services.forecast.train import app as train_app
from tests.unit.forecast.made import PRAGUE, QUICK, START, load_series, price_series, pv_data

DAYS = 20
ISSUE_S = START + DAYS * DAY_S
TARGET_S = ISSUE_S + 3600 * np.arange(48, dtype=np.int64)
KINDS: dict[str, type[Predictor]] = {"load": LoadPredictor, "price": PricePredictor, "pv": PvPredictor}


def series_of(kind: str) -> Series:
    if kind == "pv":
        return pv_data(DAYS + 2).series
    return load_series(DAYS + 2) if kind == "load" else price_series(DAYS + 2)


def weather(names: tuple[str, ...], step_s: int = 3600) -> WeatherRuns:
    """The same smooth weather in any step."""
    times = START + np.arange((DAYS + 3) * DAY_S // step_s, dtype=np.int64) * step_s
    hour = (times + step_s / 2) % DAY_S / 3600
    sun = np.maximum(0.0, 600 * np.sin((hour - 6) / 12 * np.pi))
    values = {"ghi": sun, "temp_air": 5 + hour / 4, "wind_speed": hour / 6, "cloud_cover": 100 - hour}
    return weather_runs(times, {name: values[name] for name in names})


def taught(kind: str, told: WeatherRuns | None) -> bytes:
    model = KINDS[kind](PRAGUE, lead_s=2 * DAY_S, parameters=QUICK)
    model.train(Dataset(series_of(kind), told).before(ISSUE_S), 0)
    return pack(model)


def asked(kind: str, content: bytes, told: WeatherRuns | None) -> Bands:
    return unpack(content, PRAGUE).predict(Dataset(series_of(kind), told), ISSUE_S, TARGET_S)


@pytest.mark.parametrize("kind", ["load", "price", "pv"])
@pytest.mark.parametrize("known", [(), ("ghi", "temp_air")], ids=["none", "two"])
def test_more_weather_than_was_learnt_from_changes_nothing(kind: str, known: tuple[str, ...]) -> None:
    learnt = weather(known) if known else None
    content = taught(kind, learnt)
    house = asked(kind, content, weather(("ghi", "temp_air", "wind_speed", "cloud_cover")))
    own = asked(kind, content, learnt)
    for name in ("p10", "p50", "p90", "mean"):
        np.testing.assert_array_equal(getattr(house, name), getattr(own, name))
    assert np.isfinite(house.p50).all() and house.flags == own.flags


@pytest.mark.parametrize(("learnt_s", "told_s"), [(900, 3600), (3600, 900)])
def test_pv_learnt_from_weather_in_other_steps_answers(learnt_s: int, told_s: int) -> None:
    names = ("ghi", "temp_air")
    content = taught("pv", weather(names, learnt_s))
    house = asked("pv", content, weather(names, told_s))
    own = asked("pv", content, weather(names, learnt_s))
    assert np.isfinite(house.p50).all()
    assert np.abs(house.p50 - own.p50).max() < 0.1 * own.p50.max()


def test_weather_that_was_learnt_from_and_is_gone_leaves_it_silent() -> None:
    content = taught("price", weather(("ghi", "wind_speed")))
    with pytest.raises(ValueError, match="columns"):
        asked("price", content, weather(("ghi", "temp_air")))


def test_a_model_of_before_that_does_not_say_what_it_learnt_from_goes_on() -> None:
    told = weather(("ghi", "temp_air"))
    content, old = taught("price", told), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as parts, zipfile.ZipFile(old, "w") as fewer:
        for name in parts.namelist():
            part = parts.read(name)
            if name == "model.json":
                head = json.loads(part)
                assert head.pop("weather") == [["ghi", "temp_air"], 3600]
                part = json.dumps(head).encode()
            fewer.writestr(name, part)
    now = asked("price", content, told)
    np.testing.assert_array_equal(asked("price", old.getvalue(), told).p50, now.p50)
    with pytest.raises(ValueError, match="columns"):
        asked("price", old.getvalue(), weather(("ghi", "temp_air", "wind_speed")))


def test_what_is_there_of_the_last_seven_days_is_said() -> None:
    series = load_series(DAYS)
    model = unpack(taught("load", None), PRAGUE)
    for gap_days, flags in ((0, ()), (1, ()), (3, ("history-gaps",)), (10, ("history-gaps",))):
        values = series.values.copy()
        values[len(values) - 24 * gap_days :] = np.nan
        found = model.predict(Dataset(replace(series, values=values)), ISSUE_S, TARGET_S)
        assert found.flags == flags and np.isfinite(found.p50).all(), gap_days
    short = model.predict(Dataset(series.between(ISSUE_S - 6 * DAY_S, ISSUE_S)), ISSUE_S, TARGET_S)
    assert short.flags == ("history-short",)


def test_for_a_house_only_what_its_forecasts_tell_is_learnt_from(tmp_path: Path) -> None:
    told = weather(("ghi", "temp_air"))
    series = series_of("pv")
    frame = pd.DataFrame({
        "utc": pd.to_datetime(series.times_s, unit="s").strftime("%Y-%m-%dT%H:%M:%SZ"),
        "pv_w": series.values, "relative_humidity": 60.0, "pv_forecast_w": series.values,
        **{name: told.columns[name][: len(series.values)] for name in ("ghi", "temp_air")},
    })  # fmt: skip
    data, out, site = tmp_path / "pv.csv", tmp_path / "pv.model", tmp_path / "site.json"
    frame.to_csv(data, index=False)
    site.write_text(json.dumps({"latitude": 50.08, "longitude": 14.43, "time_zone": "Europe/Prague"}))
    command = ["pv", "--data", str(data), "--site", str(site), "--out", str(out)]
    result = CliRunner().invoke(train_app, command)
    assert result.exit_code == 0, result.output
    learnt = unpack(out.read_bytes(), PRAGUE)
    assert learnt.weather == (["ghi", "temp_air"], 3600)
    found = learnt.predict(Dataset(series, told), ISSUE_S, TARGET_S)
    assert np.isfinite(found.p50).all() and found.p50.max() > 0.0
