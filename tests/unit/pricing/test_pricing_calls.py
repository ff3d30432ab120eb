"""Determinism, work counts, any corridor, and what is refused."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from bench.pricing import one_node_room, two_node_room
from services.optimizer.core.pricing import (
    Scratch,
    one_node_price,
    price_room,
    price_room_two_node,
)
from services.optimizer.core.pricing.shift_grid import combine_levels
from tests.unit.pricing.pricing_oracle import (
    allowed_by_hand,
    cost_by_hand,
    random_room,
    random_two_node_room,
)


@pytest.mark.parametrize("seed", range(6))
def test_a_two_day_room_is_priced_to_half_a_per_mille(seed: int) -> None:
    room, price = one_node_room(seed)
    priced = price_room(room, price)
    assert priced.gap_eur <= 5e-4 * priced.cost_eur
    assert priced.work_nodes <= 800_000
    assert priced.cost_eur == pytest.approx(cost_by_hand(room, price, priced.schedule), abs=1e-9)


def test_a_two_node_room_is_priced_to_one_per_cent() -> None:
    for seed in range(3):
        room, price = two_node_room(seed)
        priced = price_room_two_node(room, price)
        assert priced.gap_eur <= 1e-2 * priced.cost_eur
        assert priced.cost_eur == pytest.approx(
            cost_by_hand(room, price, priced.schedule), abs=1e-8
        )


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("seed", range(12))
def test_any_allowed_guess_leaves_the_bound_true(seed: int, nodes: int) -> None:
    """The grid lies along the guess, good or bad: against every schedule."""
    rng = np.random.default_rng(200 + seed)
    steps = int(rng.integers(4, 10))
    build, priced_by = ((random_room, price_room), (random_two_node_room, price_room_two_node))[
        nodes - 1
    ]
    room = build(rng, steps, wild=seed % 2 == 1)
    price = rng.uniform(-0.1, 0.5, steps)
    costs = {
        schedule: cost_by_hand(room, price, np.array(schedule))
        for schedule in itertools.product((0, 1), repeat=steps)
        if allowed_by_hand(room, schedule)
    }
    for guess in (min(costs, key=costs.get), max(costs, key=costs.get), next(iter(costs))):
        priced = priced_by(room, price, gap_fraction=1e-3, guess=np.array(guess))
        assert priced.lower_bound_eur <= min(costs.values()) + 1e-9
        assert min(costs.values()) - 1e-9 <= priced.cost_eur <= costs[guess] + 1e-9


def test_a_guess_against_the_rules_is_refused() -> None:
    room, price = one_node_room(0)
    with pytest.raises(ValueError, match="guess must be a schedule that obeys"):
        price_room(room, price, guess=np.arange(price.size) % 2)


@pytest.mark.parametrize("seed", range(4))
def test_a_room_that_heats_nearly_always_is_priced_as_well_as_any(seed: int) -> None:
    """Its relay is on in most steps; a grid along the relay off would interpolate in all of them."""
    room, price = one_node_room(seed)
    cold = replace(room, drift_k=room.drift_k - 0.5 * room.gain_on_k)
    priced = price_room(cold, price)
    assert priced.schedule.mean() > 0.8
    assert priced.gap_eur <= 5e-4 * priced.cost_eur


def test_levels_agree_with_each_other() -> None:
    """Each wanted gap gives its own bound and schedule; none contradicts another."""
    for seed in range(8):
        room, price = one_node_room(seed)
        priced = [price_room(room, price, gap_fraction=gap) for gap in (0.05, 0.01, 1e-3, 1e-4)]
        assert max(p.lower_bound_eur for p in priced) <= min(p.cost_eur for p in priced)
        assert priced[3].gap_eur <= priced[0].gap_eur


def test_same_input_same_bytes_with_any_memory() -> None:
    room, price = one_node_room(3)
    scratch = Scratch()
    price_room(*one_node_room(4), scratch=scratch)
    price_room_two_node(*two_node_room(0), gap_fraction=0.05, scratch=scratch)
    first, second = price_room(room, price), price_room(room, price, scratch=scratch)
    assert first.schedule.tobytes() == second.schedule.tobytes()
    assert (first.cost_eur, first.lower_bound_eur) == (second.cost_eur, second.lower_bound_eur)
    assert first.work_nodes == second.work_nodes


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
def test_a_wrong_corridor_cannot_break_the_bound(
    kept: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Living temperatures cut at random: the best schedules leave through the coarse values."""
    real = one_node_price._OneNodeSearch._living
    rng = np.random.default_rng(0)

    def cut(self, level):
        low, high = real(self, level)
        share = rng.uniform(kept - 1.0, 2.0 - kept, (2, *low.shape))
        with np.errstate(invalid="ignore"):  # where nothing lives
            return tuple(np.sort(low + (high - low) * share, axis=0))

    for seed in range(4):
        room, price = one_node_room(seed)
        good = price_room(room, price, gap_fraction=1e-5)
        with monkeypatch.context() as patch:
            patch.setattr(one_node_price._OneNodeSearch, "_living", cut)
            priced = price_room(room, price, gap_fraction=1e-5)
        assert priced.lower_bound_eur <= good.cost_eur
        assert priced.cost_eur >= good.lower_bound_eur


