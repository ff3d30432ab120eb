"""From a house's InfluxDB to the files that ``pems train`` and ``pems evaluate`` read.

One column after the other, a month at a time: of mean powers InfluxDB sends steps, of counters a reading
a minute, of states what was written. What is kept of two years is a number a step and column.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pems.influx_mapping import LONGEST_GAP_S, Part
from pems.influx_mapping import Mapping as Where
from services.forecast.files import TARGETS, WEATHER
from services.gateway.core.steps import Array, Held, Steps, counted
from services.gateway.devices.influx import InfluxHistory, Piece, Source

CHUNK = timedelta(days=30)
THIN_S = 60
"""Of a counter the last reading of every minute is enough."""
DECIMALS = {"price": 3, "pv": 1, "load": 1, "heat": 1, "T_": 3, "": 2}
"""By how a column begins: 0.1 W, 0.001 K and 0.001 EUR/MWh are less than anybody measures."""
TO_THERMAL = {"temp_air": "temp_air", "ghi": "ghi", "dni": "dni", "dhi": "dhi", "wind_speed": "wind"}
"""Weather that a model of rooms reads, and what it is called there."""
CLOUD = ("tclw", "tciw")


def chunks(start: datetime, stop: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The months that are asked for one after the other."""
    while start < stop:
        yield start, min(start + CHUNK, stop)
        start += CHUNK


async def read_columns(
    history: InfluxHistory, where: Where, start: datetime, stop: datetime, step_s: int,
    progress: Callable[[str, int], None] = lambda column, done: None,
) -> tuple[dict[str, Array], dict[str, list[str]]]:  # fmt: skip
    """Every column on the grid, NaN where unknown, and what is to be said of each.

    Raises ValueError that names the column when its series is not there or not one, ConnectionError
    when InfluxDB refuses. `progress` hears the column and every month that is done.
    """
    values: dict[str, Array] = {}
    notes: dict[str, list[str]] = {}
    for column, parts in where.columns.items():
        count = int((stop - start).total_seconds()) // step_s
        # A room is what it is at the beginning of a step: the mean of half a step before and after.
        half = step_s // 2 if column.startswith("T_") else 0
        begin, end = start - timedelta(seconds=half), stop - timedelta(seconds=half)
        total, said = np.zeros(2 * count if half else count), []
        for part in parts:
            try:
                source, note = await _chosen(history, part, where.bucket, begin, end)
                done = partial(progress, column, 1)
                total += await _means(history, source, part, begin, end, half or step_s, done)
            except ValueError as error:
                raise ValueError(f"{column}: {error}") from error
            except ConnectionError as error:
                raise ConnectionError(f"{column}: {error}") from error
            said += note
        if half:
            total = _mean_of_known(total.reshape(-1, 2))
        values[column] = np.round(total, next(n for end, n in DECIMALS.items() if column.startswith(end)))
        notes[column] = said
    return values, notes


