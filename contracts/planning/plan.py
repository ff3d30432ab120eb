"""Plan: what the planner decided, what it costs and how far from the best it can be."""

from __future__ import annotations

from typing import Literal

from contracts.planning.series import Finite, FiniteSeries, Frozen, Name, StepSeconds, UtcTime

Rung = Literal["full", "restricted", "lp_rounded", "shifted", "rules"]


class RoomPlan(Frozen):
    """Relay (0 or 1; a duty in long steps) per step; temperatures at the steps + 1 boundaries."""

    name: Name
    relay: FiniteSeries
    air_c: FiniteSeries
    mass_c: FiniteSeries = ()


class EvPlan(Frozen):
    """Charging power per step (mean over the step) and energy in the cells at the boundaries."""

    name: Name
    power_w: FiniteSeries
    stored_kwh: FiniteSeries


class LoadPlan(Frozen):
    """Mean power per step; `start` is None when skipped or interruptible."""

    name: Name
    power_w: FiniteSeries
    start: UtcTime | None


class CostSplit(Frozen):
    """The objective by cause, EUR; `total_eur` is their sum and what the bound bounds."""

    energy_bought_eur: Finite
    energy_sold_eur: Finite
    battery_wear_eur: Finite
    comfort_eur: Finite
    switching_eur: Finite
    peak_eur: Finite
    ev_unmet_eur: Finite
    ev_extra_eur: Finite
    loads_skipped_eur: Finite
    limits_eur: Finite
    terminal_heat_eur: Finite
    terminal_charge_eur: Finite
    self_consumption_eur: Finite
    churn_eur: Finite
    fixed_fee_eur: Finite
    risk_eur: Finite
    total_eur: Finite


class Violation(Frozen):
    """A wish that the plan does not fulfil: how much, in which unit, and what it is priced at."""

    what: Name
    entity: Name
    first_step: int
    amount: Finite
    unit: Name
    cost_eur: Finite


class BindingLimit(Frozen):
    """A limit that holds the plan back in these steps."""

    what: Name
    entity: Name
    steps: tuple[int, ...]


class WorkDone(Frozen):
    """Counters of work (never seconds), so that equal problems show equal numbers."""

    pricing_rounds: int = 0
    rooms_priced: int = 0
    columns: int = 0
    lp_solves: int = 0
    mip_solves: int = 0
    warm_columns: int = 0


class Churn(Frozen):
    """How much of the plan changed against the previous one and the causes found.

    Relay steps are compared where both plans have a relay; energies are half the sum of absolute
    differences over the time both plans cover (what moved, counted once).
    """

    previous_plan_id: str
    relay_steps_compared: int
    relay_steps_changed: int
    reasons: tuple[str, ...]
    battery_kwh_moved: Finite | None = None
    ev_kwh_moved: Finite | None = None


class Plan(Frozen):
    """One plan on the problem's grid; all series have one value per step unless said otherwise.

    `bound_eur`: no plan of the model that `certificate` names costs less; `gap_fraction` is the share of
    `expected_cost_eur` above it. `frozen_bound_eur` (houses whose rooms warm each other): the same for the
    house in which each room's neighbours stay as warm as in this plan and what a room gives them is paid at the
    value of heat. It tells how good the search was; other plans may cost less than it.
    """

    schema_version: Literal[1] = 1
    problem_hash: str
    start: UtcTime
    step_s: tuple[StepSeconds, ...]
    rung: Rung
    rooms: tuple[RoomPlan, ...]
    battery_charge_w: FiniteSeries
    battery_discharge_w: FiniteSeries
    battery_soc_fraction: FiniteSeries
    evs: tuple[EvPlan, ...]
    deferrable_loads: tuple[LoadPlan, ...]
    grid_import_w: FiniteSeries
    grid_export_w: FiniteSeries
    curtailed_w: FiniteSeries
    marginal_price_eur_per_kwh: FiniteSeries
    cost: CostSplit
    expected_cost_eur: Finite
    bound_eur: Finite | None
    gap_fraction: Finite | None
    certificate: str
    frozen_bound_eur: Finite | None = None
    frozen_gap_fraction: Finite | None = None
    violations: tuple[Violation, ...]
    binding_limits: tuple[BindingLimit, ...]
    work: WorkDone
    churn: Churn | None = None
    solver: str
    seed: int
    steps_down: tuple[str, ...] = ()
