"""What the bench calls loss, coupling and time constant of a network."""

from __future__ import annotations

import numpy as np
import pytest

from bench.thermal.recovery import Network, model_network, model_time_constant_s, time_constant_s
from tests.unit.thermal.house import true_house


def test_loss_and_coupling_are_what_the_air_feels_with_the_mass_at_rest() -> None:
    house = true_house(3)
    seen = model_network(house).seen_from_air()
    for i, room in enumerate(house.rooms):
        through_mass = 1.0 / (1.0 / room.air_mass_w_per_k + 1.0 / room.mass_outside_w_per_k)
        assert seen[i].sum() == pytest.approx(room.air_outside_w_per_k + through_mass)
    assert seen[0, 1] == pytest.approx(-25.0) and seen[0, 2] == pytest.approx(0.0)


def test_a_partition_couples_in_series_with_its_walls() -> None:
    film, partition = 50.0, 20.0
    k = np.zeros((4, 4))
    for a, b, value in ((0, 2, film), (1, 3, film), (2, 3, partition)):
        k[[a, b], [a, b]] += value
        k[[a, b], [b, a]] -= value
    seen = Network(k, np.ones(4), 2).seen_from_air()
    assert -seen[0, 1] == pytest.approx(1.0 / (2.0 / film + 1.0 / partition))


def test_a_single_store_has_its_textbook_time_constant() -> None:
    tau = 7.0 * 3600
    found = time_constant_s(np.array([[-1.0 / tau]]), np.array([1.0]))
    assert found == pytest.approx(tau, abs=600.0)


def test_a_room_that_leaks_twice_as_much_is_quicker() -> None:
    house = true_house(2)
    leaky = house.model_copy(
        update={
            "rooms": tuple(
                r.model_copy(update={"mass_outside_w_per_k": 60.0, "air_outside_w_per_k": 60.0})
                for r in house.rooms
            )
        }
    )
    assert model_time_constant_s(leaky, 0) < 0.6 * model_time_constant_s(house, 0)