def _mean_of_known(pairs: Array) -> Array:
    known = np.isfinite(pairs)
    count = known.sum(axis=1)
    return np.where(count > 0, np.where(known, pairs, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)


async def _chosen(
    history: InfluxHistory, part: Part, bucket: str, start: datetime, stop: datetime
) -> tuple[Source, list[str]]:
    """The one series of a part, or several that follow each other; ValueError for none or for a choice."""
    source = part.source(bucket)
    earlier = start - timedelta(seconds=part.hold_s or 0)
    found = await history.matches(source, earlier, stop)
    name = f"{source.bucket}: {part.measurement}.{part.field}"
    if not found:
        tags = "".join(f", {key}={value}" for key, value in part.tags.items())
        raise ValueError(
            f"{name}{tags}: nothing was written from {earlier:%Y-%m-%d} to {stop:%Y-%m-%d}; check "
            "measurement, field and tags, and --from and --to"
        )
    if part.kind != "held" and isinstance(found[0].example, bool | str):
        raise ValueError(f"{name}: {found[0].example!r} is no number but a state; write kind: held")
    if len(found) == 1:
        return source, []
    for before, after in itertools.pairwise(found):
        if after.first <= before.last:
            raise ValueError(
                f"{name}: {len(found)} series match; add tags until one is left: "
                f"{_differ(before, after)}"
            )
    joined = f"{len(found)} series that follow each other, taken as one ({_differ(*found[-2:])})"
    return dataclasses.replace(source, joined=True), [joined]


def _differ(one: Piece, other: Piece) -> str:
    """How the tags of two series differ."""
    tags = sorted(set(one.tags) | set(other.tags))
    pairs = [(tag, one.tags.get(tag, "none"), other.tags.get(tag, "none")) for tag in tags]
    return ", ".join(f"{tag}: {a} or {b}" for tag, a, b in pairs if a != b)


async def _means(
    history: InfluxHistory, source: Source, part: Part, start: datetime, stop: datetime, step_s: int,
    done: Callable[[], None],
) -> Array:  # fmt: skip
    """The mean of each step of one series."""
    first, count = int(start.timestamp()), int((stop - start).total_seconds()) // step_s
    if part.kind == "mean":
        found = []
        for begin, end in chunks(start, stop):
            found.append((await history.series(source, begin, end, step_s)).values)
            done()
        return np.concatenate(found)
    steps = Steps(first, step_s, count)
    hold = part.hold_s or LONGEST_GAP_S
    held, readings = Held(steps, float(hold)), []
    for begin, end in chunks(start, stop):
        # What was there before the beginning holds on into it, and a counter goes on past the end.
        begin -= timedelta(seconds=hold if begin == start else 0)
        if part.kind == "held":
            held.take(*await history.written(source, begin, end), end.timestamp())
        else:
            end += timedelta(seconds=hold if end == stop else 0)
            readings.append(await history.written(source, begin, end, THIN_S))
        done()
    if part.kind == "counter":
        times, energy = (np.concatenate(parts) for parts in zip(*readings, strict=True))
        if len(times):
            steps.add(*counted(times, energy, float(hold)))
        return steps.means() if part.scale > 0.0 else -steps.means()
    return steps.means()


def tables(values: Mapping[str, Array], times_s: NDArray[np.int64]) -> dict[str, pd.DataFrame]:
    """By kind, the columns that its training reads, from the first to the last row that says something."""
    found: dict[str, dict[str, Array]] = {}
    weather = [name for name in WEATHER if name in values and name != "pv_forecast_w"]
    for kind, target in TARGETS.items():
        if target in values:
            more = [n for n in weather if kind == "pv" or n not in CLOUD]
            more += ["pv_forecast_w"] if kind == "pv" and "pv_forecast_w" in values else []
            found[kind] = {name: values[name] for name in (target, *more)}
    rooms = [name for name in values if name.startswith(("T_", "heat_")) or name == "heat"]
    if rooms:
        found["thermal"] = {name: values[name] for name in rooms} | {
            called: values[name] for name, called in TO_THERMAL.items() if name in values
        }
    return {
        kind: frame for kind, columns in found.items() if len(frame := _trimmed(columns, times_s))
    }


def _trimmed(columns: Mapping[str, Array], times_s: NDArray[np.int64]) -> pd.DataFrame:
    utc = pd.to_datetime(times_s, unit="s").strftime("%Y-%m-%dT%H:%M:%SZ")
    frame = pd.DataFrame({"utc": utc, **columns})
    known = np.flatnonzero(frame.drop(columns="utc").notna().any(axis=1))
    return frame.iloc[known[0] : known[-1] + 1] if len(known) else frame.iloc[:0]


def write(frames: Mapping[str, pd.DataFrame], folder: Path) -> dict[str, Path]:
    """The files by kind: all are written aside first, then renamed, so that none is half there."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {kind: folder / f"{kind}.csv.gz" for kind in frames}
    aside = {kind: path.with_name(f".{path.name}.part") for kind, path in paths.items()}
    try:
        for kind, frame in frames.items():
            compression = {"method": "gzip", "mtime": 0}
            frame.to_csv(aside[kind], index=False, compression=compression, lineterminator="\n")
        for kind, path in paths.items():
            aside[kind].replace(path)
    finally:
        for path in aside.values():
            path.unlink(missing_ok=True)
    return paths


def grid(start: datetime, stop: datetime, step_s: int) -> tuple[datetime, datetime]:
    """The first step not before `start` and the end of the last one not after `stop`, UTC."""
    first = -(-int(start.timestamp()) // step_s) * step_s
    last = int(stop.timestamp()) // step_s * step_s
    if first >= last:
        raise ValueError(f"--from {start:%Y-%m-%d %H:%M} is not before --to {stop:%Y-%m-%d %H:%M}")
    return datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC)
