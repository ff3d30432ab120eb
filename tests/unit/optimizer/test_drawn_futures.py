"""Scenarios from forecast bands: the marginals are the bands, time holds together, dice are fixed."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from services.optimizer.core.problem import build
from services.optimizer.core.scenarios import paths
from tests.unit.optimizer.small_site import NOW, forecast, knowledge, small_site

ROOT = Path(__file__).resolve().parents[3]


def _many(days: int, **changes) -> np.ndarray:
    """Paths of many days, side by side."""
    return np.concatenate(
        [paths(forecast("price", NOW + timedelta(days=d), **changes), 20) for d in range(0, days, 2)]
    )


def test_the_marginals_are_the_bands():
    drawn, band = _many(120), forecast("price")
    below = (drawn < np.array(band.p10)).mean(axis=0)
    above = (drawn > np.array(band.p90)).mean(axis=0)
    assert below.mean() == pytest.approx(0.1, abs=0.01)
    assert above.mean() == pytest.approx(0.1, abs=0.01)
    assert np.median(drawn - np.array(band.p50)) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("hours", [0.5, 3.0, 24.0])
def test_errors_hold_together_in_time(hours):
    drawn = _many(120, correlation_h=hours) - np.array(forecast("price").p50)
    lag = 4
    found = np.corrcoef(drawn[:, :-lag].ravel(), drawn[:, lag:].ravel())[0, 1]
    assert found == pytest.approx(np.exp(-1.0 / hours), abs=0.05)


def test_the_next_hour_throws_the_same_dice():
    now = paths(forecast("load", correlation_h=0.25), 6)
    later = paths(forecast("load", NOW + timedelta(hours=2), correlation_h=0.25), 6)
    same = np.abs(now[:, 16:] - later[:, 8:-8])
    assert np.corrcoef(now[:, 16:].ravel(), later[:, 8:-8].ravel())[0, 1] > 0.999
    assert same.max() < 5.0


def test_power_is_never_negative_and_night_stays_dark():
    drawn = paths(forecast("pv"), 20)
    assert drawn.min() == 0.0
    assert drawn[:, np.array(forecast("pv").p90) == 0].max() == 0.0


def test_scenarios_reach_the_problem_and_published_prices_are_certain():
    site = small_site(planner={"scenarios": 5})
    known = knowledge(site)
    for quarter in range(40):
        slot = int((NOW + timedelta(minutes=15 * quarter)).timestamp())
        known.watch.published[slot] = 100.0
    made = build(known, NOW)
    assert sum(future.probability for future in made.scenarios) == pytest.approx(1.0)
    buys = np.array([future.buy_price_eur_per_kwh for future in made.scenarios])
    assert np.ptp(buys[:, :24], axis=0).max() == 0.0
    assert np.ptp(buys[:, 40:], axis=0).max() > 0.0
    loads = np.array([future.base_load_w for future in made.scenarios])
    assert np.ptp(loads, axis=0).min() > 0.0
    assert build(knowledge(), NOW).scenarios == ()


def test_the_same_futures_in_another_process():
    program = (
        "from tests.unit.optimizer.small_site import *\n"
        "from services.optimizer.core.problem import build\n"
        "print(build(knowledge(small_site(planner={'scenarios': 7})), NOW).content_hash())"
    )
    there = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True,
        env=dict(os.environ, OMP_NUM_THREADS="2", PYTHONHASHSEED="5"),
    )  # fmt: skip
    here = build(knowledge(small_site(planner={"scenarios": 7})), NOW).content_hash()
    assert there.stdout.split()[-1] == here