def test_a_price_at_the_end_is_a_slope_of_the_terminal_value() -> None:
    room, price = one_node_room(1)
    sloped = replace(room, terminal_value_eur=room.terminal_value_eur - 0.5 * room.terminal_temperature_c)
    asked = price_room(room, price, end_slope_eur_per_k=0.5)
    told = price_room(sloped, price)
    assert asked.cost_eur == pytest.approx(told.cost_eur)
    assert asked.lower_bound_eur == pytest.approx(told.lower_bound_eur)
    np.testing.assert_array_equal(asked.schedule, told.schedule)
    assert asked.temperatures[-1] < price_room(room, price).temperatures[-1] - 0.1


def test_the_work_count_is_kept() -> None:
    room, price = one_node_room(0)
    free = price_room(room, price, gap_fraction=0.0, max_nodes=300_000)
    assert free.work_nodes <= 300_000
    least = price_room(room, price, gap_fraction=0.0, max_nodes=0)
    assert 0 < least.work_nodes < free.work_nodes
    assert least.lower_bound_eur <= free.cost_eur


def test_combined_levels_stay_below_the_larger_bound_and_join_the_coarse_one() -> None:
    rng = np.random.default_rng(5)
    at = np.linspace(0.0, 7.0, 281)
    for _ in range(200):
        fine, coarse = rng.normal(size=8), rng.normal(size=8)
        allowance = float(rng.choice([0.0, 0.3]))
        out = fine.copy()
        combine_levels(out, coarse, allowance, False, True)
        lines = [np.interp(at, np.arange(8), row) for row in (out, fine, coarse)]
        assert (lines[0] <= np.maximum(lines[1], lines[2]) + 1e-12).all()
        assert out[0] <= coarse[0]
        inner = fine - coarse > 2.0
        assert (out[1:-1][inner[1:-1]] > coarse[1:-1][inner[1:-1]]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decay": np.full(5, 1.2)}, "decay must lie in"),
        ({"decay": np.empty(0)}, "decay is empty"),
        ({"gain_on_k": np.array([0.1, np.nan, 0.1, 0.1, 0.1])}, "gain_on_k holds NaN"),
        ({"comfort_low_c": np.full(4, 20.0)}, "comfort_low_c must be a vector of 5"),
        ({"comfort_low_c": np.full(5, 40.0)}, "comfort_low_c lies above"),
        ({"penalty_low_eur_per_k": np.full(5, -1.0)}, "penalty_low_eur_per_k must not be negative"),
        ({"switch_cost_eur": -0.1}, "switch_cost_eur must be"),
        ({"min_on_steps": 0}, "min_on_steps must be"),
        ({"steps_in_state_at_start": -1}, "steps_in_state_at_start must not"),
        ({"relay_fixed": np.array([0, 1, 2, 0, 0])}, "relay_fixed must hold"),
        ({"start_temperature_c": np.nan}, "start_temperature_c must be finite"),
        (
            {"terminal_temperature_c": np.array([1.0, 1.0]), "terminal_value_eur": np.zeros(2)},
            "terminal_temperature_c must rise",
        ),
        (
            {
                "terminal_temperature_c": np.array([1.0, 2.0, 3.0]),
                "terminal_value_eur": np.array([0.0, 0.0, 1.0]),
            },
            "terminal_value_eur must be concave",
        ),
    ],
)
def test_bad_fields_are_refused_by_name(changes: dict, message: str) -> None:
    room = random_room(np.random.default_rng(0), 5)
    with pytest.raises(ValueError, match=message):
        replace(room, **changes)


def test_bad_prices_are_refused() -> None:
    room = random_room(np.random.default_rng(0), 5)
    for price in (np.zeros(4), np.array([0.1, np.nan, 0.1, 0.1, 0.1])):
        with pytest.raises(ValueError, match="price_eur_per_kwh_on"):
            price_room(room, price)
