"""The live view shows what devices say; what is not known is no number."""

from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO
from typing import cast

from rich.console import Console

from contracts.base import Record
from contracts.events.measurement import EvSampled, HouseSampled, LoadSampled
from contracts.site import SiteConfig
from pems.live import View
from pems.processes import Supervisor
from tests.conftest import make_event

NOW = datetime(2026, 1, 12, 18, 0, tzinfo=UTC)


class Nothing:
    """No process runs."""

    running: dict[str, object] = {}


def shown(site: SiteConfig, *samples: Record) -> dict[str, str]:
    """Value by row of the panel of powers."""
    view = View(site, cast(Supervisor, Nothing()))
    for data in samples:
        view.take(make_event("measurement.house.sampled", "x", data, "gateway"))
    screen = Console(width=100, file=StringIO())
    screen.print(view._energy())
    rows = [line.strip("│ ").split() for line in cast(StringIO, screen.file).getvalue().splitlines()[1:-1]]
    return {row[0]: " ".join(word for word in row[1:] if not set(word) <= set("█░")) for row in rows}


def test_powers_of_the_house_its_cars_and_loads(site: SiteConfig) -> None:
    assert shown(
        site,
        HouseSampled(time=NOW, pv_w=0.0, load_w=6_000.0, grid_w=None, battery_w=-1_000.0, soc=0.4),
        EvSampled(ev="car", time=NOW, plugged=True, power_w=4_140.0),
        LoadSampled(load="boiler", time=NOW, on=True, power_w=None),
    ) == {
        "sun": "0.00 kW", "house": "6.00 kW", "grid": "-", "battery": "-1.00 kW", "charge": "40%",
        "car": "4.14 kW", "boiler": "-",
    }  # fmt: skip
    idle = shown(
        site,
        EvSampled(ev="car", time=NOW, plugged=False, power_w=None),
        LoadSampled(load="boiler", time=NOW, on=False, power_w=0.0),
    )
    assert (idle["car"], idle["boiler"], idle["charge"]) == ("away", "off", "-")
