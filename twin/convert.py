"""Recorded data to a scenario folder: a real house's load and PV, real prices, real car sessions.

    python -m twin.convert --house konstanz --start 2026-01-12 --days 14 --out build/konstanz

No single recording has everything, so years are combined: each series is moved by whole weeks to
the dates asked for. What was taken from where, how gaps were filled and the licences stand in
scenario.json and are printed.
"""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import numpy as np
import typer

from contracts.site import Location
from twin import recorded
from twin.calendar import local_day_start_s
from twin.climate import PROVENANCE, typical_weather
from twin.generate import AFTER_DAYS, HISTORY_DAYS, PRAGUE
from twin.scenario import QUARTER_S, Scenario
from twin.sun import clear_ghi_means, plane_w_m2, split_sky, sun_path
from twin.tables import FloatArray, IntArray, Table

NEAR_SEASON_DAYS = 10.0


class HouseName(StrEnum):
    """Recorded houses."""

    konstanz = "konstanz"
    france = "france"


class WeatherSource(StrEnum):
    """Where temperature and wind come from."""

    mons = "mons"
    typical = "typical"


@dataclass(frozen=True)
class HousePlace:
    """Where a recorded house stands (roughly) and its PV size; 0 = estimated from the data."""

    latitude: float
    longitude: float
    peak_kw: float


PLACES = {
    HouseName.konstanz: HousePlace(47.66, 9.17, 9.5),
    HouseName.france: HousePlace(48.7, 6.2, 0.0),
}


def convert(
    house: HouseName,
    start: dt.date,
    days: int,
    data: Path,
    *,
    location: Location = PRAGUE,
    weather: WeatherSource = WeatherSource.mons,
    ev_id: str = "car",
    ev_max_w: float = 11_040.0,
    ev_user: str = "",
    announce: bool = True,
    seed: int = 1,
) -> Scenario:
    """Combine recordings into a scenario that starts at local midnight of `start`.

    location : of the simulated house (sun, local time); ev_max_w : its charger's most power, W.
    ValueError names the recording that is missing or too short.
    """
    zone = location.zone
    start_s = local_day_start_s(start, zone)
    end_s = local_day_start_s(start + dt.timedelta(days=days), zone)
    from_s = local_day_start_s(start - dt.timedelta(days=HISTORY_DAYS), zone)
    to_s = local_day_start_s(start + dt.timedelta(days=days + AFTER_DAYS), zone)
    says: dict[str, str] = {}

    load_record, pv_record = (
        recorded.konstanz(data) if house is HouseName.konstanz else recorded.france(data)
    )
    step_s = int((load_record.series.index[1] - load_record.series.index[0]).total_seconds())
    load, _, says["load"] = recorded.move(load_record, from_s, to_s, step_s, zone, "base_load_w")
    negative = int((load["base_load_w"] < 0).sum())
    if negative:
        load = Table(from_s, step_s, {"base_load_w": np.maximum(load["base_load_w"], 0.0)})
        says["load"] += f"; {negative} slightly negative values set to 0"

    pv_w, pv_source_s, says["pv"] = recorded.move(pv_record, from_s, to_s, step_s, zone, "pv_w")
    place = PLACES[house]
    peak_kw = place.peak_kw
    if peak_kw == 0.0:
        peak_kw = float(np.nanquantile(pv_record.series.to_numpy(), 0.999)) / 1000.0 / 0.85
    per_kwp = np.maximum(pv_w["pv_w"], 0.0) / peak_kw
    says["pv"] += f"; taken as {peak_kw:.1f} kWp" + (
        "" if place.peak_kw else " (size not published: 99.9 % quantile over 0.85)"
    )
    index = sky_index(pv_source_s, step_s, per_kwp, place)
    clear = clear_ghi_means(
        from_s, step_s, len(index), location.latitude, location.longitude, location.altitude_m
    )
    ghi = index * clear
    says["radiation"] = (
        "clear-sky index estimated from the measured PV (35 degrees south assumed, 98 % quantile "
        "of the midday ratio set to 1), times Ineichen clear sky at the simulated house"
    )

    air, wind, says["weather"] = _air(weather, data, from_s, to_s, step_s, location)
    quarter = recorded.czech_prices(data, quarter=True)
    try:
        near = recorded.choose_weeks(from_s, to_s, quarter.series)[1] <= NEAR_SEASON_DAYS
    except ValueError:
        near = False
    prices, _, says["prices"] = recorded.move(
        quarter if near else recorded.czech_prices(data, quarter=False),
        from_s, to_s, QUARTER_S, zone, "eur_per_mwh",
    )  # fmt: skip
    says["prices"] += "" if near else "; hourly prices repeated over their quarters"
    sessions, says["ev"] = recorded.norwegian_sessions(
        data, ev_id, from_s, to_s, zone, ev_max_w, announce, ev_user
    )
    says["weather_forecast"] = "seeded error model (twin/forecast_errors.py)"
    says["note"] = (
        "series of different places and years: they share weekday and season, not the weather; "
        "PV and radiation belong together"
    )
    return Scenario(
        name=str(house),
        seed=seed,
        start_s=start_s,
        end_s=end_s,
        time_zone=location.timezone,
        latitude=location.latitude,
        longitude=location.longitude,
        altitude_m=location.altitude_m,
        weather=Table(
            from_s,
            step_s,
            {"temperature_c": air, "ghi_w_m2": np.round(ghi, 1), "wind_m_s": wind},
        ),
        prices=prices,
        load=load,
        sessions=sessions,
        pv=Table(from_s, step_s, {"w_per_kwp": np.round(per_kwp, 2)}),
        provenance=says,
    )


