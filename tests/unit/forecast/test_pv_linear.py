"""PV: what the linear member sees of the sky, and cloud water where a weather model gives it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from services.forecast.core.calendar import DAY_S
from services.forecast.core.learners import LinearQuantiles
from services.forecast.core.place import Place
from services.forecast.core.pv import PvPredictor
from services.forecast.core.pv_linear import KNOTS, spline_columns
from services.forecast.core.pv_physics import PvArray
from services.forecast.core.series import Dataset, Series, weather_runs
from services.forecast.core.solar import Location, sun_path
from services.forecast.evaluate import evaluate_file

START = int(dt.datetime(2025, 3, 3, tzinfo=dt.UTC).timestamp())
PLACE = Place(latitude=50.08, longitude=14.43, arrays=(PvArray(30, 180, 5000),), capacity_w=5000.0)


def test_a_share_of_clear_power_that_bends_is_learnt_at_every_height_of_the_sun() -> None:
    rng = np.random.default_rng(0)
    clear, clearness = rng.uniform(0.05, 1.0, 3000), rng.uniform(0.0, 1.0, 3000)
    y = clear * np.maximum(clearness - 0.5, 0.0)
    columns = {"clear_power": clear, "clearness": clearness}
    plain = [clear, clearness, clear * clearness]
    slot, ones = np.zeros(3000, dtype=np.int64), np.ones(3000)
    errors = []
    for design in (plain, [*plain, *spline_columns(columns)]):
        line = LinearQuantiles(ridge=1.0)
        line.fit(np.column_stack(design), y, ones, slot, 1)
        found = line.predict(np.column_stack(design), slot)
        errors.append(float(np.mean(np.abs(found[:, 1] - y))))
    assert errors[1] < 0.15 * errors[0]


def test_columns_follow_their_knots_and_need_clear_power() -> None:
    columns = {"clear_power": np.array([0.5]), "cloud_cover": np.array([80.0])}
    made = np.concatenate(spline_columns(columns | {"unheard": np.array([1.0])}))
    knots = np.array([0.0, *KNOTS["cloud_cover"]])
    np.testing.assert_allclose(made, 0.5 * np.maximum(80.0 - knots, 0.0))
    assert spline_columns({"cloud_cover": np.array([80.0])}) == []


def cloudy(days: int) -> tuple[Dataset, np.ndarray]:
    """PV dimmed by cloud water that irradiance and cover of the run do not show."""
    rng = np.random.default_rng(2)
    times = START + np.arange(days * 24, dtype=np.int64) * 3600
    sun = sun_path(times, 3600, Location(50.08, 14.43))
    water = np.repeat(rng.choice([0.0, 0.01, 0.1, 0.5], days * 4), 6)
    power = 4.5 * sun.clear_ghi_wm2 / (1.0 + 0.4 * np.log1p(water / 0.005))
    columns = {"ghi": 0.7 * sun.clear_ghi_wm2, "tclw": water, "tciw": np.zeros(len(times))}
    return Dataset(Series(START, 3600, power), weather_runs(times, columns)), times


def test_cloud_water_is_used_where_it_is_given() -> None:
    data, times = cloudy(40)
    assert data.weather is not None
    blind = Dataset(
        data.series, weather_runs(data.weather.valid_s, {"ghi": data.weather.columns["ghi"]})
    )
    issue = START + 39 * DAY_S
    target = times[times >= issue]
    errors = []
    for given in (blind, data):
        model = PvPredictor(PLACE, lead_s=DAY_S, parameters={"rounds": 40})
        model.train(given.before(issue), 0)
        out = model.predict(given, issue, target)
        errors.append(float(np.mean(np.abs(out.p50 - data.series.at(target)))))
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.parametrize("missing", ["", "tciw"])
def test_cloud_water_is_read_from_a_file(tmp_path: Path, missing: str) -> None:
    data, times = cloudy(14)
    assert data.weather is not None
    frame = pd.DataFrame(data.weather.columns | {"pv_w": data.series.values})
    frame.insert(0, "utc", [str(np.datetime64(int(t), "s")) + "Z" for t in times])
    frame.drop(columns=[missing] if missing else []).to_csv(tmp_path / "pv.csv", index=False)
    _, rolled, _ = evaluate_file("pv", tmp_path / "pv.csv", "2025-03-16", "2025-03-17", lead="24h")
    assert rolled.predictor.metadata is not None
    names = set(rolled.predictor.metadata.features)
    assert {"tclw", "tclw_5h"} <= names
    assert ("tciw" in names) is (not missing)
