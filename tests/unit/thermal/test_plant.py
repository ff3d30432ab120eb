"""Valves behind one plant: what it brings while any is open, and one kind of heating for the house."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from contracts.thermal_model import COLD_SUFFIX, Coupling, HeatShare, HouseModel
from services.thermal.core import structure
from services.thermal.core.gains import HEATING_BASE_C, SOME_ON, cold_factor
from services.thermal.core.history import with_some_on
from services.thermal.core.identify import default_prior, identify
from services.thermal.core.parametrise import ParameterSet
from services.thermal.core.structure import CANDIDATES, _same_plant
from services.thermal.core.task import prepare
from tests.unit.thermal.house import LATITUDE, LONGITUDE, simulate, true_room

CURVE, PLAIN = "two nodes, heating curve", "two nodes"


def plant_house() -> HouseModel:
    """Two rooms with valves behind a heating curve, and a hall whose radiator has none."""
    rooms = [
        true_room(n, heat_shares=(HeatShare(source=f"heat_{n}{COLD_SUFFIX}", fraction=1.5),))
        for n in "ab"
    ]
    hall = true_room(
        "hall", heater_power_w=0.0,
        heat_shares=(HeatShare(source=SOME_ON + COLD_SUFFIX, fraction=0.5),),
    )  # fmt: skip
    pairs = [Coupling(room_a=n, room_b="hall", conductance_w_per_k=15.0) for n in "ab"]
    return HouseModel(
        rooms=(*rooms, hall), couplings=tuple(pairs), latitude_deg=LATITUDE, longitude_deg=LONGITUDE
    )


def test_the_series_says_whether_any_heating_is_on() -> None:
    house = simulate(plant_house(), days=1)
    nothing = np.full(len(house.epoch_s), np.nan)
    heat = {"heat_a": nothing.copy(), "heat_b": nothing.copy(), "heat_c": nothing}
    heat["heat_a"][:4] = [0.0, 1500.0, 3.0, 0.0]
    heat["heat_b"][:3] = [0.0, 0.0, 3.0]
    on = with_some_on(replace(house, heat_w=heat)).heat_w[SOME_ON]
    np.testing.assert_array_equal(on[:5], [0.0, 1000.0, 1000.0, 0.0, np.nan])
    for few in ({}, {"heat": nothing}, {"heat_a": heat["heat_a"], "heat_c": nothing}):
        assert SOME_ON not in with_some_on(replace(house, heat_w=few)).heat_w


def test_a_heating_curve_ends_at_the_base_of_degree_days() -> None:
    np.testing.assert_allclose(cold_factor(np.array([HEATING_BASE_C - 20.0, 18.0, 25.0])), [1.0, 0.0, 0.0])


def test_a_house_is_behind_a_heating_curve_as_a_whole() -> None:
    labels = [PLAIN, CURVE]
    losses = {"a": {PLAIN: 2.0, CURVE: 1.0}, "b": {PLAIN: 1.0, CURVE: 1.5}}
    assert _same_plant(labels, losses, CANDIDATES) == [CURVE]
    losses["silent"] = {PLAIN: np.nan, CURVE: np.nan}
    assert _same_plant(labels, losses, CANDIDATES) == [CURVE]
    losses["b"][CURVE] = 1.9
    assert _same_plant(labels, losses, CANDIDATES) == [PLAIN]
    assert _same_plant([PLAIN], losses, CANDIDATES) == [PLAIN]


def test_what_the_plant_brings_to_a_hall_without_a_valve_is_found() -> None:
    house = plant_house()
    history = with_some_on(simulate(house, days=6))
    prior = default_prior(house.room_names, LATITUDE, LONGITUDE, "UTC")
    chosen = {label: CANDIDATES[label] for label in (PLAIN, CURVE)}
    found = identify(history, prior, pairs_known=False, candidates=chosen).model
    cold = cold_factor(history.outside_c)

    def per_kelvin(model: HouseModel) -> float:
        """Heat that an open valve brings to the hall at 0 degC over what the hall loses per kelvin."""
        hall = model.rooms[2]
        shares = {s.source: s.fraction for s in hall.heat_shares}
        brought = shares.get(SOME_ON, 0.0) + shares.get(SOME_ON + COLD_SUFFIX, 0.0) * 0.9
        loss = hall.air_outside_w_per_k + hall.mass_outside_w_per_k
        return 1000.0 * brought / (loss + sum(c.conductance_w_per_k for c in model.couplings))

    assert cold.max() > 0.5
    assert per_kelvin(found) == pytest.approx(per_kelvin(house), rel=0.4)


def test_no_room_is_given_another_plant_than_the_house(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room b alone would be predicted a little better without the curve; the house is far better with."""
    history = with_some_on(simulate(plant_house(), days=6))
    task, _ = prepare(history, default_prior(history.rooms, LATITUDE, LONGITUDE, "UTC"), False)
    behind: list[bool] = []

    def fitted(parameters: ParameterSet, *_: object, **__: object) -> SimpleNamespace:
        behind.append(any(room.hydronic for room in parameters.structures))
        return SimpleNamespace(evaluations=1, theta=None, gain=None)

    def loss(_: object) -> np.ndarray:
        return np.array([0.1, 1.0, 0.1]) if behind[-1] else np.array([1.0, 0.8, 1.0])

    monkeypatch.setattr(structure, "fit_house", fitted)
    monkeypatch.setattr(structure, "errors_only", lambda *_: (None, None))
    monkeypatch.setattr(structure, "judged_loss", loss)
    chosen, _, _ = structure.choose_structures(task, len(task.history.epoch_s) // 2)
    assert set(behind) == {False, True}
    assert [room.hydronic for room in chosen] == [True, True, True]
