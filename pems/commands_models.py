"""``pems train``, ``evaluate``, ``model``, ``plan``, ``scenario``: what needs the models.

Imported only when one of them is asked for: the libraries behind them take seconds to load.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from chassis.models import verified
from contracts.events.system import ModelChecked, ModelPromoted
from contracts.planning import PlanningProblem
from contracts.site import explain
from pems import promotion, trainer
from pems.cli import ROOT, Home, Root, app, console, fail
from pems.home import broker_of, find, load_log, load_models
from pems.learning import learn, put_in_force
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
model_app = typer.Typer(help="Models of the house: list, promote, roll back.", no_args_is_help=True)
app.add_typer(model_app, name="model")
app.registered_commands += [
    typer.models.CommandInfo(name="scenario", callback=command.callback,
                             help="Turn recorded data into a scenario folder.")
    for command in convert.app.registered_commands
]  # fmt: skip


KIND = "thermal, pv, load or price"


@train_app.command("house")
def train_from_log(
    kinds: Annotated[
        list[str] | None, typer.Option("--kind", help=f"{KIND}; all when not given.")
    ] = None,
    depth: Annotated[
        str, typer.Option(help="full (weekly), light (nightly) or auto (what is due).")
    ] = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Write the models here instead of promoting them.")
    ] = None,
    home: Home = None,
    root: Root = ROOT,
) -> None:
    """Train from the house's own log; what beats the model in use on the last days is put in force.

    Does by hand what a house that stays (`pems up`, `docker compose up`) does every night.
    """
    if depth not in ("full", "light", "auto"):
        raise typer.BadParameter("depth is full, light or auto")
    wanted = kinds or list(trainer.KINDS)
    if unknown := sorted(set(wanted) - set(trainer.KINDS)):
        raise typer.BadParameter(f"{', '.join(unknown)}: a kind is {KIND}")
    with broker_of(find(root, home)) as settings:
        with Progress(
            TextColumn("training {task.description:<8}"), BarColumn(bar_width=40),
            TimeElapsedColumn(), console=console, transient=True,
        ) as bar:  # fmt: skip
            task = bar.add_task("", total=len(wanted))

            def progress(kind: str) -> None:
                bar.update(task, description=kind, advance=1 if bar.tasks[0].description else 0)

            outcomes = learn(settings, wanted, depth, progress)
        if out is None:
            put_in_force(settings, outcomes)
        else:
            promotion.save(out, [(o.promoted, o.content) for o in outcomes if o.promoted is not None])
    for outcome in outcomes:
        console.print(outcome.sentence, highlight=False)


@model_app.command("list")
def model_list(home: Home = None, root: Root = ROOT) -> None:
    """Every promotion on the log, and whether it came into force."""
    events, _ = load_log(find(root, home))
    table = Table(header_style="bold")
    for name in ("sequence", "kind", "model", "score", "answer", "why"):
        table.add_column(name)
    answers = {e.cause: e.data for e in events if isinstance(e.data, ModelChecked)}
    for event in events:
        if isinstance(event.data, ModelPromoted):
            data, answer = event.data, answers.get(event.id)
            said = "none yet" if answer is None else answer.problem or "in force"
            score = "-" if data.score is None else f"{data.score:g}"
            table.add_row(str(event.sequence), data.quantity, data.content_hash[:12], score, said,
                          data.reason)  # fmt: skip
    console.print(table, highlight=False)


@model_app.command("promote")
def model_promote(
    kind: Annotated[str, typer.Argument(help=KIND)],
    file: Annotated[Path, typer.Argument(help="Model file of `pems train`.")],
    out: Annotated[
        Path | None, typer.Option(help="Write it here for `pems up --models` instead, for a house to come.")
    ] = None,
    home: Home = None,
    root: Root = ROOT,
) -> None:
    """Put a model file into the house's store and into force, whatever its score."""
    try:
        promoted, content = trainer.by_hand(kind, file.read_bytes())
    except ValueError as error:
        raise fail(f"{file}: {error}") from error
    if out is not None:
        promotion.save(out, [(promoted, content)])
        console.print(f"{kind}: model {promoted.content_hash[:12]} is in {out}", soft_wrap=True)
        return
    with broker_of(find(root, home)) as settings:
        sequence = promotion.promote_now(settings, promoted, content)
    console.print(f"{kind}: model {promoted.content_hash[:12]} promoted at sequence {sequence}")


@model_app.command("roll-back")
def model_roll_back(
    kind: Annotated[str, typer.Argument(help=KIND)], home: Home = None, root: Root = ROOT
) -> None:
    """Promote the model again that was in force before the present one."""
    folder = find(root, home)
    events, _ = load_log(folder)
    try:
        promoted = trainer.roll_back(events, kind)
        content = verified(
            load_models(folder, [promoted.content_hash]), promoted.content_hash
        )
    except ValueError as error:
        raise fail(error) from error
    with broker_of(folder) as settings:
        promotion.promote_now(settings, promoted, content)
    console.print(f"{kind}: back to {promoted.content_hash[:12]}")


@app.command()
def plan(
    problem: Annotated[Path, typer.Argument(help="PlanningProblem as JSON.")],
    output: Annotated[Path | None, typer.Option(help="Write the plan's JSON here.")] = None,
) -> None:
    """Solve one planning problem, check the plan independently, and say how good it is."""
    if output is not None and not output.parent.is_dir():
        raise fail(f"--output: there is no folder {output.parent}; make it first")
    try:
        found = PlanningProblem.model_validate_json(problem.read_text("utf-8-sig"))
    except ValidationError as error:
        raise fail(explain(error, whole="problem")) from error
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"{problem}: cannot be read as a JSON file in UTF-8 ({error})") from error
    result = make_plan(found)
    report = check_plan(found, result)
    table = Table(show_header=False, box=None)
    gap = "-" if result.gap_fraction is None else f"{result.gap_fraction:.3%}"
    bound = "-" if result.bound_eur is None else f"{result.bound_eur:.3f} EUR"
    over = ", over all scenarios" if found.scenarios else ""
    held = []
    if result.frozen_gap_fraction is not None:
        held = [("gap while neighbours stay as planned", f"{result.frozen_gap_fraction:.3%}")]
    for name, value in (
        ("rung", result.rung), *(("not on", step) for step in result.steps_down),
        ("cost", f"{result.expected_cost_eur:.3f} EUR{over}"), ("bound", bound),
        ("gap", gap), ("certificate", result.certificate), *held,
        ("independent check", "passed" if report.ok else "; ".join(report.faults)),
        ("wishes not met", str(len(result.violations))),
    ):  # fmt: skip
        table.add_row(name, Text(value))
    console.print(table)
    if output is not None:
        output.write_text(result.model_dump_json(indent=1) + "\n")
    if not report.ok:
        raise fail("the independent checker found faults")
