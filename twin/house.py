"""The simulated house: physics, meters and the devices' own rules, stepped in simulated time.

    house = House(site, scenario, seed=7, start=scenario.start)
    seen = house.step(scenario.start + timedelta(minutes=1), Actuation(relays={"living": True}))

Deterministic: the same site, scenario, seed and actuations give the same observations bit for bit,
also across `save()` and `load()`. No I/O, no wall clock.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from typing import Any

import numpy as np

from contracts.site import SiteConfig
from twin.battery import BatteryPack
from twin.calendar import epoch_s, utc
from twin.commands import Commands, resolve
from twin.drivers import MINUTE_S, Block, Drivers
from twin.ev import Wallbox, WallboxState
from twin.inverter import dispatch
from twin.loads import Programme
from twin.rooms import Rooms, building, ground_c
from twin.scenario import Scenario
from twin.state import (
    OWN_RULES,
    Actuation,
    LoadObservation,
    Observation,
    RoomObservation,
    Truth,
)
from twin.tables import BoolArray, FloatArray

RELAY_LOCK_S = 60
"""A relay does not switch again within this time (protection against chatter)."""
HYSTERESIS_K = (0.1, 0.5)
"""The thermostat switches on below set-point + first, off above set-point + second."""
SENSOR_BIAS_C = 0.05
START_ABOVE_LOW_K = 0.4
START_SOC = 0.5
STATE_VERSION = 2
COUNTERS = (
    "import_wh", "export_wh", "pv_wh", "load_wh", "battery_charge_wh", "battery_discharge_wh",
    "heating_wh", "ev_wh", "loads_wh", "base_load_wh", "comfort_below_kh", "comfort_above_kh",
    "worst_below_k", "relay_switches", "over_fuse_s", "curtailed_wh", "battery_lost_wh",
    "gained_wh", "lost_wh",
)  # fmt: skip
POWERS = ("base_w", "heating_w", "ev_w", "loads_w", "pv_w", "pv_available_w", "battery_w", "grid_w")


class House:
    """One house in one scenario.

    Parameters
    ----------
    site : the house's configuration
    scenario : the world; must cover `start` and everything stepped to
    seed : of building deviations, people, windows and sensor noise
    start : aware time, a whole minute

    Raises ValueError when a car of the scenario is not in the site, or times lie outside.
    """

    def __init__(self, site: SiteConfig, scenario: Scenario, seed: int, start: dt.datetime) -> None:
        self.site, self.scenario, self.seed = site, scenario, seed
        self._time_s = epoch_s(start)
        if self._time_s % MINUTE_S:
            raise ValueError(f"start {start.isoformat()} must be a whole minute")
        self._check_inside(self._time_s)
        known = {ev.id for ev in site.evs}
        unknown = sorted({one.ev_id for one in scenario.sessions} - known)
        if unknown:
            raise ValueError(
                f"ev.csv, column ev: {unknown[0]!r} is no car of the site; "
                f"known: {', '.join(sorted(known)) or 'none'}"
            )
        self._drivers = Drivers(site, scenario, seed)
        self._ids = tuple(room.id for room in site.rooms)
        count = len(self._ids)
        built = building(site, seed)
        block = self._drivers.block(self._time_s // MINUTE_S)
        row = self._time_s // MINUTE_S - block.first_minute
        self._rooms = Rooms(
            built,
            block.low_c[row] + START_ABOVE_LOW_K,
            float(block.outdoor_c[row : row + 1440].mean()),
            float(ground_c(np.array([self._time_s]))[0]),
        )
        self._bias = SENSOR_BIAS_C * np.random.default_rng([seed, 41]).standard_normal(count)
        self._relay: BoolArray = np.zeros(count, dtype=np.bool_)
        self._switched_s = np.full(count, self._time_s - RELAY_LOCK_S, dtype=np.int64)
        self._pack = None if site.battery is None else BatteryPack(site.battery, START_SOC)
        self._boxes = tuple(Wallbox(ev, scenario.sessions) for ev in site.evs)
        self._ev_w = [0.0] * len(self._boxes)
        self._programmes = [Programme(site, k, self._time_s) for k in range(len(site.loads))]
        self._export_limit_w = site.grid.export_limit_w
        self._sum = dict.fromkeys(COUNTERS, 0.0)
        self._now = dict.fromkeys(POWERS, 0.0)
        self._next_ev_s = self._time_s
        self._meet_cars()

    @classmethod
    def warmed(
        cls,
        site: SiteConfig,
        scenario: Scenario,
        seed: int,
        start: dt.datetime,
        hours: int = 48,
    ) -> House:
        """A house that has lived by its own rules for some hours before `start`, counters at zero.

        Uses the scenario's history; shorter when that begins later.
        """
        first = max(epoch_s(start) - hours * 3600, -(-scenario.simulated_from_s // 60) * 60)
        house = cls(site, scenario, seed, utc(first))
        house.step(start)
        house._sum = dict.fromkeys(COUNTERS, 0.0)
        return house

    @property
    def time(self) -> dt.datetime:
        """Simulated time, UTC."""
        return utc(self._time_s)

    def step(self, until: dt.datetime, actuation: Actuation = OWN_RULES) -> Observation:
        """Advance to `until` with the commands held, and report what the devices then show.

        Sub-steps end on whole minutes and at plug-ins, so a stretch gives the same result stepped
        by the minute or at once. ValueError for a time before now or outside the scenario, an
        unknown room or car, or a command that is no finite number.
        """
        until_s = epoch_s(until)
        if until_s < self._time_s:
            raise ValueError(f"until {until.isoformat()} lies before {self.time.isoformat()}")
        self._check_inside(until_s)
        commands = resolve(self.site, actuation)
        self._export_limit_w = commands.export_limit_w
        while self._time_s < until_s:
            end = min(until_s, (self._time_s // MINUTE_S + 1) * MINUTE_S, self._next_ev_s)
            self._substep(end - self._time_s, commands)
            self._time_s = end
            if end >= self._next_ev_s:
                self._meet_cars()
        return self.observe()

    def _substep(self, dt_s: int, commands: Commands) -> None:
        time_s, minute = self._time_s, self._time_s // MINUTE_S
        block = self._drivers.block(minute)
        row = minute - block.first_minute
        rooms, totals, now = self._rooms, self._sum, self._now
        hours = dt_s / 3600.0

        lift_k = self._measured(block, row) - block.setpoint_c[row]
        heat_w = self._switch(time_s, commands.own_rule, commands.wanted, lift_k)
        heating_w = float(heat_w.sum())
        base_w = float(block.base_load_w[row])
        available_w = float(block.pv_w[row])
        ev_w = [
            box.wanted_w(time_s, dt_s, current)
            for box, current in zip(self._boxes, commands.currents_a, strict=True)
        ]
        loads_w = sum(
            one.step(time_s, dt_s, supply)
            for one, supply in zip(self._programmes, commands.supplies, strict=True)
        )
        load_w = base_w + heating_w + loads_w + sum(ev_w)
        pv_w, flow = dispatch(self.site, self._pack, commands, load_w, available_w, dt_s)
        excess_w = load_w + flow.ac_w - pv_w - self.site.grid.import_limit_w
        if excess_w > 0.0 and sum(ev_w) > 0.0:
            for k, box in enumerate(self._boxes):
                if ev_w[k] > 0.0 and excess_w > 0.0:
                    reduced = box.guard(ev_w[k], excess_w, time_s)
                    excess_w -= ev_w[k] - reduced
                    ev_w[k] = reduced
            load_w = base_w + heating_w + loads_w + sum(ev_w)
            pv_w, flow = dispatch(self.site, self._pack, commands, load_w, available_w, dt_s)
        if self._pack is not None:
            self._pack.apply(flow, dt_s)
        battery = flow.ac_w
        for box, power in zip(self._boxes, ev_w, strict=True):
            box.apply(power, dt_s)
        grid_w = load_w + battery - pv_w

        heat = rooms.step(
            dt_s,
            heat_w,
            block.gain_w[row],
            block.sun_w[row],
            block.opened[row],
            float(block.outdoor_c[row]),
            float(block.wind_m_s[row]),
            float(block.ground_c[row]),
        )
        below = np.maximum(block.low_c[row] - rooms.air_c, 0.0)
        above = np.maximum(rooms.air_c - block.high_c[row], 0.0)

        totals["import_wh"] += max(grid_w, 0.0) * hours
        totals["export_wh"] += max(-grid_w, 0.0) * hours
        totals["pv_wh"] += pv_w * hours
        totals["load_wh"] += load_w * hours
        totals["battery_charge_wh"] += max(battery, 0.0) * hours
        totals["battery_discharge_wh"] += max(-battery, 0.0) * hours
        totals["heating_wh"] += heating_w * hours
        totals["ev_wh"] += sum(ev_w) * hours
        totals["loads_wh"] += loads_w * hours
        totals["base_load_wh"] += base_w * hours
        totals["comfort_below_kh"] += float(below.sum()) * hours
        totals["comfort_above_kh"] += float(above.sum()) * hours
        totals["worst_below_k"] = max(totals["worst_below_k"], float(below.max()))
        totals["over_fuse_s"] += dt_s if grid_w > self.site.grid.import_limit_w + 1e-6 else 0
        totals["curtailed_wh"] += (available_w - pv_w) * hours
        totals["battery_lost_wh"] += flow.lost_w * hours
        totals["gained_wh"] += heat.into_rooms_w * hours
        totals["lost_wh"] += heat.lost_w * hours
        now.update(
            base_w=base_w, heating_w=heating_w, ev_w=sum(ev_w), loads_w=loads_w, pv_w=pv_w,
            pv_available_w=available_w, battery_w=battery, grid_w=grid_w,
        )  # fmt: skip
        self._ev_w = ev_w

    def _measured(self, block: Block, row: int) -> FloatArray:
        error = self._bias + block.sensor_error_c[row]
        return np.asarray(np.round(self._rooms.air_c + error, 1))

    def _switch(
        self, time_s: int, own: BoolArray, wanted: BoolArray, lift_k: FloatArray
    ) -> FloatArray:
        """Move the relays (commands, else thermostats) and return each room's heating power, W.

        lift_k : measured temperature above the thermostat's set-point
        """
        low, high = HYSTERESIS_K
        relay = self._relay
        thermostat = (lift_k < low) | (relay & (lift_k <= high))
        change = np.where(own, thermostat, wanted) != relay
        if change.any():
            change &= time_s - self._switched_s >= RELAY_LOCK_S
            self._relay = relay ^ change
            self._switched_s[change] = time_s
            self._sum["relay_switches"] += int(change.sum())
        return np.asarray(np.where(self._relay, self._rooms.built.heater_w, 0.0))

    def _meet_cars(self) -> None:
        for box in self._boxes:
            box.arrive(self._time_s)
        self._next_ev_s = min(
            (box.next_change_s(self._time_s) for box in self._boxes), default=2**62
        )

    def _check_inside(self, time_s: int) -> None:
        low, high = self.scenario.simulated_from_s, self.scenario.simulated_to_s
        if not low <= time_s <= high:
            raise ValueError(
                f"{utc(time_s).isoformat()} lies outside the scenario "
                f"({utc(low).isoformat()} to {utc(high).isoformat()})"
            )

    def _block_row(self) -> tuple[Block, int]:
        """Driver values at the current time; at the very end of the scenario the last minute."""
        minute = min(self._time_s, self.scenario.simulated_to_s - 1) // MINUTE_S
        block = self._drivers.block(minute)
        return block, minute - block.first_minute

    def observe(self) -> Observation:
        """What the devices show now, without advancing."""
        block, row = self._block_row()
        measured = self._measured(block, row).tolist()
        relay = self._relay.tolist()
        now, totals = self._now, self._sum
        load_w = now["base_w"] + now["heating_w"] + now["loads_w"] + now["ev_w"]
        return Observation(
            time=self.time,
            rooms={
                room: RoomObservation(value, on)
                for room, value, on in zip(self._ids, measured, relay, strict=True)
            },
            outdoor_c=float(block.outdoor_sensor_c[row]),
            ghi_w_m2=round(float(block.ghi_w_m2[row]), 1),
            pv_w=now["pv_w"],
            load_w=load_w,
            grid_w=now["grid_w"],
            battery_w=now["battery_w"],
            soc=0.0 if self._pack is None else self._pack.soc,
            import_wh=totals["import_wh"],
            export_wh=totals["export_wh"],
            pv_wh=totals["pv_wh"],
            load_wh=totals["load_wh"],
            battery_charge_wh=totals["battery_charge_wh"],
            battery_discharge_wh=totals["battery_discharge_wh"],
            export_limit_w=self._export_limit_w,
            evs={
                box.spec.id: box.observe(power)
                for box, power in zip(self._boxes, self._ev_w, strict=True)
            },
            loads={
                one.load.id: LoadObservation(one.on, one.power_w) for one in self._programmes
            },
        )

    @property
    def truth(self) -> Truth:
        """The noiseless state and the counters that no device has."""
        now, totals, rooms = self._now, self._sum, self._rooms
        return Truth(
            time=self.time,
            air_c=dict(zip(self._ids, rooms.air_c.tolist(), strict=True)),
            floor_c=dict(zip(self._ids, rooms.floor_c.tolist(), strict=True)),
            core_c=dict(zip(self._ids, rooms.core_c.tolist(), strict=True)),
            wall_c=dict(zip(self._ids, rooms.wall_c.tolist(), strict=True)),
            base_load_w=now["base_w"],
            heating_w=now["heating_w"],
            ev_w=now["ev_w"],
            loads_w=now["loads_w"],
            pv_available_w=now["pv_available_w"],
            heating_wh=totals["heating_wh"],
            ev_wh=totals["ev_wh"],
            loads_wh=totals["loads_wh"],
            base_load_wh=totals["base_load_wh"],
            comfort_below_kh=totals["comfort_below_kh"],
            comfort_above_kh=totals["comfort_above_kh"],
            worst_below_k=totals["worst_below_k"],
            relay_switches=int(totals["relay_switches"]),
            over_fuse_s=totals["over_fuse_s"],
            curtailed_wh=totals["curtailed_wh"],
            battery_stored_wh=0.0 if self._pack is None else self._pack.energy_wh,
            battery_lost_wh=totals["battery_lost_wh"],
            stored_wh=rooms.stored_wh(),
            gained_wh=totals["gained_wh"],
            lost_wh=totals["lost_wh"],
        )

    def save(self) -> dict[str, Any]:
        """The whole state as a JSON-able dict (floats survive JSON exactly)."""
        return {
            "version": STATE_VERSION,
            "site": self.site.content_hash(),
            "scenario": self.scenario.content_hash,
            "seed": self.seed,
            "time_s": self._time_s,
            "air_c": self._rooms.air_c.tolist(),
            "floor_c": self._rooms.floor_c.tolist(),
            "core_c": self._rooms.core_c.tolist(),
            "wall_c": self._rooms.wall_c.tolist(),
            "relay": self._relay.tolist(),
            "switched_s": self._switched_s.tolist(),
            "battery_wh": None if self._pack is None else self._pack.energy_wh,
            "wallboxes": {
                box.spec.id: {**asdict(box.state), "offered_a": box.offered_a}
                for box in self._boxes
            },
            "ev_w": list(self._ev_w),
            "programmes": {one.load.id: one.save() for one in self._programmes},
            "export_limit_w": self._export_limit_w,
            "counters": dict(self._sum),
            "powers": dict(self._now),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a saved state; ValueError when it belongs to another house or scenario."""
        mine = {
            "version": STATE_VERSION,
            "site": self.site.content_hash(),
            "scenario": self.scenario.content_hash,
            "seed": self.seed,
        }
        for name, value in mine.items():
            if state.get(name) != value:
                raise ValueError(
                    f"state.{name} is {state.get(name)!r}, this house has {value!r}; "
                    "use the house it was saved from, or start anew"
                )
        self._time_s = int(state["time_s"])
        self._rooms.air_c = np.array(state["air_c"], dtype=np.float64)
        self._rooms.floor_c = np.array(state["floor_c"], dtype=np.float64)
        self._rooms.core_c = np.array(state["core_c"], dtype=np.float64)
        self._rooms.wall_c = np.array(state["wall_c"], dtype=np.float64)
        self._relay = np.array(state["relay"], dtype=np.bool_)
        self._switched_s = np.array(state["switched_s"], dtype=np.int64)
        if self._pack is not None:
            self._pack.energy_wh = float(state["battery_wh"])
        for box in self._boxes:
            saved = dict(state["wallboxes"][box.spec.id])
            box.offered_a = float(saved.pop("offered_a"))
            box.session = None
            box.state = WallboxState(**saved)
        self._ev_w = [float(value) for value in state["ev_w"]]
        for one in self._programmes:
            one.restore(state["programmes"][one.load.id])
        self._export_limit_w = float(state["export_limit_w"])
        self._sum = {name: float(state["counters"][name]) for name in COUNTERS}
        self._now = {name: float(state["powers"][name]) for name in POWERS}
        self._meet_cars()
