"""The recursion finds the law of a room, whatever the step of the recording, and what a valve brings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.thermal.core.arx import Arx, RoomSeries, behind_curve, fit_arx, room_series, run_arx
from services.thermal.core.features import View, view_of
from services.thermal.core.gains import cold_factor
from services.thermal.core.hindcast import NO_FORECASTS
from services.thermal.core.history import History
from tests.unit.thermal.house import true_house

STEPS, FIT = 3000, 2000


def law(step_s: int, curve: bool) -> tuple[View, np.ndarray]:
    """A room that loses 2 % of its warmth and gains with a valve, 2 % or with the cold outside a step."""
    rng = np.random.default_rng(0)
    hours = np.arange(STEPS) * step_s / 3600.0
    outside = 5.0 + 6.0 * np.sin(hours / 15.0) + rng.normal(0.0, 0.2, STEPS)
    valve = np.repeat(rng.uniform(0.0, 1000.0, STEPS // 20 + 1), 20)[:STEPS]
    brought = valve * (cold_factor(outside) if curve else 1.0)
    room = np.empty(STEPS)
    room[0] = 20.0
    for t in range(STEPS - 1):
        room[t + 1] = room[t] + 0.02 * (outside[t] - room[t]) + 6e-4 * brought[t]
    nothing = np.zeros(STEPS)
    history = History(
        np.arange(STEPS, dtype=np.int64) * step_s, step_s, ("a",), room[:, None], outside,
        {"heat_a": valve}, ghi_w_m2=nothing, dni_w_m2=nothing, dhi_w_m2=nothing,
    )  # fmt: skip
    return view_of(history, NO_FORECASTS, "UTC"), room


def taught() -> np.ndarray:
    return (np.arange(STEPS) < FIT).astype(float)


def found(series: RoomSeries) -> Arx:
    fitted = fit_arx(series, taught())
    assert fitted is not None
    return fitted


def error(series: RoomSeries, room: np.ndarray, lead: int) -> float:
    rows = np.arange(FIT + 100, STEPS - 100, 7)
    return float(np.abs(run_arx(found(series), series, rows, (lead,))[0] - room[rows + lead]).mean())


@pytest.mark.parametrize("step_s", [600, 1560, 3600])
def test_it_learns_a_law_of_first_order(step_s: int) -> None:
    view, room = law(step_s, curve=False)
    assert error(room_series(view, 0, curve=False), room, 40) < 0.05 * room.std()


def test_behind_a_heating_curve_the_cold_counts() -> None:
    view, room = law(1800, curve=True)
    with_cold = error(room_series(view, 0, curve=True), room, 40)
    without = error(room_series(view, 0, curve=False), room, 40)
    assert with_cold < 0.3 * without
    model = true_house(1)
    assert not behind_curve(model.rooms[0])


def test_between_its_steps_the_forecast_is_linear_and_only_the_past_is_read() -> None:
    view, room = law(600, curve=False)
    series = room_series(view, 0, curve=False)
    assert series.stride == 3
    rows = np.array([FIT + 200])
    fitted = found(series)
    runs = run_arx(fitted, series, rows, (0, 3, 4, 6))
    assert runs[0] == pytest.approx(room[rows])
    assert runs[2] == pytest.approx(runs[1] * 2 / 3 + runs[3] / 3)
    spoilt = series.own_c.copy()
    spoilt[rows[0] + 1 :] += 5.0
    assert np.array_equal(run_arx(fitted, replace(series, own_c=spoilt), rows, (6,)), runs[3:])


def test_without_enough_data_or_past_there_is_no_forecast() -> None:
    view, _ = law(1800, curve=False)
    series = room_series(view, 0, curve=False)
    assert fit_arx(series, taught() * (np.arange(STEPS) < 60)) is None
    assert np.isnan(run_arx(found(series), series, np.array([1]), (4,))).all()
    held = series.own_c.copy()
    held[500] = np.nan
    assert np.isnan(run_arx(found(series), replace(series, own_c=held), np.array([500]), (4,))).all()
