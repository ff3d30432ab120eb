"""The discretisation is exact: against an ODE solver, the semigroup law, and a heat balance."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from contracts.site import SiteConfig
from services.thermal.core.discretise import (
    continuous_matrices,
    discretise,
    discretise_room,
    layout_of,
)
from services.thermal.core.from_site import model_of
from tests.unit.thermal.house import true_house, true_room

STIFF = true_house(2).model_copy(
    update={
        "rooms": (
            true_room("room0", air_capacity_j_per_k=2e4, emitter_lag_s=120.0),
            true_room("room1", heat_to_mass_fraction=0.7, emitter_lag_s=3600.0),
        )
    }
)


@pytest.mark.parametrize("step_s", [60, 300, 900, 3600])
def test_matches_an_ode_solver(step_s: int) -> None:
    a, b, _ = continuous_matrices(STIFF)
    dynamics = discretise(STIFF, step_s)
    rng = np.random.default_rng(0)
    state = rng.normal(20.0, 3.0, dynamics.layout.size)
    inputs = rng.uniform(0.0, 500.0, dynamics.layout.input_count)
    exact = solve_ivp(
        lambda _, x: a @ x + b @ inputs, (0.0, step_s), state, method="Radau", rtol=1e-10, atol=1e-9
    ).y[:, -1]
    np.testing.assert_allclose(dynamics.A @ state + dynamics.B @ inputs, exact, rtol=2e-7)


def test_a_floor_of_the_site_file_warms_its_room_only_after_it_is_warm_itself(site: SiteConfig) -> None:
    """Cables in the screed: in five minutes of heating the floor gains ten times what the air does."""
    model = model_of(site)
    found = discretise(model, 300)
    layout, response = found.layout, found.B_heat
    for i, room in enumerate(model.rooms):
        air, mass = response[[layout.air[i], layout.mass[i]], i] * room.heater_power_w
        assert mass > 0.05
        assert 0.0 < air < 0.1 * mass


def test_two_short_steps_make_a_long_one() -> None:
    short, long = discretise(STIFF, 900), discretise(STIFF, 1800)
    np.testing.assert_allclose(short.A @ short.A, long.A, atol=1e-12)
    np.testing.assert_allclose(short.A @ short.B + short.B, long.B, rtol=1e-9, atol=1e-12)
    twice = short.A @ short.Q @ short.A.T + short.Q
    np.testing.assert_allclose(twice, long.Q, rtol=1e-7, atol=1e-12)


def test_noise_covariance_is_positive_also_over_stiff_steps() -> None:
    for step_s in (60, 3600, 6 * 3600):
        values = np.linalg.eigvalsh(discretise(STIFF, step_s).Q)
        assert values.min() > -1e-9 * values.max()


def test_steady_state_balances_heat() -> None:
    model = true_house(3)
    dynamics = discretise(model, 3600)
    layout = dynamics.layout
    inputs = np.zeros(layout.input_count)
    inputs[0], inputs[1] = -5.0, 10.0
    inputs[layout.heat_input(0)] = 900.0
    keep = np.ones(layout.size, dtype=bool)
    keep[layout.disturbance] = False
    a = dynamics.A[np.ix_(keep, keep)]
    state = np.zeros(layout.size)
    state[keep] = np.linalg.solve(np.eye(keep.sum()) - a, (dynamics.B @ inputs)[keep])
    lost = sum(
        room.air_outside_w_per_k * (state[layout.air[i]] + 5.0)
        + room.mass_outside_w_per_k * (state[layout.mass[i]] + 5.0)
        for i, room in enumerate(model.rooms)
    )
    assert lost == pytest.approx(900.0, rel=1e-9)


def test_room_alone_agrees_with_the_house_when_neighbours_stay() -> None:
    model = true_house(2)
    alone = discretise_room(model, "room0", 60)
    house = discretise(model, 60)
    layout = layout_of(model)
    state = np.array([20.0, 19.0, 100.0, 21.0, 21.0, 0.0])
    outcome = house.A @ state + house.B_outside * 3.0
    own = alone.A @ state[:3] + alone.B @ np.array([3.0, 0.0, 0.0, 0.0, 0.0, 21.0])
    assert alone.neighbours == ("room1",)
    assert own[0] == pytest.approx(outcome[layout.air[0]], abs=2e-3)


def test_bad_steps_and_rooms_are_refused() -> None:
    with pytest.raises(ValueError, match="step_s"):
        discretise(STIFF, 0)
    with pytest.raises(ValueError, match="not in the model"):
        discretise_room(STIFF, "attic", 300)
