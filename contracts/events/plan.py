"""The optimizer: what the house intends for the next two days."""

from __future__ import annotations

from contracts.base import Record
from contracts.planning import Plan
from contracts.units import Name, UtcTime


class PlanComputed(Record):
    """A plan, why it was made now, and what it rests on."""

    time: UtcTime
    reason: str
    plan: Plan
    because: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    """Ids of the overrides it was made around."""
    models: dict[Name, str] = {}
    """Content hashes of the models it rests on: ``thermal``, and ``pv``, ``load``, ``price`` where learnt."""


class LadderDescended(Record):
    """The planner could not use its best method for this plan and says why."""

    time: UtcTime
    wanted: Name
    used: Name
    reason: str
