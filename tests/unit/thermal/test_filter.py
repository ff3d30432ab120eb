"""The filter: agrees with the textbook, survives bad samples, keeps its state exactly, is fast."""

import json

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter

from contracts.thermal_model import HouseModel
from services.thermal.core.discretise import discretise
from services.thermal.core.filter import (
    GATE_RECOVERY_SAMPLES,
    FilterState,
    StepInputs,
    filter_step,
    initial_state,
    input_vector,
    room_estimates,
    transfer_state,
)
from services.thermal.core.gains import gains_by_room, heat_by_room
from tests.unit.thermal.house import simulate, true_house, true_room


def still_inputs(model: HouseModel, **changes: object) -> StepInputs:
    rooms = len(model.rooms)
    fields: dict[str, object] = {
        "step_s": 300,
        "outside_c": 5.0,
        "heat_w": [300.0] * rooms,
        "air_gain_w": [50.0] * rooms,
        "mass_gain_w": [0.0] * rooms,
    }
    return StepInputs(**(fields | changes))  # type: ignore[arg-type]


def test_agrees_with_the_textbook_filter() -> None:
    model = true_house(2)
    state = initial_state(model, 0, [20.0, 21.0], 5.0)
    dynamics = discretise(model, 300)
    reference = KalmanFilter(dim_x=dynamics.layout.size, dim_z=2)
    reference.F, reference.Q, reference.B = dynamics.A, dynamics.Q, dynamics.B
    reference.H = np.zeros((2, dynamics.layout.size))
    reference.H[[0, 1], dynamics.layout.air] = 1.0
    reference.R = np.eye(2) * model.rooms[0].noise.measurement_sd_c**2
    reference.x, reference.P = state.mean_array()[:, None], state.covariance_array()
    for k in range(20):
        inputs = still_inputs(model)
        measured = [20.0 + 0.02 * k, 21.0 - 0.01 * k]
        vector, _ = input_vector(model, dynamics.layout, inputs)
        reference.predict(u=vector[:, None])
        reference.update(np.array(measured)[:, None])
        state, _ = filter_step(model, state, inputs, measured)
    np.testing.assert_allclose(state.mean_array(), reference.x[:, 0], rtol=1e-9)
    np.testing.assert_allclose(state.covariance_array(), reference.P, rtol=1e-7, atol=1e-9)


def test_tracks_a_simulated_house_and_finds_a_disturbance() -> None:
    model = true_house(3)
    history = simulate(model, days=4, step_s=300, noise_c=0.05)
    air, mass = gains_by_room(model, history.epoch_s, 300, ghi_w_m2=history.ghi_w_m2)
    heat = heat_by_room(model, history.heat_w, history.outside_c)
    state = initial_state(model, int(history.epoch_s[0]), list(history.temperature_c[0]), 2.0)
    hidden_w = 60.0  # a person nobody tells the filter about
    residuals = []
    for t in range(1, len(history.epoch_s)):
        told = air[t - 1] - np.array([hidden_w, 0.0, 0.0])
        inputs = StepInputs(300, history.outside_c[t - 1], heat[t - 1], told, mass[t - 1])
        state, innovations = filter_step(model, state, inputs, list(history.temperature_c[t]))
        residuals.append([item.residual_c for item in innovations])
    assert np.std(residuals[200:]) < 0.1
    found = [estimate.disturbance_w for estimate in room_estimates(model, state)]
    assert found[0] == pytest.approx(hidden_w, abs=35.0)
    assert abs(found[2]) < 35.0


def test_missing_samples_widen_and_never_become_zero() -> None:
    model = true_house(2)
    state = initial_state(model, 0, [20.0, 20.0], 5.0)
    start = state
    for _ in range(12):
        state, innovations = filter_step(model, state, still_inputs(model), [None, float("nan")])
        assert innovations == ()
    estimate = room_estimates(model, state)[0]
    assert estimate.air_sd_c > room_estimates(model, start)[0].air_sd_c
    assert 15.0 < estimate.air_c < 30.0
    assert state.missing_in_row == (12, 12)


