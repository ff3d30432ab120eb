"""A simulated stretch as arrays, and its picture."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from contracts.site import SiteConfig
from twin.calendar import comfort, epoch_s, local_seconds
from twin.house import House
from twin.scenario import Scenario
from twin.state import OWN_RULES, Actuation, Observation
from twin.tables import FloatArray, IntArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Command = Callable[[Observation], Actuation]


@dataclass(frozen=True, eq=False)
class Recording:
    """n samples at the end of each step. Arrays (n,) or (n, rooms); W, degC, soc 0..1."""

    site: SiteConfig
    scenario: Scenario
    times_s: IntArray
    air_c: FloatArray
    floor_c: FloatArray
    relay: FloatArray
    outdoor_c: FloatArray
    ghi_w_m2: FloatArray
    pv_w: FloatArray
    base_w: FloatArray
    heating_w: FloatArray
    ev_w: FloatArray
    battery_w: FloatArray
    grid_w: FloatArray
    soc: FloatArray


def own_rules(_: Observation) -> Actuation:
    """The baseline's command: none."""
    return OWN_RULES


def record(
    house: House, until: dt.datetime, step_s: int = 300, command: Command = own_rules
) -> Recording:
    """Run a house to `until`, asking `command` before every step, and keep the truth."""
    rows: list[tuple[float, ...]] = []
    air, floor, relay = [], [], []
    times: list[int] = []
    seen = house.observe()
    end = epoch_s(until)
    while epoch_s(house.time) < end:
        stop = min(end, epoch_s(house.time) + step_s)
        seen = house.step(dt.datetime.fromtimestamp(stop, dt.UTC), command(seen))
        truth = house.truth
        times.append(stop)
        air.append(list(truth.air_c.values()))
        floor.append(list(truth.floor_c.values()))
        relay.append([float(room.relay_on) for room in seen.rooms.values()])
        rows.append(
            (seen.outdoor_c, seen.ghi_w_m2, seen.pv_w, truth.base_load_w, truth.heating_w,
             truth.ev_w, seen.battery_w, seen.grid_w, seen.soc)
        )  # fmt: skip
    return Recording(
        house.site,
        house.scenario,
        np.array(times, dtype=np.int64),
        np.array(air),
        np.array(floor),
        np.array(relay),
        *np.array(rows).T,
    )


def plot_days(
    recording: Recording,
    path: Path | str | None = None,
    rooms: tuple[str, ...] = ("living", "bathroom", "bedroom", "study"),
    title: str = "",
) -> Figure:
    """Draw a recording: weather and prices, room temperatures with bands, powers, battery.

    rooms : ids to draw; unknown ones are left out. With `path` the picture is written there.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import ConciseDateFormatter
    from matplotlib.figure import Figure

    site, scenario = recording.site, recording.scenario
    zone = site.location.zone
    when = [dt.datetime.fromtimestamp(int(t), zone) for t in recording.times_s]
    ids = [room.id for room in site.rooms]
    chosen = [room for room in rooms if room in ids] or ids[:4]
    low, high = comfort(site, local_seconds(recording.times_s - 60, zone))

    figure = Figure(figsize=(13, 4 + 2.0 * (len(chosen) + 2)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(chosen) + 3, 1, sharex=True)
    weather, *room_axes, power, store = axes
    weather.plot(when, recording.outdoor_c, color="tab:blue", label="outdoors, °C")
    weather.set_ylabel("°C")
    second = weather.twinx()
    second.fill_between(when, recording.ghi_w_m2, color="gold", alpha=0.4, label="sun, W/m²")
    price = scenario.prices.hold("eur_per_mwh", recording.times_s - 60)
    second.step(when, price, where="pre", color="tab:purple", lw=1, label="price, EUR/MWh")
    weather.legend(loc="upper left", fontsize=8)
    second.legend(loc="upper right", fontsize=8)
    for axis, room in zip(room_axes, chosen, strict=True):
        column = ids.index(room)
        axis.fill_between(
            when, low[:, column], high[:, column], color="tab:green", alpha=0.12
        )
        axis.plot(when, recording.floor_c[:, column], color="tab:red", lw=0.8, label="floor")
        axis.plot(when, recording.air_c[:, column], color="black", lw=1.2, label="air")
        axis.fill_between(
            when, 0, recording.relay[:, column] * 0.06, transform=axis.get_xaxis_transform(),
            color="tab:orange", step="pre",
        )  # fmt: skip
        axis.set_ylabel(f"{room}\n°C")
        axis.grid(alpha=0.3)
    room_axes[0].legend(loc="upper right", fontsize=8)
    parts = (recording.base_w, recording.heating_w, recording.ev_w)
    power.stackplot(
        when, *(part / 1000 for part in parts), labels=("base", "heating", "EV"),
        colors=("0.7", "tab:orange", "tab:cyan"), step="pre",
    )  # fmt: skip
    power.plot(when, recording.pv_w / 1000, color="goldenrod", lw=1, label="PV")
    power.plot(when, recording.grid_w / 1000, color="black", lw=0.8, label="grid (+ import)")
    power.set_ylabel("kW")
    power.legend(loc="upper right", ncols=5, fontsize=8)
    store.plot(when, 100 * recording.soc, color="tab:green", label="battery, %")
    store.set_ylim(0, 100)
    store.set_ylabel("%")
    third = store.twinx()
    third.plot(
        when, recording.battery_w / 1000, color="0.5", lw=0.8, label="battery (+ charge), kW"
    )
    third.legend(loc="upper right", fontsize=8)
    store.legend(loc="upper left", fontsize=8)
    store.xaxis.set_major_formatter(ConciseDateFormatter(store.xaxis.get_major_locator(), tz=zone))
    figure.suptitle(title or f"{site.site}: scenario {scenario.name}")
    if path is not None:
        figure.savefig(path, dpi=90)
    return figure
