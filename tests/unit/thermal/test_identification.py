"""Identification: exact gradients, parameters recovered, bad history named and contained."""

from dataclasses import replace

import numpy as np
import pytest

from bench.thermal.recovery import model_time_constant_s
from contracts.thermal_model import HouseModel, content_hash
from services.thermal.core.adapt import adapt, structure_of
from services.thermal.core.fit import default_noise
from services.thermal.core.history import History, training_inputs, with_irradiance
from services.thermal.core.identify import Identification, identify
from services.thermal.core.objective import (
    LossShape,
    Windows,
    loss_and_gradient,
    steady_gain,
)
from services.thermal.core.parametrise import RoomPrior, RoomStructure, build
from services.thermal.core.prior import RoomFacts, prior_model
from services.thermal.core.screen import screen
from services.thermal.core.structure import CANDIDATES, candidate
from services.thermal.core.task import HORIZON_S, LESSON_S, Task
from tests.unit.thermal.house import LATITUDE, LONGITUDE, simulate, true_house

PLAIN = {f"room{i}": RoomStructure(f"room{i}") for i in range(3)}


def facts(rooms: int = 3) -> HouseModel:
    """A prior that is wrong by tens of per cent everywhere."""
    return prior_model(
        [
            RoomFacts(
                f"room{i}",
                floor_area_m2=15.0,
                heat_loss_w_per_k=20.0,
                neighbours=(f"room{i + 1}",) if i + 1 < rooms else (),
                window_azimuths_deg=(180.0,),
            )
            for i in range(rooms)
        ],
        latitude_deg=LATITUDE,
        longitude_deg=LONGITUDE,
    )


@pytest.fixture(scope="module")
def learnt() -> Identification:
    return identify(simulate(true_house(), days=14), facts(), structures=PLAIN)


def test_gradient_is_exact() -> None:
    structures = (
        RoomStructure("a", True, True, True),
        RoomStructure("b", False, True, False, True),
        RoomStructure("c"),
    )
    prior = RoomPrior(2e5, 3e6, 10.0, 8.0, 150.0, 5.0, 900.0, {"plane_south": 1.0}, 50.0)
    parameters = build(
        structures,
        dict.fromkeys("abc", prior),
        [("a", "b", 20.0, 0.5), ("b", "c", 20.0, 0.0)],
        {"a": ("heat_a",), "b": ("heat_b",)},
        {"heat": 0.3},
        ("plane_south", "plane_horizontal"),
        dict.fromkeys("abc", 6 * 3600.0),
    )
    rng = np.random.default_rng(0)
    steps = 400
    inputs = rng.normal(size=(steps, len(parameters.input_names))) * [
        300.0 if name.startswith(("heat", "plane")) else 3.0 for name in parameters.input_names
    ]
    measured = 20.0 + np.cumsum(rng.normal(size=(steps, 3)), axis=0) * 0.05
    measured[rng.random(measured.shape) < 0.1] = np.nan
    origins = np.arange(60, steps - 40, 16)
    windows = Windows(
        900, inputs, measured, origins, np.ones((len(origins), 3)), 40, np.ones(steps, dtype=bool)
    )
    theta = np.clip(
        parameters.prior_mean + 0.2 * rng.normal(size=len(parameters.prior_mean)),
        parameters.low,
        parameters.high,
    )
    gain = steady_gain(parameters, theta, 900, default_noise(parameters, np.full(3, 0.1)))
    shape = LossShape(np.full(3, 0.5), np.ones(40), 200.0)
    _, gradient = loss_and_gradient(theta, parameters, windows, gain, shape)
    for k in range(len(theta)):
        step = np.zeros_like(theta)
        step[k] = 1e-6
        up, _ = loss_and_gradient(theta + step, parameters, windows, gain, shape)
        down, _ = loss_and_gradient(theta - step, parameters, windows, gain, shape)
        assert gradient[k] == pytest.approx((up - down) / 2e-6, rel=1e-3, abs=2e-4)


def test_recovers_couplings_and_time_constants(learnt: Identification) -> None:
    truth = true_house()
    for room, right in zip(learnt.model.rooms, truth.rooms, strict=True):
        loss = room.air_outside_w_per_k + room.mass_outside_w_per_k
        assert loss == pytest.approx(
            right.air_outside_w_per_k + right.mass_outside_w_per_k, rel=0.25
        )
        fast = room.air_capacity_j_per_k / (room.air_mass_w_per_k + room.air_outside_w_per_k)
        right_fast = right.air_capacity_j_per_k / (
            right.air_mass_w_per_k + right.air_outside_w_per_k
        )
        assert fast == pytest.approx(right_fast, rel=0.2)
        assert room.mass_capacity_j_per_k == pytest.approx(right.mass_capacity_j_per_k, rel=0.2)
    for coupling in learnt.model.couplings:
        assert coupling.conductance_w_per_k == pytest.approx(25.0, rel=0.2)


