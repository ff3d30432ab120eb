"""Files of the commands: recorded series as CSV and site files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from services.forecast.core.bands import FloatArray, IntArray, step_of
from services.forecast.core.place import Place, place_from_mapping
from services.forecast.core.price_hours import price_at
from services.forecast.core.series import Dataset, Series, WeatherRuns, regular, weather_runs
from services.forecast.core.solar import sun_path

TARGETS = {"pv": "pv_w", "load": "load_w", "price": "price_eur_mwh"}
WEATHER = {
    "ghi": (-50.0, 2000.0), "dni": (-50.0, 2000.0), "dhi": (-50.0, 2000.0), "temp_air": (-70.0, 70.0),
    "wind_speed": (-1.0, 100.0), "cloud_cover": (-1.0, 1000.0), "relative_humidity": (-1.0, 150.0),
    "tclw": (-1.0, 100.0), "tciw": (-1.0, 100.0), "pv_forecast_w": (-500.0, 1e9),
}  # fmt: skip
"""Columns and what they may say; beyond stand the codes that recorders write for nothing (-999)."""


def read_place(path: Path | None) -> Place:
    """A site file (YAML or JSON) as a `Place`; nothing known without one."""
    if path is None:
        return Place()
    text = path.read_text()
    try:
        raw = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: expected a mapping such as 'latitude: 50.1'")
    return place_from_mapping(raw)


def read_dataset(path: Path, kind: str, place: Place) -> Dataset:
    """A CSV (gzip too) with `utc` and the kind's column as a `Dataset`; see docs/forecasts.md for the columns.

    Times are beginnings of steps. Rows may repeat a time with different `issued`. PV that is missing while
    the sun is down all step long counts as 0 W when the coordinates are known.

    Raises
    ------
    ValueError
        naming the column and the fix.
    """
    frame = pd.read_csv(path)
    frame.columns = frame.columns.str.strip()
    target = TARGETS[kind]
    for column in ("utc", target):
        if column not in frame.columns:
            raise ValueError(f"{path}: no column {column!r}; {_has(list(frame.columns))}")
    if frame.empty:
        raise ValueError(f"{path}: no rows; give one for each step")
    # Recorders wake up some seconds early or late; the minute is what they mean.
    times = (_epoch(frame["utc"], "utc") + 30) // 60 * 60
    order = np.argsort(times, kind="stable")
    times = times[order]
    values = _number(frame[target], target)[order]
    unique, first = np.unique(times, return_index=True)
    measured = _first_known(times, values, first)
    weather = _weather(frame, order, times, kind)
    if kind == "price":
        series = _price_series(unique, measured)
    else:
        series = regular(unique, measured)
        if kind == "pv" and place.location is not None:
            sun = sun_path(series.times_s, series.step_s, place.location)
            empty = np.isnan(series.values) & ~sun.up
            series = Series(series.start_s, series.step_s, np.where(empty, 0.0, series.values))
    if not 300 <= series.step_s <= 3600:
        raise ValueError(f"{path}: utc: steps of {series.step_s} s; give 5 to 60 minutes")
    return Dataset(series, weather)


def _price_series(times: IntArray, values: FloatArray) -> Series:
    """Prices on the finest step of the market; an hourly price holds for its hour."""
    known = ~np.isnan(values)
    recent = times[times > times[-1] - 14 * 86_400]
    step = min(step_of(times), step_of(recent))
    grid = np.arange(times[0] // step * step, times[-1] + step, step, dtype=np.int64)
    return Series(int(grid[0]), step, price_at(grid, step, times[known], values[known]))


def _weather(
    frame: pd.DataFrame, order: IntArray, times: IntArray, kind: str
) -> WeatherRuns | None:
    columns = {}
    for name, (lowest, highest) in WEATHER.items():
        if name in frame.columns and (name != "pv_forecast_w" or kind == "pv"):
            values = _number(frame[name], name)[order]
            columns[name] = np.where((values >= lowest) & (values <= highest), values, np.nan)
    columns = {name: values for name, values in columns.items() if not np.isnan(values).all()}
    if not columns:
        return None
    # Rows in between, of what was measured more often than weather is told, are no weather.
    told = ~np.all([np.isnan(values) for values in columns.values()], axis=0)
    issued = None
    if "issued" in frame.columns:
        issued = _epoch(frame["issued"].iloc[order][told], "issued")
    rows = weather_runs(times[told], {k: v[told] for k, v in columns.items()}, issued)
    return replace(rows, columns={name: _between_its_own(rows, name) for name in columns})


def _between_its_own(rows: WeatherRuns, name: str) -> FloatArray:
    """A column that is told less often than others (hourly light beside temperature), between its own steps."""
    values = rows.columns[name]
    known = ~np.isnan(values)
    own = weather_runs(rows.valid_s[known], {name: values[known]}, rows.issued_s[known])
    if own.step_s <= rows.step_s:
        return values
    return own.between(name, rows.issued_s, rows.valid_s, rows.step_s)


def _first_known(times: IntArray, values: FloatArray, first: IntArray) -> FloatArray:
    """One value per different time: the first that is not missing."""
    result = values[first].copy()
    if len(first) < len(times):
        group = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(times))))
        for row in np.nonzero(~np.isnan(values))[0][::-1]:
            result[group[row]] = values[row]
    return result


def _has(columns: list[str]) -> str:
    """What the file has instead, and what to do when its fields are not separated by commas."""
    if len(columns) == 1 and (found := next((c for c in ";\t|" if c in columns[0]), None)):
        return f"the fields are separated by {found!r}; write commas, and numbers as 12.5"
    return f"it has {', '.join(columns)}"


def _epoch(column: pd.Series, name: str) -> IntArray:
    parsed = pd.to_datetime(column, utc=True, format="ISO8601", errors="coerce")
    if parsed.isna().any():
        row = int(np.argmax(parsed.isna().to_numpy()))
        raise ValueError(
            f"{name}: row {column.index[row] + 1}: '{column.iloc[row]}' is no time; write 2025-01-31T12:00:00Z"
        )
    return parsed.dt.tz_localize(None).to_numpy().astype("datetime64[s]").astype(np.int64)


def _number(column: pd.Series, name: str) -> FloatArray:
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64)
    said = column.notna() & (column.astype(str).str.strip() != "")
    wrong = (np.isnan(values) & said.to_numpy()) | np.isinf(values)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{name}: row {row + 1}: '{column.iloc[row]}' is no number; "
            "write numbers as 12.5, empty where missing"
        )
    return values
