"""Readers of recorded data (PEMS_DATA) and the rules that put them on another year's calendar.

Series are pandas Series with a UTC index on an even grid; the value at t belongs to [t, t + step).
A recording is moved by whole weeks of LOCAL time, so a Monday 07:00 stays a Monday 07:00 across
daylight-saving changes. The newest year that comes within 10 days of the season is taken, in it the
nearest week; where no year does, the nearest week of all.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from twin.calendar import local_seconds
from twin.scenario import EvSession
from twin.tables import IntArray, Table

WEEK_S = 7 * 86_400
YEAR_S = 365.25 * 86_400
SAME_SEASON_DAYS = 10.0


@dataclass(frozen=True, eq=False)
class Recorded:
    """A recorded series with its zone, origin and licence; `note` says what was done to it."""

    name: str
    series: pd.Series
    zone: str
    origin: str
    note: str = ""


def read_csv(root: Path, name: str, times: bool = True) -> pd.DataFrame:
    """One file of the data folder (first column = times); ValueError when it is absent."""
    path = root / name
    if not path.is_file():
        raise ValueError(
            f"{name}: not found in {root}; set PEMS_DATA to the folder with the recordings"
        )
    return pd.read_csv(path, index_col=0, parse_dates=times)


def konstanz(root: Path) -> tuple[Recorded, Recorded]:
    """Base load (W) and PV (W) of the house in Konstanz, hourly."""
    frame = read_csv(root, "house_konstanz/hourly_kwh.csv.gz").asfreq("h")
    frame.index = pd.DatetimeIndex(frame.index).shift(-1)  # stamped at the end of the hour
    base = frame["load_total_kwh"] - frame["heat_pump_kwh"] - frame["ev_kwh"]
    origin = "house in Konstanz, OPSD/CoSSMic, CC BY 4.0"
    return (
        Recorded("load", base * 1000.0, "Europe/Berlin", origin,
                 "load_total less heat pump less EV"),
        Recorded("pv", frame["pv_kwh"] * 1000.0, "Europe/Berlin", origin),
    )  # fmt: skip


def france(root: Path) -> tuple[Recorded, Recorded]:
    """Base load (W) and PV (W) of the house in north-east France, 30 min; night PV is 0."""
    frame = read_csv(root, "house_france/load_pv_forecast_30min.csv.gz").asfreq("30min")
    frame = frame[frame.index >= frame.index[0] + pd.Timedelta(hours=6)]  # the first rows are fills
    pv = frame["pv_w"].copy()
    hour = np.asarray(frame.index.hour)
    # The recorder omits zeros: PV is unknown only where neighbours by day were recorded.
    day_has_pv = pv.groupby(frame.index.date).transform("count") > 0
    pv[pv.isna() & (day_has_pv | (hour < 3) | (hour > 20))] = 0.0
    origin = "all-electric house in north-east France, MIT"
    return (
        Recorded("load", frame["load_no_var_loads_w"], "Europe/Paris", origin,
                 "load without deferrable loads"),
        Recorded("pv", pv, "Europe/Paris", origin, "NaN at night read as 0"),
    )  # fmt: skip


def czech_prices(root: Path, quarter: bool) -> Recorded:
    """Czech day-ahead price, EUR/MWh, hourly or quarter-hourly."""
    name = "prices/ote_cz_15min.csv.gz" if quarter else "prices/ote_cz_1h.csv.gz"
    series = read_csv(root, name)["price_eur_mwh"].asfreq("15min" if quarter else "h")
    return Recorded(
        "prices", series, "Europe/Prague", "OTE day-ahead market, published for research use"
    )


def mons_weather(root: Path) -> tuple[Recorded, Recorded]:
    """Outdoor temperature (degC) and wind (m/s) at the airport near Mons, hourly, 2016."""
    frame = read_csv(root, "thermal_belgium/house_10min.csv.gz")
    frame.index = pd.DatetimeIndex(frame.index).tz_localize("Etc/GMT-1").tz_convert("UTC")  # CET
    hourly = frame[["T_out", "Windspeed"]].resample("h").mean()
    origin = "airport near Mons (BE), with the passive-house data set, published for research use"
    return (
        Recorded("temperature", hourly["T_out"], "Europe/Brussels", origin),
        Recorded("wind", hourly["Windspeed"], "Europe/Brussels", origin),
    )


def choose_weeks(start_s: int, end_s: int, series: pd.Series) -> tuple[int, float]:
    """Whole weeks to go back from [start, end) into a recording, and the season distance, days.

    ValueError when the recording is shorter than the stretch.
    """
    first = int(series.index[0].timestamp()) + 86_400
    last = int(series.index[-1].timestamp()) - 86_400
    low = -(-(end_s - last) // WEEK_S)
    high = (start_s - first) // WEEK_S
    if low > high:
        raise ValueError(
            f"the stretch of {(end_s - start_s) // 86_400} days (history and look-ahead included) "
            f"is longer than the recording from {series.index[0]:%Y-%m-%d} to "
            f"{series.index[-1]:%Y-%m-%d}; ask for fewer days"
        )
    weeks = np.arange(low, high + 1)
    apart = np.abs((weeks * WEEK_S + YEAR_S / 2) % YEAR_S - YEAR_S / 2)
    near = apart <= SAME_SEASON_DAYS * 86_400
    if near.any():
        near &= np.abs(weeks) <= np.abs(weeks[near]).min() + 3  # one season, the newest
        weeks, apart = weeks[near], apart[near]
    best = int(np.argmin(apart))
    return int(weeks[best]), float(apart[best] / 86_400)


def shifted_times(times_s: IntArray, weeks: int, zone: ZoneInfo, source: ZoneInfo) -> IntArray:
    """UTC instants `weeks` earlier with the same local wall clock, shape of times_s."""
    wall = local_seconds(times_s, zone) - weeks * WEEK_S
    guess = wall - (local_seconds(wall, source) - wall)
    return np.asarray(wall - (local_seconds(guess, source) - guess), dtype=np.int64)


def fill_gaps(series: pd.Series, short_h: float = 3.0) -> pd.Series:
    """Gaps up to `short_h` hours by straight lines, longer ones by the same time of the nearest
    weeks (1, 2, 3 ... before or after). ValueError when nothing can fill a value.
    """
    step_h = (series.index[1] - series.index[0]).total_seconds() / 3600.0
    missing = series.isna()
    run = (missing != missing.shift()).cumsum()
    length = missing.groupby(run).transform("sum") * step_h
    short = missing & (length <= short_h)
    lines = series.interpolate("time", limit_area="inside")
    result = series.where(~short, lines)
    week = round(WEEK_S / 3600.0 / step_h)
    for distance in range(1, 60):
        for sign in (1, -1):
            if result.isna().any():
                result = result.fillna(series.shift(sign * distance * week))
        if not result.isna().any():
            break
    if result.isna().any():
        raise ValueError(f"{int(result.isna().sum())} values have no neighbour to be filled from")
    return result


def move(
    recorded: Recorded, start_s: int, end_s: int, step_s: int, zone: ZoneInfo, column: str
) -> tuple[Table, IntArray, str]:
    """Put a recording on [start, end): the table, the source instants, and a sentence about it."""
    weeks, apart_days = choose_weeks(start_s, end_s, recorded.series)
    times = np.arange(start_s, end_s, step_s, dtype=np.int64)
    source = shifted_times(times, weeks, zone, ZoneInfo(recorded.zone))
    series = recorded.series
    epoch = pd.DatetimeIndex(series.index).as_unit("s").asi8
    width = int(epoch[1] - epoch[0])
    first = max(0, int((source.min() - epoch[0]) // width) - 70 * 86_400 // width)
    last = min(len(series), int((source.max() - epoch[0]) // width) + 70 * 86_400 // width)
    filled = fill_gaps(series.iloc[first:last])
    values = filled.to_numpy(dtype=np.float64)[(source - epoch[first]) // width]
    raw = series.to_numpy(dtype=np.float64)[(source - epoch[0]) // width]
    begin = dt.datetime.fromtimestamp(int(source[0]), dt.UTC)
    text = (
        f"{recorded.origin}; {recorded.note + '; ' if recorded.note else ''}recorded from "
        f"{begin:%Y-%m-%d}, moved by {weeks} weeks of local time (same weekday, season "
        f"{apart_days:.0f} days off); {int(np.isnan(raw).sum())} of {len(raw)} values were missing "
        "and filled (to 3 h straight lines, beyond that the same hour of the nearest weeks)"
    )
    return Table(start_s, step_s, {column: values}), source, text


def norwegian_sessions(
    root: Path, ev_id: str, start_s: int, end_s: int, zone: ZoneInfo, max_w: float, announce: bool,
    user: str = "",
) -> tuple[tuple[EvSession, ...], str]:  # fmt: skip
    """Stays of one driver of the Trondheim garages (local Oslo time), moved by whole weeks.

    `user` empty: of the private drivers with at least two stays a week in the moved stretch the one
    with the median energy (ties by name).
    Stays under 15 min, under 0.5 kWh or without an end are left out; energies that the site's
    charger can't deliver in the stay are cut to what it can.
    """
    frame = read_csv(root, "ev_norway/sessions.csv.gz", times=False).reset_index()
    for name in ("Start_plugin", "End_plugout"):
        frame[name] = pd.to_datetime(frame[name])
    frame = frame.dropna(subset=["Start_plugin", "End_plugout"])
    stamps = frame["Start_plugin"].sort_values().dt.tz_localize("UTC")
    weeks, apart_days = choose_weeks(start_s, end_s, pd.Series(0, index=pd.DatetimeIndex(stamps)))
    wall = local_seconds(np.array([start_s, end_s], dtype=np.int64), zone) - weeks * WEEK_S
    lower, upper = (pd.Timestamp(int(value), unit="s") for value in wall)
    inside = frame[
        (frame["Start_plugin"] >= lower) & (frame["End_plugout"] <= upper)
        & (frame["El_kWh"] >= 0.5)
        & (frame["End_plugout"] - frame["Start_plugin"] >= pd.Timedelta(minutes=15))
    ]  # fmt: skip
    if not user:
        private = inside[inside["User_type"] == "Private"]
        if private.empty:
            raise ValueError("ev_norway: no session falls into the moved stretch")
        drivers = private.groupby("User_ID")["El_kWh"].agg(["count", "sum"])
        often = drivers[drivers["count"] >= 2 * (end_s - start_s) / WEEK_S]
        ranked = (drivers if often.empty else often).sort_index().sort_values("sum", kind="stable")
        user = str(ranked.index[len(ranked) // 2])
    mine = inside[inside["User_ID"] == user].sort_values("Start_plugin")
    if mine.empty:
        raise ValueError(f"ev_norway: user {user!r} has no session in the moved stretch")
    sessions: list[EvSession] = []
    cut = 0
    for begin, end, kwh in zip(
        mine["Start_plugin"], mine["End_plugout"], mine["El_kWh"], strict=True
    ):
        plug_in, leave = (
            int(
                dt.datetime.fromtimestamp(int(moment.timestamp()) + weeks * WEEK_S, dt.UTC)
                .replace(tzinfo=zone)
                .timestamp()
            )
            for moment in (begin, end)
        )
        if sessions and plug_in < sessions[-1].departure_s:
            continue
        can_wh = 0.95 * max_w * (leave - plug_in) / 3600.0
        cut += kwh * 1000.0 > can_wh
        energy = round(min(float(kwh) * 1000.0, can_wh), 1)
        sessions.append(
            EvSession(ev_id, plug_in, leave, energy, energy if announce else None,
                      leave if announce else None)
        )  # fmt: skip
    told = "assumed to announce energy and departure truthfully" if announce else "announce nothing"
    return tuple(sessions), (
        f"driver {user} of residential garages in Trondheim, CC BY 4.0; recorded from "
        f"{lower:%Y-%m-%d} local, moved by {weeks} weeks (season {apart_days:.0f} days off); "
        f"{len(sessions)} stays, {cut} energies cut to the charger's power; drivers {told}"
    )
