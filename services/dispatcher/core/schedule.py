"""From a plan to what each device should do in this five-minute cycle. Pure.

Plans speak in means over a step; devices take whole decisions. A relay's duty is spent in whole
cycles at the front of each quarter hour, what is left over is carried on. The battery is left in
its own self-use mode whenever the plan wants just what self-use would do: the inverter follows the
true load within a second, no plan can.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from contracts.planning import Plan
from contracts.site import Ev, SiteConfig
from contracts.wishes import Load

CYCLE_S = 300
CYCLES_PER_SLOT = 3
HOLD_W = 1
"""Smallest charge power: keeps the battery from discharging without charging it noticeably."""
EXPORT = "inverter-export"
SELF_USE_TOLERANCE_W = 150
SELF_USE_TOLERANCE = 0.10


@dataclass(frozen=True, slots=True)
class Wish:
    """What a device should do now: value in command units and why, in words."""

    device: str
    kind: str
    value: int
    reason: str


def step_at(plan: Plan, now: datetime) -> int | None:
    """Index of the plan's step that holds now; None before its start or after its end."""
    seconds = (now - plan.start).total_seconds()
    ends = list(accumulate(plan.step_s))
    if seconds < 0 or seconds >= ends[-1]:
        return None
    return bisect_right(ends, seconds)


def relay_wish(duty: float, carry_cycles: float, cycle_of_slot: int) -> tuple[bool, float]:
    """Whether the relay is on in this cycle, and the on-time carried to the next slot.

    Parameters
    ----------
    duty : share of the plan's step that the relay should be on, 0..1
    carry_cycles : cycles owed (+) or lent (-) from slots before
    cycle_of_slot : 0, 1 or 2: which five minutes of the quarter hour
    """
    wanted = duty * CYCLES_PER_SLOT + carry_cycles
    whole = min(CYCLES_PER_SLOT, max(0, round(wanted)))
    if cycle_of_slot == CYCLES_PER_SLOT - 1:
        left = min(1.0, max(-1.0, wanted - whole))
        return cycle_of_slot < whole, left
    return cycle_of_slot < whole, carry_cycles


def battery_wish(plan: Plan, step: int, site: SiteConfig, soc: float | None = None) -> Wish:
    """Battery command of a step: 0 leaves the inverter to its own self-use.

    So does a battery whose state of charge `soc` (0..1, None unknown) is where the plan's direction ends:
    it got there before the plan thought it would.
    """
    assert site.battery is not None
    planned = plan.battery_charge_w[step] - plan.battery_discharge_w[step]
    grid = plan.grid_import_w[step] - plan.grid_export_w[step]
    residual = grid - planned
    own = (
        -min(residual, site.battery.discharge_max_w)
        if residual > 0
        else min(-residual, site.battery.charge_max_w)
    )
    price = f"energy is worth {plan.marginal_price_eur_per_kwh[step]:.3f} EUR/kWh now"
    if abs(planned - own) <= max(SELF_USE_TOLERANCE_W, SELF_USE_TOLERANCE * abs(own)):
        return Wish("battery", "battery", 0, f"self-use does what the plan wants; {price}")
    gives, at = planned < -SELF_USE_TOLERANCE_W, None if soc is None else round(soc, 3)  # as the gate reads it
    if at is not None and gives and at <= site.battery.soc_min:
        return Wish("battery", "battery", 0, f"the battery is empty at {at:.0%}")
    if at is not None and not gives and at >= site.battery.soc_max:
        return Wish("battery", "battery", 0, f"the battery is full at {at:.0%}")
    if abs(planned) < SELF_USE_TOLERANCE_W:
        return Wish("battery", "battery", HOLD_W, f"keep the charge for dearer hours; {price}")
    verb = "charge" if planned > 0 else "discharge"
    return Wish("battery", "battery", round(planned), f"{verb} at {abs(planned):.0f} W; {price}")


def export_wish(sell_eur_per_kwh: float, site: SiteConfig) -> Wish:
    """Export limit of a step: nothing where feeding in costs money, else the connection's own.

    The plan's own curtailment is a mean over its forecast of sun and load; the inverter holds a limit
    against what comes, within a second.
    """
    least = max(0.0, site.grid.export_min_price_eur_per_kwh or 0.0)
    if sell_eur_per_kwh < least:
        reason = f"a kWh fed in brings {sell_eur_per_kwh:.3f} EUR: nothing is exported"
        return Wish(EXPORT, EXPORT, 0, reason)
    reason = f"a kWh fed in brings {sell_eur_per_kwh:.3f} EUR: the connection's limit holds"
    return Wish(EXPORT, EXPORT, int(site.grid.export_limit_w), reason)


def ev_wish(power_w: float, carry_wh: float, ev: Ev) -> tuple[int, float]:
    """Current in mA for one cycle and the energy carried on, Wh.

    Below the lowest current that a charger may offer (IEC 61851: 6 A) the energy is saved up
    until a cycle at the lowest current is worth it.
    """
    hours = CYCLE_S / 3600
    wanted_wh = power_w * hours + carry_wh
    power = wanted_wh / hours
    if power < ev.min_w / 2:
        return 0, min(wanted_wh, ev.min_w * hours)
    power = min(ev.max_w, max(ev.min_w, power))
    amperes = power / (ev.voltage_v * ev.phases)
    left = wanted_wh - power * hours
    return round(amperes * 1000), max(-ev.min_w * hours, min(ev.min_w * hours, left))


@dataclass(frozen=True, slots=True)
class LoadWish:
    """What a load that may wait should do, and until when its programme then runs without a break."""

    on: bool
    reason: str
    until: datetime | None = None


def load_wish(
    load: Load, plan: Plan, step: int, now: datetime, site: SiteConfig, under_way: datetime | None
) -> LoadWish | None:
    """Supply of a load in this cycle; None leaves it to its own rules.

    That is the case outside its windows, when people may use it as they like, and once its programme
    is done. It is held off a cycle before a window opens, or its own timer would begin. A programme
    that must not be interrupted keeps its supply to its planned end, also when a newer plan counts it
    as running.

    Parameters
    ----------
    under_way : planned end of the programme that was started last
    """
    if under_way is not None and now < under_way:
        local = under_way.astimezone(site.location.zone)
        return LoadWish(True, f"its programme runs until {local:%H:%M}", under_way)
    horizon = plan.start + timedelta(seconds=sum(plan.step_s))
    for name, first, last in load.windows(site.location.zone, now, horizon):
        if first > now + timedelta(seconds=CYCLE_S):
            break
        planned = next((p for p in plan.deferrable_loads if p.name == name), None)
        if planned is None:
            continue
        if planned.power_w[step] > 0:
            ends = _last_end(plan, planned.power_w) if not load.interruptible else None
            return LoadWish(True, "now is its time by the plan", ends)
        due = last.astimezone(site.location.zone)
        return LoadWish(False, f"it waits for cheaper energy, to be done by {due:%H:%M}")
    return None


def _last_end(plan: Plan, power_w: Sequence[float]) -> datetime:
    """End of the last step with power."""
    last = max(step for step, power in enumerate(power_w) if power > 0)
    return plan.start + timedelta(seconds=sum(plan.step_s[: last + 1]))


def lease(now: datetime, minutes: int = 20) -> datetime:
    """When the device goes back to its own rules unless the command is renewed."""
    return now + timedelta(minutes=minutes)
