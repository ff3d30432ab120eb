"""Grids, rooms and prices that no usual house has, each of which once led to a bad plan or to none."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from contracts.planning import (
    Battery,
    EvSession,
    Grid,
    NeighbourGain,
    ObjectiveWeights,
    PlanningProblem,
    Room,
    RoomDynamics,
)
from services.optimizer.core import decomposition
from services.optimizer.core.cells.room import MOST_VALUES, CellRoom
from services.optimizer.core.checker import check_plan
from services.optimizer.core.columns import relay_rules
from services.optimizer.core.coupled import neighbour_linear
from services.optimizer.core.coupled_run import heat_prices
from services.optimizer.core.house import compile_house
from services.optimizer.core.linear_model import LinearModel
from services.optimizer.core.lp_rung import _solve_site, solve_relaxation
from services.optimizer.core.planner import plan
from services.optimizer.core.pricing import TwoNodeRoomPricing, price_room_two_node
from services.optimizer.core.pricing.two_node_price import MOST_FIRST_NODES
from services.optimizer.core.room_rows import build_rooms
from services.optimizer.core.site_rows import build_site
from tests.unit.optimizer.broken_houses import broken_house
from tests.unit.optimizer.small_houses import START, small_house


def _house(steps: int, buy: float, sell: float, **more) -> PlanningProblem:
    grid = more.pop("grid", {})
    given = {"step_s": (900,) * steps, "base_load_w": (300.0,) * steps, "pv_w": (0.0,) * steps}
    return PlanningProblem(
        start=START,
        grid=Grid(
            buy_price_eur_per_kwh=(buy,) * steps, sell_price_eur_per_kwh=(sell,) * steps, **grid
        ),
        **{**given, **more},
    )


def _room(name: str, steps: int, decay: float, start_c: float, **more) -> Room:
    dynamics = RoomDynamics(
        decay_air=(decay,) * steps, heat_air_k=(1.0,) * steps, drift_air_k=(10.0 * (1 - decay),) * steps,
        neighbours=more.pop("neighbours", ()),
    )  # fmt: skip
    return Room(
        name=name, heater_w=1000.0, dynamics=more.pop("dynamics", dynamics), initial_air_c=start_c,
        **{"low_c": (20.0,) * steps, "high_c": (21.0,) * steps, **more},
    )  # fmt: skip


@pytest.mark.parametrize("decay", [0.0, 1e-12, 0.05, 0.3])
@pytest.mark.parametrize("two_node", [False, True])
def test_rooms_that_forget_over_a_minimum_run_where_it_began(decay, two_node):
    steps = 60
    more = {}
    if two_node:
        more = {
            "initial_mass_c": 19.0,
            "dynamics": RoomDynamics(
                decay_air=(decay,) * steps, mass_to_air=((1 - decay) * 0.9,) * steps,
                air_to_mass=(0.1,) * steps, decay_mass=(0.9,) * steps, heat_air_k=(4.0,) * steps,
                heat_mass_k=(1.0,) * steps, drift_air_k=(0.0,) * steps, drift_mass_k=(-0.1,) * steps,
            ),
        }  # fmt: skip
    room = _room("hut", steps, decay, 19.0, min_on_s=86_400, min_off_s=7_200, **more)
    problem = _house(steps, 0.3, 0.1, rooms=(room,))
    made = plan(problem)
    assert made.steps_down == ()
    assert check_plan(problem, made).faults == []
    assert made.bound_eur > -np.inf


@pytest.mark.parametrize("seed", [10, 31, 33, 38])
def test_where_all_rooms_have_duties_they_are_as_cheap_as_they_can_be(seed):
    house = small_house(seed, rooms=3, coupled=True, step_s=(3600,) * 24)
    # no whole choices: what is left is linear
    problem = house.model_copy(update={"evs": (), "deferrable_loads": ()})
    made = plan(problem)
    assert check_plan(problem, made).faults == []
    assert made.expected_cost_eur - made.bound_eur < 1e-4 * abs(made.expected_cost_eur)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("step_s", [(900, 900, 3600, 900, 900, 1800, 7200, 900), (3600, 900, 900, 3600)])
def test_relays_that_come_behind_duties_are_whole(seed, coupled, step_s):
    problem = small_house(seed, rooms=3, coupled=coupled, minimum_s=1800, step_s=step_s)
    made = plan(problem)
    assert made.steps_down == ()
    assert check_plan(problem, made).faults == []


def test_what_is_fed_in_beyond_the_limit_counts_as_not_used():
    problem = _house(
        8, 0.3, 0.1, pv_w=(5000.0,) * 8, pv_curtailable=False, grid={"export_limit_w": 1000.0},
        weights=ObjectiveWeights(self_consumption_eur_per_kwh=30.0),
        rooms=(_room("a", 8, 0.9, 20.5),),
    )
    made = plan(problem)
    assert check_plan(problem, made).faults == []
    # heating too much costs less than feeding in
    assert made.rooms[0].relay == (1.0,) * 8
    assert made.gap_fraction < 1e-3


def test_warming_a_neighbour_that_is_too_warm_costs():
    steps = 24
    gain = NeighbourGain(room="a", gain_air=(0.2,) * steps)
    hall = _room("a", steps, 0.9, 21.0, low_c=(5.0,) * steps, penalty_high_eur_per_k_h=0.0)
    nursery = _room("b", steps, 0.75, 26.0, neighbours=(gain,), penalty_high_eur_per_k_h=5.0)
    house = compile_house(_house(steps, 0.1, -0.2, rooms=(hall, nursery)))
    prices = heat_prices(house, solve_relaxation(house))
    assert prices.air[1].min() < 0.0
    assert neighbour_linear(house, prices, steps)[0].max() > 0.0


def test_a_car_that_stops_charging_before_it_may_begin_pays_for_that_switch():
    car = EvSession(
        name="car", arrival=START + dt.timedelta(hours=1), departure=START + dt.timedelta(hours=2),
        target_kwh=2.0, max_kwh=2.0, min_power_w=1380.0, max_power_w=3680.0, initial_on=True,
        switch_cost_eur=0.5, fixed_power_w=(None,) * 5 + (2000.0,) + (None,) * 6,
    )  # fmt: skip
    problem = _house(12, 0.2, 0.1, evs=(car,))
    made = plan(problem)
    assert check_plan(problem, made).faults == []
    assert made.gap_fraction < 1e-3


def test_a_battery_does_not_count_on_burning_what_cannot_be_fed_in_later():
    sun = (2000.0,) * 8 + (12_000.0,) * 8
    battery = Battery(
        capacity_wh=10_000.0, initial_soc_fraction=0.9, charge_limit_w=8000.0, discharge_limit_w=8000.0
    )
    problem = _house(
        16, 0.3, 0.1, pv_w=sun, pv_curtailable=False, grid={"export_limit_w": 1700.0}, battery=battery
    )
    made = plan(problem)
    assert check_plan(problem, made).faults == []
    chosen = _solve_site(compile_house(problem), np.zeros((0, 16)), {}).chosen
    assert chosen.objective == pytest.approx(made.expected_cost_eur, rel=1e-6)


@pytest.mark.parametrize("seed", [3, 5])
@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_when_the_rounds_are_used_up_the_best_prices_count(seed, rounds):
    problem = small_house(seed, rooms=3, steps=24)
    heard: list[float] = []

    class Listening(decomposition.Stabilised):
        def heard(self, value: float) -> None:
            super().heard(value)
            heard.append(value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decomposition, "Stabilised", Listening)
        made = decomposition.decompose(compile_house(problem), rounds, 0.0)
    best = max(heard) + problem.grid.fixed_fee_eur
    assert made.bound_eur > best - 0.03 * abs(best)


def test_cells_and_planes_of_the_oddest_rooms_fit_into_memory():
    steps = 168
    dynamics = RoomDynamics(
        decay_air=(0.9,) * steps, mass_to_air=(0.09,) * steps, air_to_mass=(0.02,) * steps,
        decay_mass=(0.97,) * steps, heat_air_k=(20.0,) * steps, heat_mass_k=(3.0,) * steps,
        drift_air_k=(0.0,) * steps, drift_mass_k=(0.0,) * steps,
    )  # fmt: skip
    room = _room(
        "hall", steps, 0.9, -60.0, dynamics=dynamics, initial_mass_c=-60.0, min_on_s=86_400, min_off_s=86_400
    )
    problem = _house(steps, 0.3, 0.1, rooms=(room,), duty_from_step_s=86_400)
    arrays = compile_house(problem).rooms[0]
    reach = np.full(steps + 1, -60.0), np.full(steps + 1, 300.0)
    cells = CellRoom(arrays, steps, *reach)
    modes = 2 + int(cells.locks.sum())
    width = cells.width_k(0.04, 27)
    assert (cells.high - cells.low) / width * (steps + 1) * modes * 27 <= 1.01 * MOST_VALUES
    pricing = TwoNodeRoomPricing(
        transition=arrays.transition, gain_on_k=arrays.heat_k, drift_k=arrays.drift_k,
        start_temperature_c=arrays.start_c, penalty_low_eur_per_k=arrays.penalty_low_eur_per_k,
        penalty_high_eur_per_k=arrays.penalty_high_eur_per_k, **relay_rules(arrays, steps),
    )  # fmt: skip
    found = price_room_two_node(pricing, np.full(steps, 0.1), max_nodes=1)
    assert found.work_nodes < 3 * MOST_FIRST_NODES


@pytest.mark.parametrize(
    ("grid", "seed", "breaks", "coupled"),
    [
        ("coarse first", 2, "heat source off", False), ("coarse first", 5, "no phase", False),
        ("coarse first", 9, "peak", False), ("blocks", 0, "peak", True), ("blocks", 1, "peak", False),
        ("quarters", 7, "no phase", True),
    ],
)  # fmt: skip
def test_small_houses_with_wide_gaps_are_as_good_as_the_whole_model(grid, seed, breaks, coupled):
    problem = broken_house(seed, 3, grid, [breaks], False, coupled)
    made = plan(problem)
    assert check_plan(problem, made).faults == []
    house, model = compile_house(problem), LinearModel()
    build_rooms(model, house, build_site(model, house), binary=True)
    best = model.solve("scip", gap=1e-6, nodes=5000).objective + problem.grid.fixed_fee_eur
    assert made.expected_cost_eur <= best + 2e-3 * abs(best)


def _ordered_on(initial_on: bool):
    """A room whose relay may go off for two hours at least, and is ordered on after one."""
    return _room(
        "a", 8, 0.9, 23.0, min_off_s=7200, initial_on=initial_on,
        fixed_relay=(None,) * 4 + (1,) + (None,) * 3,
    )  # fmt: skip


def test_no_free_switch_is_made_whose_minimum_time_an_order_cuts_in_the_whole_model_either():
    house, model = compile_house(_house(8, 0.3, 0.1, rooms=(_ordered_on(True),))), LinearModel()
    (columns,) = build_rooms(model, house, build_site(model, house), binary=True)
    found = model.solve("scip").values[columns.relay]
    assert np.round(found[:5]).tolist() == [1.0] * 5


@pytest.mark.parametrize(
    ("relay", "cut"), [([1, 1, 0, 0, 1, 1, 1, 1], True), ([0, 0, 0, 0, 1, 1, 1, 1], False)]
)
def test_the_checker_notices_an_order_that_cuts_a_free_switch_short(relay, cut):
    problem = _house(8, 0.3, 0.1, rooms=(_ordered_on(bool(relay[0])),))
    good = plan(problem)
    rooms = (good.rooms[0].model_copy(update={"relay": tuple(map(float, relay))}),)
    faults = check_plan(problem, good.model_copy(update={"rooms": rooms})).faults
    assert any("relay[4] switches after 1800 s" in fault for fault in faults) == cut
    assert not any("minimum" in fault for fault in check_plan(problem, good).faults)


@pytest.mark.parametrize("seed", [32, 136, 149])
def test_behind_a_full_heat_source_no_order_cuts_a_free_switch_either(seed):
    rng = np.random.default_rng(seed)
    grid = {} if seed % 2 == 0 else {"step_s": (900,) * 10}
    minimum_s = int(rng.choice([900, 1800, 3600, 5400]))
    house = small_house(
        seed, rooms=1 + seed % 3, two_node=seed % 4 == 1, coupled=seed % 5 == 1, minimum_s=minimum_s,
        **{"step_s": (900,) * 14} | grid,
    )  # fmt: skip
    rooms = []
    for room in house.rooms:
        orders = room.fixed_relay
        if rng.random() < 0.8:
            orders = tuple(None if rng.random() < 0.7 else int(rng.integers(0, 2)) for _ in house.step_s)
        rooms.append(room.model_copy(update={"fixed_relay": orders}))
    problem = house.model_copy(update={"rooms": tuple(rooms)})
    made = plan(problem)
    assert check_plan(problem, made).faults == []
    assert made.steps_down == ()
