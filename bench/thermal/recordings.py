"""The recordings of the benchmarks, written as the CSV files that `pems evaluate thermal` reads."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from contracts.site import SiteConfig
from twin.generate import default_scenario
from twin.house import House
from twin.state import Actuation

BELGIUM_ROOMS = ("T1", "T2", "T3", "T4", "T5", "T7", "T8", "T9")
BOPTEST_ROOMS = {"bth": "Bth", "liv": "Liv", "ro1": "Ro1", "ro2": "Ro2", "ro3": "Ro3"}
BOPTEST_VALVE_W = 1500.0
STEP_MINUTES = 5


def belgium_csv(data: Path, folder: Path) -> Path:
    """The passive house near Mons: eight rooms, one shared heater, hourly outdoor temperature."""
    frame = pd.read_csv(
        data / "thermal_belgium" / "house_10min.csv.gz", index_col=0, parse_dates=True
    )
    utc = pd.DatetimeIndex(frame.index).tz_localize("Etc/GMT-1").tz_convert("UTC")
    columns: dict[str, object] = {"utc": utc.strftime("%Y-%m-%dT%H:%M:%SZ")}
    columns |= {f"T_{room}": frame[room].to_numpy() for room in BELGIUM_ROOMS}
    columns["heat"] = 6.0 * frame["ElectricHeater"].to_numpy()
    columns["temp_air"] = frame["T_out"].interpolate(limit=18).to_numpy()
    path = folder / "belgium.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def moved_behind(recording: Path, first: str, last: str, days: int) -> Path:
    """The recording with the days from `first` to before `last` moved `days` later, behind all others: a
    winter is then tested after everything else was learnt."""
    frame = pd.read_csv(recording)
    at = pd.to_datetime(frame["utc"])
    inside = (at >= pd.Timestamp(first, tz="UTC")) & (at < pd.Timestamp(last, tz="UTC"))
    moved = frame[inside].copy()
    moved["utc"] = (at[inside] + timedelta(days=days)).dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    path = recording.with_name(f"{recording.stem}_moved.csv")
    pd.concat([frame[~inside], moved]).to_csv(path, index=False)
    return path


def boptest_csv(data: Path, folder: Path) -> Path:
    """The simulated house in Bordeaux: five heated rooms and a hall; valves as shares of 1.5 kW."""
    frame = pd.read_csv(data / "thermal_boptest_simulated" / "multizone_26min.csv.gz")
    utc = pd.Timestamp("2019-01-01", tz="UTC") + pd.to_timedelta(frame["time"].round(), unit="s")
    columns: dict[str, object] = {"utc": utc.dt.strftime("%Y-%m-%dT%H:%M:%SZ")}
    for name, key in BOPTEST_ROOMS.items():
        columns[f"T_{name}"] = frame[f"conHea{key}_reaTZon_y"]
        columns[f"heat_{name}"] = BOPTEST_VALVE_W * frame[f"conHea{key}_oveActHea_u"]
    columns["T_hal"] = frame["reaTHal_y"]
    columns["temp_air"] = frame["t_out_c"]
    columns |= {name: frame[name] for name in ("ghi", "dni", "dhi")}
    path = folder / "boptest.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def twin_csv(folder: Path, site_file: Path, days: int, seed: int, mixed: bool) -> Path:
    """The twin under its own thermostats, or under half-hour blocks drawn at random between them
    (what a planner's schedule looks like to the model)."""
    site = SiteConfig.model_validate(yaml.safe_load(site_file.read_text()))
    scenario = default_scenario(days=days, ev_ids=tuple(ev.id for ev in site.evs))
    house = House.warmed(site, scenario, seed=seed, start=scenario.start)
    rng = np.random.default_rng(seed)
    seen = house.observe()
    blocks: dict[str, bool] = {}
    rows = []
    for k in range(days * 24 * 60 // STEP_MINUTES):
        relays: dict[str, bool | None] = {}
        if mixed:
            for room in site.rooms:
                if k % 6 == 0:
                    blocks[room.id] = bool(rng.random() < 0.35)
                now_c = seen.rooms[room.id].temperature_c
                relays[room.id] = now_c < 19.5 or (now_c <= 22.8 and blocks[room.id])
        row: dict[str, object] = {"utc": house.time.strftime("%Y-%m-%dT%H:%M:%SZ")}
        row |= {f"T_{name}": room.temperature_c for name, room in seen.rooms.items()}
        row["temp_air"] = seen.outdoor_c
        on = dict.fromkeys(blocks or [room.id for room in site.rooms], 0.0)
        ghi = 0.0
        for _ in range(STEP_MINUTES):
            seen = house.step(house.time + timedelta(minutes=1), Actuation(relays=relays))
            ghi += seen.ghi_w_m2 / STEP_MINUTES
            for room in site.rooms:
                on[room.id] += seen.rooms[room.id].relay_on / STEP_MINUTES
        row |= {f"heat_{room.id}": on[room.id] * room.heater_w for room in site.rooms}
        row["ghi"] = ghi
        rows.append(row)
    path = folder / f"twin_{seed}_{'mixed' if mixed else 'own'}.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path
