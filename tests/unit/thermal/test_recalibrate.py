"""Bands follow what the issued ones have held, and nothing that came after they were issued."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.thermal.core.backtest import Backtest, backtest
from services.thermal.core.history import History, with_irradiance
from services.thermal.core.recalibrate import TRIED, recalibrated, scales
from tests.unit.thermal.house import LATITUDE, LONGITUDE, simulate, true_house

DAY = 86_400
APART = 3 * 3_600
LEADS = (3_600, 6 * 3_600, 24 * 3_600)
HALF_C = 1.6448536269514722


def origins(days: int) -> np.ndarray:
    return 1_700_000_000 + np.arange(0, days * DAY, APART, dtype=np.int64)


def errors(days: int, rooms: int = 6, seed: int = 0) -> np.ndarray:
    """Normal of 1 K: a half width of HALF_C holds nine tenths."""
    return np.random.default_rng(seed).normal(size=(len(LEADS), len(origins(days)), rooms))


def holds(error: np.ndarray, half: np.ndarray) -> float:
    return float((np.abs(error) <= half).mean())


@pytest.mark.parametrize("factor", [0.5, 0.75, 1.0, 1.5, 2.0, 3.0])
def test_a_wrong_band_heals(factor: float) -> None:
    error = errors(28)
    given_ = np.full_like(error, factor * HALF_C)
    found = recalibrated(LEADS, origins(28), error, given_)
    later = slice(14 * DAY // APART, None)
    assert 0.87 < holds(error[:, later], found[:, later]) < 0.93
    assert np.allclose(found[:, later].mean(axis=(1, 2)), HALF_C, rtol=0.1)


def test_three_days_heal_most_of_a_wrong_band() -> None:
    error = errors(4)
    last = slice(3 * DAY // APART, None)
    for factor in (0.5, 2.0):
        found = recalibrated(LEADS, origins(4), error, np.full_like(error, factor * HALF_C))
        assert np.abs(np.log(found[0, last].mean() / HALF_C)) < 0.4 * np.log(2.0)


def test_errors_beyond_the_widest_scale_get_that_one() -> None:
    error = 20.0 * errors(14)
    found = recalibrated(LEADS, origins(14), error, np.full_like(error, HALF_C))
    assert found[:, -1] == pytest.approx(np.full((3, 6), TRIED[-1] * HALF_C))


def test_a_room_and_a_lead_get_their_own_scale() -> None:
    error = errors(42)
    error[:, :, 0] *= 2.0
    error[2] *= 0.5
    found = recalibrated(LEADS, origins(42), error, np.full_like(error, HALF_C))[:, -8:].mean(axis=1)
    assert found[:, 0] / found[:, 1:].mean(axis=1) == pytest.approx([2.0] * 3, rel=0.25)
    assert found[2].mean() / found[0].mean() == pytest.approx(0.5, rel=0.2)


def test_new_days_weigh_more() -> None:
    error = errors(60)
    error[:, : 30 * DAY // APART] *= 0.5
    found = recalibrated(LEADS, origins(60), error, np.full_like(error, HALF_C))
    assert found[:, -8:].mean() == pytest.approx(HALF_C, rel=0.1)


@settings(max_examples=40, deadline=None)
@given(
    at=st.integers(min_value=0, max_value=79),
    nonsense=st.floats(min_value=-1e6, max_value=1e6) | st.just(float("nan")),
    seed=st.integers(min_value=0, max_value=99),
)
def test_nothing_measured_at_or_after_the_issue_time_is_read(
    at: int, nonsense: float, seed: int
) -> None:
    error, issued = errors(10, seed=seed), origins(10)
    half = np.exp(np.random.default_rng(seed).normal(size=error.shape))
    target = issued[None, :] + np.array(LEADS)[:, None]
    spoilt = np.where((target >= issued[at])[..., None], nonsense, error)
    before = recalibrated(LEADS, issued, error, half)[:, : at + 1]
    after = recalibrated(LEADS, issued, spoilt, half)[:, : at + 1]
    assert np.array_equal(before, after)


def test_what_came_due_just_before_is_read() -> None:
    issued = origins(3)
    error = errors(3)
    leads = (APART - 1, 6 * 3_600, DAY)
    spoilt = error.copy()
    spoilt[0, 9] = 50.0
    before, after = (recalibrated(leads, issued, e, np.ones_like(e)) for e in (error, spoilt))
    assert np.array_equal(before[:, :10], after[:, :10])
    assert (after[0, 10] > before[0, 10]).all()


def test_without_a_record_nothing_changes() -> None:
    half = np.exp(np.random.default_rng(1).normal(size=errors(5).shape))
    unknown = np.full_like(half, np.nan)
    assert np.array_equal(recalibrated(LEADS, origins(5), unknown, half), half)
    assert np.array_equal(recalibrated(LEADS, origins(5)[:1], errors(5)[:, :1], half[:, :1]), half[:, :1])
    nothing = scales(np.zeros((3, 6)), np.zeros((3, 6, len(TRIED))))
    assert np.array_equal(nothing, np.ones((3, 6)))


def test_a_silent_room_gets_what_the_others_say() -> None:
    error = errors(28)
    error[:, :, 2] = np.nan
    half = np.full_like(error, 2.0 * HALF_C)
    found = recalibrated(LEADS, origins(28), error, half)
    assert found[:, -1, 2] == pytest.approx(np.array([HALF_C] * 3), rel=0.1)


@pytest.mark.filterwarnings("error")
def test_a_band_without_width_says_nothing_of_the_others() -> None:
    error = errors(28)
    half = np.full_like(error, 2.0 * HALF_C)
    half[:, :, 2] = 0.0
    silent = error.copy()
    silent[:, :, 2] = np.nan
    found = recalibrated(LEADS, origins(28), error, half)
    assert np.array_equal(found, recalibrated(LEADS, origins(28), silent, half))
    assert not found[:, :, 2].any()


@pytest.fixture(scope="module")
def history() -> History:
    return with_irradiance(simulate(true_house(2), days=14, seed=4), LATITUDE, LONGITUDE)


def evaluated(history: History, last: int) -> Backtest:
    at = history.epoch_s
    return backtest(
        true_house(2), history, train_until_epoch_s=int(at[480]), from_epoch_s=int(at[480]),
        to_epoch_s=int(at[last]), lead_s=LEADS,
    )  # fmt: skip


def test_bands_of_an_evaluation_know_nothing_of_their_future(history: History) -> None:
    whole = evaluated(history, 1340)
    k = 40
    row = int(np.searchsorted(history.epoch_s, whole.origin_epoch_s[k]))
    spoilt = history.temperature_c.copy()
    spoilt[row + 1 :] = 99.0
    other = evaluated(replace(history, temperature_c=spoilt), 1340)
    assert np.array_equal(whole.half_width_c[:, : k + 1], other.half_width_c[:, : k + 1])
    assert not np.array_equal(whole.half_width_c[:, -1], other.half_width_c[:, -1])
    assert len(np.unique(whole.half_width_c[2, : k + 1, 0])) > 10
