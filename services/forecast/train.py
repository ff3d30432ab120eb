"""`pems train pv|load|price`: fit, store by content hash, promote only what beats the model in use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from chassis.models import FolderStore, name_of
from services.forecast.core.calendar import DAY_S
from services.forecast.core.history import HEARD
from services.forecast.core.place import Place
from services.forecast.core.predictor import Predictor
from services.forecast.core.registry import Decision, Registry
from services.forecast.core.rolling import make_predictor, rolling_origin
from services.forecast.core.scores import score
from services.forecast.core.series import Dataset
from services.forecast.evaluate import daily_issues, duration_s, instant
from services.forecast.files import read_dataset, read_place
from services.forecast.retrain import consider

app = typer.Typer(
    no_args_is_help=True,
    help="Train forecast models; a new one is used only if it beats the one in use on recent days.",
)


def train_and_consider(
    kind: str, data: Dataset, place: Place, registry: Registry, *, issue_phase_s: int, lead_s: int,
    window_days: int = 14, parameters: dict[str, object] | None = None,
) -> tuple[Predictor, Decision]:  # fmt: skip
    """Train on all but the last `window_days`, compare there with the model in use, promote if better.

    What is promoted is the model that was judged; the next training takes in the window. Raises ValueError
    when the history is shorter than the window and 7 days.
    """
    if window_days < 1:
        raise ValueError("window: less than a day; give at least 1d")
    series = data.series
    end_s = series.start_s + (series.end_s - series.start_s) // DAY_S * DAY_S
    split_s = end_s - window_days * DAY_S
    split_s += (issue_phase_s - split_s) % DAY_S
    if split_s - series.start_s < 7 * DAY_S:
        raise ValueError(f"data: too short; give at least {window_days + 7} days")
    candidate = make_predictor(kind, place, lead_s)
    candidate.parameters = dict(parameters or {})
    candidate.train(data.before(split_s), issue_phase_s)
    issues = np.arange(split_s, series.end_s - DAY_S + 1, DAY_S, dtype=np.int64)
    return candidate, registry.consider(candidate, data, place, issues)


def _for_a_house(kind: str, data: Path, site: Path | None, out: Path, as_json: bool) -> None:
    """A model trained and judged as a house does it, written for `pems model promote`."""
    place = read_place(site)
    with _waiting(f"training {kind}"):
        verdict = consider(kind, _heard(read_dataset(data, kind, place)), place, None, with_past=True)
    out.write_bytes(verdict.content)
    if as_json:
        typer.echo(json.dumps({
            "better": verdict.better, "model": name_of(verdict.content), "out": str(out),
            "candidate_loss": verdict.candidate_loss, "untrained_loss": verdict.incumbent_loss,
            "reason": verdict.reason,
        }, indent=1))  # fmt: skip
        return
    advice = "better" if verdict.better else "no better: leave it"
    Console().print(f"{kind} model {name_of(verdict.content)[:12]} written to {out}: {advice}")
    Console().print(verdict.reason)


def _heard(data: Dataset) -> Dataset:
    """Without weather that no house's forecast tells: a model that learnt from it would be silent there."""
    if data.weather is None:
        return data
    told = {name: values for name, values in data.weather.columns.items() if name in HEARD}
    return replace(data, weather=replace(data.weather, columns=told) if told else None)


@contextmanager
def _waiting(text: str) -> Iterator[None]:
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
        console=Console(stderr=True), transient=True,
    ) as bar:  # fmt: skip
        bar.add_task(text, total=None)
        yield


def _train(
    kind: str, data: Path, site: Path | None, registry: Path, issue_at: str, lead: str,
    window: str, as_json: bool, parameters: Path | None, out: Path | None,
) -> None:  # fmt: skip
    try:
        if out is not None:
            if (registry, issue_at, lead, window, parameters) != (DEFAULT_STORE, "00:00", "48h", "14d", None):
                raise ValueError(
                    "--out trains as a house does; leave out --registry, --issue-at, --lead, --window "
                    "and --parameters"
                )
            return _for_a_house(kind, data, site, out, as_json)
        place = read_place(site)
        dataset = read_dataset(data, kind, place)
        start = instant("1970-01-02", "from", place)
        phase = int(daily_issues(start, start.replace(day=3), issue_at, place)[0]) % DAY_S
        tuned = json.loads(parameters.read_text()) if parameters is not None else {}
        with _waiting(f"training {kind} on {len(dataset.series.values)} steps"):
            model, decision = train_and_consider(
                kind, dataset, place, Registry(FolderStore(registry)), issue_phase_s=phase,
                lead_s=duration_s(lead, "lead"), window_days=duration_s(window, "window") // DAY_S,
                parameters=tuned,
            )  # fmt: skip
    except (ValueError, OSError) as error:
        Console(stderr=True).print(f"[red]{error}[/red]")
        raise typer.Exit(2) from error
    assert model.metadata is not None
    top = dict(list(model.importance().items())[:10])
    if as_json:
        told = {
            "promoted": decision.promoted, "model": decision.candidate, "incumbent": decision.incumbent,
            "candidate_loss": decision.candidate_loss, "incumbent_loss": decision.incumbent_loss,
            "reason": decision.reason, "rows": model.metadata.rows, "scores": model.metadata.scores,
            "left_out_days": model.metadata.left_out, "importance": top,
        }  # fmt: skip
        typer.echo(json.dumps(told, indent=1))
        return
    console = Console()
    verdict = "promoted" if decision.promoted else "kept aside"
    console.print(f"{kind} model {decision.candidate[:12]} {verdict}: {decision.reason}")
    if decision.incumbent_loss is not None:
        console.print(
            f"pinball on the last {window}: {decision.candidate_loss:.4g} "
            f"(in use: {decision.incumbent_loss:.4g})"
        )
    for name, share in top.items():
        console.print(f"  {name:<20} {100 * share:5.1f} % of the gain")


