"""`pems evaluate thermal`: train on the first part of a recording, score the rest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import yaml
from rich.console import Console
from rich.table import Table

from contracts.site import SiteConfig
from contracts.thermal_model import HouseModel
from services.thermal.core.backtest import backtest
from services.thermal.core.correction import Correction, learn
from services.thermal.core.from_site import model_of
from services.thermal.core.history import History, with_irradiance, with_some_on
from services.thermal.core.identify import default_prior, identify
from services.thermal.core.screen import Finding, plausible, screen
from services.thermal.history_csv import read_history
from services.thermal.location import locate, stated_place
from services.thermal.report import scores

app = typer.Typer(help="Evaluate models out of sample.", no_args_is_help=True)

SENSOR_FAULTS = {"stuck", "swapped", "gap", "no-data", "impossible", "spikes"}
HOURS_SHOWN = (1, 3, 6, 12, 24, 48)


def parse_time(text: str, option: str) -> int:
    """Epoch seconds of an ISO time; naive means UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{option} {text!r} is not an ISO 8601 time") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp())


def parse_lead(text: str) -> int:
    """Seconds of a duration like 24h, 90min or 2d."""
    for suffix, seconds in (("min", 60), ("h", 3600), ("d", 86400)):
        if text.endswith(suffix) and text[: -len(suffix)].strip().isdigit():
            return int(text[: -len(suffix)]) * seconds
    raise ValueError(f"--lead {text!r} is not a duration; write for example 24h or 90min")


def prior_for(history: History, site: Path | None) -> tuple[HouseModel, bool, tuple[str, ...]]:
    """Prior model of the recording's rooms, whether its couplings are complete, and notes.

    `site` is the house's site file or only says `latitude`, `longitude` and `time_zone`. Raises ValueError
    naming what is wrong with it.
    """
    if site is not None:
        raw = _read(site)
        if isinstance(raw, dict) and "rooms" not in raw:
            return default_prior(history.rooms, *stated_place(raw)), False, ()
        from_site = model_of(SiteConfig.model_validate(raw))
        if set(from_site.room_names) >= set(history.rooms):
            chosen = {room.name: room for room in from_site.rooms}
            couplings = tuple(
                c for c in from_site.couplings if {c.room_a, c.room_b} <= set(history.rooms)
            )
            model = from_site.model_copy(
                update={
                    "rooms": tuple(chosen[name] for name in history.rooms),
                    "couplings": couplings,
                }
            )
            return model, bool(couplings), ()
        missing = sorted(set(history.rooms) - set(from_site.room_names))
        place = (from_site.latitude_deg, from_site.longitude_deg, from_site.time_zone)
        return (
            default_prior(history.rooms, *place),
            False,
            (f"rooms {missing} are not in the site file: only its place was used",),
        )
    latitude, longitude, zone, note = locate(history)
    return default_prior(history.rooms, latitude, longitude, zone), False, (note,)


