"""PlanningProblem: everything the planner may know, per step, with units in the names.

Powers are AC watts averaged over a step, seen from the house: loads, charging and import are
positive in their own fields. Step t covers [time[t], time[t] + step_s[t]); a temperature or
state of charge with index t + 1 is the value at the END of step t.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Literal, Self

from pydantic import Field, model_validator

from contracts.planning.battery import Battery
from contracts.planning.demand import DeferrableLoad, EvSession
from contracts.planning.rooms import HeatingGroup, Room, check_room
from contracts.planning.series import (
    DeviceW,
    Fraction,
    Frozen,
    Name,
    NonNegative,
    PowerSeries,
    PowerW,
    PriceEurPerKwh,
    PriceSeries,
    StepSeconds,
    UtcTime,
    require_length,
    require_unique,
    require_whole,
)

MAX_STEPS = 2000


class Grid(Frozen):
    """Grid connection and resolved prices (fees, distribution, VAT already inside).

    Prices are EUR per kWh and step. Limits are watts. Above a limit each kWh is priced with
    `limit_penalty_eur_per_kwh` and reported, so no problem is infeasible. Export is switched
    off in steps whose sell price is below `export_min_price_eur_per_kwh`. The peak charge is
    paid per kW by which the highest mean import of a step exceeds `peak_so_far_w`.
    """

    buy_price_eur_per_kwh: PriceSeries
    sell_price_eur_per_kwh: PriceSeries
    import_limit_w: DeviceW = 1e6
    export_limit_w: PowerW = 1e6
    phase_import_limit_w: PowerW | None = None
    export_min_price_eur_per_kwh: PriceEurPerKwh | None = None
    peak_price_eur_per_kw: NonNegative = 0.0
    peak_so_far_w: PowerW = 0.0
    fixed_fee_eur: float = Field(default=0.0, strict=True, ge=-1e6, le=1e6)
    limit_penalty_eur_per_kwh: float = Field(default=20.0, strict=True, gt=0, le=1e6)


class Scenario(Frozen):
    """One possible future of the uncertain inputs; replaces the nominal series when optimising."""

    probability: float = Field(strict=True, gt=0.0, le=1.0)
    pv_w: PowerSeries
    base_load_w: PowerSeries
    buy_price_eur_per_kwh: PriceSeries | None = None
    sell_price_eur_per_kwh: PriceSeries | None = None


class ObjectiveWeights(Frozen):
    """What to minimise: cost, plus EUR per exported kWh, per kW of peak import, per change.

    `self_consumption_eur_per_kwh` is added to every exported or curtailed kWh, `peak_eur_per_kw`
    to the highest mean import, `churn_eur_per_change` to every relay step that differs from the
    previous plan. `cvar_weight` mixes expected cost (0) and the mean of the worst
    `cvar_tail` share of scenarios (1).
    """

    self_consumption_eur_per_kwh: NonNegative = 0.0
    peak_eur_per_kw: NonNegative = 0.0
    churn_eur_per_change: NonNegative = 0.0
    cvar_weight: Fraction = 0.0
    cvar_tail: float = Field(default=0.2, strict=True, gt=0.0, le=1.0)


class PreviousRelays(Frozen):
    """Relay values of the last plan, already aligned to this grid (None: no statement)."""

    plan_id: str
    relays: dict[Name, tuple[Literal[0, 1] | None, ...]]


class PlanningProblem(Frozen):
    """One house over one horizon; the parts are in the files beside this one.

    With `scenarios`, relays, cars and loads are decided once; in the first `here_and_now_s` seconds
    (0: never) the battery does the same in all of them, too. Steps of `duty_from_step_s` or more
    carry a duty 0..1 instead of a relay. `previous` is the last plan, for churn.
    """

    schema_version: Literal[1] = 1
    start: UtcTime
    step_s: tuple[StepSeconds, ...] = Field(min_length=1, max_length=MAX_STEPS)
    base_load_w: PowerSeries
    pv_w: PowerSeries
    pv_curtailable: bool = True
    pv_phase_shares: tuple[Fraction, Fraction, Fraction] = (1 / 3, 1 / 3, 1 / 3)
    base_load_phase_shares: tuple[Fraction, Fraction, Fraction] = (1 / 3, 1 / 3, 1 / 3)
    grid: Grid
    rooms: tuple[Room, ...] = ()
    heating_groups: tuple[HeatingGroup, ...] = ()
    battery: Battery | None = None
    evs: tuple[EvSession, ...] = ()
    deferrable_loads: tuple[DeferrableLoad, ...] = ()
    duty_from_step_s: int = Field(default=3600, ge=60)
    weights: ObjectiveWeights = ObjectiveWeights()
    scenarios: tuple[Scenario, ...] = ()
    here_and_now_s: int = Field(default=3600, ge=0)
    previous: PreviousRelays | None = None

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.step_s)

    def boundaries(self) -> tuple[dt.datetime, ...]:
        """UTC times of the steps + 1 step boundaries."""
        times = [self.start]
        for seconds in self.step_s:
            times.append(times[-1] + dt.timedelta(seconds=seconds))
        return tuple(times)

    def content_hash(self) -> str:
        """sha256 of the canonical JSON: the model a plan and its certificate hold for."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        steps = len(self.step_s)
        require_length("problem", "base_load_w", self.base_load_w, steps)
        require_length("problem", "pv_w", self.pv_w, steps)
        require_length("grid", "buy_price_eur_per_kwh", self.grid.buy_price_eur_per_kwh, steps)
        require_length("grid", "sell_price_eur_per_kwh", self.grid.sell_price_eur_per_kwh, steps)
        require_whole("problem.pv", self.pv_phase_shares)
        require_whole("problem.base_load", self.base_load_phase_shares)
        require_unique("rooms", [room.name for room in self.rooms])
        require_unique("heating_groups", [group.name for group in self.heating_groups])
        require_unique("evs", [ev.name for ev in self.evs])
        require_unique("deferrable_loads", [load.name for load in self.deferrable_loads])
        names = {room.name for room in self.rooms}
        groups = {group.name for group in self.heating_groups}
        for room in self.rooms:
            check_room(room, steps, names, groups)
        for ev in self.evs:
            require_length(f"ev {ev.name}", "fixed_power_w", ev.fixed_power_w or None, steps)
        if self.battery is not None:
            require_length("battery", "fixed_power_w", self.battery.fixed_power_w or None, steps)
        self._check_scenarios(steps)
        if self.previous is not None:
            for name, relays in self.previous.relays.items():
                require_length(f"previous.relays[{name}]", "relays", relays, steps)
        return self

    def _check_scenarios(self, steps: int) -> None:
        for index, scenario in enumerate(self.scenarios):
            owner = f"scenarios[{index}]"
            for field in ("pv_w", "base_load_w", "buy_price_eur_per_kwh", "sell_price_eur_per_kwh"):
                require_length(owner, field, getattr(scenario, field), steps)
        if self.scenarios:
            total = sum(scenario.probability for scenario in self.scenarios)
            if abs(total - 1.0) > 1e-6:
                raise ValueError(f"scenarios: probabilities add to {total}; they must add to 1")
