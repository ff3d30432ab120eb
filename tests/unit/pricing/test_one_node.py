"""The priced schedule is exact and allowed, and the bound is never above any schedule's cost."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.optimizer.core.pricing import (
    is_feasible,
    one_node_price,
    price_room,
    search,
)
from tests.unit.pricing.pricing_oracle import (
    allowed_by_hand,
    cost_by_hand,
    enumerate_best,
    random_room,
)


@pytest.mark.parametrize("seed", range(40))
def test_bound_and_schedule_against_every_schedule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = int(rng.integers(1, 12))
    room = random_room(rng, steps, wild=seed % 2 == 1)
    price = rng.uniform(-0.1, 0.5, steps)
    best = enumerate_best(room, price)
    for gap_fraction in (0.1, 1e-4):
        priced = price_room(room, price, gap_fraction=gap_fraction)
        assert allowed_by_hand(room, tuple(int(u) for u in priced.schedule))
        assert priced.cost_eur == pytest.approx(cost_by_hand(room, price, priced.schedule))
        assert priced.lower_bound_eur <= best + 1e-9
        assert priced.cost_eur >= best - 1e-9
    assert priced.cost_eur - priced.lower_bound_eur <= 1e-3 * (abs(best) + 1.0)


@pytest.mark.parametrize("seed", range(60))
def test_a_very_coarse_grid_is_weak_but_never_wrong(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_node_price, "COARSE_SPACING_K", 1.5)
    monkeypatch.setattr(one_node_price, "NARROWEST_COARSE_SPACING_K", 1.5)
    rng = np.random.default_rng(1000 + seed)
    steps = int(rng.integers(6, 12))
    room = random_room(rng, steps, wild=seed % 3 == 1)
    price = rng.uniform(-0.1, 0.5, steps)
    best = enumerate_best(room, price)
    for levels in range(3):
        monkeypatch.setattr(search, "FINEST_LEVEL", levels)
        assert price_room(room, price, gap_fraction=0.0).lower_bound_eur <= best + 1e-9


@pytest.mark.parametrize("seed", range(40))
def test_convex_costs_need_every_correction(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one schedule is allowed, so its cost is the optimum, and it is convex in the start: a
    chord without the corrections of shift_grid lies above it."""
    monkeypatch.setattr(one_node_price, "COARSE_SPACING_K", 1.0)
    monkeypatch.setattr(one_node_price, "NARROWEST_COARSE_SPACING_K", 1.0)
    monkeypatch.setattr(search, "FINEST_LEVEL", seed % 3)
    rng = np.random.default_rng(seed)
    order = rng.integers(0, 2, 40)
    room = replace(random_room(rng, 40), relay_fixed=order, terminal_temperature_c=np.empty(0),
                   terminal_value_eur=np.empty(0))  # fmt: skip
    price = rng.uniform(0.0, 0.5, 40)
    priced = price_room(room, price, gap_fraction=0.0)
    np.testing.assert_array_equal(priced.schedule, order)
    assert priced.cost_eur == pytest.approx(cost_by_hand(room, price, order))
    assert priced.lower_bound_eur <= priced.cost_eur


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_no_sampled_schedule_is_below_the_bound(seed: int, wild: bool) -> None:
    rng = np.random.default_rng(seed)
    steps = int(rng.integers(10, 60))
    room = random_room(rng, steps, wild)
    price = rng.uniform(-0.1, 0.5, steps)
    priced = price_room(room, price, gap_fraction=1e-3)
    assert is_feasible(room, priced.schedule)
    assert allowed_by_hand(room, tuple(int(u) for u in priced.schedule))
    assert priced.cost_eur == pytest.approx(cost_by_hand(room, price, priced.schedule))
    for _ in range(30):
        flips = np.flatnonzero(rng.random(steps) < 0.1)
        schedule = priced.schedule.copy()
        for t in flips:
            schedule[t : t + rng.integers(1, 6)] ^= 1
        if is_feasible(room, schedule):
            assert priced.lower_bound_eur <= cost_by_hand(room, price, schedule) + 1e-9


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_is_feasible_is_the_rule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    room = random_room(rng, 7, wild=True)
    for schedule in itertools.product((0, 1), repeat=7):
        assert is_feasible(room, np.array(schedule)) == allowed_by_hand(room, schedule)