def _read(site: Path) -> Any:
    """The plain values of a site file; ValueError when it is no YAML."""
    try:
        return yaml.safe_load(site.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{site}: cannot be read: {error}") from error


def rooms_of(site: Path | None) -> tuple[str, ...]:
    """The rooms of a house's own site file; none when it only says where it is."""
    raw = None if site is None else _read(site)
    if not isinstance(raw, dict) or "rooms" not in raw:
        return ()
    return model_of(SiteConfig.model_validate(raw)).room_names


def faults(history: History) -> tuple[Finding, ...]:
    """What is wrong with the test's sensors; unlike in training nothing is taken out for it."""
    return tuple(f for f in screen(history)[1] if f.kind in SENSOR_FAULTS)


@dataclass(frozen=True)
class Evaluation:
    """`report` is what `--json` prints; `history` is the whole recording, irradiance completed."""

    report: dict[str, Any]
    model: HouseModel
    correction: Correction
    history: History


def run(
    data: Path,
    train_until: str,
    start: str,
    end: str,
    lead: str = "24h",
    site: Path | None = None,
) -> Evaluation:
    """Train on the rows before `train_until`, test between `start` and `end`, and score."""
    recorded, notes = read_history(data)
    history = with_some_on(recorded)
    prior, pairs_known, more = prior_for(history, site)
    until = parse_time(train_until, "--train-until")
    split = int(np.searchsorted(history.epoch_s, until))
    found = identify(history.rows(0, split), prior, pairs_known=pairs_known)
    complete = with_irradiance(plausible(history), prior.latitude_deg, prior.longitude_deg)
    lead_s = parse_lead(lead)
    correction = learn(found.model, complete.rows(0, split), found.usable, lead_s)
    leads = sorted({h * 3600 for h in HOURS_SHOWN if h * 3600 < lead_s} | {lead_s})
    result = backtest(
        found.model,
        complete,
        train_until_epoch_s=until,
        from_epoch_s=max(parse_time(start, "--from"), until),
        to_epoch_s=parse_time(end, "--to"),
        lead_s=leads,
        correction=correction,
    )
    report = scores(result, found.model)
    report["data"] = data.name
    report["train_until"] = datetime.fromtimestamp(until, UTC).isoformat()
    stop = int(np.searchsorted(history.epoch_s, parse_time(end, "--to")))
    report["findings"] = [
        *notes,
        *more,
        *(finding.when_learnt for finding in found.findings),
        *(f"while tested, {f.text}" for f in faults(history.rows(split, stop))),
    ]
    report["structure"] = {
        room.name: {
            "nodes": room.node_count,
            "emitter_lag_s": room.emitter_lag_s,
            "planner_can_hold": room.emitter_lag_s == 0.0,
            "identified": list(room.identified),
            "held_out_loss": {
                label: loss
                for label, loss in found.structure_loss.get(room.name, {}).items()
                if np.isfinite(loss)
            },
        }
        for room in found.model.rooms
    }
    return Evaluation(report, found.model, correction, complete)


def show(report: dict[str, Any], console: Console) -> None:
    """The report as tables."""
    for entry in report["leads"]:
        table = Table(title=f"{entry['lead_h']:g} h ahead, mean absolute error in K")
        labels = list(entry["mean"])
        for heading in ("room", "cases", *labels, "bias", "90 % band holds"):
            table.add_column(heading, justify="left" if heading == "room" else "right")
        for name, room in [*entry["rooms"].items(), ("mean", entry["mean"])]:
            if "ours" not in room:
                continue
            table.add_row(
                name,
                str(room.get("count", "")),
                *(f"{room[k]['mae_c']:.2f}" if k in room else "-" for k in labels),
                f"{room['ours']['bias_c']:+.2f}",
                f"{100 * room['ours']['coverage_90']:.0f} %",
            )
        console.print(table)
    for text in report["findings"]:
        console.print(f"- {text}")


@app.command("thermal")
def thermal(
    data: Annotated[Path, typer.Option(help="CSV with utc, T_<room>, heat_<room>, temp_air")],
    train_until: Annotated[str, typer.Option(help="train on rows before this UTC time")],
    start: Annotated[str, typer.Option("--from", help="first forecast origin, UTC")],
    end: Annotated[str, typer.Option("--to", help="end of the test, UTC")],
    lead: Annotated[str, typer.Option(help="longest lead time, e.g. 24h")] = "24h",
    site: Annotated[Path | None, typer.Option(help="site file")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    plot: Annotated[Path | None, typer.Option(help="write figures to this file")] = None,
) -> None:
    """Score the thermal model out of sample against persistence, yesterday and ARX."""
    try:
        done = run(data, train_until, start, end, lead, site)
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    if plot is not None:
        from services.thermal.plots import evaluation_figure

        span = parse_time(start, "--from"), parse_time(end, "--to")
        evaluation_figure(done.model, done.history, done.correction, *span, plot)
    if as_json:
        typer.echo(json.dumps(done.report, indent=1, allow_nan=False))
    else:
        show(done.report, Console())