Data = Annotated[Path, typer.Option("--data", help="CSV or CSV.gz as for pems evaluate")]
Site = Annotated[Path | None, typer.Option("--site", help="site file, YAML or JSON")]
Store = Annotated[Path, typer.Option("--registry", help="folder of models")]
IssueAt = Annotated[str, typer.Option("--issue-at", help="wall-clock HH:MM at the site")]
Lead = Annotated[str, typer.Option("--lead", help="24h or 48h")]
Window = Annotated[str, typer.Option("--window", help="recent days on which models are compared")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]
Out = Annotated[Path | None, typer.Option("--out", help="Train as a house does; write the model here.")]
Tuned = Annotated[Path | None, typer.Option("--parameters", help="JSON written by `search`")]
DEFAULT_STORE = Path("models")


@app.command("pv")
def train_pv(
    data: Data, site: Site = None, registry: Store = DEFAULT_STORE, issue_at: IssueAt = "00:00",
    lead: Lead = "48h", window: Window = "14d", as_json: AsJson = False, parameters: Tuned = None,
    out: Out = None,
) -> None:  # fmt: skip
    """Train the PV forecast on column pv_w and weather."""
    _train("pv", data, site, registry, issue_at, lead, window, as_json, parameters, out)


@app.command("load")
def train_load(
    data: Data, site: Site = None, registry: Store = DEFAULT_STORE, issue_at: IssueAt = "00:00",
    lead: Lead = "48h", window: Window = "14d", as_json: AsJson = False, parameters: Tuned = None,
    out: Out = None,
) -> None:  # fmt: skip
    """Train the load forecast on column load_w."""
    _train("load", data, site, registry, issue_at, lead, window, as_json, parameters, out)


@app.command("price")
def train_price(
    data: Data, site: Site = None, registry: Store = DEFAULT_STORE, issue_at: IssueAt = "00:00",
    lead: Lead = "48h", window: Window = "14d", as_json: AsJson = False, parameters: Tuned = None,
    out: Out = None,
) -> None:  # fmt: skip
    """Train the price forecast on column price_eur_mwh."""
    _train("price", data, site, registry, issue_at, lead, window, as_json, parameters, out)


@app.command("roll-back")
def roll_back(kind: str, registry: Store = DEFAULT_STORE) -> None:
    """Go back to the model before the one in use."""
    try:
        digest = Registry(FolderStore(registry)).roll_back(kind)
    except ValueError as error:
        Console(stderr=True).print(f"[red]{error}[/red]")
        raise typer.Exit(2) from error
    typer.echo(f"{kind}: back to {digest[:12]}")


@app.command("search")
def search(
    kind: str, data: Data, start: Annotated[str, typer.Option("--from")],
    end: Annotated[str, typer.Option("--to")], out: Annotated[Path, typer.Option("--out")],
    site: Site = None, trials: Annotated[int, typer.Option("--trials")] = 20,
    issue_at: IssueAt = "00:00", lead: Lead = "24h",
) -> None:  # fmt: skip
    """Search hyper-parameters of the boosted members (optuna, seeded); by hand, never in the loop."""
    import optuna

    try:
        place = read_place(site)
        dataset = read_dataset(data, kind, place)
        first, last = instant(start, "from", place), instant(end, "to", place)
        issues = daily_issues(first, last, issue_at, place)
    except (ValueError, OSError) as error:
        Console(stderr=True).print(f"[red]{error}[/red]")
        raise typer.Exit(2) from error
    lead_s = duration_s(lead, "lead")

    def loss(trial: optuna.Trial) -> float:
        tuned: dict[str, object] = {
            "max_depth": trial.suggest_int("max_depth", 3, 8),
            "min_child_weight": trial.suggest_int("min_child_weight", 3, 40, log=True),
            "colsample_bytree": trial.suggest_float("colsample_bytree", 0.15, 0.8),
            "subsample": trial.suggest_float("subsample", 0.4, 0.9),
            "rounds": trial.suggest_int("rounds", 80, 400, log=True),
        }
        rolled = rolling_origin(kind, dataset, place, issues, lead_s, 28 * DAY_S, parameters=tuned)
        value = score(rolled.actual, rolled.ours).pinball
        return float("inf") if value is None else value

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1))
    study.optimize(loss, n_trials=trials, show_progress_bar=True)
    out.write_text(json.dumps(study.best_params, indent=1, sort_keys=True) + "\n")
    typer.echo(f"{kind}: pinball {study.best_value:.4g} with {study.best_params}; wrote {out}")
