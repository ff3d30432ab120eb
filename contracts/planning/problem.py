"""PlanningProblem: everything the planner may know, per step, with units in the names.

Powers are AC watts averaged over a step, seen from the house: loads, charging and import are
positive in their own fields. Step t covers [time[t], time[t] + step_s[t]); a temperature or
state of charge with index t + 1 is the value at the END of step t.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
from typing import Literal, Self

from pydantic import Field, model_validator

from contracts.planning.series import (
    Celsius,
    CelsiusSeries,
    Efficiency,
    Finite,
    FiniteSeries,
    Fraction,
    Frozen,
    HeaterW,
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
)

MAX_STEPS = 2000


class NeighbourGain(Frozen):
    """Influence of a neighbouring room's air at the start of a step on this room's nodes.

    `gain_air[t]` and `gain_mass[t]` are kelvin per kelvin of the neighbour's air temperature;
    the room's own `decay` entries must already contain the loss towards that neighbour.
    """

    room: Name
    gain_air: FiniteSeries
    gain_mass: FiniteSeries = ()


class RoomDynamics(Frozen):
    """Exact linear step of one room; node 0 is the air, node 1 (optional) the building mass.

    T0' = decay_air T0 + mass_to_air T1 + heat_air_k u + drift_air_k + N0
    T1' = air_to_mass T0 + decay_mass T1 + heat_mass_k u + drift_mass_k + N1
    with u the relay (0..1), N the neighbours' terms, drift = outdoor air, sun, people (kelvin).
    The four `*_mass` series are empty for a one-node room.
    """

    decay_air: FiniteSeries
    heat_air_k: FiniteSeries
    drift_air_k: FiniteSeries
    mass_to_air: FiniteSeries = ()
    air_to_mass: FiniteSeries = ()
    decay_mass: FiniteSeries = ()
    heat_mass_k: FiniteSeries = ()
    drift_mass_k: FiniteSeries = ()
    neighbours: tuple[NeighbourGain, ...] = ()

    @property
    def nodes(self) -> int:
        """1 (air) or 2 (air and mass)."""
        return 2 if self.decay_mass else 1


class Room(Frozen):
    """One room heated by one relay; comfort is a wish with a price, never a wall.

    The comfort band of step t applies to the air temperature at the end of step t; a kelvin
    outside it for an hour costs the penalty. `terminal_value_eur_per_k[i]` is what each kelvin
    that node i ends below `terminal_target_c[i]` costs (stored heat; one entry per node).
    `fixed_relay[t]` (0, 1 or None) is an override; it wins over minimum times, and no free switch
    is made whose minimum time a later override would cut.
    `initial_in_state_s` is how long the relay has been in its present state.
    """

    name: Name
    heater_w: HeaterW
    dynamics: RoomDynamics
    initial_air_c: Celsius
    initial_mass_c: Celsius | None = None
    low_c: CelsiusSeries
    high_c: CelsiusSeries
    penalty_low_eur_per_k_h: NonNegative = 1.0
    penalty_high_eur_per_k_h: NonNegative = 1.0
    min_on_s: int = Field(default=0, ge=0, le=24 * 3600)
    min_off_s: int = Field(default=0, ge=0, le=24 * 3600)
    switch_cost_eur: NonNegative = 0.0
    initial_on: bool = False
    initial_in_state_s: int = Field(default=24 * 3600, ge=0)
    fixed_relay: tuple[Literal[0, 1] | None, ...] = ()
    heating_group: Name | None = None
    phase_shares: tuple[Fraction, Fraction, Fraction] = (1 / 3, 1 / 3, 1 / 3)
    terminal_target_c: CelsiusSeries = ()
    terminal_value_eur_per_k: tuple[NonNegative, ...] = ()


class HeatingGroup(Frozen):
    """Rooms that share one heat source: the sum of their heater powers stays below the capacity."""

    name: Name
    capacity_w: PowerW


class PowerPoint(Frozen):
    """Power limit at a state of charge; between points the limit is linear."""

    soc_fraction: Fraction
    power_w: PowerW


class Battery(Frozen):
    """Stationary battery at the AC bus.

    A start outside the SoC limits is left as fast as pays: the energy outside is a priced wish.
    `*_limit_points` (optional) give the power limit by the state of charge at the start of a
    step; they must be concave.
    `wear_eur_per_kwh` is paid on every kWh charged into or drawn from the cells.
    `daily_cycle_limit` bounds the energy drawn from the cells in each 24 h counted from `start`,
    in multiples of the capacity.
    `terminal_value_eur_per_kwh` is credited for each kWh in the cells at the end, net of the start.
    """

    capacity_wh: float = Field(strict=True, gt=0.0, le=1e9, allow_inf_nan=False)
    initial_soc_fraction: Fraction
    min_soc_fraction: Fraction = 0.1
    max_soc_fraction: Fraction = 0.9
    charge_limit_w: PowerW
    discharge_limit_w: PowerW
    charge_efficiency: Efficiency = 0.95
    discharge_efficiency: Efficiency = 0.95
    standby_w: PowerW = 0.0
    charge_limit_points: tuple[PowerPoint, ...] = ()
    discharge_limit_points: tuple[PowerPoint, ...] = ()
    wear_eur_per_kwh: NonNegative = 0.0
    daily_cycle_limit: NonNegative | None = None
    terminal_value_eur_per_kwh: PriceEurPerKwh = 0.0
    phase_shares: tuple[Fraction, Fraction, Fraction] = (1 / 3, 1 / 3, 1 / 3)
    allow_grid_charging: bool = True
    fixed_power_w: tuple[Finite | None, ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_soc_fraction >= self.max_soc_fraction:
            raise ValueError("battery.min_soc_fraction must be below max_soc_fraction; swap them")
        for field in ("charge_limit_points", "discharge_limit_points"):
            _require_concave(field, getattr(self, field))
        return self


def _require_concave(field: str, points: tuple[PowerPoint, ...]) -> None:
    if not points:
        return
    if len(points) < 2 or points[0].soc_fraction != 0.0 or points[-1].soc_fraction != 1.0:
        raise ValueError(f"battery.{field} must run from soc_fraction 0 to 1, or be empty")
    slopes = []
    for left, right in itertools.pairwise(points):
        width = right.soc_fraction - left.soc_fraction
        if width <= 0:
            raise ValueError(f"battery.{field} must rise in soc_fraction; sort the points")
        slopes.append((right.power_w - left.power_w) / width)
    if any(later > earlier + 1e-9 for earlier, later in itertools.pairwise(slopes)):
        raise ValueError(f"battery.{field} must be concave (slopes falling); drop the inner dips")


class EvSession(Frozen):
    """One car plugged in from `arrival` to `departure`; charges at 0 or min..max watts.

    `target_kwh` more energy in its cells at departure is wished; each missing kWh costs
    `unmet_penalty_eur_per_kwh`. Up to `max_kwh` may be stored, the part above the target is
    worth `extra_value_eur_per_kwh`. Steps whose buy price is above `price_cap_eur_per_kwh` are
    not used. Times inside a step use only the part of the step that lies in the session.
    `fixed_power_w[t]` (W or None) is an override.
    """

    name: Name
    arrival: UtcTime
    departure: UtcTime
    target_kwh: NonNegative
    max_kwh: NonNegative
    min_power_w: PowerW
    max_power_w: PowerW
    efficiency: Efficiency = 0.92
    unmet_penalty_eur_per_kwh: NonNegative = 1.0
    extra_value_eur_per_kwh: PriceEurPerKwh = 0.0
    price_cap_eur_per_kwh: PriceEurPerKwh | None = None
    switch_cost_eur: NonNegative = 0.0
    initial_on: bool = False
    phase_shares: tuple[Fraction, Fraction, Fraction] = (1 / 3, 1 / 3, 1 / 3)
    fixed_power_w: tuple[PowerW | None, ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.departure <= self.arrival:
            raise ValueError(f"ev {self.name}: departure must be after arrival")
        if self.max_kwh < self.target_kwh:
            raise ValueError(f"ev {self.name}: max_kwh must be at least target_kwh")
        if self.min_power_w > self.max_power_w:
            raise ValueError(f"ev {self.name}: min_power_w must not exceed max_power_w")
        return self


class LoadSegment(Frozen):
    """One stretch of a deferrable load's programme."""

    duration_s: int = Field(gt=0, le=24 * 3600)
    power_w: PowerW


