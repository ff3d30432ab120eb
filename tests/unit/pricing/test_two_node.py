"""The two-node room: exact and allowed schedules, and a bound that no schedule is below."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.optimizer.core.pricing import (
    is_feasible,
    price_room_two_node,
    search,
    two_node_price,
)
from services.optimizer.core.pricing.plane import (
    add_oblique_kink,
    combine_planes,
    refine_plane,
    shift_plane,
)
from tests.unit.pricing.pricing_oracle import (
    allowed_by_hand,
    cost_by_hand,
    enumerate_best,
    random_two_node_room,
    trajectory,
)


@pytest.mark.parametrize("seed", range(24))
def test_bound_and_schedule_against_every_schedule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = int(rng.integers(1, 11))
    room = random_two_node_room(rng, steps, wild=seed % 2 == 1)
    price = rng.uniform(-0.1, 0.5, steps)
    best = enumerate_best(room, price)
    for gap_fraction in (0.1, 1e-3):
        priced = price_room_two_node(room, price, gap_fraction=gap_fraction)
        assert allowed_by_hand(room, tuple(int(u) for u in priced.schedule))
        assert priced.cost_eur == pytest.approx(cost_by_hand(room, price, priced.schedule))
        assert priced.lower_bound_eur <= best + 1e-9
        assert priced.cost_eur >= best - 1e-9
    np.testing.assert_allclose(
        priced.temperatures, trajectory(room, priced.schedule), rtol=0.0, atol=1e-8
    )
    assert priced.cost_eur - priced.lower_bound_eur <= 5e-3 * (abs(best) + 1.0)


@pytest.mark.parametrize("seed", range(30))
def test_a_very_coarse_grid_is_weak_but_never_wrong(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(two_node_price, "COARSE_SPACING_K", np.array([1.0, 1.5]))
    rng = np.random.default_rng(1000 + seed)
    steps = int(rng.integers(6, 11))
    room = random_two_node_room(rng, steps, wild=seed % 3 == 1)
    price = rng.uniform(-0.1, 0.5, steps)
    best = enumerate_best(room, price)
    for levels in range(3):
        monkeypatch.setattr(search, "FINEST_LEVEL", levels)
        priced = price_room_two_node(room, price, gap_fraction=0.0)
        assert priced.lower_bound_eur <= best + 1e-9


@pytest.mark.parametrize("seed", range(30))
def test_convex_costs_need_every_correction(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_node_price, "COARSE_SPACING_K", np.array([0.7, 1.0]))
    monkeypatch.setattr(search, "FINEST_LEVEL", seed % 3)
    rng = np.random.default_rng(seed)
    order = rng.integers(0, 2, 30)
    room = replace(random_two_node_room(rng, 30), relay_fixed=order)
    price = rng.uniform(0.0, 0.5, 30)
    priced = price_room_two_node(room, price, gap_fraction=0.0)
    np.testing.assert_array_equal(priced.schedule, order)
    assert priced.cost_eur == pytest.approx(cost_by_hand(room, price, order))
    assert priced.lower_bound_eur <= priced.cost_eur


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_no_sampled_schedule_is_below_the_bound(seed: int, wild: bool) -> None:
    rng = np.random.default_rng(seed)
    steps = int(rng.integers(10, 40))
    room = random_two_node_room(rng, steps, wild)
    price = rng.uniform(-0.1, 0.5, steps)
    priced = price_room_two_node(room, price, gap_fraction=5e-3, max_nodes=1_000_000)
    assert is_feasible(room, priced.schedule)
    assert priced.cost_eur == pytest.approx(cost_by_hand(room, price, priced.schedule))
    for _ in range(20):
        schedule = priced.schedule.copy()
        for t in np.flatnonzero(rng.random(steps) < 0.1):
            schedule[t : t + rng.integers(1, 6)] ^= 1
        if is_feasible(room, schedule):
            assert priced.lower_bound_eur <= cost_by_hand(room, price, schedule) + 1e-9


def bilinear(plane: np.ndarray, at1: float, at0: float) -> float:
    j, i = min(int(at1), plane.shape[0] - 2), min(int(at0), plane.shape[1] - 2)
    up, across = at1 - j, at0 - i
    low = (1 - across) * plane[j, i] + across * plane[j, i + 1]
    high = (1 - across) * plane[j + 1, i] + across * plane[j + 1, i + 1]
    return (1 - up) * low + up * high


@settings(deadline=None)
@given(st.integers(0, 10**6), st.floats(0.0, 0.999), st.floats(0.0, 0.999))
def test_shift_plane_is_below_between_the_nodes_too(seed: int, part0: float, part1: float) -> None:
    rng = np.random.default_rng(seed)
    window = rng.normal(size=(6, 7))
    out = np.empty((3, 4))
    shift_plane(out, window, part0, part1, 0.25)
    for _ in range(100):
        j, i = rng.uniform(0.0, 2.0), rng.uniform(0.0, 3.0)
        exact = bilinear(window, j + 1 + part1, i + 1 + part0) + 0.25
        assert bilinear(out, j, i) <= exact + 1e-12


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_oblique_kink_is_below_and_exact_away(seed: int) -> None:
    rng = np.random.default_rng(seed)
    base, slope0, slope1, price = rng.uniform(-6, 6), *rng.normal(size=2), rng.uniform(0.0, 2.0)
    if seed % 5 == 0:
        slope0 = 0.0
    out = np.zeros((5, 6))
    add_oblique_kink(out, base, slope0, slope1, price)
    for _ in range(100):
        j, i = rng.uniform(0.0, 4.0), rng.uniform(0.0, 5.0)
        exact = price * max(0.0, base + slope0 * i + slope1 * j)
        assert bilinear(out, j, i) <= exact + 1e-12
    line = base + slope0 * np.arange(6) + slope1 * np.arange(5)[:, None]
    away = np.abs(line) > abs(slope0) + abs(slope1)
    np.testing.assert_allclose(out[away], price * np.maximum(0.0, line)[away], atol=1e-12)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 2), st.integers(0, 2))
def test_refine_plane_keeps_the_function(seed: int, halvings0: int, halvings1: int) -> None:
    rng = np.random.default_rng(seed)
    source = rng.normal(size=(7, 8))
    out = np.empty((4, 5))
    lead0, lead1 = int(rng.integers(0, 3)), int(rng.integers(0, 3))
    refine_plane(out, source, lead0, lead1, halvings0, halvings1)
    for j in range(4):
        for i in range(5):
            exact = bilinear(source, (lead1 + j) / 2**halvings1, (lead0 + i) / 2**halvings0)
            assert out[j, i] == pytest.approx(exact, abs=1e-12)


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_combined_planes_stay_below_the_larger_bound_and_join_the_coarse_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fine, coarse = rng.normal(size=(5, 6)), rng.normal(size=(5, 6))
    out = fine.copy()
    combine_planes(out, coarse.copy(), float(rng.choice([0.0, 0.3])), False, False, True, False)
    for _ in range(100):
        j, i = rng.uniform(0.0, 4.0), rng.uniform(0.0, 5.0)
        larger = max(bilinear(fine, j, i), bilinear(coarse, j, i))
        assert bilinear(out, j, i) <= larger + 1e-12
    for ring in (np.s_[-1, :], np.s_[:, 0], np.s_[:, -1]):
        assert (out[ring] <= np.minimum(fine, coarse)[ring] + 1e-12).all()
    ahead = fine - coarse > 3.0
    assert (out[1:-1, 1:-1][ahead[1:-1, 1:-1]] >= coarse[1:-1, 1:-1][ahead[1:-1, 1:-1]] - 1.5).all()


def test_bad_matrices_are_refused_by_name() -> None:
    room = random_two_node_room(np.random.default_rng(0), 4)
    turn = np.array([[0.8, -0.3], [0.3, 0.8]])
    with pytest.raises(ValueError, match="transition has complex"):
        replace(room, transition=np.repeat(turn[None], 4, axis=0))
    other = room.transition.copy()
    other[2] = other[2].T
    with pytest.raises(ValueError, match="transition matrices must share"):
        replace(room, transition=other)
    with pytest.raises(ValueError, match="transition must have eigenvalues"):
        replace(room, transition=room.transition * 1.2)
