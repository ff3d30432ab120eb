"""Two days of every season, and both days on which the clocks change, beside simple rules.

    python -m bench.house.seasons [--days 2] [--json FILE]

The shipped house with the untrained methods, as `make run` lives it, in one process. Each row is a
stretch from local midnight on: what it cost (evened by what the rules' house is ahead or behind), the
share of the PV energy used at home, comfort missed, commands that the gate refused or cut, and steps
down the planner's ladder. Rules in brackets.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.house.learnt import SEED, live
from contracts.envelope import Event
from pems import config
from pems.inprocess import Simulation
from twin.generate import PRAGUE, default_scenario

STARTS = {
    "winter": dt.date(2026, 1, 12),
    "clocks forward": dt.date(2026, 3, 28),
    "spring": dt.date(2026, 5, 10),
    "summer": dt.date(2026, 7, 5),
    "clocks back": dt.date(2026, 10, 24),
    "autumn": dt.date(2026, 11, 16),
}


def start_of(first: dt.date) -> dt.datetime:
    """Local midnight of a day."""
    return dt.datetime.combine(first, dt.time(), PRAGUE.zone).astimezone(dt.UTC)


def stretch(first: dt.date, days: float) -> dict[str, Any]:
    """The account of some days from local midnight of `first` on."""
    scenario = default_scenario(start=start_of(first), days=days)
    log: list[Event] = []
    house = Simulation(config.load_site(), config.load_safety(), scenario, SEED, log.append)
    return live(house, log, days)[0]


def row_of(account: dict[str, Any]) -> tuple[str, ...]:
    """Cost, saving, own PV used, comfort missed, commands refused and cut, steps down; rules in brackets."""
    return (
        f"{account['evened_cost_eur']:.2f} ({account['baseline_cost_eur']:.2f})",
        f"{account['saving_fraction']:.1%}",
        f"{account['self_consumption']:.0%} ({account['baseline_self_consumption']:.0%})",
        f"{account['comfort_below_kh']:.2f} ({account['baseline_comfort_below_kh']:.2f})",
        f"{account['commands_rejected']:.0f}, {account['commands_clamped']:.0f}",
        f"{account['ladder_steps']:.0f}",
    )


def table_of(rows: dict[str, dict[str, Any]]) -> Table:
    """For people."""
    table = Table(title="two days beside simple rules")
    table.add_column("from")
    for name in ("EUR", "saved", "own PV used", "K h too cold", "refused, cut", "steps down"):
        table.add_column(name, justify="right")
    for name, row in rows.items():
        table.add_row(f"{name}, {STARTS[name]}", *row_of(row))
    return table


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=2.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = {}
    with Progress() as progress:
        task = progress.add_task("seasons", total=len(STARTS))
        for name, first in STARTS.items():
            rows[name] = stretch(first, given.days)
            progress.advance(task)
    Console(width=120).print(table_of(rows))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