def test_an_outlier_is_refused_and_a_lasting_jump_believed() -> None:
    model = true_house(2)
    state = initial_state(model, 0, [20.0, 20.0], 5.0)
    for _ in range(24):
        state, _ = filter_step(model, state, still_inputs(model), [20.0, 20.0])
    after, innovations = filter_step(model, state, still_inputs(model), [45.0, 20.0])
    assert [item.accepted for item in innovations] == [False, True]
    assert room_estimates(model, after)[0].air_c == pytest.approx(20.0, abs=0.5)
    for _ in range(GATE_RECOVERY_SAMPLES + 12):
        after, _ = filter_step(model, after, still_inputs(model), [26.0, 20.0])
    assert room_estimates(model, after)[0].air_c == pytest.approx(26.0, abs=0.5)
    assert room_estimates(model, after)[1].air_c == pytest.approx(20.0, abs=0.5)


def test_old_samples_count_less() -> None:
    model = true_house(1)
    state = initial_state(model, 0, [20.0], 5.0)
    fresh, _ = filter_step(model, state, still_inputs(model), [20.3], age_s=[0.0])
    old, _ = filter_step(model, state, still_inputs(model), [20.3], age_s=[3600.0])
    pulled = [abs(room_estimates(model, s)[0].air_c - 20.3) for s in (fresh, old)]
    assert pulled[0] < pulled[1]


def test_unknown_heating_widens_the_belief() -> None:
    model = true_house(1)
    state = initial_state(model, 0, [20.0], 5.0)
    known, _ = filter_step(model, state, still_inputs(model), [None])
    unknown, _ = filter_step(model, state, still_inputs(model, heat_w=[None]), [None])
    spread = [room_estimates(model, s)[0].air_sd_c for s in (known, unknown)]
    assert spread[1] > 1.5 * spread[0]


def test_state_survives_json_exactly() -> None:
    model = true_house(3)
    state = initial_state(model, 1_700_000_000, [20.1, None, 19.7], 4.3)
    for k in range(5):
        state, _ = filter_step(model, state, still_inputs(model), [20.0 + 0.1 * k, None, 19.9])
    again = FilterState.from_dict(json.loads(json.dumps(state.to_dict())))
    assert again == state
    assert filter_step(model, again, still_inputs(model), [20.0, 20.0, 20.0]) == filter_step(
        model, state, still_inputs(model), [20.0, 20.0, 20.0]
    )


def test_transfer_keeps_what_both_models_have() -> None:
    old = true_house(2)
    state = initial_state(old, 0, [20.0, 22.0], 5.0)
    for _ in range(10):
        state, _ = filter_step(old, state, still_inputs(old), [20.0, 22.0])
    lagged = tuple(true_room(name, emitter_lag_s=600.0) for name in ("room1", "room0", "attic"))
    new = old.model_copy(update={"rooms": lagged, "couplings": ()})
    moved = transfer_state(old, state, new, 5.0)
    before = {e.room: e for e in room_estimates(old, state)}
    after = {e.room: e for e in room_estimates(new, moved)}
    assert after["room0"].air_c == before["room0"].air_c
    assert after["room1"].mass_c == before["room1"].mass_c
    assert after["room0"].emitter_w == 0.0
    assert after["attic"].air_sd_c > 1.0
    np.linalg.cholesky(moved.covariance_array() + 1e-9 * np.eye(len(moved.mean)))
    with pytest.raises(ValueError, match="transfer_state"):
        filter_step(new, state, still_inputs(new), [20.0, 20.0, 20.0])


def test_missing_weather_is_refused_with_a_hint() -> None:
    model = true_house(1)
    state = initial_state(model, 0, [20.0], 5.0)
    with pytest.raises(ValueError, match="outside_c is missing"):
        filter_step(model, state, still_inputs(model, outside_c=float("nan")), [20.0])
    with pytest.raises(ValueError, match="heat_w must have one value a room"):
        filter_step(model, state, still_inputs(model, heat_w=[1.0, 2.0]), [20.0])
