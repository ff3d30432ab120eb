"""Scenario folders: strict reading and writing. Errors name file, column and row.

All times are ISO 8601 with an offset (UTC when written), each the START of its interval.

    scenario.json         name, seed, start, end, time_zone, latitude, longitude, altitude_m,
                          provenance (text by series)
    weather.csv           time, temperature_c, ghi_w_m2, wind_m_s        even step dividing 1 h
    prices.csv            time, eur_per_mwh                              15 min or 1 h
    load.csv              time, base_load_w                              even step
    ev.csv                ev, plug_in, plug_out, energy_wh, announced_energy_wh, announced_departure
                          (the last two may be empty)
    pv.csv                time, w_per_kwp                                optional
    weather_forecast.csv  issued, time, temperature_c, ghi_w_m2, wind_m_s   optional, hourly
"""

from __future__ import annotations

import csv
import datetime as dt
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from twin.calendar import epoch_s, utc
from twin.scenario import QUARTER_S, WEATHER_COLUMNS, EvSession, ForecastTable, Scenario
from twin.tables import FloatArray, Table

BOUNDS = {
    "temperature_c": (-60.0, 60.0),
    "ghi_w_m2": (0.0, 1_500.0),
    "wind_m_s": (0.0, 80.0),
    "eur_per_mwh": (-10_000.0, 10_000.0),
    "base_load_w": (0.0, 100_000.0),
    "w_per_kwp": (0.0, 1_500.0),
    "energy_wh": (0.0, 500_000.0),
    "announced_energy_wh": (0.0, 500_000.0),
}
EV_COLUMNS = (
    "ev",
    "plug_in",
    "plug_out",
    "energy_wh",
    "announced_energy_wh",
    "announced_departure",
)
META = ("name", "seed", "start", "end", "time_zone", "latitude", "longitude", "altitude_m")

Row = tuple[int, dict[str, str]]
"""Line number in the file (the header is line 1) and the cells by column."""


def _rows(path: Path, columns: Sequence[str]) -> list[Row]:
    if not path.is_file():
        raise ValueError(f"{path.name}: missing; a scenario folder needs it ({path})")
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        found = tuple(reader.fieldnames or ())
        if found != tuple(columns):
            raise ValueError(
                f"{path.name}, row 1: the header must be {','.join(columns)}; "
                f"found {','.join(found) or 'nothing'}"
            )
        rows: list[Row] = []
        for cells in reader:
            if None in cells or None in cells.values():
                raise ValueError(
                    f"{path.name}, row {reader.line_num}: needs {len(columns)} cells; "
                    "check for missing or extra commas"
                )
            rows.append((reader.line_num, cells))
    return rows


def _number(path: Path, row: Row, column: str) -> float:
    line, cells = row
    text = cells[column].strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    low, high = BOUNDS[column]
    if not low <= value <= high:
        raise ValueError(
            f"{path.name}, column {column}, row {line}: must be a number from {low:g} to {high:g}, "
            f"found {text!r}"
        )
    return value


def _time(place: str, text: str) -> int:
    try:
        moment = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ValueError(
            f"{place}: must be an ISO time with offset such as 2026-01-12T00:00:00Z, found {text!r}"
        )
    return epoch_s(moment)


def _cell_time(path: Path, row: Row, column: str) -> int:
    return _time(f"{path.name}, column {column}, row {row[0]}", row[1][column])


def _table(path: Path, columns: Sequence[str], steps: Sequence[int] | None = None) -> Table:
    rows = _rows(path, ("time", *columns))
    if len(rows) < 2:
        raise ValueError(f"{path.name}: has {len(rows)} data rows; it needs at least 2")
    times = [_cell_time(path, row, "time") for row in rows]
    step = times[1] - times[0]
    for row, before, time in zip(rows[1:], times, times[1:], strict=False):
        if time - before != step or step <= 0:
            raise ValueError(
                f"{path.name}, column time, row {row[0]}: is {time - before} s after the row "
                f"before, but the first step is {step} s; times must rise evenly without gaps"
            )
    if steps is not None and step not in steps:
        raise ValueError(
            f"{path.name}, column time, row {rows[1][0]}: the step is {step} s; "
            f"allowed: {', '.join(map(str, steps))}"
        )
    return Table(
        times[0],
        step,
        {name: np.array([_number(path, row, name) for row in rows]) for name in columns},
    )


def _prices(path: Path) -> Table:
    table = _table(path, ("eur_per_mwh",), (900, 3600))
    if table.step_s == QUARTER_S:
        return table
    return Table(table.start_s, QUARTER_S, {"eur_per_mwh": np.repeat(table["eur_per_mwh"], 4)})


def _sessions(path: Path) -> tuple[EvSession, ...]:
    sessions = []
    busy: dict[str, tuple[int, int]] = {}
    for row in _rows(path, EV_COLUMNS):
        line, cells = row
        plug_in, plug_out = (_cell_time(path, row, name) for name in ("plug_in", "plug_out"))
        if not cells["ev"].strip():
            raise ValueError(f"{path.name}, column ev, row {line}: is empty; name the car")
        if plug_out <= plug_in:
            raise ValueError(f"{path.name}, column plug_out, row {line}: must lie after plug_in")
        until, earlier = busy.get(cells["ev"], (plug_in, 0))
        if plug_in < until:
            raise ValueError(
                f"{path.name}, column plug_in, row {line}: lies inside the session of row {earlier}"
            )
        busy[cells["ev"]] = (plug_out, line)
        told_energy, told_leave = cells["announced_energy_wh"], cells["announced_departure"]
        sessions.append(
            EvSession(
                cells["ev"].strip(),
                plug_in,
                plug_out,
                _number(path, row, "energy_wh"),
                _number(path, row, "announced_energy_wh") if told_energy.strip() else None,
                _cell_time(path, row, "announced_departure") if told_leave.strip() else None,
            )
        )
    return tuple(sessions)


