"""`pems train thermal`: identify a house from a recording and write the model."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from contracts.thermal_model import HouseModel, content_hash, to_json
from services.thermal.core.history import History
from services.thermal.core.identify import Identification, identify
from services.thermal.core.structure import CANDIDATES, FOR_THE_PLANNER
from services.thermal.evaluate import parse_time, prior_for, rooms_of
from services.thermal.history_csv import read_history

app = typer.Typer(help="Train models from recordings.", no_args_is_help=True)


def train(
    data: Path, site: Path | None = None, until: str | None = None
) -> tuple[Identification, tuple[str, ...]]:
    """Identify from all rows (before `until`); returns the result and notes on the clock.

    With the house's own site file the model is one that the house takes: its rooms in its order, and
    structures that the planner can hold.
    """
    history, notes = read_history(data)
    if until is not None:
        limit = parse_time(until, "--until")
        history = history.rows(0, int((history.epoch_s < limit).sum()))
    house = rooms_of(site)
    if set(history.rooms) <= set(house):
        history = _whole(history, house)
    prior, pairs_known, more = prior_for(history, site)
    found = identify(
        history,
        prior,
        pairs_known=pairs_known,
        code_version=code_hash(),
        candidates=FOR_THE_PLANNER if house else CANDIDATES,
    )
    return found, (*notes, *more)


def _whole(history: History, rooms: tuple[str, ...]) -> History:
    """The history with the house's rooms in its order, as its model has them; NaN where there is none."""
    column = {room: history.temperature_c[:, k] for k, room in enumerate(history.rooms)}
    unknown = np.full(len(history.epoch_s), np.nan)
    return replace(
        history, rooms=rooms,
        temperature_c=np.column_stack([column.get(room, unknown) for room in rooms]),
    )  # fmt: skip


def code_hash() -> str:
    """SHA-256 over the core's source files: which code made a model."""
    digest = hashlib.sha256()
    for path in sorted((Path(__file__).parent / "core").glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def parameter_table(model: HouseModel) -> Table:
    """Rooms and their identified parameters with standard errors."""
    table = Table(title="identified parameters (standard error)")
    for heading in ("room", "nodes", "air kJ/K", "mass kJ/K", "loss W/K", "air-mass W/K",
                    "lag min", "sun m2"):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "room" else "right")
    for room in model.rooms:
        errors = {e.parameter: e.standard_error for e in room.standard_errors}

        def shown(value: float, name: str, scale: float, known: dict[str, float] = errors) -> str:
            error = known.get(name)
            suffix = "" if error is None else f" ({error * scale:.1f})"
            return f"{value * scale:.1f}{suffix}"

        loss = room.air_outside_w_per_k + room.mass_outside_w_per_k + room.ground_w_per_k
        table.add_row(
            room.name,
            str(room.node_count),
            shown(room.air_capacity_j_per_k, "air_capacity_j_per_k", 1e-3),
            shown(room.mass_capacity_j_per_k or 0.0, "mass_capacity_j_per_k", 1e-3),
            shown(loss, "air_outside_w_per_k", 1.0),
            shown(room.air_mass_w_per_k, "air_mass_w_per_k", 1.0),
            shown(room.emitter_lag_s, "emitter_lag_s", 1 / 60),
            f"{sum(p.area_m2 for p in room.solar_apertures):.2f}",
        )
    return table


@app.command("thermal")
def thermal(
    data: Annotated[Path, typer.Option(help="CSV with utc, T_<room>, heat_<room>, temp_air")],
    out: Annotated[Path, typer.Option(help="write the model's JSON here")],
    site: Annotated[Path | None, typer.Option(help="site file")] = None,
    until: Annotated[str | None, typer.Option(help="use rows before this UTC time")] = None,
    plot: Annotated[Path | None, typer.Option(help="write figures to this file")] = None,
) -> None:
    """Identify the rooms' physics from a recording."""
    try:
        found, notes = train(data, site, until)
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    out.write_text(to_json(found.model) + "\n")
    console = Console()
    console.print(parameter_table(found.model))
    for text in (*notes, *(finding.when_learnt for finding in found.findings)):
        console.print(f"- {text}")
    console.print(f"model {content_hash(found.model)} written to {out}")
    if plot is not None:
        from services.thermal.plots import parameter_figure

        parameter_figure(found.model, plot)
