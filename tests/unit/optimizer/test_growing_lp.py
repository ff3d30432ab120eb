"""An LP that grows and goes on from its last optimum, beside the same LP solved from nothing."""

from __future__ import annotations

import numpy as np
import pytest

from bench.planner.instances import make_house
from services.optimizer.core import held_lp
from services.optimizer.core.decomposition import _Decomposition
from services.optimizer.core.generation import Stabilised
from services.optimizer.core.growing_lp import GrowingLp
from services.optimizer.core.house import compile_house
from services.optimizer.core.linear_model import LinearModel
from services.optimizer.core.master import QUICK_GLOP, Master
from services.optimizer.core.planner import plan

STEPS = (900,) * 32 + (3600,) * 8


def generated() -> _Decomposition:
    """The columns of a house after some rounds."""
    run = _Decomposition(compile_house(make_house(6, STEPS)), None)
    run.generate(Stabilised(run._first_duals()), 3, 1e-6)
    return run


def anew(master: Master, picked: dict[int, int]):
    """The master's LP from nothing."""
    return master.model(picked)[0].solve("glop", fixed=master.whole, parameters=QUICK_GLOP)


def test_columns_and_bounds_that_come_later_count():
    model = LinearModel()
    model.variables(2, 0.0, 4.0, np.array([3.0, 1.0]))
    rows = model.add_rows(1, 2.0, np.inf)
    model.put(rows, np.arange(2), 1.0)
    lp = GrowingLp(model)
    low, high = np.zeros(2), np.full(2, 4.0)
    first = lp.solve(low, high)
    assert first is not None
    assert first.objective == pytest.approx(2.0)
    np.testing.assert_allclose(first.duals, [1.0])
    lp.grow(np.array([0.5]), np.array([0]), np.array([2]), np.array([1.0]))
    assert lp.columns == 3
    low, high = np.zeros(3), np.array([4.0, 4.0, 1.0])
    grown = lp.solve(low, high)
    assert grown is not None
    np.testing.assert_allclose(grown.values, [0.0, 1.0, 1.0])
    pinned = lp.solve(np.array([0.5, 0.0, 0.0]), np.array([4.0, 0.0, 4.0]))
    assert pinned is not None
    np.testing.assert_allclose(pinned.values, [0.5, 0.0, 1.5])
    assert lp.solve(low, np.zeros(3)) is None


@pytest.mark.parametrize("picked", [{}, {0: 1, 4: 0}, dict.fromkeys(range(6), 0)])
def test_going_on_ends_where_beginning_anew_ends(picked):
    master = generated().master
    solution, chosen, _ = master.solve(picked)
    assert master._lps, "it began anew itself"
    afresh = anew(master, picked)
    assert solution.objective == pytest.approx(afresh.objective, rel=1e-9)
    for room, columns in enumerate(chosen):
        assert columns.size == (1 if room in picked else len(master.columns[room]))
        assert solution.values[columns].sum() == pytest.approx(1.0)
    # true prices: by themselves they prove the optimum
    model = master.model(picked)[0]
    assert model.dual_bound(solution.duals) == pytest.approx(solution.objective, rel=1e-6)
    # rooms are free again afterwards
    assert master.solve()[0].objective == pytest.approx(anew(master, {}).objective, rel=1e-9)


def test_whole_choices_of_the_site_are_kept():
    master = generated().master
    on = master.site.evs[0].on
    master.whole = {int(column): float(k % 2) for k, column in enumerate(on)}
    solution, _, _ = master.solve()
    np.testing.assert_allclose(solution.values[on], [k % 2 for k in range(on.size)], atol=1e-9)
    assert solution.objective == pytest.approx(anew(master, {}).objective, rel=1e-9)
    master.whole = {}
    assert master.solve()[0].objective < solution.objective


def test_replaced_columns_count_at_their_new_cost():
    master = generated().master
    before = master.solve()[0].objective
    dearer = [
        type(column)(column.relay, column.cost_eur + 1.0, column.end_c)
        for column in master.columns[2]
    ]
    master.replace(2, dearer)
    assert master.solve()[0].objective == pytest.approx(before + 1.0)


def test_where_going_on_fails_the_lp_begins_anew(monkeypatch):
    """GLOP says ABNORMAL once in a while; the plan must not notice."""
    problem = make_house(6, STEPS)
    good = plan(problem)
    real, asked = GrowingLp.solve, []

    def fails(self, low, high):
        asked.append(self)
        return None if len(asked) % 3 == 0 else real(self, low, high)

    monkeypatch.setattr(held_lp.GrowingLp, "solve", fails)
    made = plan(problem)
    assert len(asked) > 6
    assert asked[2] is not asked[3]
    assert made.steps_down == ()
    assert made.gap_fraction == pytest.approx(good.gap_fraction, abs=2e-3)


def test_an_lp_that_goes_astray_begins_anew_from_then_on(monkeypatch):
    """As where limits bind hard: more pivots from the last basis than from nothing."""
    master = generated().master
    assert master.goes_on
    assert master.solve()[0].objective == pytest.approx(anew(master, {}).objective, rel=1e-9)
    monkeypatch.setattr(held_lp, "ASTRAY", -1.0)
    master.solve({0: 0})
    monkeypatch.setattr(GrowingLp, "solve", None)
    assert master.solve()[0].objective == pytest.approx(anew(master, {}).objective, rel=1e-9)
    assert not master._lps
