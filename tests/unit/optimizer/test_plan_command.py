"""`pems plan`: what it prints, and what it says to files that are no problem."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.planner.instances import make_house, with_scenarios
from contracts.planning import Plan
from pems.commands_models import app
from pems.why import _quality
from services.optimizer.core import lp_rung, planner

HOUSE = make_house(2, (1800,) * 24, ev=False)


def said(*arguments: object) -> tuple[int, str]:
    """Exit code and all output, on one line."""
    result = CliRunner().invoke(app, ["plan", *map(str, arguments)])
    return result.exit_code, " ".join(result.output.split())


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_the_cost_is_what_the_bound_bounds(tmp_path):
    problem = with_scenarios(HOUSE, 3)
    path = written(tmp_path / "p.json", b"\xef\xbb\xbf" + problem.model_dump_json().encode())
    code, text = said(path, "--output", tmp_path / "plan.json")
    assert code == 0, text
    made = Plan.model_validate_json((tmp_path / "plan.json").read_text())
    assert f"{made.expected_cost_eur:.3f} EUR, over all scenarios" in text
    assert f"{made.cost.total_eur:.3f} EUR" not in text
    assert "independent check passed" in text


def test_rooms_that_warm_each_other_have_two_gaps_and_each_is_named(tmp_path):
    problem = make_house(2, (1800,) * 24, ev=False, coupled=True)
    made = planner.plan(problem)
    code, text = said(written(tmp_path / "p.json", problem.model_dump_json().encode()))
    assert code == 0, text
    assert f"gap {made.gap_fraction:.3%} certificate" in text
    assert f"gap while neighbours stay as planned {made.frozen_gap_fraction:.3%}" in text
    within = f"within {made.gap_fraction:.2%} of the best ({made.frozen_gap_fraction:.2%} while neighbours"
    assert within in _quality(made)
    code, text = said(written(tmp_path / "p.json", HOUSE.model_dump_json().encode()))
    assert code == 0, text
    assert "neighbours" not in text + _quality(planner.plan(HOUSE))


def test_a_fall_down_the_ladder_is_said_with_its_reason(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise lp_rung.RelaxationFailed("glop: planted [/red]")

    monkeypatch.setattr(planner, "_decomposed", fails)
    code, text = said(written(tmp_path / "p.json", HOUSE.model_dump_json().encode()))
    assert code == 0, text
    assert "not on full: glop: planted [/red]" in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xe9\xff", "UTF-8"),
        (b"{", "problem: Invalid JSON"),
        (b"{}", "base_load_w: is missing"),
        (b'{"pv_w": [1.0, NaN]}', "pv_w.1: Input should be a finite number; fill the gap"),
        (b'{"pv_w": [1.0, null]}', "pv_w.1: Input should be a valid number; fill the gap"),
        (b'{"start": "2025-01-15T06:00:00"}', "have timezone info; write for example"),
    ],
)
def test_a_file_that_is_no_problem_is_told_so(tmp_path, content, words):
    code, text = said(written(tmp_path / "p.json", content))
    assert code == 1
    assert words in text


def test_names_that_look_like_markup_are_printed_as_they_are(tmp_path):
    data = json.loads(HOUSE.model_dump_json())
    data["rooms"][0]["name"] = "[red]x[/red] [/blue]"
    data["rooms"][0]["low_c"].pop()
    code, text = said(written(tmp_path / "p.json", json.dumps(data).encode()))
    assert code == 1
    assert "problem: room [red]x[/red] [/blue].low_c has 23 values" in text


def test_folders_are_looked_at_before_the_work(tmp_path):
    path = written(tmp_path / "p.json", HOUSE.model_dump_json().encode())
    assert said(path, "--output", tmp_path / "none" / "plan.json")[0] == 1
    assert said(tmp_path)[0] == 1
