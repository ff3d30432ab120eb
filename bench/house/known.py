"""What better forecasts could save at most: the same days with the future known.

    python -m bench.house.known [--start 2026-01-12] [--days 2] [--models FOLDER]

The shipped house in one process beside simple rules, with the methods it starts with (or the learnt
models of a folder), then with the weather, with load, PV and prices, and with all of it told as it will
come. What then is still missing to a perfect plan is the rooms' model, the 48 h and the steps of the plan.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.house.learnt import SEED, live
from bench.house.seasons import row_of, start_of
from contracts.envelope import Event
from contracts.site import SiteConfig
from pems import config, promotion
from pems.inprocess import Simulation, all_services
from services.forecast.core.bands import Bands, IntArray
from services.forecast.service import Forecast, ForecastState
from twin.baseline import Baseline
from twin.calendar import utc
from twin.generate import default_scenario
from twin.scenario import QUARTER_S, WEATHER_COLUMNS, Scenario, WeatherForecast
from twin.tables import FloatArray
from twin.tables import Table as Series

AHEAD_S = 3 * 86_400
ROWS: dict[str, frozenset[str]] = {
    "forecast": frozenset(),
    "weather known": frozenset({"weather"}),
    "load, PV, prices known": frozenset({"load", "pv", "price"}),
    "all known": frozenset({"weather", "load", "pv", "price"}),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Foretold(Scenario):
    """A scenario whose weather forecasts are right and whose market publishes three days ahead."""

    known: frozenset[str] = frozenset()

    def weather_forecast(self, issued: dt.datetime) -> WeatherForecast:
        run = super().weather_forecast(issued)
        if "weather" not in self.known:
            return run
        came = (
            np.array([self.weather.between(t, t + 3_600)[name].mean() for t in run.times_s.tolist()])
            for name in WEATHER_COLUMNS
        )
        return WeatherForecast(run.issued, run.times_s, *came)

    def published_prices(self, at: dt.datetime) -> Series:
        if "price" not in self.known:
            return super().published_prices(at)
        return self.prices.between(self.prices.start_s, int(at.timestamp()) + AHEAD_S)


class Oracle(Forecast):
    """Says what will come of the quantities it holds: kind -> value of each quarter hour."""

    def __init__(self, series: dict[str, Series]) -> None:
        super().__init__()
        self.series = series

    def _bands(
        self, state: ForecastState, site: SiteConfig, kind: str, issue_s: int, times: IntArray
    ) -> tuple[Bands, str, str]:
        if kind not in self.series:
            return super()._bands(state, site, kind, issue_s, times)
        came = self.series[kind].hold("w", times)
        return Bands(came, came, came, came, ()), "as it will come", ""


def pv_that_comes(site: SiteConfig, scenario: Scenario, end_s: int) -> FloatArray:
    """PV power of the rule-based house, whose modules are those of the other, by quarter hours in W."""
    house = Baseline.warmed(site, scenario, SEED, scenario.start)
    ends = range(scenario.start_s + QUARTER_S, end_s + 1, QUARTER_S)
    energy = [house.house.observe().pv_wh] + [house.advance(utc(end)).pv_wh for end in ends]
    return np.diff(energy) * 3_600 / QUARTER_S


def lived(
    first: dt.date, days: float, known: frozenset[str], models: Path | None
) -> dict[str, float]:
    """The account of some days from local midnight of `first` on, with `known` foretold."""
    plain = default_scenario(start=start_of(first), days=days)
    scenario = Foretold(
        **{field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)}, known=known
    )
    site, end_s = config.load_site(), plain.end_s + 2 * 86_400 + 3_600
    series = {}
    if "load" in known:
        times = np.arange(plain.start_s, end_s, QUARTER_S)
        base = plain.load.hold("base_load_w", times)
        series["load"] = Series(plain.start_s, QUARTER_S, {"w": base})
    if "pv" in known:
        power = pv_that_comes(site, scenario, end_s)
        series["pv"] = Series(plain.start_s, QUARTER_S, {"w": power})
    log: list[Event] = []
    services = all_services(Oracle(series))
    house = Simulation(site, config.load_safety(), scenario, SEED, log.append, services)
    for promoted, content in promotion.load(models) if models is not None else ():
        house.promote(promoted, content)
    return live(house, log, days)[0]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", type=dt.date.fromisoformat, default=dt.date(2026, 1, 12))
    parser.add_argument("--days", type=float, default=2.0)
    parser.add_argument("--models", type=Path, help="of bench.house.learnt --out or pems train house --out")
    given = parser.parse_args()
    table = Table(title=f"{given.days:g} days from {given.start} beside simple rules")
    for name, side in (("what is known ahead", "left"), ("EUR", "right"), ("saved", "right"),
                       ("own PV used", "right"), ("K h too cold", "right")):  # fmt: skip
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for name, known in track(ROWS.items(), "days lived", total=len(ROWS)):
        table.add_row(name, *row_of(lived(given.start, given.days, known, given.models))[:4])
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
