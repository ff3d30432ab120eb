"""The battery behind the inverter: losses that depend on power, tapers, BMS limits, standby.

Powers are at the inverter's AC side, + charges. Converter loss (both ways) is
P_loss = a |P| + b P^2, split so that the mean efficiency over 20-100 % of full power is about the
site file's; at low power it is better, at full power worse. Electronics draw a standby power all
the time; at the bottom of the site's SoC band they are fed from the AC side, so that dark weeks do
not empty the cells. The BMS stops at 3 % and 99 % of the real capacity and tapers near both ends.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.site import Battery

STANDBY_W = 12.0
BMS_EMPTY, BMS_FULL = 0.03, 0.99
TAPER_TOP, TAPER_BOTTOM = 0.90, 0.08
"""State of charge where charging starts to taper, and where discharging does."""
TAPER_LEAST = 0.12
"""Share of full power that is left at the very end."""
DEAD_BAND_W = 30.0
"""The inverter does not act on less."""


@dataclass(frozen=True)
class BatteryFlow:
    """One sub-step: AC power (+ charges), what the cells gained and what was lost as heat, W."""

    ac_w: float
    stored_w: float
    lost_w: float


class BatteryPack:
    """State: energy in the cells, Wh. 0 is truly empty, `capacity_wh` truly full."""

    def __init__(self, spec: Battery, soc: float) -> None:
        self.spec = spec
        self.energy_wh = soc * spec.capacity_wh

    @property
    def soc(self) -> float:
        """State of charge, 0..1."""
        return self.energy_wh / self.spec.capacity_wh

    def limits_w(self, dt_s: float) -> tuple[float, float]:
        """Most discharge and most charge (both >= 0) that the BMS allows for dt_s, W."""
        spec, soc = self.spec, self.soc
        charge = spec.charge_max_w * _taper((BMS_FULL - soc) / (BMS_FULL - TAPER_TOP))
        discharge = spec.discharge_max_w * _taper((soc - BMS_EMPTY) / (TAPER_BOTTOM - BMS_EMPTY))
        hours = dt_s / 3600.0
        room_w = max(0.0, (BMS_FULL - soc) * spec.capacity_wh / hours)
        left_w = max(0.0, (soc - BMS_EMPTY) * spec.capacity_wh / hours - STANDBY_W)
        return min(discharge, left_w * spec.discharge_efficiency**2), min(charge, room_w)

    def flow(self, ac_w: float) -> BatteryFlow:
        """What an AC power means for the cells; the caller keeps it inside `limits_w`."""
        spec = self.spec
        if abs(ac_w) < DEAD_BAND_W:
            if self.soc <= spec.soc_min:
                return BatteryFlow(STANDBY_W, 0.0, STANDBY_W)
            ac_w = 0.0
        size = abs(ac_w)
        if ac_w > 0:
            loss_share, full = 1 - spec.charge_efficiency, spec.charge_max_w
        else:
            loss_share, full = 1 / spec.discharge_efficiency - 1, spec.discharge_max_w
        lost = size * loss_share * (0.55 + 0.75 * size / full) if full > 0 else 0.0
        return BatteryFlow(ac_w, ac_w - lost - STANDBY_W, lost + STANDBY_W)

    def apply(self, flow: BatteryFlow, dt_s: float) -> None:
        """Move the cells' energy; standby may drain an empty pack to zero but never below."""
        self.energy_wh = max(0.0, self.energy_wh + flow.stored_w * dt_s / 3600.0)


def _taper(share: float) -> float:
    """Power share left: 1 away from the end, falling to TAPER_LEAST at it, 0 beyond it."""
    if share <= 0.0:
        return 0.0
    return min(1.0, TAPER_LEAST + (1 - TAPER_LEAST) * share)


def self_use_w(
    pack: BatteryPack, surplus_w: float, dt_s: float, soc_min: float, soc_max: float
) -> float:
    """The inverter's own rule: charge from surplus, discharge to cover load, within its SoC band.

    surplus_w : PV less everything consumed, W; the result is + charge, inside the limits.
    """
    discharge, charge = pack.limits_w(dt_s)
    hours = dt_s / 3600.0
    capacity = pack.spec.capacity_wh
    if surplus_w > 0:
        room = max(0.0, (soc_max - pack.soc) * capacity / hours)
        return min(surplus_w, charge, room)
    left = max(0.0, (pack.soc - soc_min) * capacity / hours - STANDBY_W)
    return -min(-surplus_w, discharge, left * pack.spec.discharge_efficiency)
