"""Reading a house's history from CSV: irregular clocks, repeated rows and gaps made regular.

Columns: `utc` (ISO 8601 or epoch seconds), `T_<room>` degC, `heat_<room>` W or one `heat` W,
`temp_air` degC, optional `ghi`, `dni`, `dhi` W/m2, `wind` m/s; any other numeric column is taken
as a metered gain in W.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from services.thermal.core.history import History

Array = NDArray[np.float64]

WEATHER = {"ghi": "ghi_w_m2", "dni": "dni_w_m2", "dhi": "dhi_w_m2", "wind": "wind_m_s"}
LIMITS = {
    "temp_air": (-70.0, 70.0), "ghi": (-50.0, 2000.0), "dni": (-50.0, 2000.0),
    "dhi": (-50.0, 2000.0), "wind": (0.0, 100.0),
}  # fmt: skip
"""What weather may be; beyond stand the codes that recorders write for nothing (-999)."""
SHORTEST_STEP_S = 60
MOST_CLOCK_CHANGES = 0.2
"""Of all rows: a clock goes back once a year; files that do so all the time are not sorted."""
WEAKEST_HEATING_W = 30.0


def read_history(path: Path) -> tuple[History, tuple[str, ...]]:
    """History on the file's own median step, and what was odd about its clock.

    Rows that share a time are averaged. Raises ValueError naming the missing column and the fix.
    """
    frame = pd.read_csv(path, float_precision="round_trip")
    frame.columns = [str(c).strip() for c in frame.columns]
    if "utc" not in frame.columns:
        fix = "name the time column utc"
        if frame.shape[1] == 1 and any(mark in frame.columns[0] for mark in ";\t"):
            fix = "separate the fields by commas, and write numbers as 19.5"
        raise ValueError(f"{path.name} has no column 'utc'; {fix}")
    if "temp_air" not in frame.columns:
        raise ValueError(f"{path.name} has no column 'temp_air' (outdoor degC); add it")
    rooms = tuple(c[2:] for c in frame.columns if c.startswith("T_") and len(c) > 2)
    if not rooms:
        raise ValueError(f"{path.name} has no temperature column; name them T_<room>")
    epoch_s = _epoch_seconds(frame.pop("utc"), path.name)
    values = _numbers(frame, path.name)
    notes = clock_notes(epoch_s)
    for name, (lowest, highest) in LIMITS.items():
        if name in values.columns:
            wrong = (values[name] < lowest) | (values[name] > highest)
            if wrong.any():
                values.loc[wrong, name] = np.nan
                notes += (f"{name}: {wrong.sum()} values outside {lowest:g}..{highest:g} removed",)
    grid, step_s, table = regularise(epoch_s, values.to_numpy())
    series = {name: table[:, k] for k, name in enumerate(values.columns)}
    heat = {name: column for name, column in series.items() if _is_heat(name)}
    notes += tuple(
        f"{name} heats no room: there is no T_{name[5:]}"
        for name in heat
        if name != "heat" and name[5:] not in rooms
    )
    most = max((float(np.nanmax(values, initial=0.0)) for values in heat.values()), default=0.0)
    if 0.0 < most < WEAKEST_HEATING_W:
        heat = {name: 1000.0 * values for name, values in heat.items()}
        notes += (f"heating of at most {most:g} W is none: taken as kW or as a share of 1 kW; give W",)
    metered = {
        name: column
        for name, column in series.items()
        if not _is_heat(name)
        and not name.startswith("T_")
        and name != "temp_air"
        and name not in WEATHER
        and np.isfinite(column).any()
    }
    weather = {
        field: series[name]
        for name, field in WEATHER.items()
        if name in series and np.isfinite(series[name]).any()
    }
    history = History(
        epoch_s=grid,
        step_s=step_s,
        rooms=rooms,
        temperature_c=np.column_stack([series[f"T_{room}"] for room in rooms]),
        outside_c=series["temp_air"],
        heat_w=heat,
        metered_w=metered,
        ghi_w_m2=weather.get("ghi_w_m2"),
        dni_w_m2=weather.get("dni_w_m2"),
        dhi_w_m2=weather.get("dhi_w_m2"),
        wind_m_s=weather.get("wind_m_s"),
    )
    return history, notes


def _is_heat(name: str) -> bool:
    return name == "heat" or name.startswith("heat_")


def _numbers(frame: pd.DataFrame, file_name: str) -> pd.DataFrame:
    """Every column as numbers: words (a sensor that was unavailable) are missing, decimal commas refused."""
    values: pd.DataFrame = frame.apply(pd.to_numeric, errors="coerce").astype(np.float64)
    for name in frame.select_dtypes(exclude=["number", "bool"]):
        text = frame[name].astype(str)
        commas = np.flatnonzero(text.str.fullmatch(r"\s*[-+]?\d+,\d+\s*"))
        if commas.size:
            where = f"{file_name}: {name} in data row {commas[0] + 1}"
            raise ValueError(f"{where}: {text.iloc[commas[0]]!r} is no number; write 19.5")
    return values


def _epoch_seconds(column: pd.Series, file_name: str) -> NDArray[np.int64]:
    """Epoch seconds; naive ISO times are taken as UTC."""
    if pd.api.types.is_numeric_dtype(column):
        return np.asarray(column.to_numpy(), dtype=np.int64)
    times = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")
    if times.isna().any():
        row = int(np.flatnonzero(times.isna().to_numpy())[0])
        raise ValueError(
            f"{file_name}: utc in data row {row + 1} is not a time: {column.iloc[row]!r}"
        )
    return np.asarray(times.dt.as_unit("s").astype("int64").to_numpy(), dtype=np.int64)


def clock_notes(epoch_s: NDArray[np.int64]) -> tuple[str, ...]:
    """Sentences about a clock that jumped back, repeated rows, or left out an hour."""
    notes = []
    difference: NDArray[np.int64] = np.diff(epoch_s)
    back = np.flatnonzero(difference < 0)
    if back.size > len(epoch_s) * MOST_CLOCK_CHANGES:
        notes.append("the rows are not in the order of time; they were sorted")
    elif back.size:
        amounts = sorted({int(-difference[k]) for k in back})
        notes.append(
            f"the clock runs back at {back.size} places (by {amounts[:3]} s): the times look "
            "local, not UTC (daylight saving); rows were sorted and repeated hours averaged"
        )
    repeated = len(epoch_s) - len(np.unique(epoch_s))
    if repeated:
        notes.append(f"{repeated} rows repeat a time and were averaged")
    steps = np.diff(np.unique(epoch_s))
    if steps.size:
        step = float(np.median(steps))
        hour = np.flatnonzero(np.abs(difference - step - 3600) < 1)
        spring = [
            k
            for k in hour
            if pd.Timestamp(int(epoch_s[k]), unit="s").month == 3
            and pd.Timestamp(int(epoch_s[k]), unit="s").day >= 25
        ]
        if spring:
            notes.append(
                "one hour is missing at the end of March: the times look local, not UTC "
                "(daylight saving)"
            )
    return tuple(notes)


def regularise(
    epoch_s: NDArray[np.int64], values: Array
) -> tuple[NDArray[np.int64], int, Array]:
    """Regular grid of the median step; each row gets the mean of what falls on it, else NaN."""
    order = np.argsort(epoch_s, kind="stable")
    epoch, table = epoch_s[order], values[order]
    difference = np.diff(epoch)
    if not (difference > 0).any():
        raise ValueError("utc holds fewer than two different times")
    step = max(SHORTEST_STEP_S, round(float(np.median(difference[difference > 0]))))
    row = np.round((epoch - epoch[0]) / step).astype(np.int64)
    count = int(row[-1]) + 1
    total = np.zeros((count, table.shape[1]))
    number = np.zeros((count, table.shape[1]))
    finite = np.isfinite(table)
    np.add.at(total, row, np.where(finite, table, 0.0))
    np.add.at(number, row, finite)
    mean = np.where(number > 0, total / np.maximum(number, 1.0), np.nan)
    return epoch[0] + step * np.arange(count, dtype=np.int64), step, mean
