"""What goes into a house and what comes out of it: plain frozen records."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Actuation:
    """Commands in force. None (or a missing id) = no command or lease run out: own rules.

    relays : room id -> on, off or None; own rule: thermostat with hysteresis
    battery_power_w : W at the AC side, + charges; own rule: self-use
    ev_current_a : car id -> A per phase, below the least current = pause; own rule: full current
    loads : load id -> supply on, off or None; own rule: on as soon as its window opens
    export_limit_w : W; own rule: the connection point's limit
    """

    relays: Mapping[str, bool | None] = field(default_factory=dict)
    battery_power_w: float | None = None
    ev_current_a: Mapping[str, float | None] = field(default_factory=dict)
    export_limit_w: float | None = None
    loads: Mapping[str, bool | None] = field(default_factory=dict)


OWN_RULES = Actuation()
"""No command at all: the rule-based baseline."""


@dataclass(frozen=True)
class RoomObservation:
    """temperature_c : sensor reading (noise, steps of 0.1 K); relay_on : contact read back."""

    temperature_c: float
    relay_on: bool


@dataclass(frozen=True)
class LoadObservation:
    """A load that may wait: its supply, and what its meter shows, W."""

    relay_on: bool
    power_w: float


@dataclass(frozen=True)
class EvObservation:
    """What the wallbox knows. target and departure are None when nobody announced them.

    offered_a : current signalled to the car (0 = paused), to verify a command against
    """

    plugged: bool
    power_w: float
    offered_a: float
    session_energy_wh: float
    target_energy_wh: float | None
    departure: dt.datetime | None


@dataclass(frozen=True)
class Observation:
    """Everything the devices of the house would report at `time` (UTC).

    Powers are means of the last sub-step (<= 60 s), W: load_w is everything consumed in the house
    (heating, EV and loads too), grid_w + import, battery_w + charge; grid = load + battery - pv.
    Counters run from the house's start, Wh. soc is 0..1 of the battery's capacity (0 without one).
    export_limit_w : limit in force at the inverter, W.
    """

    time: dt.datetime
    rooms: Mapping[str, RoomObservation]
    outdoor_c: float
    ghi_w_m2: float
    pv_w: float
    load_w: float
    grid_w: float
    battery_w: float
    soc: float
    import_wh: float
    export_wh: float
    pv_wh: float
    load_wh: float
    battery_charge_wh: float
    battery_discharge_wh: float
    export_limit_w: float
    evs: Mapping[str, EvObservation]
    loads: Mapping[str, LoadObservation] = field(default_factory=dict)


@dataclass(frozen=True)
class Truth:
    """What no device reports: for tests, plots and scores, never for the controller.

    Temperatures are noiseless, degC: air, floor surface, heated core of the floor, walls. Counters
    run from the house's start: comfort_below_kh and comfort_above_kh sum K*h outside the band over
    all rooms, worst_below_k is the deepest; over_fuse_s is time above the import limit, s;
    curtailed_wh PV that was not used; lost_wh heat that left the building; gained_wh heat that
    entered the rooms (heating, people, appliances, sun); stored_wh heat in the building above
    0 degC.
    """

    time: dt.datetime
    air_c: Mapping[str, float]
    floor_c: Mapping[str, float]
    core_c: Mapping[str, float]
    wall_c: Mapping[str, float]
    base_load_w: float
    heating_w: float
    ev_w: float
    loads_w: float
    pv_available_w: float
    heating_wh: float
    ev_wh: float
    loads_wh: float
    base_load_wh: float
    comfort_below_kh: float
    comfort_above_kh: float
    worst_below_k: float
    relay_switches: int
    over_fuse_s: float
    curtailed_wh: float
    battery_stored_wh: float
    battery_lost_wh: float
    stored_wh: float
    gained_wh: float
    lost_wh: float
