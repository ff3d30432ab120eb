"""``pems train``, ``pems evaluate``, ``pems plan``, ``pems scenario``: what needs the models.

Imported only when one of them is asked for: the libraries behind them take seconds to load.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.table import Table

from contracts.planning import PlanningProblem
from contracts.site import explain
from pems.cli import app, console, fail
from services.forecast import evaluate as forecast_evaluate
from services.forecast import train as forecast_train
from services.optimizer.core.checker import check_plan
from services.optimizer.core.planner import plan as make_plan
from services.thermal import evaluate as thermal_evaluate
from services.thermal import train as thermal_train
from twin import convert

evaluate_app = typer.Typer(help="Score models out of sample on a recording.", no_args_is_help=True)
train_app = typer.Typer(help="Train models from a recording.", no_args_is_help=True)
for target, sources in (
    (evaluate_app, (forecast_evaluate.app, thermal_evaluate.app)),
    (train_app, (forecast_train.app, thermal_train.app)),
):
    for source in sources:
        target.registered_commands += source.registered_commands
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(train_app, name="train")
app.registered_commands += [
    typer.models.CommandInfo(name="scenario", callback=command.callback,
                             help="Turn recorded data into a scenario folder.")
    for command in convert.app.registered_commands
]  # fmt: skip


@app.command()
def plan(
    problem: Annotated[Path, typer.Argument(help="PlanningProblem as JSON.")],
    output: Annotated[Path | None, typer.Option(help="Write the plan's JSON here.")] = None,
) -> None:
    """Solve one planning problem, check the plan independently, and say how good it is."""
    try:
        found = PlanningProblem.model_validate_json(problem.read_text())
    except ValidationError as error:
        raise fail(explain(error)) from error
    result = make_plan(found)
    report = check_plan(found, result)
    table = Table(show_header=False, box=None)
    gap = "-" if result.gap_fraction is None else f"{result.gap_fraction:.3%}"
    bound = "-" if result.bound_eur is None else f"{result.bound_eur:.3f} EUR"
    for name, value in (
        ("rung", result.rung), ("cost", f"{result.cost.total_eur:.3f} EUR"), ("bound", bound),
        ("gap", gap), ("certificate", result.certificate),
        ("independent check", "passed" if report.ok else "; ".join(report.faults)),
        ("wishes not met", str(len(result.violations))),
    ):  # fmt: skip
        table.add_row(name, value)
    console.print(table, highlight=False)
    if output is not None:
        output.write_text(result.model_dump_json(indent=1) + "\n")
    if not report.ok:
        raise fail("the independent checker found faults")
