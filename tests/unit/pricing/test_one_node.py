"""The priced schedule is exact and allowed, and the bound is never above any schedule's cost."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.optimizer.core.pricing import (
    RoomPricing,
    is_feasible,
    one_node_price,
    price_room,
    search,
)


def random_room(rng: np.random.Generator, steps: int, wild: bool = False) -> RoomPricing:
    """A room with time-varying everything; `wild`: fast decay, cooling, orders, far-off starts."""
    decay = rng.uniform(0.3 if wild else 0.9, 1.0, steps)
    sign = -1.0 if wild and rng.random() < 0.2 else 1.0
    low = rng.uniform(17.0, 21.0, steps)
    fixed = np.full(steps, -1)
    if wild and rng.random() < 0.5:
        fixed = rng.choice([-1, -1, -1, 0, 1], steps)
    points = np.sort(rng.uniform(15.0, 25.0, rng.integers(0, 4)))
    slopes = np.sort(rng.uniform(-0.3, 0.5, max(points.size - 1, 0)))[::-1]
    values = np.concatenate([[0.1], 0.1 + np.cumsum(slopes * np.diff(points))])[: points.size]
    return RoomPricing(
        decay=decay,
        gain_on_k=sign * rng.uniform(0.1, 1.5, steps),
        drift_k=(1.0 - decay) * rng.uniform(-10.0, 25.0, steps),
        start_temperature_c=rng.uniform(10.0, 28.0) if wild else rng.uniform(18.0, 22.0),
        comfort_low_c=low,
        comfort_high_c=low + rng.uniform(0.0, 4.0, steps),
        penalty_low_eur_per_k=rng.uniform(0.0, 0.5, steps) * rng.integers(0, 2, steps),
        penalty_high_eur_per_k=rng.uniform(0.0, 0.5, steps),
        energy_on_kwh=rng.uniform(0.1, 1.0, steps),
        switch_cost_eur=rng.choice([0.0, 0.02]),
        min_on_steps=rng.integers(1, 4, steps) if wild else int(rng.integers(1, 4)),
        min_off_steps=int(rng.integers(1, 4)),
        relay_on_at_start=bool(rng.integers(0, 2)),
        steps_in_state_at_start=int(rng.integers(0, 4)),
        relay_fixed=fixed,
        terminal_temperature_c=points,
        terminal_value_eur=values,
    )


def cost_by_hand(room: RoomPricing, price: np.ndarray, schedule: np.ndarray) -> float:
    """Re-simulation that shares nothing with the package."""
    temperature, before, cost = room.start_temperature_c, int(room.relay_on_at_start), 0.0
    for t, u in enumerate(int(x) for x in schedule):
        temperature = room.decay[t] * temperature + room.gain_on_k[t] * u + room.drift_k[t]
        cost += u * room.energy_on_kwh[t] * price[t]
        cost += room.penalty_low_eur_per_k[t] * max(0.0, room.comfort_low_c[t] - temperature)
        cost += room.penalty_high_eur_per_k[t] * max(0.0, temperature - room.comfort_high_c[t])
        cost += room.switch_cost_eur * (u != before)
        before = u
    points, values = room.terminal_temperature_c, room.terminal_value_eur
    if points.size == 1:
        return cost - values[0]
    if points.size > 1:
        slopes = np.diff(values) / np.diff(points)
        lines = values[:-1] + slopes * (temperature - points[:-1])
        return cost - lines.min()  # concave: the lowest of its lines
    return cost


def allowed_by_hand(room: RoomPricing, schedule: tuple[int, ...]) -> bool:
    """The rules of RoomPricing.relay_fixed and the minimum times, said directly."""
    fixed = room.relay_fixed
    if any(f >= 0 and u != f for u, f in zip(schedule, fixed, strict=True)):
        return False
    minimum = (room.min_off_steps, room.min_on_steps)
    state, must = int(room.relay_on_at_start), 0
    must = int(minimum[state][0]) - room.steps_in_state_at_start
    for t, u in enumerate(schedule):
        if u == state:
            must -= 1
            continue
        ordered = fixed[t] == u
        if must > 0 and not ordered:
            return False
        run = int(minimum[u][t])
        if not ordered and (fixed[t : t + run] == 1 - u).any():
            return False
        state, must = u, run - 1
    return True


def enumerate_best(room: RoomPricing, price: np.ndarray) -> float:
    steps = room.decay.size
    return min(
        cost_by_hand(room, price, np.array(schedule))
        for schedule in itertools.product((0, 1), repeat=steps)
        if allowed_by_hand(room, schedule)
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
