"""PV in the first days of a house: leaning on physics, learning from issues of every hour."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from services.forecast.core.bands import Bands, FloatArray
from services.forecast.core.calendar import DAY_S
from services.forecast.core.ensemble import Memory, Prior, combine, equal
from services.forecast.core.first_depth import first_depth
from services.forecast.core.place import Place
from services.forecast.core.pv import PvPredictor
from services.forecast.core.pv_physics import PvArray, pv_power
from services.forecast.core.pv_recent import Recent
from services.forecast.core.scores import pinball
from services.forecast.core.series import Dataset, Series, weather_runs
from services.forecast.core.solar import Location, sun_path
from services.forecast.core.weather import irradiance

START = int(dt.datetime(2025, 1, 6, tzinfo=dt.UTC).timestamp())
ROOF = (PvArray(35, 180, 5000),)
PRAGUE = Place(50.08, 14.43, time_zone="Europe/Prague", country="CZ", arrays=ROOF, capacity_w=5000)


def winter(days: int, seed: int) -> Dataset:
    """PV from physics under cloud that changes from day to day, with a run of the weather each midnight."""
    times = START + np.arange(days * 24, dtype=np.int64) * 3600
    rng = np.random.default_rng(seed)
    sun = sun_path(times, 3600, Location(50.08, 14.43))
    cloud = np.repeat(rng.uniform(0.1, 1.0, days), 24) * rng.uniform(0.8, 1.0, len(times))
    light, _ = irradiance({"ghi": sun.clear_ghi_wm2 * cloud}, sun)
    power = pv_power(sun, light, 2.0, 1.5, ROOF) * 0.9
    told = light.ghi * np.exp(rng.normal(0, 0.2, len(times)))
    return Dataset(
        Series(START, 3600, power),
        weather_runs(
            times, {"ghi": told, "temp_air": np.full(len(times), 2.0)}, times // DAY_S * DAY_S
        ),
    )


def loss(bands: Bands, actual: FloatArray) -> float:
    return float(pinball(actual, np.column_stack([bands.p10, bands.p50, bands.p90])).mean())


@pytest.mark.parametrize("days", [4, 7, 11, 20])
@pytest.mark.parametrize("seed", [1, 2])
def test_with_few_days_it_is_never_much_worse_than_physics(days: int, seed: int) -> None:
    data = winter(days + 7, seed)
    model, physics = PvPredictor(PRAGUE, parameters={"rounds": 25}), first_depth("pv", PRAGUE)
    model.issues_per_day = 4
    model.train(data.before(START + days * DAY_S), 0)
    ours, theirs = [], []
    for hour in range(days * 24, (days + 6) * 24, 6):
        issue = START + hour * 3600
        target = issue + np.arange(24 - hour % 24, dtype=np.int64) * 3600
        actual = data.series.at(target)
        ours.append(loss(model.predict(data, issue, target), actual))
        theirs.append(loss(physics(data, issue, target), actual))
    assert np.mean(ours) < 1.1 * np.mean(theirs)


def test_physics_as_a_member_is_scaled_by_what_the_modules_gave() -> None:
    data = winter(20, 0)
    dusty = Dataset(replace(data.series, values=0.5 * data.series.values), data.weather)
    issue = np.full(24, START + 19 * DAY_S, dtype=np.int64)
    target = issue + np.arange(24) * 3600
    totals = []
    for recording in (data, dusty):
        model = PvPredictor(PRAGUE)
        model.prepare(recording.before(int(issue[0])))
        totals.append(model.features(recording, issue, target).base[:, 0, 1].sum())
    assert model.base_names() == ["physics"]
    assert 0.5 < totals[1] / totals[0] < 0.75  # a fortnight outweighs the prior


def test_a_prior_gives_way_to_days() -> None:
    model = PvPredictor(PRAGUE, parameters={"rounds": 5})
    shares = []
    for days in (5, 20, 60):
        data = winter(days, 0)
        model.train(data, 0)
        prior = model.prior()
        assert prior is not None
        assert model.member_names()[prior.member] == "physics"
        assert model.combination is not None
        assert model.combination.band_weights[prior.member] >= prior.share
        assert model.combination.band_weights.sum() == pytest.approx(1.0)
        shares.append(prior.share)
    assert shares[0] > 0.9
    assert shares[1] == pytest.approx(0.5)
    assert shares[2] < 0.11


def test_bands_and_bias_of_few_days_are_taken_back() -> None:
    rng = np.random.default_rng(0)
    member = np.tile([-0.1, 0.0, 0.1, 0.0], (400, 2, 1))
    memory = Memory()
    times = np.arange(400, dtype=np.int64) * 3600
    memory.add(times, rng.normal(0, 1, 400), member, np.zeros(400, dtype=np.int64))
    free = combine(memory, 1, 0.001)
    drawn = combine(memory, 1, 0.001, prior=Prior(1, 0.75))
    assert (free.stretch > 4.0).all()
    np.testing.assert_allclose(drawn.stretch, free.stretch**0.25)
    np.testing.assert_allclose(drawn.band_weights, [0.25, 0.75])  # its share is all it gets
    np.testing.assert_allclose(drawn.mean_weights, [0.25, 0.75])
    np.testing.assert_allclose(equal(2, 1, 0.001, Prior(0, 1.0)).band_weights, [1.0, 0.0])


def test_issues_between_teach_only_what_a_run_had_reached() -> None:
    data = winter(20, 0)
    model = PvPredictor(PRAGUE, lead_s=DAY_S)
    daily, _ = model.training_rows(data, 0)
    model.issues_per_day = 4
    issue, target = model.training_rows(data, 0)
    assert set(daily % DAY_S) == {0}
    assert set(issue % DAY_S) == {0, 6 * 3600, 12 * 3600, 18 * 3600}
    between = issue % DAY_S > 0
    assert (target[between] // DAY_S == issue[between] // DAY_S).all()
    assert len(daily) == (~between).sum()


def test_ratios_over_windows() -> None:
    values = np.array([1.0, 2.0, np.nan, 4.0, 5.0, 6.0])
    recent = Recent(Series(0, 3600, values), np.full(6, 2.0), 1.0)
    issue = np.array([0, 7200, 14400, 6 * 3600], dtype=np.int64)
    np.testing.assert_allclose(recent.ratio(issue, 2), [np.nan, 0.75, 2.0, 2.75])
    np.testing.assert_allclose(recent.ratio(issue + 1800, 24), [np.nan, 0.75, 7 / 6, 1.8])


@pytest.mark.parametrize(("stated", "taken"), [(5000.0, 5000.0), (5.0, 2000.0), (5e6, 2000.0), (None, 2000.0)])
def test_a_capacity_in_other_units_than_the_power_is_measured_instead(
    stated: float | None, taken: float
) -> None:
    values = np.tile([0.0, 2000.0], 240)
    predictor = PvPredictor(replace(PRAGUE, capacity_w=stated))
    predictor.prepare(Dataset(Series(START, 3600, values)))
    assert predictor.capacity_w == taken


def test_snow_on_the_first_days_does_not_hold_down_what_comes() -> None:
    predictor = PvPredictor(PRAGUE)
    data = Dataset(Series(START, 3600, np.tile([0.0, 20.0], 60)))
    predictor.prepare(data)
    told = np.full((1, 4), 4000.0)
    np.testing.assert_array_equal(predictor.finish(data, START, np.array([START]), told), told)
