"""From wished temperatures to relays: what is kept while they are followed."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.planning import PlanningProblem
from services.optimizer.core.house import House, compile_house
from services.optimizer.core.rounding import round_relays
from services.optimizer.core.trajectories import simulate
from tests.unit.optimizer.small_houses import small_house

COLD, WARM, WARMER = 5.0, 40.0, 1000.0


def _house(rooms=1, step_s=(900,) * 8, duty_from_s=None, groups=(), **room) -> House:
    """Rooms alike, off for long, without minimum times unless `room` says otherwise."""
    data = small_house(3, rooms=rooms, step_s=step_s, extras=False, minimum_s=0).model_dump()
    if duty_from_s is not None:
        data["duty_from_step_s"] = duty_from_s
    data["heating_groups"] = groups
    for one in data["rooms"]:
        one |= {"heater_w": 1000.0, "initial_on": False, "initial_in_state_s": 86_400, **room}
    return compile_house(PlanningProblem.model_validate(data))


def _wish(house: House, *by_room) -> np.ndarray:
    """(rooms, steps + 1) targets: what is wished at the end of each step."""
    return np.array([[0.0, *np.broadcast_to(wish, house.steps)] for wish in by_room])


@pytest.mark.parametrize("two_node", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_temperatures_of_relays_give_these_relays(seed, two_node):
    """Beside neighbours, with whatever else comes to the rooms."""
    data = small_house(
        seed, rooms=3, steps=16, two_node=two_node, coupled=True, extras=False, minimum_s=0
    ).model_dump()
    for room in data["rooms"]:
        room |= {"fixed_relay": (), "initial_in_state_s": 86_400}
    house = compile_house(PlanningProblem.model_validate(data))
    relays = np.random.default_rng(seed).integers(0, 2, (3, 16)).astype(float)
    air = np.array([track[:, 0] for track in simulate(house, relays)])
    assert (round_relays(house, air) == relays).all()


def test_a_minimum_time_is_kept_after_each_switch_and_from_before():
    house = _house(min_on_s=2700, min_off_s=1800, initial_on=True, initial_in_state_s=900)
    wish = _wish(house, (COLD, COLD, COLD, WARM, WARM, COLD, COLD, COLD))
    assert round_relays(house, wish).tolist() == [[1, 1, 0, 0, 1, 1, 1, 0]]


def test_no_switch_is_made_that_an_order_would_cut_short():
    """On at the third step would have to last until after the order at the fifth."""
    house = _house(min_on_s=2700, fixed_relay=(None,) * 4 + (False,) + (None,) * 3)
    wish = _wish(house, (COLD, COLD, *(WARM,) * 6))
    assert round_relays(house, wish).tolist() == [[0, 0, 0, 0, 0, 1, 1, 1]]
    assert round_relays(house, _wish(house, WARM)).tolist() == [[1, 1, 1, 1, 0, 1, 1, 1]]


@pytest.mark.parametrize("colder", [0, 1])
def test_the_colder_room_takes_the_heat_that_is_enough_for_one(colder):
    house = _house(
        2, heating_group="boiler", groups=({"name": "boiler", "capacity_w": 1500.0},)
    )
    wish = _wish(house, *(WARMER if room == colder else WARM for room in range(2)))
    first = round_relays(house, wish)[:, 0]
    assert first.tolist() == [float(room == colder) for room in range(2)]


def test_orders_go_before_what_a_group_can_give_and_duties_share_the_rest():
    group = ({"name": "boiler", "capacity_w": 1500.0},)
    ordered = _house(2, heating_group="boiler", groups=group, fixed_relay=(True,) * 8)
    assert (round_relays(ordered, _wish(ordered, COLD, COLD)) == 1.0).all()
    shared = _house(2, (3600,) * 3, 3600, heating_group="boiler", groups=group)
    found = round_relays(shared, _wish(shared, WARMER, WARM))
    assert found.tolist() == [[1.0] * 3, [0.5] * 3]


def test_relays_begun_are_taken_and_duties_forget_what_a_relay_was_bound_to():
    house = _house(step_s=(900, 3600, 900, 900), duty_from_s=3600, min_on_s=7200)
    wish = _wish(house, (COLD, COLD, WARM, WARM))
    found = round_relays(house, wish, begun=np.ones((1, 1)))
    assert found.tolist() == [[1.0, 0.0, 1.0, 1.0]]


def test_behind_a_duty_a_relay_is_switched_on_for_its_minimum_time():
    house = _house(step_s=(3600, 900, 900, 900), duty_from_s=3600, min_on_s=1800)
    found = round_relays(house, _wish(house, (COLD, WARM, COLD, COLD)))
    assert found.tolist() == [[0.0, 1.0, 1.0, 0.0]]
