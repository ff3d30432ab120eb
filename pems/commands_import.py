"""``pems import``: years of history from elsewhere, as files that ``pems train`` and ``evaluate`` read."""

from __future__ import annotations

import asyncio
import os
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pems.cli import app, console, fail
from pems.config import load_yaml
from pems.importing import chunks, grid, read_columns, tables, write
from pems.influx_hints import hints
from pems.influx_mapping import TOKEN, Mapping, load_mapping
from services.forecast.evaluate import duration_s, instant
from services.forecast.files import read_place
from services.gateway.core.steps import Array
from services.gateway.devices.influx import InfluxHistory

import_app = typer.Typer(help="Bring a history along from elsewhere.", no_args_is_help=True)
app.add_typer(import_app, name="import")

TIMEOUT_S = 120.0


@import_app.command("influx")
def influx(
    mapping: Annotated[Path, typer.Argument(help="YAML as in deploy/influx.example.yaml.")],
    start: Annotated[str, typer.Option("--from", help="Local time of the site; UTC without one.")],
    stop: Annotated[str, typer.Option("--to", help="The end, itself not part of it.")],
    out: Annotated[Path, typer.Option(help="Folder for pv, load, price, thermal .csv.gz.")],
    step: Annotated[str, typer.Option(help="5min to 1h.")] = "15min",
    site: Annotated[Path | None, typer.Option(help="Site file: place, rooms, and checks.")] = None,
) -> None:
    """Read a house's history out of InfluxDB 2 into files for `pems train` and `pems evaluate`.

    The token comes from the environment variable PEMS_INFLUX_TOKEN; read permission is enough.
    """
    where = load_mapping(mapping)
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise fail(f"{TOKEN} is not set; export a token that may read {where.bucket}")
    try:
        place, rooms = read_place(site), _rooms(site)
        step_s = duration_s(step, "--step")
        if not 300 <= step_s <= 3600 or 3600 % step_s:
            raise ValueError(f"--step: {step!r} is no part of an hour; give 5min, 10min, 15min, 30min or 1h")
        begin, end = grid(instant(start, "--from", place), instant(stop, "--to", place), step_s)
        values, notes = asyncio.run(_read(where, token, begin, end, step_s))
        times_s = np.arange(int(begin.timestamp()), int(end.timestamp()), step_s, dtype=np.int64)
        frames = tables(values, times_s)
        if not frames:
            raise ValueError("nothing is known in this time; look at --from and --to")
        for name, said in notes.items():
            if rooms and name.startswith("T_") and name[2:] not in rooms:
                said.append(f"the site file has no room {name[2:]}")
        paths = write(frames, out)
    except (ValueError, OSError) as error:
        raise fail(error) from error
    console.print(_table(values, times_s), highlight=False)
    lines = [
        f"{name}: {text}"
        for name, series in values.items()
        for text in (*notes[name], *hints(name, series, times_s, step_s, place))
    ]
    for line in (*lines, *next_steps(paths, out, site)):
        console.print(Text(line), soft_wrap=True)


def _rooms(site: Path | None) -> set[str]:
    """Ids of the rooms that a site file names."""
    raw = load_yaml(site) if site is not None else None
    rooms = raw.get("rooms") if isinstance(raw, dict) else None
    return {str(room.get("id")) for room in rooms or () if isinstance(room, dict)}


async def _read(
    where: Mapping, token: str, start: datetime, stop: datetime, step_s: int
) -> tuple[dict[str, Array], dict[str, list[str]]]:
    history = InfluxHistory(where.url, token, where.org, TIMEOUT_S)
    months = len(list(chunks(start, stop)))
    try:
        await history.connect()
        with Progress(
            TextColumn("{task.description:<18}"), BarColumn(bar_width=40),
            TextColumn("{task.percentage:3.0f} %"), TimeRemainingColumn(), console=console, transient=True,
        ) as bar:  # fmt: skip
            task = bar.add_task("", total=months * sum(len(parts) for parts in where.columns.values()))
            return await read_columns(
                history, where, start, stop, step_s,
                lambda column, done: bar.update(task, description=column, advance=done),
            )  # fmt: skip
    finally:
        await history.close()


def _table(values: dict[str, Array], times_s: NDArray[np.int64]) -> Table:
    """A line a column: when, how much is known, how large."""
    table = Table(header_style="bold")
    for name in ("column", "first", "last", "known", "min", "median", "max"):
        text = name in ("column", "first", "last")
        table.add_column(name, justify="left" if text else "right", no_wrap=True)
    for name, series in values.items():
        at = np.flatnonzero(np.isfinite(series))
        if not len(at):
            table.add_row(name, *["-"] * 2, "0 %", *["-"] * 3)
            continue
        known = series[at]
        when = (f"{datetime.fromtimestamp(int(times_s[k]), UTC):%Y-%m-%d %H:%M}" for k in (at[0], at[-1]))
        sizes = (f"{v:.1f}" for v in (known.min(), np.median(known), known.max()))
        table.add_row(name, *when, f"{100 * len(at) / len(series):.0f} %", *sizes)
    return table


def next_steps(paths: dict[str, Path], out: Path, site: Path | None) -> list[str]:
    """The commands that make models of the files, and put them into a house."""
    file = shlex.quote("site.yaml" if site is None else str(site))
    lines = ["Next, learn:"]
    models = {kind: shlex.quote(str(out / f"{kind}.model")) for kind in paths}
    for kind, path in paths.items():
        lines.append(f"pems train {kind} --data {shlex.quote(str(path))} --site {file} --out {models[kind]}")
    lines.append("and, with the house running:")
    return lines + [f"pems model promote {kind} {path}" for kind, path in models.items()]
