"""`pems evaluate pv|load|price`: rolling-origin scores of ours and of every baseline, on anyone's data."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from services.forecast.core.bands import IntArray
from services.forecast.core.place import Place
from services.forecast.core.rolling import Rolled, report, rolling_origin
from services.forecast.files import read_dataset, read_place

app = typer.Typer(
    no_args_is_help=True,
    help="Score the forecasts on recorded data: rolling origin, nothing after an issue time is used.",
)

_UNITS_S = {"m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


def duration_s(text: str, name: str) -> int:
    """`24h`, `7d`, `90m` or `90min` in seconds; raises ValueError naming the option."""
    match = re.fullmatch(r"(\d+)\s*(min|[mhdw])", text.strip())
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{name}: {text!r} is not a duration; write 24h or 7d")
    return int(match[1]) * _UNITS_S[match[2]]


def instant(text: str, name: str, place: Place) -> dt.datetime:
    """An ISO time; without an offset it is local time of the site (UTC without a site file)."""
    try:
        parsed = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(
            f"{name}: {text!r} is not a time; write 2025-01-31 or 2025-01-31T12:00Z"
        ) from error
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=ZoneInfo(place.time_zone))


def daily_issues(start: dt.datetime, end: dt.datetime, issue_at: str, place: Place) -> IntArray:
    """UTC epoch seconds of each day's issue at wall-clock `issue_at` (HH:MM) with start <= issue < end."""
    try:
        clock = dt.time.fromisoformat(issue_at)
    except ValueError as error:
        raise ValueError(f"issue-at: {issue_at!r} is not a time of day; write 00:00") from error
    zone = ZoneInfo(place.time_zone)
    day, last = start.astimezone(zone).date(), end.astimezone(zone).date()
    issues = []
    while day <= last:
        issue = dt.datetime.combine(day, clock, zone)
        if start <= issue < end:
            issues.append(int(issue.timestamp()))
        day += dt.timedelta(days=1)
    return np.array(issues, dtype=np.int64)


def evaluate_file(
    kind: str, data: Path, start: str, end: str, *, refit_every: str = "7d", issue_at: str = "00:00",
    lead: str = "24h", site: Path | None = None, progress: bool = False,
) -> tuple[dict[str, object], Rolled, Place]:  # fmt: skip
    """Evaluate one file; returns the JSON-able report, every forecast behind it, and the place."""
    place = read_place(site)
    dataset = read_dataset(data, kind, place)
    first, last = instant(start, "from", place), instant(end, "to", place)
    lead_s, refit_s = duration_s(lead, "lead"), duration_s(refit_every, "refit-every")
    issues = daily_issues(first, last, issue_at, place)
    known_to = dataset.series.end_s
    issues = issues[(issues < known_to) & (issues > dataset.series.start_s)]
    with Progress(console=Console(stderr=True), transient=True, disable=not progress) as bar:
        task = bar.add_task("rolling origin", total=len(issues))
        rolled = rolling_origin(
            kind, dataset, place, issues, lead_s, refit_s, until_s=int(last.timestamp()),
            progress=lambda done: bar.update(task, completed=done),
        )  # fmt: skip
    summary = report(rolled, lead_s)
    predictor = rolled.predictor
    settings = {
        "kind": kind, "from": first.isoformat(), "to": last.isoformat(),
        "issues": len(np.unique(rolled.issue_s)), "refit_every": refit_every,
        "issue_at": issue_at, "lead": lead, "time_zone": place.time_zone, "step_s": dataset.series.step_s,
    }  # fmt: skip
    members = predictor.member_names()
    joined = predictor.combination
    model: dict[str, object] = {"flags": list(rolled.ours.flags), "members": members}
    if joined is not None:
        model["weights"] = dict(zip(members, joined.band_weights.round(4).tolist(), strict=True))
    if predictor.metadata is not None:
        model["left_out_days"] = predictor.metadata.left_out
    model["site"] = predictor.constants()
    return {**summary, "settings": settings, "model": model}, rolled, place


