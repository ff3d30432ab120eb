"""Drift, accuracy by lead time, and when to train again."""

from __future__ import annotations

import numpy as np
import pytest

from services.forecast.core.bands import Bands
from services.forecast.core.calendar import DAY_S
from services.forecast.core.monitor import (
    accuracy_by_lead,
    decide_retraining,
    population_stability,
)
from services.forecast.core.scores import Scores


def scores(pinball: float, coverage: float, n: int = 200) -> Scores:
    return Scores(n, 1.0, 1.0, 0.0, pinball, coverage, 1.0)


def test_stability_index_sees_shifts_and_missing_values() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=5000)
    assert population_stability(reference, rng.normal(size=2000)) < 0.05
    assert population_stability(reference, rng.normal(1.0, 1.0, size=2000)) > 0.25
    broken = np.where(np.arange(2000) % 2 == 0, np.nan, rng.normal(size=2000))
    assert population_stability(reference, broken) > 0.25
    with pytest.raises(ValueError, match="empty"):
        population_stability(reference, np.empty(0))


def test_accuracy_by_lead_splits_the_hours() -> None:
    lead = np.arange(48, dtype=np.int64) * 3600
    median = np.zeros(48)
    actual = np.where(lead < 6 * 3600, 1.0, 3.0)
    by_lead = accuracy_by_lead(actual, Bands(median - 2, median, median + 2), lead)
    assert by_lead["0-6h"].mae == 1.0
    assert by_lead["24-48h"].mae == 3.0
    assert by_lead["0-6h"].coverage_80 == 1.0
    assert by_lead["6-12h"].coverage_80 == 0.0


@pytest.mark.parametrize(
    ("hours", "full_days", "recent", "drift", "action"),
    [
        (1, 2, scores(1.0, 0.8), 0.0, "none"),
        (24, 2, scores(1.0, 0.8), 0.0, "light"),
        (1, 7, scores(1.0, 0.8), 0.0, "full"),
        (1, 2, scores(1.3, 0.8), 0.0, "full"),
        (1, 2, scores(1.0, 0.5), 0.0, "full"),
        (1, 2, scores(1.0, 0.8), 0.4, "full"),
        (1, 0, scores(9.0, 0.1), 9.0, "none"),
        (1, 2, scores(9.0, 0.1, n=3), 0.0, "none"),
    ],
)
def test_when_to_train(
    hours: int, full_days: int, recent: Scores, drift: float, action: str
) -> None:
    now = 100 * DAY_S
    decided = decide_retraining(
        now, now - hours * 3600, now - full_days * DAY_S, recent, scores(1.0, 0.8), drift
    )
    assert decided.action == action
    assert decided.reason
