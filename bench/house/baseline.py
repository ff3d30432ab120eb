"""What the simulated house does under its own rules, and what simulating it costs.

    python -m bench.house.baseline [--days 365]

The shipped site, seed 7: two default January days, and so many from 1 January on. Energies, share of the
sun's used at home, cost without the monthly fee, K·h below the band in all rooms, and CPU time of a minute.
"""

from __future__ import annotations

import argparse
import datetime as dt
import time

from rich.console import Console
from rich.table import Table

from bench.house.learnt import SEED
from pems import config
from twin.baseline import Baseline, MeterReading
from twin.generate import default_scenario
from twin.scenario import Scenario

MINUTE = dt.timedelta(minutes=1)


def lived(scenario: Scenario, days: float) -> tuple[MeterReading, float]:
    """The meters after some days from the scenario's start, and the CPU time of a minute in ms."""
    baseline = Baseline.warmed(config.load_site(), scenario, SEED, scenario.start)
    until = scenario.start + dt.timedelta(days=days)
    began, minutes = time.process_time(), 0
    while baseline.house.time < until:
        baseline.advance(baseline.house.time + MINUTE)
        minutes += 1
    return baseline.reading, 1e3 * (time.process_time() - began) / minutes


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=365.0)
    given = parser.parse_args()
    new_year = dt.datetime(2026, 1, 1, tzinfo=config.load_site().location.zone)
    stretches = {
        "two January days": (default_scenario(days=2.0), 2.0),
        f"{given.days:g} days from 1 January": (
            default_scenario(new_year.astimezone(dt.UTC), given.days), given.days,
        ),
    }  # fmt: skip
    table = Table(title="the house under its own rules")
    table.add_column("stretch")
    for name in ("consumed", "heating", "car", "PV", "own PV used", "cost", "too cold", "CPU of a minute"):
        table.add_column(name, justify="right")
    for name, (scenario, days) in stretches.items():
        reading, minute_ms = lived(scenario, days)
        table.add_row(
            name, f"{reading.load_kwh:,.0f} kWh", f"{reading.heating_kwh:,.0f} kWh",
            f"{reading.ev_kwh:,.0f} kWh", f"{reading.pv_kwh:,.0f} kWh",
            f"{reading.self_consumption:.0%}", f"{reading.cost_eur:,.2f} EUR",
            f"{reading.comfort_below_kh:.2f} K·h", f"{minute_ms:.2f} ms",
        )  # fmt: skip
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