def sky_index(
    source_s: IntArray, step_s: int, per_kwp: FloatArray, place: HousePlace
) -> FloatArray:
    """Clear-sky index (0.03 to 1.1) from PV per kWp at its own place, shape of source_s.

    Ratio of measured PV to the clear-sky irradiance of a south roof of 35 degrees where that
    exceeds 150 W/m2, scaled so that its 98 % quantile is 1; joined across the night.
    """
    middle = source_s + step_s // 2
    path = sun_path(middle, place.latitude, place.longitude, 300.0)
    roof = plane_w_m2(split_sky(path, path.clear_ghi_w_m2), 35.0, 180.0, 0.05)
    day = np.flatnonzero(roof > 150.0)
    if len(day) == 0:
        return np.full(len(source_s), 0.5)
    ratio = per_kwp[day] / roof[day]
    top = float(np.quantile(ratio, 0.98))
    if top <= 0:
        raise ValueError("pv: the recorded stretch has no PV power at all; choose other dates")
    index = np.clip(ratio / top, 0.03, 1.1)
    return np.asarray(np.interp(np.arange(len(source_s)), day, index), dtype=np.float64)


def _air(
    source: WeatherSource, data: Path, from_s: int, to_s: int, step_s: int, location: Location
) -> tuple[FloatArray, FloatArray, str]:
    """Temperature and wind on the scenario's grid, and where they come from."""
    times = np.arange(from_s, to_s, step_s, dtype=np.int64)
    middle = times + step_s // 2
    reason = ""
    if source is WeatherSource.mons:
        warm, windy = recorded.mons_weather(data)
        try:
            apart = recorded.choose_weeks(from_s, to_s, warm.series)[1]
        except ValueError:
            apart = float("inf")
        if apart <= NEAR_SEASON_DAYS:
            zone: ZoneInfo = location.zone
            air, _, text = recorded.move(warm, from_s, to_s, 3600, zone, "value")
            wind, _, _ = recorded.move(windy, from_s, to_s, 3600, zone, "value")
            return (
                np.round(air.linear("value", middle), 2),
                np.asarray(np.round(np.maximum(wind.linear("value", middle), 0.0), 2)),
                text + "; measured, but milder than Prague and not of the PV's place",
            )
        reason = f"Mons has no record within {NEAR_SEASON_DAYS:.0f} days of the season; "
    table = typical_weather(
        from_s, to_s, location.latitude, location.longitude, location.altitude_m
    )
    return (
        np.round(table.linear("temperature_c", middle), 2),
        np.round(table.linear("wind_m_s", middle), 2),
        reason + "temperature and wind: " + PROVENANCE,
    )


app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="folder to write")],
    house: Annotated[HouseName, typer.Option(help="load and PV of this house")] = (
        HouseName.konstanz
    ),
    start: Annotated[str, typer.Option(help="first local day, YYYY-MM-DD")] = "2026-01-12",
    days: Annotated[int, typer.Option(min=1, max=200, help="length of the run")] = 14,
    weather: Annotated[WeatherSource, typer.Option(help="temperature and wind")] = (
        WeatherSource.mons
    ),
    ev_user: Annotated[str, typer.Option(help="driver of ev_norway; empty = the median one")] = "",
    announce: Annotated[bool, typer.Option(help="drivers announce energy and departure")] = True,
    seed: Annotated[int, typer.Option(min=0, help="of noise and forecast errors")] = 1,
    data: Annotated[
        Path | None, typer.Option(envvar="PEMS_DATA", help="folder of the recordings")
    ] = None,
) -> None:
    """Write a scenario folder from recorded data and say what it was made of."""
    root = data or Path(os.environ.get("PEMS_DATA", "../shared/data"))
    try:
        scenario = convert(
            house, dt.date.fromisoformat(start), days, root,
            weather=weather, ev_user=ev_user, announce=announce, seed=seed,
        )  # fmt: skip
        scenario.save_folder(out)
        Scenario.load_folder(out)
    except ValueError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{out}: {scenario.start.isoformat()} to {scenario.end.isoformat()}")
    for name, text in scenario.provenance.items():
        typer.echo(f"  {name}: {text}")


if __name__ == "__main__":
    app()
