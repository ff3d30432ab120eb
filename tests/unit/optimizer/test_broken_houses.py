"""Whatever is wrong with a house, there is a plan, it is executable, and what it breaks has a price."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.optimizer.core.checker import check_plan
from services.optimizer.core.planner import LADDER, WarmStart, WorkBudget, plan
from tests.unit.optimizer.broken_houses import BREAKS, GRIDS, broken_house

HOUSES = st.builds(
    broken_house,
    seed=st.integers(0, 10_000),
    rooms=st.integers(0, 3),
    grid=st.sampled_from(sorted(GRIDS)),
    breaks=st.lists(st.sampled_from(sorted(BREAKS)), max_size=4, unique=True),
    two_node=st.booleans(),
    coupled=st.booleans(),
)
FEW = settings(max_examples=25, suppress_health_check=list(HealthCheck))


def _sound(problem, made):
    report = check_plan(problem, made)
    assert report.faults == []
    for violation in made.violations:
        assert violation.amount > 0
        assert violation.cost_eur >= 0
        assert violation.unit


@FEW
@given(HOUSES)
def test_any_house_gets_a_checked_plan(problem):
    _sound(problem, plan(problem))


@FEW
@given(HOUSES, st.sampled_from(["lp_rounded", "shifted", "rules"]))
def test_every_rung_gives_a_checked_plan_and_never_beats_the_bound(problem, rung):
    best = plan(problem)
    made = plan(problem, WarmStart(best), WorkBudget(rung=rung))
    _sound(problem, made)
    assert LADDER.index(made.rung) >= LADDER.index(rung)
    if best.bound_eur is not None and not problem.scenarios:
        assert made.cost.total_eur >= best.bound_eur - 1e-4


@pytest.mark.parametrize("name", sorted(BREAKS))
@pytest.mark.parametrize("rung", ["full", "rules"])
def test_every_break_alone(name, rung):
    problem = broken_house(3, 2, "blocks", [name], False, False)
    made = plan(problem, budget=WorkBudget(rung=rung))
    _sound(problem, made)
    assert made.steps_down == ()


@pytest.mark.parametrize(
    ("breaks", "what"),
    [
        (["battery empty", "battery without power"], "soc_below_min"),
        (["battery over full"], "soc_above_max"),
        (["battery ordered beyond its energy"], "override"),
        (["car that cannot be filled"], "ev_target"),
        (["car that left"], "ev_target"),
        (["load without time"], "deadline"),
        (["boiler too slow"], "deadline"),
        (["comfort out of reach"], "comfort_low"),
        (["rooms boiling"], "comfort_high"),
        (["no fuse", "no sun", "no battery"], "import_limit"),
        (["no export", "sun that cannot be curtailed", "no battery"], "export_limit"),
        (["no phase", "no sun", "no battery"], "phase_import_limit"),
        (["heat source off", "relays ordered at random"], "heating_capacity"),
    ],
)
def test_a_wish_that_cannot_be_met_is_named(breaks, what):
    made = plan(broken_house(3, 1, "quarters", breaks, False, False))
    found = [v for v in made.violations if v.what == what]
    assert found
    assert sum(v.cost_eur for v in found) > 0
