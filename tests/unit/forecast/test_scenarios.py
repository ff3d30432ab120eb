"""Paths through the bands, and how long errors last."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from services.forecast.core.calendar import DAY_S
from services.forecast.core.load import LoadPredictor
from services.forecast.core.scenarios import correlation_hours, scenarios
from services.forecast.core.series import Dataset
from tests.unit.forecast.made import PRAGUE, QUICK, load_series


class TestScenarios:
    def test_marginals_order_and_seed(self) -> None:
        data = Dataset(load_series(20))
        bands = LoadPredictor(PRAGUE, lead_s=DAY_S, parameters=QUICK)
        bands.train(data, 0)
        end = data.series.end_s
        out = bands.predict(data, end, end + np.arange(24, dtype=np.int64) * 3600)
        out = dataclasses.replace(out, correlation_h=6.0)
        paths = scenarios(out, 4000, 7, step_s=3600, lowest=0.0)
        np.testing.assert_allclose(np.quantile(paths, 0.5, axis=0), out.p50, rtol=0.05)
        np.testing.assert_allclose(np.quantile(paths, 0.9, axis=0), out.p90, rtol=0.1)
        again = scenarios(out, 4000, 7, step_s=3600, lowest=0.0)
        np.testing.assert_array_equal(paths, again)
        steps = np.corrcoef(paths[:, 10], paths[:, 11])[0, 1]
        assert 0.7 < steps < 0.95

    @pytest.mark.parametrize("step_s", [900, 3600])
    def test_correlation_of_errors_is_found_within_issues_only(self, step_s: int) -> None:
        rng = np.random.default_rng(3)
        keep = np.exp(-step_s / 3600 / 4.0)
        z, target = [], []
        for day in range(400):  # short issues, so that what lies between them would show
            error = rng.standard_normal()
            for step in range(6 * 3600 // step_s):
                error = keep * error + np.sqrt(1 - keep**2) * rng.standard_normal()
                z.append(error)
                target.append(day * DAY_S + step * step_s)
        hours = correlation_hours(np.array(z), np.array(target, dtype=np.int64))
        assert hours == pytest.approx(4.0, rel=0.2)
        assert correlation_hours(rng.standard_normal(len(z)), np.array(target)) is None
        assert correlation_hours(np.array(z[:90]), np.array(target[:90])) is None

    def test_the_correlation_is_kept_with_the_model(self) -> None:
        rng = np.random.default_rng(1)
        data = load_series(30)
        wave = np.zeros(len(data.values))
        for i in range(1, len(wave)):
            wave[i] = 0.97 * wave[i - 1] + rng.standard_normal()
        series = dataclasses.replace(data, values=data.values + 100.0 * wave + 1500.0)
        model = LoadPredictor(PRAGUE, lead_s=DAY_S, parameters=QUICK)
        model.train(Dataset(series), 0)
        assert model.correlation_h is not None
        assert 1.0 < model.correlation_h < 20.0
        again = LoadPredictor(PRAGUE)
        again.load(model.save())
        end = series.end_s
        bands = again.predict(Dataset(series), end, end + np.arange(4, dtype=np.int64) * 900)
        assert bands.correlation_h == model.correlation_h