def test_a_thermostat_that_answers_to_people_does_not_make_the_heater_look_slow() -> None:
    """Heat that comes because people left is no measure of what the heater does."""
    truth = true_house()
    history = simulate(truth, days=14, seed=3, steady=True, disturbance_w=50.0)
    found = identify(history, facts(), structures=PLAIN).model
    for coupling in found.couplings:
        assert coupling.conductance_w_per_k == pytest.approx(25.0, rel=0.2)
    ratios = [
        model_time_constant_s(found, i) / model_time_constant_s(truth, i) for i in range(3)
    ]
    assert np.median(ratios) < 1.6  # 2.3 when fitted to free runs of 24 h


def test_what_the_site_file_tells_of_a_heater_is_no_matter_of_choice() -> None:
    """Known power: no heating curve may take its scale. In the floor: its heat goes there, too."""
    plain = facts().rooms[0]
    rated = plain.model_copy(update={"heater_power_w": 1000.0})
    floor = plain.model_copy(update={"heat_to_mass_fraction": 0.85})
    curve = CANDIDATES["two nodes, heating curve"]
    assert candidate(curve, plain, True, False).hydronic
    assert not candidate(curve, rated, True, False).hydronic
    assert not candidate(CANDIDATES["two nodes"], plain, True, False).floor_heating
    assert candidate(CANDIDATES["two nodes"], floor, True, False).floor_heating
    assert not candidate(CANDIDATES["one node"], floor, True, False).floor_heating
    assert not candidate(CANDIDATES["two nodes"], floor, False, False).floor_heating


def test_structures_that_come_to_the_same_are_fitted_once() -> None:
    rated = facts().model_copy(
        update={
            "rooms": tuple(
                room.model_copy(update={"heater_power_w": 1000.0}) for room in facts().rooms
            )
        }
    )
    curves = {"two nodes": {}, "two nodes, heating curve": {"hydronic": True}}
    found = identify(simulate(true_house(), days=7), rated, candidates=curves)
    assert set(found.structure_loss["room0"]) == {"two nodes"}


def test_heat_lost_to_a_cellar_that_nobody_measures_is_found() -> None:
    truth = true_house()
    rooms = tuple(room.model_copy(update={"ground_w_per_k": 10.0}) for room in truth.rooms)
    deep = truth.model_copy(update={"rooms": rooms})
    found = identify(simulate(deep, days=14), facts(), structures=PLAIN).model
    for room, right in zip(found.rooms, rooms, strict=True):
        loss, true_loss = (
            r.air_outside_w_per_k + r.mass_outside_w_per_k + r.ground_w_per_k for r in (room, right)
        )
        assert loss == pytest.approx(true_loss, rel=0.2)


def test_standard_errors_are_of_the_right_size(learnt: Identification) -> None:
    truth = {room.name: room for room in true_house().rooms}
    scaled = []
    for room in learnt.model.rooms:
        errors = {e.parameter: e.standard_error for e in room.standard_errors}
        for name in ("air_capacity_j_per_k", "mass_capacity_j_per_k", "air_mass_w_per_k"):
            scaled.append(
                abs(getattr(room, name) - getattr(truth[room.name], name)) / errors[name]
            )
            assert errors[name] < 0.3 * getattr(room, name)
        assert "air_capacity_j_per_k" in room.identified
    assert np.median(scaled) < 3.0


def test_same_history_gives_the_same_model(learnt: Identification) -> None:
    again = identify(simulate(true_house(), days=14), facts(), structures=PLAIN)
    assert content_hash(again.model) == content_hash(learnt.model)


def test_a_heater_that_never_runs_is_named_and_spoils_nobody(learnt: Identification) -> None:
    silent = true_house()
    rooms = tuple(
        room.model_copy(update={"heater_power_w": 1.0}) if i == 1 else room
        for i, room in enumerate(silent.rooms)
    )
    history = simulate(silent.model_copy(update={"rooms": rooms}), days=14)
    history = replace(
        history, heat_w={**history.heat_w, "heat_room1": np.zeros(len(history.epoch_s))}
    )
    found = identify(history, facts(), structures=PLAIN)
    assert [f.kind for f in found.findings if f.room == "room1"] == ["heater-never-on"]
    for i in (0, 2):
        assert found.model.rooms[i].mass_capacity_j_per_k == pytest.approx(
            true_house().rooms[i].mass_capacity_j_per_k, rel=0.3
        )


def spoil(history: History, fault: str) -> History:
    values = history.temperature_c.copy()
    day = 86400 // history.step_s
    if fault == "stuck":
        values[5 * day : 9 * day, 0] = 21.3
    elif fault == "swapped":
        values[10 * day :, [0, 2]] = values[10 * day :, [2, 0]]
    elif fault == "crossed":
        values[:, [0, 2]] = values[:, [2, 0]]
    elif fault == "gap":
        values[3 * day : 10 * day, 0] = np.nan
    elif fault == "impossible":
        values[::50, 0] = 85.0
    elif fault == "no-data":
        values[:, 0] = np.nan
    return replace(history, temperature_c=values)


