"""Prediction and the planner's matrices: exact means, honest bands, dynamics that add up."""


import numpy as np
import pytest

from contracts.thermal_model import BandScale, HouseModel
from services.thermal.core.discretise import discretise
from services.thermal.core.filter import initial_state
from services.thermal.core.predict import (
    Forecast,
    planner_matrices,
    predict,
    time_to_reach_s,
)
from tests.unit.thermal.house import true_house, true_room


def steady(model: HouseModel, steps: int, heat_w: float = 400.0) -> Forecast:
    rooms = len(model.rooms)
    outside = 2.0 + 3.0 * np.sin(np.arange(steps) / 20.0)
    return Forecast(
        outside,
        np.full((steps, rooms), heat_w),
        np.full((steps, rooms), 60.0),
        np.full((steps, rooms), 20.0),
    )


def test_mean_follows_the_dynamics() -> None:
    model = true_house(3)
    state = initial_state(model, 0, [20.0, 21.0, 19.0], 2.0)
    forecast = steady(model, 50)
    dynamics = discretise(model, 300)
    x = state.mean_array()
    for row in forecast.input_matrix(model):
        x = dynamics.A @ x + dynamics.B @ row
    found = predict(model, state, forecast, 300)
    np.testing.assert_allclose(found.states[-1], x, rtol=1e-10)


def test_bands_cover_what_the_noise_does() -> None:
    model = true_house(2)
    state = initial_state(model, 0, [20.0, 21.0], 2.0)
    forecast = steady(model, 64)
    found = predict(model, state, forecast, 900)
    dynamics = discretise(model, 900)
    rng = np.random.default_rng(3)
    runs = 1500
    x = rng.multivariate_normal(state.mean_array(), state.covariance_array(), runs)
    factor = np.linalg.cholesky(dynamics.Q + 1e-12 * np.eye(len(x[0])))
    for k, row in enumerate(forecast.input_matrix(model)):
        x = x @ dynamics.A.T + dynamics.B @ row + rng.normal(size=x.shape) @ factor.T
        if k in (0, 15, 47, 63):
            air = x[:, dynamics.layout.air]
            inside = ((air >= found.low_c[k]) & (air <= found.high_c[k])).mean(axis=0)
            np.testing.assert_allclose(inside, 0.90, atol=0.04)


def test_band_scale_and_weather_widen_the_band() -> None:
    model = true_house(1)
    state = initial_state(model, 0, [20.0], 2.0)
    plain = predict(model, state, steady(model, 96), 900)
    wide_room = model.rooms[0].model_copy(
        update={"band_scale": (BandScale(lead_s=900.0, factor=2.0),)}
    )
    wide = predict(model.model_copy(update={"rooms": (wide_room,)}), state, steady(model, 96), 900)
    np.testing.assert_allclose(wide.sd_c, 2.0 * plain.sd_c)
    forecast = steady(model, 96)
    unsure = Forecast(
        forecast.outside_c,
        forecast.heat_w,
        forecast.air_gain_w,
        forecast.mass_gain_w,
        outside_sd_c=np.linspace(0.0, 3.0, 96),
    )
    assert (predict(model, state, unsure, 900).sd_c[-1] > plain.sd_c[-1]).all()


def test_probability_and_time_to_reach() -> None:
    model = true_house(1)
    state = initial_state(model, 0, [18.0], 2.0)
    found = predict(model, state, steady(model, 96, heat_w=1500.0), 300)
    target = float(found.mean_c[40, 0])
    seconds = time_to_reach_s(found, 0, target)
    assert seconds == pytest.approx(41 * 300, abs=1.0)
    assert time_to_reach_s(found, 0, 60.0) is None
    below = found.probability_below(target)
    assert below[40, 0] == pytest.approx(0.5, abs=1e-6)
    assert below[95, 0] < 0.5 < below[0, 0]


def test_planner_dynamics_reproduce_the_reference_on_uneven_steps() -> None:
    model = true_house(3)
    state = initial_state(model, 0, [20.0, 21.0, 19.0], 2.0)
    steps = [900] * 8 + [3600] * 10
    forecast = steady(model, len(steps))
    found = planner_matrices(model, state, forecast, steps)
    x = found.start
    for k in range(len(steps)):
        fraction = np.array([room.reference_u[k] for room in found.rooms])
        x = found.A[k] @ x + found.B[k] @ fraction + found.d[k]
        for i, room in enumerate(found.rooms):
            assert x[found.air_index[i]] == pytest.approx(room.reference_c[k], abs=1e-9)
    for room in found.rooms:
        temperature = room.start_c
        for k in range(len(steps)):
            temperature = (
                room.a[k] * temperature + room.b[k] * room.reference_u[k] + room.d[k]
            )
            assert temperature == pytest.approx(room.reference_c[k], abs=1e-9)


def test_one_node_room_is_exact_for_any_heating() -> None:
    room = true_room(
        "only", mass_capacity_j_per_k=None, air_mass_w_per_k=0.0, mass_outside_w_per_k=0.0,
        solar_to_mass_fraction=0.0, air_capacity_j_per_k=5e6,
    )  # fmt: skip
    model = true_house(1).model_copy(update={"rooms": (room,)})
    state = initial_state(model, 0, [20.0], 2.0)
    steps = [900] * 20
    reference = planner_matrices(model, state, steady(model, 20, heat_w=0.0), steps).rooms[0]
    other = predict(model, state, steady(model, 20, heat_w=1200.0), 900)
    temperature = reference.start_c
    for k in range(20):
        temperature = (
            reference.a[k] * temperature + reference.b[k] * 1200.0 / 1500.0 + reference.d[k]
        )
        assert temperature == pytest.approx(other.mean_c[k, 0], abs=1e-9)


def test_two_node_room_rises_like_the_full_model_after_six_hours() -> None:
    model = true_house(1)
    state = initial_state(model, 0, [20.0], 2.0)
    steps = [900] * 24
    room = planner_matrices(model, state, steady(model, 24, heat_w=0.0), steps).rooms[0]
    full = predict(model, state, steady(model, 24, heat_w=1000.0), 900).mean_c[-1, 0]
    temperature = room.start_c
    for k in range(24):
        temperature = room.a[k] * temperature + room.b[k] + room.d[k]
    assert temperature == pytest.approx(full, abs=1e-6)


def test_gaps_in_a_forecast_are_refused() -> None:
    model = true_house(1)
    state = initial_state(model, 0, [20.0], 2.0)
    forecast = steady(model, 4)
    forecast.outside_c[2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        predict(model, state, forecast, 300)
