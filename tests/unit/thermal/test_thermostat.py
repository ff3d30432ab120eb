"""Thermostats at work: their set points are found, and hold a forecast that physics alone gets wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.thermal_model import HouseModel
from services.thermal.core.correction import correct, learn, look_back
from services.thermal.core.drive import drive_of
from services.thermal.core.features import Cases
from services.thermal.core.hindcast import run_filter
from services.thermal.core.history import History
from services.thermal.core.stacking import MEMBERS, PLANNED, UNDER_THERMOSTATS, stack
from services.thermal.core.thermostat import Thermostats, find_thermostats
from tests.unit.thermal.house import START, true_house

STEP = 1800
DAY = 86400 // STEP
DAYS = 8


def regulated(noise_c: float = 0.01) -> History:
    """Valves that are half open at 20 degC by night and 17 degC by day, wide open and shut in between."""
    rng = np.random.default_rng(0)
    hour = np.arange(DAYS * DAY) % DAY * STEP / 3600.0
    day = (hour >= 10) & (hour < 16)
    target = np.where(day, 17.0, 20.0)
    falling, rising = (hour >= 10) & (hour < 13), (hour >= 16) & (hour < 18)
    room = np.where(falling, 20.0 - (hour - 10.0), np.where(rising, 17.0 + 1.5 * (hour - 16.0), target))
    share = np.where(falling, 0.0, np.where(rising, 1.0, rng.uniform(0.2, 0.8, len(hour))))
    none = np.zeros(len(hour))
    return History(
        START + STEP * np.arange(len(hour), dtype=np.int64), STEP, ("room0", "room1"),
        np.column_stack([room, room]) + rng.normal(0.0, noise_c, (len(hour), 2)),
        np.full(len(hour), 5.0), {f"heat_room{i}": 1000.0 * share for i in range(2)},
        ghi_w_m2=none, dni_w_m2=none, dhi_w_m2=none,
    )  # fmt: skip


def wrong_model() -> HouseModel:
    """Loses half as much again as the rooms of `regulated` can."""
    model = true_house(2)
    rooms = [room.model_copy(update={"air_outside_w_per_k": 70.0}) for room in model.rooms]
    return model.model_copy(update={"rooms": tuple(rooms)})


def found() -> Thermostats:
    thermostats = find_thermostats(regulated(), "UTC")
    assert thermostats is not None
    return thermostats


def test_set_points_are_what_a_room_keeps_while_its_heating_modulates() -> None:
    for points in found().set_points_c:
        assert sorted(points) == pytest.approx([17.0, 20.0], abs=0.03)


def test_rooms_of_one_schedule_share_its_set_points() -> None:
    history = regulated()
    second = history.heat_w["heat_room1"].copy()
    second[(history.temperature_c[:, 1] < 19.0)] = 0.0
    thermostats = find_thermostats(
        replace(history, heat_w={**history.heat_w, "heat_room1": second}), "UTC"
    )
    assert thermostats is not None
    assert sorted(thermostats.set_points_c[1]) == pytest.approx([17.0, 20.0], abs=0.03)


@pytest.mark.parametrize("fault", ["wanders", "seldom", "on or off", "shared"])
def test_no_thermostat_is_seen_where_there_is_none(fault: str) -> None:
    history = regulated(noise_c=1.0 if fault == "wanders" else 0.01)
    if fault == "seldom":
        rng = np.random.default_rng(1)
        elsewhere = rng.random(len(history.epoch_s)) < 0.55
        drifting = np.where(elsewhere, rng.uniform(10.0, 30.0, len(elsewhere)), 20.0)
        history = replace(history, temperature_c=np.column_stack([drifting, drifting]))
    if fault == "on or off":
        heat = {name: np.where(w > 500.0, 1000.0, 0.0) for name, w in history.heat_w.items()}
        history = replace(history, heat_w=heat)
    if fault == "shared":
        history = replace(history, heat_w={"heat": history.heat_w["heat_room0"]})
    assert find_thermostats(history, "UTC") is None


def test_the_hour_decides_where_physics_cannot() -> None:
    pull = found().pull
    at_work = np.ones((2, 2), dtype=bool)
    at_work[:, 1] = False
    between = np.full((2, 2), 18.5)
    pulled = pull(at_work, np.array([3, 14]), between)
    assert pulled[:, 0] == pytest.approx([1.5, -1.5], abs=0.05)
    assert (pulled[:, 1] == 0.0).all()


def test_what_acts_after_the_target_is_not_looked_at() -> None:
    history = regulated()
    later = history.heat_w["heat_room0"].copy()
    later[100:] = 0.0
    changed = replace(history, heat_w={**history.heat_w, "heat_room0": later})
    thermostats = found()
    before, after = thermostats.at_work(history)[0], thermostats.at_work(changed)[0]
    np.testing.assert_array_equal(before[:101], after[:101])
    assert not after[101:, 0].any()


def test_a_forecast_is_held_where_physics_is_wrong() -> None:
    history, model = regulated(), wrong_model()
    usable = np.ones_like(history.temperature_c, dtype=bool)
    taught = history.rows(0, 6 * DAY)
    correction = learn(model, taught, usable[: 6 * DAY], 86400)
    assert correction.thermostats is not None
    drive = drive_of(model, history)
    rows = np.arange(DAY, 7 * DAY - 1)
    means = run_filter(model, history, drive, 0, rows).means
    view = look_back(
        model, history, drive, rows, means, correction.lead_rows, correction.thermostats
    )
    origins = np.arange(6 * DAY, 7 * DAY - 1)
    truth = history.temperature_c[origins + DAY]
    held = np.abs(Cases(view, origins, DAY).regulated - truth).mean()
    physics = np.abs(view.bank.at(origins, DAY) - truth).mean()
    assert physics > 0.5 and held < 0.3 * physics
    assert np.isfinite(correct(correction, view, origins, [DAY])[0]).all()
    assert learn(model, taught, usable[: 6 * DAY], 86400, PLANNED).thermostats is None


def test_what_is_held_counts_most_where_days_are_few() -> None:
    equal, weight = np.ones((50, len(MEMBERS))) * np.linspace(-1.0, 1.0, 50)[:, None], np.ones(50)
    found = stack(equal, weight, 0.01, 86400, UNDER_THERMOSTATS)
    assert found[MEMBERS.index("thermostat")] > 0.8


def test_a_thermostat_is_at_work_when_all_of_the_half_hour_says_so() -> None:
    heat = np.array([0.0, 400.0, 1000.0, 400.0, 500.0, 0.0])
    epoch_s = START + 900 * np.arange(len(heat))
    history = History(
        epoch_s, 900, ("a",), np.full((len(heat), 1), 20.0), np.zeros(len(heat)), {"heat_a": heat}
    )
    found, _ = Thermostats((), (), (1000.0,), "UTC").at_work(history)
    assert found[:, 0].tolist() == [False, False, False, False, False, True, False]
