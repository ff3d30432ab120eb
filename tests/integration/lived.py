"""A simulated house's past, as a recorder in a real house would have kept it: powers, counters, changes."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np

from contracts.site import SiteConfig
from twin.generate import default_scenario
from twin.house import House
from twin.recording import Recording, record

MINUTE_S = 60
RESET_DAY = 5
"""On which the PV counter begins anew at 10:00."""


def recorded(site: SiteConfig, days: int, seed: int = 7) -> Recording:
    """So many days from midnight UTC on under the house's own rules, minute by minute."""
    scenario = default_scenario(days=days + 1, seed=seed)
    start = scenario.start.astimezone(dt.UTC) + dt.timedelta(hours=1)
    return record(House(site, scenario, seed, start), start + dt.timedelta(days=days), MINUTE_S)


def lines(lived: Recording) -> list[str]:
    """Line protocol, times in seconds: what holds over a minute is written at its beginning."""
    found: list[str] = []
    begin = lived.times_s - MINUTE_S

    def say(head: str, times: Any, values: Any) -> None:
        pairs = zip(np.asarray(times).tolist(), np.asarray(values).tolist(), strict=True)
        found.extend(f"{head}={value} {at}" for at, value in pairs)

    def changed(values: Any) -> Any:
        return np.flatnonzero(np.diff(np.asarray(values, float), prepend=np.nan) != 0)

    # kW each minute, of all that the house draws
    total = lived.base_w + lived.heating_w + lived.ev_w
    say("meter,what=house power", begin, np.round(total / 1e3, 5))
    # kWh with three places; one is exchanged in between
    pv = np.cumsum(lived.pv_w) * MINUTE_S / 3.6e6
    at = RESET_DAY * 1440 + 600
    pv[at:] -= pv[at]
    say("inverter pv_total", lived.times_s, np.round(pv, 3))
    say("wallbox energy", lived.times_s, np.round(np.cumsum(lived.ev_w) * MINUTE_S / 3600))
    for k, room in enumerate(lived.site.rooms):
        k_air = np.round(lived.air_c[:, k], 2)
        say(f"room,room={room.id} temperature", lived.times_s, k_air)
        switched = changed(lived.relay[:, k])
        say(f"relay,room={room.id} state", begin[switched], lived.relay[switched, k])
    say("weather temperature", begin[::5], np.round(lived.outdoor_c[::5], 2))
    say("weather ghi", begin[::5], np.round(lived.ghi_w_m2[::5], 1))
    price = lived.scenario.prices.hold("eur_per_mwh", begin)
    say("market price", begin[changed(price)], np.round(price[changed(price)] / 1e3, 6))
    return found


def mapping(site: SiteConfig, url: str) -> dict[str, Any]:
    """Where `lines` lie."""

    def relay(room: Any, sign: float) -> dict[str, Any]:
        return {"measurement": "relay", "field": "state", "tags": {"room": room.id}, "kind": "held",
                "hold": "90d", "scale": sign * room.heater_w}  # fmt: skip

    columns: dict[str, Any] = {
        "load_w": [
            {"measurement": "meter", "field": "power", "tags": {"what": "house"}, "scale": 1000},
            {"measurement": "wallbox", "field": "energy", "kind": "counter", "scale": -1},
            *(relay(room, -1.0) for room in site.rooms),
        ],
        "pv_w": {"measurement": "inverter", "field": "pv_total", "kind": "counter", "scale": 1000},
        "price_eur_mwh": {"measurement": "market", "field": "price", "kind": "held", "hold": "1h",
                          "scale": 1000},
        "temp_air": {"measurement": "weather", "field": "temperature"},
        "ghi": {"measurement": "weather", "field": "ghi"},
    }  # fmt: skip
    for room in reversed(site.rooms):
        where = {"measurement": "room", "field": "temperature", "tags": {"room": room.id}}
        columns[f"T_{room.id}"] = where
        columns[f"heat_{room.id}"] = relay(room, 1.0)
    return {"url": url, "org": "home", "bucket": "home", "columns": columns}
