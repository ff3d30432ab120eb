"""Bands as they are issued: as wide as the noise is, on the planner's uneven steps, however one heats."""

from __future__ import annotations

import numpy as np

from contracts import grid
from contracts.thermal_model import BandScale
from services.thermal.core.discretise import FIRST_ROOM_INPUT, discretise
from services.thermal.core.dynamics import lead_s, physics_half_width_k
from services.thermal.core.filter import initial_state
from tests.unit.thermal.house import true_house


def test_nine_of_ten_courses_end_inside_the_band_whatever_the_relays_do() -> None:
    model = true_house(2)
    state = initial_state(model, 0, [20.0, 21.0], 2.0)
    half, leads = physics_half_width_k(model, state), lead_s()
    assert half.shape == (len(grid.STEPS_S), 2)
    dynamics = discretise(model, grid.QUARTER_S)
    rng = np.random.default_rng(3)
    noise = np.linalg.cholesky(dynamics.Q + 1e-12 * np.eye(len(state.mean)))
    start = rng.multivariate_normal(state.mean_array(), state.covariance_array(), 1_500)
    air = dynamics.layout.air
    for often in (0.0, 0.5, 1.0):
        mean, x = state.mean_array(), start
        for k in range(leads[-1] // grid.QUARTER_S):
            given = np.zeros(dynamics.layout.input_count)
            given[FIRST_ROOM_INPUT : FIRST_ROOM_INPUT + 2] = 1_200.0 * (rng.random(2) < often)
            mean = dynamics.A @ mean + dynamics.B @ given
            x = x @ dynamics.A.T + dynamics.B @ given + rng.normal(size=x.shape) @ noise.T
            end = (k + 1) * grid.QUARTER_S
            if end in (900, 6 * 3_600, 24 * 3_600, 48 * 3_600):
                off = np.abs(x - mean)[:, air]
                inside = (off <= half[leads.index(end)]).mean(axis=0)
                np.testing.assert_allclose(inside, 0.90, atol=0.03)


def test_what_held_out_errors_taught_counts_at_its_own_lead() -> None:
    model = true_house(1)
    state = initial_state(model, 0, [20.0], 2.0)
    scale = (BandScale(lead_s=6 * 3_600, factor=1.0), BandScale(lead_s=24 * 3_600, factor=3.0))
    room = model.rooms[0].model_copy(update={"band_scale": scale})
    wide = physics_half_width_k(model.model_copy(update={"rooms": (room,)}), state)
    factor = (wide / physics_half_width_k(model, state))[:, 0]
    expected = np.interp(lead_s(), [6 * 3_600, 24 * 3_600], [1.0, 3.0])
    np.testing.assert_allclose(factor, expected)
