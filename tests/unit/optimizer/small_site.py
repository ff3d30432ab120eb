"""A site of two rooms and the events that the optimizer hears from it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from chassis.service import Engine
from contracts import grid
from contracts.base import Record
from contracts.envelope import Event
from contracts.events.clock import Ticked
from contracts.events.forecast import ForecastIssued
from contracts.events.measurement import HouseSampled, RoomSampled
from contracts.events.system import ConfigLoaded
from contracts.events.thermal import (
    DynamicsIssued,
    RoomDynamics,
    RoomEstimate,
    StateEstimated,
    StepGains,
)
from contracts.site import SiteConfig
from services.optimizer.core.problem import Knowledge
from services.optimizer.core.watch import Watch
from services.optimizer.service import Optimizer
from tests.conftest import make_event

NOW = datetime(2026, 1, 12, 18, 0, tzinfo=UTC)
DATA: dict[str, Any] = {
    "site": "home",
    "location": {
        "latitude": 50.0, "longitude": 14.5, "timezone": "Europe/Prague", "country": "CZ"
    },
    "pv": [{"name": "south", "tilt_deg": 35, "azimuth_deg": 180, "peak_w": 5000.0}],
    "inverter": {"ac_limit_w": 6000.0},
    "battery": {"capacity_wh": 8000.0, "charge_max_w": 4000.0, "discharge_max_w": 4000.0},
    "evs": [{"id": "car", "capacity_wh": 50000.0, "phases": 1}],
    "grid": {"import_limit_w": 17250.0, "export_limit_w": 5000.0},
    "tariff": {"distribution_high_eur_per_kwh": 0.08, "distribution_low_eur_per_kwh": 0.03,
               "low_hours": [{"start": "01:00", "end": "05:00"}], "monthly_fee_eur": 10.0},
    "comfort": {"day": [{"start": "06:00", "low_c": 20.0, "high_c": 23.0},
                        {"start": "22:00", "low_c": 18.0, "high_c": 23.0}]},
    "rooms": [
        {"id": name, "name": name, "floor_area_m2": 20.0, "heater_w": 1500.0,
         "heat_loss_w_per_k": 20.0, "comfort": "day"}
        for name in ("living", "bath")
    ],
}  # fmt: skip


def small_site(**changes: Any) -> SiteConfig:
    """The site with whole sections merged (dicts) or replaced."""
    data = {**DATA}
    for name, value in changes.items():
        both = isinstance(value, dict) and isinstance(data.get(name), dict)
        data[name] = {**data[name], **value} if both else value
    return SiteConfig.model_validate(data)


def dynamics(start: datetime = NOW) -> DynamicsIssued:
    """Two equal rooms with air and mass, at 20 °C, losing half a kelvin an hour."""
    rooms = {}
    for name, other in (("living", "bath"), ("bath", "living")):
        gains, felt = {}, {}
        for seconds in sorted(set(grid.STEPS_S)):
            hours = seconds / 3_600
            gains[seconds] = StepGains(
                air_air=1 - 0.3 * hours, mass_air=0.25 * hours, air_mass=0.02 * hours,
                mass_mass=1 - 0.02 * hours, heat_air=2.0 * hours, heat_mass=0.1 * hours,
            )  # fmt: skip
            felt[seconds] = (0.04 * hours, 0.0)
        hours_of = np.array(grid.STEPS_S) / 3_600
        rooms[name] = RoomDynamics(
            air_c=20.0, mass_c=20.0, gains=gains, neighbours={other: felt},
            drift_air_k=tuple(-0.3 * hours_of), drift_mass_k=(0.0,) * len(grid.STEPS_S),
        )  # fmt: skip
    return DynamicsIssued(
        issued=start, start=start, step_s=grid.STEPS_S, rooms=rooms, model_hash="m"
    )


def forecast(quantity: str, start: datetime = NOW, **changes: Any) -> ForecastIssued:
    """Two days of quarter hours: 500 W, no sun at night, a price with an evening peak."""
    hour = (start.hour + np.arange(192) / 4) % 24
    middle = {
        "load": np.full(192, 500.0),
        "pv": 3000 * np.clip(np.sin((hour - 7) / 9 * np.pi), 0, None) * ((hour > 7) & (hour < 16)),
        "price": 80 + 60 * np.exp(-((hour - 18) ** 2) / 4),
    }[quantity]
    width = {"load": 200.0, "pv": 0.5 * middle, "price": 10.0}[quantity]
    values = {
        "quantity": quantity, "issued": start, "start": start, "step_s": 900, "method": "test",
        "p10": tuple(middle - width), "p50": tuple(middle), "p90": tuple(middle + width), **changes,
    }  # fmt: skip
    return ForecastIssued(**values)


def estimate(time: datetime = NOW, air_c: float = 20.4) -> StateEstimated:
    """Both rooms at the same temperatures."""
    rooms = {
        name: RoomEstimate(air_c=air_c, mass_c=20.2, stdev_c=0.1, fresh=True)
        for name in ("living", "bath")
    }
    return StateEstimated(time=time, outdoor_c=0.0, rooms=rooms, model_hash="m")


def knowledge(site: SiteConfig | None = None, **changes: Any) -> Knowledge:
    """All that a problem is built from."""
    values = {
        "site": site or small_site(), "dynamics": dynamics(), "estimate": estimate(),
        "forecasts": {name: forecast(name) for name in ("load", "pv", "price")}, "soc": 0.5,
        "evs": {}, "overrides": (), "watch": Watch(), **changes,
    }  # fmt: skip
    return Knowledge(**values)


class Desk:
    """An optimizer that is told events one by one and hears its own plans."""

    def __init__(self, site: SiteConfig | None = None) -> None:
        self.engine = Engine(Optimizer())
        self.sequence = 0
        self.said: list[Event] = []
        found = site or small_site()
        loaded = ConfigLoaded(kind="site", content_hash=found.content_hash(), site=found)
        self.tell("system.config-loaded", loaded)
        for room in found.rooms:
            self.relay(minutes(-60), room.id, False)

    @property
    def state(self) -> Any:
        return self.engine.state

    def tell(self, type_: str, data: Record) -> list[Event]:
        """One event of the log; what the optimizer decides is told to it in turn."""
        event = make_event(type_, "house", data, "test", key=f"{type_}/{self.sequence}")
        return self._hear(event)

    def _hear(self, event: Event) -> list[Event]:
        self.sequence += 1
        decided = self.engine.handle(replace(event, sequence=self.sequence))
        self.said += decided
        for made in decided:
            if made.type == "plan.computed":
                self._hear(made)
        return decided

    def tick(self, time: datetime) -> list[Event]:
        """The clock says so."""
        return self.tell("clock.ticked", Ticked(time=time, interval_s=60, number=self.sequence))

    def sample(self, time: datetime, soc: float = 0.5, load_w: float = 500.0) -> None:
        """The meters of the house."""
        house = HouseSampled(
            time=time, pv_w=0.0, load_w=load_w, grid_w=load_w, battery_w=0.0, soc=soc
        )
        self.tell("measurement.house.sampled", house)

    def relay(self, time: datetime, room: str, on: bool) -> None:
        """A relay as the controller reports it."""
        self.tell(
            "measurement.room.sampled",
            RoomSampled(room=room, time=time, temperature_c=20.4, relay_on=on),
        )

    def hour(self, start: datetime) -> list[Event]:
        """Everything that a full hour brings."""
        said = self.tick(start)
        self.sample(start)
        for name in ("load", "pv", "price"):
            said += self.tell("forecast.issued", forecast(name, start))
        said += self.tell("thermal.state-estimated", estimate(start))
        return said + self.tell("thermal.dynamics-issued", dynamics(start))

    def five_minutes(self, time: datetime, **sample: float) -> list[Event]:
        """A tick with meters and an estimate."""
        said = self.tick(time)
        self.sample(time, **sample)
        return said + self.tell("thermal.state-estimated", estimate(time))


def minutes(count: float) -> datetime:
    """Minutes after the first plan."""
    return NOW + timedelta(minutes=count)