def _forecasts(path: Path) -> ForecastTable:
    rows = _rows(path, ("issued", "time", *WEATHER_COLUMNS))
    issued = [_cell_time(path, row, "issued") for row in rows]
    times = [_cell_time(path, row, "time") for row in rows]
    keys = list(zip(issued, times, strict=True))
    for row, before, key in zip(rows[1:], keys, keys[1:], strict=False):
        if key <= before:
            raise ValueError(
                f"{path.name}, column time, row {row[0]}: rows must be sorted by issued and time, "
                "each once"
            )
    for row, time in zip(rows, times, strict=True):
        if time % 3600:
            raise ValueError(f"{path.name}, column time, row {row[0]}: must be a whole UTC hour")
    return ForecastTable(
        np.array(issued, dtype=np.int64),
        np.array(times, dtype=np.int64),
        {name: np.array([_number(path, row, name) for row in rows]) for name in WEATHER_COLUMNS},
    )


def _meta(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path.name}: missing; a scenario folder needs it ({path})")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name}, row {error.lineno}: is no JSON: {error.msg}") from error
    if not isinstance(meta, dict):
        raise ValueError(f"{path.name}: must hold one JSON object")
    for name in META:
        if name not in meta:
            raise ValueError(f"{path.name}, field {name}: is missing; add it")
    for name in ("latitude", "longitude", "altitude_m"):
        if not isinstance(meta[name], int | float):
            raise ValueError(f"{path.name}, field {name}: must be a number, found {meta[name]!r}")
    if not isinstance(meta["seed"], int) or meta["seed"] < 0:
        raise ValueError(f"{path.name}, field seed: must be a whole number from 0 up")
    try:
        ZoneInfo(str(meta["time_zone"]))
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(
            f"{path.name}, field time_zone: {meta['time_zone']!r} is no IANA zone"
        ) from error
    return meta


def read_folder(folder: Path) -> Scenario:
    """Read and check a folder; ValueError names file, column and row of the first fault."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: is no folder; give a scenario folder")
    meta = _meta(folder / "scenario.json")
    pv, forecast = folder / "pv.csv", folder / "weather_forecast.csv"
    return Scenario(
        name=str(meta["name"]),
        seed=meta["seed"],
        start_s=_time("scenario.json, field start", str(meta["start"])),
        end_s=_time("scenario.json, field end", str(meta["end"])),
        time_zone=str(meta["time_zone"]),
        latitude=float(meta["latitude"]),
        longitude=float(meta["longitude"]),
        altitude_m=float(meta["altitude_m"]),
        weather=_table(folder / "weather.csv", WEATHER_COLUMNS, (300, 600, 900, 1800, 3600)),
        prices=_prices(folder / "prices.csv"),
        load=_table(folder / "load.csv", ("base_load_w",)),
        sessions=_sessions(folder / "ev.csv"),
        pv=_table(pv, ("w_per_kwp",)) if pv.exists() else None,
        forecasts=_forecasts(forecast) if forecast.exists() else None,
        provenance={str(k): str(v) for k, v in dict(meta.get("provenance", {})).items()},
    )


def _iso(time_s: int) -> str:
    return utc(time_s).isoformat().replace("+00:00", "Z")


def _write(path: Path, header: Sequence[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_table(path: Path, table: Table) -> None:
    names = list(table.columns)
    columns: list[FloatArray] = [table[name] for name in names]
    rows = [
        [_iso(int(time)), *(repr(float(values[k])) for values in columns)]
        for k, time in enumerate(table.times_s)
    ]
    _write(path, ("time", *names), rows)


def write_folder(scenario: Scenario, folder: Path) -> Path:
    """Write every file of a scenario; reading it back gives an equal `content_hash`."""
    folder.mkdir(parents=True, exist_ok=True)
    meta = {name: getattr(scenario, name) for name in META if name not in ("start", "end")}
    meta |= {"start": _iso(scenario.start_s), "end": _iso(scenario.end_s)}
    meta["provenance"] = dict(scenario.provenance)
    (folder / "scenario.json").write_text(
        json.dumps(meta, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    _write_table(folder / "weather.csv", scenario.weather)
    _write_table(folder / "prices.csv", scenario.prices)
    _write_table(folder / "load.csv", scenario.load)
    sessions = [
        [
            one.ev_id,
            _iso(one.plug_in_s),
            _iso(one.departure_s),
            repr(one.energy_wh),
            "" if one.announced_energy_wh is None else repr(one.announced_energy_wh),
            "" if one.announced_departure_s is None else _iso(one.announced_departure_s),
        ]
        for one in scenario.sessions
    ]
    _write(folder / "ev.csv", EV_COLUMNS, sessions)
    if scenario.pv is not None:
        _write_table(folder / "pv.csv", scenario.pv)
    if scenario.forecasts is not None:
        table = scenario.forecasts
        rows = [
            [
                _iso(int(table.issued_s[k])),
                _iso(int(table.times_s[k])),
                *(repr(float(table.columns[name][k])) for name in WEATHER_COLUMNS),
            ]
            for k in range(len(table.times_s))
        ]
        _write(folder / "weather_forecast.csv", ("issued", "time", *WEATHER_COLUMNS), rows)
    return folder
