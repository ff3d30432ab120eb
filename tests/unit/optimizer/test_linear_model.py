"""The linear model: when GLOP gives up one way, it is asked another."""

from __future__ import annotations

import pytest

from services.optimizer.core.house import compile_house
from services.optimizer.core.linear_model import LinearModel, SolverFailed
from services.optimizer.core.room_rows import build_rooms
from services.optimizer.core.site_rows import build_site
from tests.unit.optimizer.small_houses import small_house

GIVES_UP = "max_number_of_iterations:0"


def relaxation() -> LinearModel:
    house = compile_house(small_house(3, rooms=2, steps=8))
    model = LinearModel()
    build_rooms(model, house, build_site(model, house))
    return model


def test_a_way_that_fails_is_not_the_last() -> None:
    model = relaxation()
    plain, other = model.solve("glop"), model.solve("glop", parameters=GIVES_UP)
    assert other.objective == pytest.approx(plain.objective, rel=1e-9)
    assert model.dual_bound(other.duals) == pytest.approx(plain.objective, rel=1e-6)


def test_when_glop_fails_by_itself_the_dual_simplex_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = relaxation()
    expected = model.solve("glop").objective
    ways = "services.optimizer.core.linear_model._GLOP_WAYS"
    monkeypatch.setattr(ways, (GIVES_UP, "use_dual_simplex:true"))
    assert model.solve("glop").objective == pytest.approx(expected, rel=1e-9)


def test_where_no_way_of_glop_leads_anywhere_highs_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    model = relaxation()
    expected = model.solve("glop").objective
    monkeypatch.setattr("services.optimizer.core.linear_model._GLOP_WAYS", (GIVES_UP,))
    found = model.solve("glop", parameters=GIVES_UP)
    assert found.objective == pytest.approx(expected, rel=1e-6)
    assert model.dual_bound(found.duals) == pytest.approx(expected, rel=1e-6), "prices, too"
    monkeypatch.setattr("services.optimizer.core.linear_model._HIGHS_ITERATIONS", 0)
    with pytest.raises(SolverFailed, match="glop: "):
        model.solve("glop", parameters=GIVES_UP)


def test_what_nobody_can_solve_is_said_with_the_solver_and_its_status() -> None:
    model = LinearModel()
    [column] = model.variables(1, 0.0, 1.0)
    model.put(model.add_rows(1, 2.0, 3.0), column, 1.0)
    with pytest.raises(SolverFailed, match=r"glop: .*INFEASIBLE"):
        model.solve("glop", parameters="use_preprocessing:false")


def test_an_lp_that_was_cut_short_is_solved_another_way() -> None:
    model = relaxation()
    found = model.solve("glop", parameters="use_preprocessing:false max_number_of_iterations:20")
    assert found.objective == pytest.approx(model.solve("glop").objective, rel=1e-9)
