"""Commands checked against the site and laid out as the house steps them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from contracts.site import SiteConfig
from twin.state import Actuation
from twin.tables import BoolArray


@dataclass(frozen=True, eq=False)
class Commands:
    """An `Actuation` in the site's order.

    own_rule, wanted : per room, shape (rooms,): follows its thermostat; else the commanded state
    currents_a : per car; None = own rule
    battery_w : W, + charges; None = self-use
    export_limit_w : the tighter of command and connection point, W
    supplies : per load that may wait; None = own timer
    """

    own_rule: BoolArray
    wanted: BoolArray
    currents_a: tuple[float | None, ...]
    battery_w: float | None
    export_limit_w: float
    supplies: tuple[bool | None, ...]


def resolve(site: SiteConfig, actuation: Actuation) -> Commands:
    """Lay out commands; ValueError for an unknown room, car or load or a number that is not finite."""
    rooms = [room.id for room in site.rooms]
    cars = [ev.id for ev in site.evs]
    _known("relays", actuation.relays.keys() - set(rooms), "room")
    _known("ev_current_a", actuation.ev_current_a.keys() - set(cars), "car")
    loads = [load.id for load in site.loads]
    _known("loads", actuation.loads.keys() - set(loads), "load")
    relays = [actuation.relays.get(room) for room in rooms]
    limit = _finite("export_limit_w", actuation.export_limit_w)
    grid_limit = site.grid.export_limit_w
    return Commands(
        own_rule=np.array([relay is None for relay in relays]),
        wanted=np.array([bool(relay) for relay in relays]),
        currents_a=tuple(
            _finite(f"ev_current_a.{car}", actuation.ev_current_a.get(car)) for car in cars
        ),
        battery_w=_finite("battery_power_w", actuation.battery_power_w),
        export_limit_w=grid_limit if limit is None else min(max(limit, 0.0), grid_limit),
        supplies=tuple(actuation.loads.get(load) for load in loads),
    )


def _known(field: str, unknown: set[str], kind: str) -> None:
    if unknown:
        raise ValueError(f"{field}: {min(unknown)!r} is no {kind} of the site")


def _finite(field: str, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise ValueError(f"{field} is {value!r}; give a finite number or None")
    return value