class DeferrableLoad(Frozen):
    """A load that runs its programme once, starting at a step boundary, done by `deadline`.

    `interruptible` loads (a water heater) may instead run in any steps: the total time of the
    segments is spread, at the first segment's power. Not finishing costs `skip_penalty_eur`
    (interruptible: in proportion to the missing time).
    """

    name: Name
    segments: tuple[LoadSegment, ...] = Field(min_length=1)
    earliest: UtcTime
    deadline: UtcTime
    interruptible: bool = False
    skip_penalty_eur: NonNegative = 10.0
    phase_shares: tuple[Fraction, Fraction, Fraction] = (1.0, 0.0, 0.0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.deadline <= self.earliest:
            raise ValueError(f"load {self.name}: deadline must be after earliest")
        return self


class Grid(Frozen):
    """Grid connection and resolved prices (fees, distribution, VAT already inside).

    Prices are EUR per kWh and step. Limits are watts. Above a limit each kWh is priced with
    `limit_penalty_eur_per_kwh` and reported, so no problem is infeasible. Export is switched
    off in steps whose sell price is below `export_min_price_eur_per_kwh`. The peak charge is
    paid per kW by which the highest mean import of a step exceeds `peak_so_far_w`.
    """

    buy_price_eur_per_kwh: PriceSeries
    sell_price_eur_per_kwh: PriceSeries
    import_limit_w: PowerW = 1e6
    export_limit_w: PowerW = 1e6
    phase_import_limit_w: PowerW | None = None
    export_min_price_eur_per_kwh: PriceEurPerKwh | None = None
    peak_price_eur_per_kw: NonNegative = 0.0
    peak_so_far_w: PowerW = 0.0
    fixed_fee_eur: Finite = 0.0
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
    """One house over one horizon; see the classes above for the parts."""

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
        require_unique("rooms", [room.name for room in self.rooms])
        require_unique("heating_groups", [group.name for group in self.heating_groups])
        require_unique("evs", [ev.name for ev in self.evs])
        require_unique("deferrable_loads", [load.name for load in self.deferrable_loads])
        for room in self.rooms:
            self._check_room(room, steps)
        for ev in self.evs:
            require_length(f"ev {ev.name}", "fixed_power_w", ev.fixed_power_w or None, steps)
        if self.battery is not None:
            require_length("battery", "fixed_power_w", self.battery.fixed_power_w or None, steps)
        self._check_scenarios(steps)
        if self.previous is not None:
            for name, relays in self.previous.relays.items():
                require_length(f"previous.relays[{name}]", "relays", relays, steps)
        return self

    def _check_room(self, room: Room, steps: int) -> None:
        owner = f"room {room.name}"
        dynamics = room.dynamics
        for field in ("decay_air", "heat_air_k", "drift_air_k"):
            require_length(owner, f"dynamics.{field}", getattr(dynamics, field), steps)
        mass_fields = ("mass_to_air", "air_to_mass", "decay_mass", "heat_mass_k", "drift_mass_k")
        given = [field for field in mass_fields if getattr(dynamics, field)]
        if given and len(given) != len(mass_fields):
            missing = sorted(set(mass_fields) - set(given))
            raise ValueError(f"{owner}.dynamics lacks {missing}; a two-node room needs all five")
        for field in given:
            require_length(owner, f"dynamics.{field}", getattr(dynamics, field), steps)
        if (dynamics.nodes == 2) != (room.initial_mass_c is not None):
            raise ValueError(f"{owner}.initial_mass_c must be given exactly for two-node rooms")
        if min(dynamics.decay_air) < 0 or min(dynamics.heat_air_k) < 0:
            raise ValueError(
                f"{owner}.dynamics: decay_air and heat_air_k must not be negative; "
                "shorten the steps or discretise exactly"
            )
        if dynamics.nodes == 2 and min(
            min(dynamics.mass_to_air), min(dynamics.air_to_mass),
            min(dynamics.decay_mass), min(dynamics.heat_mass_k),
        ) < 0:
            raise ValueError(f"{owner}.dynamics: two-node gains must not be negative")
        require_length(owner, "low_c", room.low_c, steps)
        require_length(owner, "high_c", room.high_c, steps)
        for step, (low, high) in enumerate(zip(room.low_c, room.high_c, strict=True)):
            if low > high:
                raise ValueError(f"{owner}: low_c[{step}] is above high_c[{step}]; swap them")
        require_length(owner, "fixed_relay", room.fixed_relay or None, steps)
        for field in ("terminal_target_c", "terminal_value_eur_per_k"):
            values = getattr(room, field)
            if values and len(values) != dynamics.nodes:
                raise ValueError(f"{owner}.{field} needs one value per node or none")
        if bool(room.terminal_target_c) != bool(room.terminal_value_eur_per_k):
            raise ValueError(
                f"{owner}: give terminal_target_c and terminal_value_eur_per_k together"
            )
        known = {other.name for other in self.rooms}
        for neighbour in dynamics.neighbours:
            label = f"{owner}.neighbour {neighbour.room}"
            if neighbour.room not in known or neighbour.room == room.name:
                raise ValueError(f"{label} is not another room of this problem")
            require_length(label, "gain_air", neighbour.gain_air, steps)
            if neighbour.gain_mass:
                require_length(label, "gain_mass", neighbour.gain_mass, steps)
                if dynamics.nodes == 1:
                    raise ValueError(f"{label}.gain_mass is given but the room has no mass node")
            if min(neighbour.gain_air + neighbour.gain_mass) < 0:
                raise ValueError(f"{label}: gains must not be negative")
        groups = {group.name for group in self.heating_groups}
        if room.heating_group is not None and room.heating_group not in groups:
            raise ValueError(
                f"{owner}.heating_group {room.heating_group!r} is not in heating_groups"
            )

    def _check_scenarios(self, steps: int) -> None:
        for index, scenario in enumerate(self.scenarios):
            owner = f"scenarios[{index}]"
            for field in ("pv_w", "base_load_w", "buy_price_eur_per_kwh", "sell_price_eur_per_kwh"):
                require_length(owner, field, getattr(scenario, field), steps)
        if self.scenarios:
            total = sum(scenario.probability for scenario in self.scenarios)
            if abs(total - 1.0) > 1e-6:
                raise ValueError(f"scenarios: probabilities add to {total}; they must add to 1")
