"""Standard errors say how wrong a parameter is, even where few days tell of it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from services.thermal.core import uncertainty
from services.thermal.core.objective import LossShape, Windows
from services.thermal.core.uncertainty import left_out_covariance, posterior

RUNS_A_DAY, COUNT = 8, 3


def test_leaving_out_days_gives_the_variance_of_a_mean_as_student_has_it() -> None:
    values = np.random.default_rng(0).normal(size=(2, 9))
    left_out = (values.sum(axis=1, keepdims=True) - values) / 8
    assert left_out_covariance(left_out) == pytest.approx(np.cov(values) / 9 * 8 / 6)


def off_by(rng: np.random.Generator, days: int, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Errors over their standard errors of a linear fit to runs whose noise lasts for a day."""
    runs = days * RUNS_A_DAY
    features = np.repeat(rng.normal(size=(days, COUNT)), RUNS_A_DAY, axis=0)
    features += 0.3 * rng.normal(size=features.shape)
    measured = np.repeat(rng.normal(size=days), RUNS_A_DAY) + 0.2 * rng.normal(size=runs)
    found = np.linalg.lstsq(features, measured, rcond=None)[0]
    fit = SimpleNamespace(
        theta=found, gain=None, disturbance_time_s=None,
        parameters=SimpleNamespace(high=np.full(COUNT, 1e3), prior_sd=np.full(COUNT, 1e3)),
        shape=LossShape(np.full(1, 10.0), np.ones(1), 1e6),
    )  # fmt: skip
    windows = Windows(
        3600, np.zeros((1, 1)), np.zeros((1, 1)), np.arange(runs) * 24 // RUNS_A_DAY,
        np.ones((runs, 1)), 1, np.ones(1, dtype=bool),
    )  # fmt: skip
    monkeypatch.setattr(uncertainty, "set_disturbance_time", lambda *_: None)
    monkeypatch.setattr(
        uncertainty, "errors_only",
        lambda theta, *_: ((features @ theta - measured)[None, :, None], None),
    )  # fmt: skip
    deviation, ratio = posterior(fit, windows)  # type: ignore[arg-type]
    assert np.array_equal(ratio, deviation / 1e3)
    return np.asarray(found / deviation)


@pytest.mark.parametrize("days", [8, 14, 40])
def test_errors_over_standard_errors_have_size_one(
    days: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(days)
    scaled = np.array([off_by(rng, days, monkeypatch) for _ in range(400)])
    assert np.sqrt(np.mean(scaled**2)) == pytest.approx(1.0, abs=0.15)
