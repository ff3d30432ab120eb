"""What may wait in a planning problem: cars at their chargers and deferrable loads."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from contracts.planning.series import (
    CarKwh,
    DeviceW,
    Efficiency,
    Fraction,
    Frozen,
    Name,
    NonNegative,
    PowerW,
    PriceEurPerKwh,
    UtcTime,
    require_whole,
)


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
    target_kwh: CarKwh
    max_kwh: CarKwh
    min_power_w: DeviceW
    max_power_w: DeviceW
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
            raise ValueError(f"ev {self.name}: departure must be after arrival; swap or mend them")
        if self.max_kwh < self.target_kwh:
            raise ValueError(f"ev {self.name}: max_kwh must be at least target_kwh; raise it")
        if self.min_power_w > self.max_power_w:
            raise ValueError(f"ev {self.name}: min_power_w must not exceed max_power_w; swap them")
        require_whole(f"ev {self.name}", self.phase_shares)
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
            raise ValueError(f"load {self.name}: deadline must be after earliest; swap or mend them")
        if self.interruptible and self.segments[0].power_w == 0.0:
            raise ValueError(f"load {self.name}: segments[0].power_w must be above 0 W")
        require_whole(f"load {self.name}", self.phase_shares)
        return self
