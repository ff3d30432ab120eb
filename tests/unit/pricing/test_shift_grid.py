"""Each primitive returns nodes whose straight lines lie below the transformed function, everywhere."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.optimizer.core.pricing.shift_grid import (
    add_falling_kink,
    add_line,
    add_rising_kink,
    continue_straight,
    minimum_into,
    refine,
    shift_lower,
)

seeds = st.integers(0, 10**6)
parts = st.floats(0.0, 0.999)
COUNT = 9
POINTS = np.linspace(0.0, COUNT - 1, 40 * (COUNT - 1) + 1)


def line(row: np.ndarray, at: np.ndarray) -> np.ndarray:
    return np.interp(at, np.arange(row.size), row)


@settings(deadline=None)
@given(seeds, parts)
def test_shift_lower_is_below_between_the_nodes_too(seed: int, part: float) -> None:
    source = np.random.default_rng(seed).normal(size=COUNT + 6)
    out = np.empty(COUNT)
    shift_lower(out, source, 2, part, 0.7)
    exact = line(source, POINTS + 2 + part) + 0.7
    assert (line(out, POINTS) <= exact + 1e-12).all()
    assert (out >= exact[::40] - 4.0 * part * (1 - part) * np.abs(source).max() - 1e-12).all()


@settings(deadline=None)
@given(seeds)
def test_shift_lower_is_exact_on_a_straight_line_and_on_nodes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    out = np.empty(COUNT)
    ramp = rng.normal() + rng.normal() * np.arange(COUNT + 6)
    shift_lower(out, ramp, 2, 0.3, 0.0)
    np.testing.assert_allclose(out, line(ramp, np.arange(COUNT) + 2.3), atol=1e-12)
    rough = rng.normal(size=COUNT + 6)
    shift_lower(out, rough, 2, 0.0, 0.0)
    np.testing.assert_array_equal(out, rough[2 : 2 + COUNT])


@settings(deadline=None)
@given(st.floats(-3.0, 12.0), st.floats(0.0, 2.0))
def test_kinks_are_below_and_exact_away_from_their_cell(position: float, slope: float) -> None:
    for add, sign in ((add_falling_kink, -1.0), (add_rising_kink, 1.0)):
        out = np.zeros(COUNT)
        add(out, position, slope)
        exact = slope * np.maximum(0.0, sign * (POINTS - position))
        assert (line(out, POINTS) <= exact + 1e-12).all()
        nodes = np.arange(COUNT)
        away = np.abs(nodes - position) > 1.0
        np.testing.assert_allclose(out[away], exact[::40][away], atol=1e-12)
        assert (out >= exact[::40] - slope / 4.0 - 1e-12).all()


@settings(deadline=None)
@given(seeds, st.integers(0, 3), st.integers(0, 7))
def test_refine_keeps_the_function(seed: int, halvings: int, first: int) -> None:
    source = np.random.default_rng(seed).normal(size=12)
    out = np.empty(4)
    refine(out, source, first, halvings)
    at = (first + np.arange(4)) / 2.0**halvings
    np.testing.assert_allclose(out, line(source, at), atol=1e-12)


def test_minimum_line_and_continuation() -> None:
    row = np.array([9.0, 1.0, 3.0, 9.0, 9.0])
    continue_straight(row, 1, 2)
    np.testing.assert_array_equal(row, [-1.0, 1.0, 3.0, 5.0, 7.0])
    minimum_into(row, np.array([0.0, 0.0, 9.0, 9.0, 6.0]))
    np.testing.assert_array_equal(row, [-1.0, 0.0, 3.0, 5.0, 6.0])
    add_line(row, 1.0, 2.0)
    np.testing.assert_array_equal(row, [0.0, 3.0, 8.0, 12.0, 15.0])
