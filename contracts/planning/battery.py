"""The battery of a planning problem."""

from __future__ import annotations

import itertools
from typing import Self

from pydantic import model_validator

from contracts.planning.series import (
    CapacityWh,
    DeviceW,
    Efficiency,
    Fraction,
    Frozen,
    NonNegative,
    OrderW,
    PowerW,
    PriceEurPerKwh,
    require_whole,
)


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

    capacity_wh: CapacityWh
    initial_soc_fraction: Fraction
    min_soc_fraction: Fraction = 0.1
    max_soc_fraction: Fraction = 0.9
    charge_limit_w: DeviceW
    discharge_limit_w: DeviceW
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
    fixed_power_w: tuple[OrderW | None, ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_soc_fraction >= self.max_soc_fraction:
            raise ValueError("battery.min_soc_fraction must be below max_soc_fraction; swap them")
        require_whole("battery", self.phase_shares)
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