@pytest.mark.parametrize("fault", ["stuck", "swapped", "crossed", "gap", "impossible", "no-data"])
def test_hostile_history_is_named_and_contained(fault: str, learnt: Identification) -> None:
    history = spoil(simulate(true_house(), days=14), fault)
    usable, findings = screen(history)
    kind = "swapped" if fault == "crossed" else fault
    assert kind in {finding.kind for finding in findings if finding.room == "room0"}
    assert usable[:, 1].all()
    found = identify(history, facts(), structures=PLAIN)
    other = found.model.rooms[1]
    healthy = learnt.model.rooms[1]
    assert other.mass_capacity_j_per_k == pytest.approx(healthy.mass_capacity_j_per_k, rel=0.35)
    loss = other.air_outside_w_per_k + other.mass_outside_w_per_k
    assert loss == pytest.approx(
        healthy.air_outside_w_per_k + healthy.mass_outside_w_per_k, rel=0.35
    )
    if fault == "no-data":
        prior = facts().rooms[0]
        assert found.model.rooms[0].air_capacity_j_per_k == pytest.approx(
            prior.air_capacity_j_per_k, rel=0.5
        )


def test_a_clean_history_raises_no_alarm() -> None:
    _, findings = screen(simulate(true_house(), days=14))
    assert findings == ()


def test_constant_weather_is_named() -> None:
    history = simulate(true_house(), days=7)
    _, findings = screen(replace(history, outside_c=np.full(len(history.epoch_s), 5.0)))
    assert [finding.kind for finding in findings] == ["constant-weather"]


def test_too_little_history_is_refused() -> None:
    history = simulate(true_house(), days=2)
    with pytest.raises(ValueError, match="at least 3"):
        identify(history, facts())
    long = simulate(true_house(), days=7)
    with pytest.raises(ValueError, match="no room has a temperature"):
        identify(replace(long, temperature_c=np.full_like(long.temperature_c, np.nan)), facts())


def test_estimated_sunlight_stands_in_for_none() -> None:
    history = replace(simulate(true_house(), days=7), ghi_w_m2=None)
    complete = with_irradiance(history, LATITUDE, LONGITUDE)
    assert complete.ghi_is_estimated
    assert complete.ghi_w_m2 is not None
    assert 0.0 <= complete.ghi_w_m2.min() < 1.0
    assert 50.0 < complete.ghi_w_m2.max() < 500.0
    table, valid = training_inputs(
        complete, ["outside", "plane_south", "hour_1"], LATITUDE, LONGITUDE, "Europe/Prague"
    )
    assert table.shape == (len(history.epoch_s), 3)
    assert valid.all()


def test_adaptation_follows_a_changed_house_and_names_its_parent(learnt: Identification) -> None:
    truth = true_house()
    leaky = truth.model_copy(
        update={
            "rooms": tuple(
                room.model_copy(
                    update={"air_outside_w_per_k": 1.6 * room.air_outside_w_per_k}
                )
                for room in truth.rooms
            )
        }
    )
    result = adapt(simulate(leaky, days=14, seed=5), learnt.model)
    assert result.accepted
    assert result.loss_after < result.loss_before
    assert result.model.provenance.parent_hash == content_hash(learnt.model)
    for new, old in zip(result.model.rooms, learnt.model.rooms, strict=True):
        assert new.air_outside_w_per_k > old.air_outside_w_per_k
        ratio = new.mass_capacity_j_per_k / old.mass_capacity_j_per_k  # type: ignore[operator]
        assert 0.5 < ratio < 2.0
        assert structure_of(new) == structure_of(old)


def test_adaptation_leaves_a_good_model_alone(learnt: Identification) -> None:
    result = adapt(simulate(true_house(), days=10, seed=9), learnt.model)
    assert result.model is learnt.model or result.loss_after < result.loss_before


def test_whole_days_teach_where_the_series_is_not_the_heat_of_the_hour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Behind a heating curve the structure is chosen and the house learnt from whole days."""
    chosen_on: list[int] = []
    learnt_on: list[int] = []
    plant: dict[str, bool] = {}

    def choose(
        task: Task, split: int, candidates: object
    ) -> tuple[list[RoomStructure], dict[str, dict[str, float]], int]:
        chosen_on.append(task.lesson_s)
        return [RoomStructure(room, **plant) for room in task.history.rooms], {}, 0

    def lessons(task: Task, parameters: object, last_origin: int | None = None) -> None:
        learnt_on.append(task.lesson_s)
        raise StopIteration

    monkeypatch.setattr("services.thermal.core.identify.choose_structures", choose)
    monkeypatch.setattr(Task, "lessons", lessons)
    for behind_a_curve in (False, True):
        plant["hydronic"] = behind_a_curve
        with pytest.raises(StopIteration):
            identify(simulate(true_house(), days=4), facts())
    assert chosen_on == [LESSON_S, LESSON_S, HORIZON_S]
    given = {room.name: RoomStructure(room.name, hydronic=True) for room in facts().rooms}
    with pytest.raises(StopIteration):
        identify(simulate(true_house(), days=4), facts(), structures=given)
    assert learnt_on == [LESSON_S, HORIZON_S, HORIZON_S]
