"""The safety argument, written a second time and on purpose in another way.

Nothing here is taken from ``rules.py``: it looks at a verdict from outside and lists what would be
wrong with carrying it out.
"""

from __future__ import annotations

from typing import Any

from services.safety.core.gate import Verdict
from services.safety.core.limits import Limits
from services.safety.core.rules import Proposal
from services.safety.core.state import SafetyState


def believed(state: SafetyState, limits: Limits, name: str, now_s: int) -> int | None:
    """Value of a reading when it may be used, else None."""
    found = state.readings.get(name)
    bound = limits.by_reading[name.split(":")[0]]
    if found is None or found.value not in range(bound.minimum, bound.maximum + 1):
        return None
    oldest, newest = now_s - bound.maximum_age_s, now_s + limits.clock_tolerance_s
    return found.value if oldest <= found.at_s <= newest else None


def consumption_w(
    state: SafetyState, limits: Limits, now_s: int, without: str, plus_w: float = 0
) -> float:
    """Worst-case consumption of the house, W, with ``plus_w`` in place of one device."""
    base = believed(state, limits, "base_load_w", now_s)
    total: float = limits.assumed_base_load_w if base is None else max(base, 0)
    for name, device in limits.by_name.items():
        if name == without:
            continue
        lease = state.leases.get(name)
        value = lease.value if lease and lease.until_s > now_s else 0
        wild = f"mismatch:{name}" in state.latches
        limit: Any = device
        if device.kind in ("relay", "load"):
            seen_on = name in state.relays and state.relays[name].value == 1
            total += limit.power_w * max(value, int(seen_on), int(wild))
        elif device.kind == "battery":
            total += limit.maximum_charge_w if wild else max(value, 0)
        elif device.kind == "ev":
            measured = believed(state, limits, f"ev_power_w:{name}", now_s) or 0
            current_ma = limit.maximum_current_ma if wild else value
            total += max(measured, car_w(limit, current_ma))
    return total + plus_w


def granted_w(device: Any, value: int) -> float:
    """What a device may draw from the grid by a grant, W."""
    if device.kind in ("relay", "load"):
        return float(device.power_w * value)
    if device.kind == "ev":
        return car_w(device, value)
    return max(value, 0) if device.kind == "battery" else 0


def car_w(limit: Any, current_ma: int) -> float:
    """Exact power of a car at a current, W."""
    return current_ma / 1_000 * limit.voltage_v * limit.phases


def wrongs(
    verdict: Verdict, proposal: Proposal, state: SafetyState, limits: Limits, now_s: int
) -> list[str]:
    """Everything that is wrong with a verdict; empty when it is harmless."""
    if not verdict.approved:
        return [] if verdict.value is None and verdict.rule else ["rejected without a rule"]
    device: Any = limits.by_name.get(verdict.device)
    if device is None or device.kind != verdict.kind or verdict.device != proposal.device:
        return ["not a device of the house"]
    found = []
    value, until_s = verdict.value, verdict.until_s
    if type(value) is not int or type(until_s) is not int or type(verdict.expires_s) is not int:
        return ["no value or no end"]
    if not now_s < until_s <= now_s + device.maximum_lease_s:
        found.append("lease too long or over")
    if not now_s < verdict.expires_s <= until_s or verdict.expires_s > proposal.expires_s:
        found.append("may be executed too late")
    if proposal.valid_from_s > now_s or proposal.context != state.context:
        found.append("not for now or not for this house")
    if abs(value) > abs(proposal.value) or value * proposal.value < 0:
        found.append("more than was asked")
    if value == device.inactive:
        return found
    if value == 0 and device.kind != "inverter-export":
        found.append("active request granted as nothing")

    origin_ok = proposal.origin == "fallback" or proposal.value == device.safe
    if state.mode == "degraded" and not origin_ok:
        found.append("active in degraded")
    if state.mode == "safe" and value != device.safe:
        found.append("active in safe")
    if f"mismatch:{verdict.device}" in state.latches:
        found.append("active although it does not obey")
    lease = state.leases.get(verdict.device)
    if lease and proposal.sequence < lease.sequence:
        found.append("older than what is in force")
    checks = {
        "relay": _relay,
        "load": _switch,
        "battery": _battery,
        "ev": _ev,
        "inverter-export": _export,
    }
    return found + checks[device.kind](verdict, device, state, limits, now_s)


def _relay(v: Verdict, device: Any, state: SafetyState, limits: Limits, now_s: int) -> list[str]:
    found = _switch(v, device, state, limits, now_s)
    milli_c = believed(state, limits, f"room_temperature_milli_c:{device.room}", now_s)
    if milli_c is None or milli_c >= device.room_maximum_milli_c:
        found.append("heats a hot or unknown room")
    return found


def _switch(v: Verdict, device: Any, state: SafetyState, limits: Limits, now_s: int) -> list[str]:
    found = [] if v.value == 1 else ["neither on nor off"]
    relay = state.relays.get(v.device)
    if relay and relay.value == 0:
        if now_s < relay.changed_s + device.minimum_off_s:
            found.append("no rest")
        hour = [at for at in relay.switched_on_s if at > now_s - 3_600]
        if len(hour) + 1 > device.maximum_switches_per_hour:
            found.append("switches too often")
    if consumption_w(state, limits, now_s, v.device, device.power_w) > limits.grid_import_limit_w:
        found.append("fuse")
    return found


def _battery(v: Verdict, device: Any, state: SafetyState, limits: Limits, now_s: int) -> list[str]:
    found = []
    power_w, until_s = v.value or 0, v.until_s or 0
    if not -device.maximum_discharge_w <= power_w <= device.maximum_charge_w:
        found.append("power")
    soc = believed(state, limits, "battery_soc_permille:battery", now_s)
    if soc is None:
        return [*found, "charge unknown"]
    since_s = min(now_s, state.readings["battery_soc_permille:battery"].at_s)
    hours = (until_s - since_s) / 3_600
    if power_w > 0:
        end = soc + 1_000 * power_w * hours / device.capacity_wh
        if end > device.soc_ceiling_permille + 1e-6:
            found.append("past the ceiling")
        used_w = consumption_w(state, limits, now_s, v.device, power_w)
        if used_w > limits.grid_import_limit_w:
            found.append("fuse")
        pv_w = believed(state, limits, "pv_power_w", now_s) or 0
        if used_w > pv_w and not (device.grid_charge_allowed and state.mode == "normal"):
            found.append("charges from the grid")
    else:
        lost = 1_000 / device.minimum_efficiency_permille
        end = soc + 1_000 * power_w * lost * hours / device.capacity_wh
        if end < device.soc_floor_permille - 1e-6:
            found.append("past the floor")
    return found


def _ev(v: Verdict, device: Any, state: SafetyState, limits: Limits, now_s: int) -> list[str]:
    found = []
    current_ma = v.value or 0
    if current_ma < 6_000 or current_ma < device.minimum_current_ma:
        found.append("below 6 A")
    if current_ma > device.maximum_current_ma:
        found.append("above the charger's maximum")
    if current_ma > device.normal_current_ma and not (v.boost and state.mode == "normal"):
        found.append("boost without leave")
    if v.boost and state.mode != "normal":
        found.append("boost outside normal")
    used_w = consumption_w(state, limits, now_s, v.device, car_w(device, current_ma))
    if used_w > limits.grid_import_limit_w + 1e-6:
        found.append("fuse")
    return found


def _export(v: Verdict, device: Any, state: SafetyState, limits: Limits, now_s: int) -> list[str]:
    return [] if 0 <= (v.value or 0) <= device.maximum_export_w else ["export"]
