"""The checker accepts every plan the planner makes and notices every planted fault."""

from __future__ import annotations

import pytest

from services.optimizer.core.checker import check_plan
from services.optimizer.core.planner import plan
from tests.unit.optimizer.small_houses import small_house


@pytest.mark.parametrize("seed", range(40))
def test_every_plan_passes_the_independent_checker(seed):
    problem = small_house(
        seed, rooms=1 + seed % 3, two_node=seed % 2 == 1, coupled=seed % 3 == 1,
        step_s=(900,) * 6 + (1800,) * 3 + (3600,) * 2 if seed % 4 == 0 else None,
    )
    report = check_plan(problem, plan(problem))
    assert report.faults == []


def _plant(plan_, **changes):
    return plan_.model_copy(update=changes)


def _bump(values, index, by):
    return (*values[:index], values[index] + by, *values[index + 1:])


@pytest.mark.parametrize(
    "fault", ["relay", "air", "soc", "grid", "cost", "curtail", "bound", "both", "gap", "short"]
)
def test_the_checker_notices_planted_faults(fault):
    problem = small_house(6, rooms=1)
    assert problem.battery is not None
    good = plan(problem)
    assert check_plan(problem, good).ok
    room = good.rooms[0]
    bad = {
        "relay": lambda: _plant(good, rooms=(
            room.model_copy(update={"relay": _bump(room.relay, 4, 0.5)}),)),
        "air": lambda: _plant(good, rooms=(
            room.model_copy(update={"air_c": _bump(room.air_c, 5, 0.01)}),)),
        "soc": lambda: _plant(good, battery_soc_fraction=_bump(good.battery_soc_fraction, 3, 0.01)),
        "grid": lambda: _plant(good, grid_import_w=_bump(good.grid_import_w, 2, 5.0)),
        "cost": lambda: _plant(good, cost=good.cost.model_copy(
            update={"comfort_eur": good.cost.comfort_eur + 0.01})),
        "curtail": lambda: _plant(good, curtailed_w=_bump(good.curtailed_w, 1, 10.0)),
        "bound": lambda: _plant(good, bound_eur=good.expected_cost_eur + 1.0),
        "gap": lambda: _plant(good, gap_fraction=good.gap_fraction + 0.001),
        "short": lambda: _plant(good, grid_export_w=good.grid_export_w[:-1]),
        "both": lambda: _plant(
            good,
            battery_charge_w=_bump(good.battery_charge_w, 1, 100.0),
            battery_discharge_w=_bump(good.battery_discharge_w, 1, 100.0),
        ),
    }[fault]()
    assert not check_plan(problem, bad).ok