def print_report(console: Console, summary: dict[str, object], unit: str) -> None:
    """The report as a table for people."""
    table = Table(title=f"Out-of-sample scores ({unit})")
    for name in ("forecast", "n", "RMSE", "MAE", "bias", "pinball", "P10-P90 coverage"):
        table.add_column(name, justify="left" if name == "forecast" else "right")

    def row(name: str, scores: object) -> None:
        assert isinstance(scores, dict)
        coverage = scores["coverage_80"]
        table.add_row(
            name, str(scores["n"]), *(
                "-" if scores[key] is None else f"{scores[key]:.2f}"
                for key in ("rmse", "mae", "bias", "pinball")
            ), "-" if coverage is None else f"{100 * coverage:.1f} %",
        )  # fmt: skip

    row("ours", summary["ours"])
    baselines, leads = summary["baselines"], summary["by_lead"]
    assert isinstance(baselines, dict)
    assert isinstance(leads, dict)
    for name, scores in baselines.items():
        row(name, scores)
    for name, scores in leads.items():
        row(f"ours, {name} ahead", scores["ours"])
    console.print(table)


def _run(
    kind: str, data: Path, start: str, end: str, refit_every: str, issue_at: str, lead: str,
    site: Path | None, as_json: bool, plot: Path | None,
) -> None:  # fmt: skip
    unit = "EUR/MWh" if kind == "price" else "W"
    try:
        summary, rolled, place = evaluate_file(
            kind, data, start, end, refit_every=refit_every, issue_at=issue_at, lead=lead, site=site,
            progress=not as_json,
        )  # fmt: skip
    except (ValueError, OSError) as error:
        Console(stderr=True).print(f"[red]{error}[/red]")
        raise typer.Exit(2) from error
    if plot is not None:
        from services.forecast.plots import draw

        draw(rolled, unit, place.time_zone, plot)
    if as_json:
        typer.echo(json.dumps(_finite(summary), indent=1))
    else:
        print_report(Console(), summary, unit)


def _finite(value: object) -> object:
    """NaN is no JSON: null instead."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


Data = Annotated[
    Path, typer.Option("--data", help="CSV or CSV.gz with utc and the measured column")
]
Start = Annotated[str, typer.Option("--from", help="first issue, e.g. 2025-01-01")]
End = Annotated[str, typer.Option("--to", help="end of the scored span (exclusive)")]
Refit = Annotated[str, typer.Option("--refit-every", help="e.g. 7d")]
IssueAt = Annotated[
    str, typer.Option("--issue-at", help="wall-clock HH:MM at the site (UTC without one)")
]
Lead = Annotated[str, typer.Option("--lead", help="24h or 48h")]
Site = Annotated[
    Path | None, typer.Option("--site", help="YAML or JSON: location, arrays, capacity_w, ...")
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]
Plot = Annotated[
    Path | None, typer.Option("--plot", help="write fan chart, reliability and error by lead")
]


@app.command("pv")
def evaluate_pv(
    data: Data, start: Start, end: End, refit_every: Refit = "7d", issue_at: IssueAt = "00:00",
    lead: Lead = "24h", site: Site = None, as_json: AsJson = False, plot: Plot = None,
) -> None:  # fmt: skip
    """PV power from column pv_w, with weather columns as in pvlib and pv_forecast_w when present."""
    _run("pv", data, start, end, refit_every, issue_at, lead, site, as_json, plot)


@app.command("load")
def evaluate_load(
    data: Data, start: Start, end: End, refit_every: Refit = "7d", issue_at: IssueAt = "00:00",
    lead: Lead = "24h", site: Site = None, as_json: AsJson = False, plot: Plot = None,
) -> None:  # fmt: skip
    """Uncontrolled load from column load_w, with temp_air when present."""
    _run("load", data, start, end, refit_every, issue_at, lead, site, as_json, plot)


@app.command("price")
def evaluate_price(
    data: Data, start: Start, end: End, refit_every: Refit = "7d", issue_at: IssueAt = "00:00",
    lead: Lead = "48h", site: Site = None, as_json: AsJson = False, plot: Plot = None,
) -> None:  # fmt: skip
    """Market price from column price_eur_mwh; every price before an issue counts as published, none after."""
    _run("price", data, start, end, refit_every, issue_at, lead, site, as_json, plot)
