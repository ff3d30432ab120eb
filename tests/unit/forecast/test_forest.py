"""The quantile forest: right quantiles, shares of a unit, columns left alone, the same bytes every time."""

from __future__ import annotations

import numpy as np
import pytest

from services.forecast.core.bands import FloatArray
from services.forecast.core.forest import QuantileForest
from services.forecast.core.scores import pinball

NAMES = ["level", "spread", "noise"]


def cases(count: int, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """y is normal around `level` with deviation `spread`."""
    rng = np.random.default_rng(seed)
    x = np.column_stack(
        [rng.uniform(0, 10, count), rng.choice([0.2, 2.0], count), rng.normal(size=count)]
    )
    return x, x[:, 0] + x[:, 1] * rng.normal(size=count)


def grown(**settings: object) -> QuantileForest:
    forest = QuantileForest(**settings)  # type: ignore[arg-type]
    x, y = cases(4000)
    forest.fit(NAMES, x, y, np.ones(len(y)), np.arange(len(y)))
    return forest


def test_bands_follow_level_and_spread() -> None:
    forest = grown(leaf=20)
    x, y = cases(2000, seed=1)
    found = forest.predict(x)
    inside = (found[:, 0] <= y) & (y <= found[:, 2])
    assert 0.75 < inside.mean() < 0.92
    width = found[:, 2] - found[:, 0]
    assert width[x[:, 1] == 2.0].mean() > 2.5 * width[x[:, 1] == 0.2].mean()
    assert np.abs(found[:, 3] - x[:, 0]).mean() < 0.4
    truth = x[:, :1] + x[:, 1:2] * np.array([-1.2816, 0.0, 1.2816])
    assert pinball(y, found[:, :3]).mean() < 1.15 * pinball(y, truth).mean()


def test_rows_without_weight_teach_nothing() -> None:
    x, y = cases(3000)
    wrong = np.arange(3000) % 3 == 0
    forest = QuantileForest()
    weight = np.where(wrong, 0.0, 1.0)
    forest.fit(NAMES, x, np.where(wrong, 50.0, y), weight, np.arange(3000))
    assert forest.predict(x).max() < 20.0


def test_a_unit_carries_the_shape_to_sizes_never_seen() -> None:
    rng = np.random.default_rng(1)
    x = np.column_stack([rng.uniform(0.2, 1.0, 3000), rng.uniform(0, 1, 3000)])
    forest = QuantileForest(unit="size", without=("size",))
    forest.fit(["size", "share"], x, x[:, 0] * x[:, 1], np.ones(3000), np.arange(3000))
    found = forest.predict(np.array([[3.0, 0.5]]))[0]
    assert found[1] == pytest.approx(1.5, abs=0.1)
    assert found[3] == pytest.approx(1.5, abs=0.1)


def test_a_column_left_out_changes_nothing() -> None:
    forest = grown(without=("level",))
    x, _ = cases(100, seed=2)
    moved = x.copy()
    moved[:, 0] += 5.0
    np.testing.assert_array_equal(forest.predict(x), forest.predict(moved))


def test_missing_features_take_the_median() -> None:
    forest = grown()
    x, _ = cases(4000)
    row = np.array([[np.nan, 0.2, 0.0]])
    instead = np.array([[np.median(x[:, 0]), 0.2, 0.0]])
    np.testing.assert_array_equal(forest.predict(row), forest.predict(instead))


def test_same_seed_same_bytes_and_files_bring_it_back() -> None:
    forest, again, other = grown(), grown(), grown(seed=2)
    files = forest.to_files("f")
    assert files == again.to_files("f")
    assert files != other.to_files("f")
    copy = QuantileForest()
    copy.from_files("f", files)
    x, _ = cases(50, seed=3)
    np.testing.assert_array_equal(copy.predict(x), forest.predict(x))


def test_one_case_is_enough_to_answer() -> None:
    forest = QuantileForest()
    forest.fit(NAMES, np.zeros((1, 3)), np.array([2.0]), np.ones(1), np.zeros(1, dtype=np.int64))
    np.testing.assert_allclose(forest.predict(np.ones((2, 3))), 2.0)


def test_copies_of_a_case_do_not_narrow_the_band() -> None:
    x, y = cases(300)
    case = np.arange(300)
    once, often = QuantileForest(leaf=8), QuantileForest(leaf=8)
    once.fit(NAMES, x, y, np.ones(300), case)
    often.fit(NAMES, np.tile(x, (8, 1)), np.tile(y, 8), np.ones(2400), np.tile(case, 8))
    ask, _ = cases(500, seed=1)
    width = [np.mean(f.predict(ask)[:, 2] - f.predict(ask)[:, 0]) for f in (once, often)]
    assert width[1] == pytest.approx(width[0], rel=0.2)
