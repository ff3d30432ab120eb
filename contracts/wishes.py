"""What a household leaves to the planner: loads that may wait, shared heat, what counts how much."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field

from contracts.base import Record
from contracts.local_time import DAYS, Days, LocalTime
from contracts.units import EurPerKwh, Fraction, Name, PositiveWatts, StateOfCharge

Phase = Literal[1, 2, 3]


class PowerAtCharge(Record):
    """Power limit of a battery at a state of charge; between two points it is linear."""

    soc: StateOfCharge
    power_w: PositiveWatts


class HeatingGroup(Record):
    """Rooms that share one heat source or one line: their heaters together stay below it."""

    name: Name
    capacity_w: PositiveWatts


class LoadSegment(Record):
    """One stretch of a load's programme."""

    minutes: Annotated[int, Field(gt=0, le=24 * 60)]
    power_w: PositiveWatts


class Load(Record):
    """A load that may wait: it runs once in every window, done by the deadline.

    An interruptible load (a water heater) may run in pieces; another runs its segments in one go.
    The device ``load-<id>`` switches its supply: off until the plan wants it. With no command of ours
    it follows its own rules (its timer, the button that somebody pressed).
    """

    id: Annotated[Name, Field(max_length=36)]
    segments: Annotated[tuple[LoadSegment, ...], Field(min_length=1)]
    earliest: LocalTime
    deadline: Annotated[LocalTime, Field(description="the next such local time after earliest")]
    days: Annotated[Days, Field(description="days on which the window opens")] = DAYS
    interruptible: bool = False
    skip_penalty_eur: Annotated[float, Field(ge=0, le=1_000)] = 2.0
    phase: Phase = 1

    @property
    def length_s(self) -> int:
        """How long the whole programme runs, s."""
        return sum(part.minutes for part in self.segments) * 60

    @property
    def mean_w(self) -> float:
        """Mean power of the programme, W."""
        return sum(part.minutes * part.power_w for part in self.segments) * 60 / self.length_s

    def remaining(self, ran_s: float) -> list[tuple[int, float]]:
        """(seconds, W) of what is left of the programme when so much of it has run."""
        left, skip = [], round(ran_s)
        for part in self.segments:
            seconds = part.minutes * 60
            if skip < seconds:
                left.append((seconds - skip, part.power_w))
            skip = max(0, skip - seconds)
        return left

    def windows(
        self, zone: ZoneInfo, start: datetime, end: datetime
    ) -> list[tuple[str, datetime, datetime]]:
        """(name, earliest, deadline) in UTC of each window that ends after ``start`` and by ``end``."""
        found = []
        day = start.astimezone(zone).date() - timedelta(days=2)
        while day <= end.astimezone(zone).date():
            opens = datetime.combine(day, self.earliest, zone)
            closes = datetime.combine(day, self.deadline, zone)
            if self.deadline <= self.earliest:
                closes = datetime.combine(day + timedelta(days=1), self.deadline, zone)
            first, last = opens.astimezone(UTC), closes.astimezone(UTC)
            if DAYS[day.weekday()] in self.days and start < last <= end:
                found.append((f"{self.id} {day:%Y-%m-%d}", first, last))
            day += timedelta(days=1)
        return found


class Planner(Record):
    """What counts beside the cost, and whether the plan looks at several futures.

    All weights are 0 by default: cost alone.
    """

    self_consumption_eur_per_kwh: Annotated[
        EurPerKwh, Field(ge=0, description="added to every exported or curtailed kWh")
    ] = 0.0
    peak_eur_per_kw: Annotated[
        float, Field(ge=0, le=100, description="added to each kW of the horizon's highest import")
    ] = 0.0
    churn_eur_per_change: Annotated[
        float, Field(ge=0, le=1, description="for each relay step that leaves the last plan")
    ] = 0.0
    scenarios: Annotated[
        int, Field(ge=1, le=20, description="futures drawn from the forecast bands; 1 = medians")
    ] = 1
    cvar_weight: Annotated[
        Fraction, Field(description="0: expected cost, 1: mean of the worst cvar_tail of futures")
    ] = 0.0
    cvar_tail: Annotated[Fraction, Field(gt=0)] = 0.2
