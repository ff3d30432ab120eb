"""The optimizer: what the house intends for the next two days."""

from __future__ import annotations

from contracts.base import Record
from contracts.planning import Plan
from contracts.units import Fraction, Name, UtcTime


class PlanInputs(Record):
    """What a plan took for granted, per step of its grid; the next plan is compared with it."""

    base_load_w: tuple[float, ...]
    pv_w: tuple[float, ...]
    buy_eur_per_kwh: tuple[float, ...]
    sell_eur_per_kwh: tuple[float, ...]
    evs: tuple[str, ...] = ()
    """Cars that are plugged in and want energy."""
    held: tuple[str, ...] = ()
    """Devices that an override holds in some step."""


class PlanComputed(Record):
    """A plan, why it was made now, and what it rests on."""

    time: UtcTime
    reason: str
    plan: Plan
    because: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    """Ids of the overrides it was made around."""
    inputs: PlanInputs | None = None
    models: dict[Name, str] = {}
    """Content hashes of the models it rests on: ``thermal``, and ``pv``, ``load``, ``price`` where learnt."""
    chance_below: dict[Name, tuple[Fraction, ...]] = {}
    """By room, the chance that its air is below the comfort limit at the end of each step if the plan is
    followed as it is: by the 90 % bands of `thermal.dynamics-issued`, without rooms that had none."""


class LadderDescended(Record):
    """The planner could not use its best method for this plan and says why."""

    time: UtcTime
    wanted: Name
    used: Name
    reason: str
