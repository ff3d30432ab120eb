"""The rules of the gate, one small function each, and the table of which kind is bound by which.

Every rule answers one question, "how much of this may run?", and quotes what it looked at:

- ``allowed`` None: the rule is yes or no; ``ok`` False refuses the proposal;
- ``allowed`` a number: the greatest magnitude the rule grants, in the device's unit; ``ok`` tells
  whether all that was asked fits, and the gate grants the least of all rules.

A rule sees the proposal only after its form has passed, and never for the inactive value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.safety.core.limits import (
    BASE_LOAD,
    BATTERY_SOC,
    DEGRADED,
    EV_POWER,
    NORMAL,
    PERMILLE,
    PV_POWER,
    ROOM_TEMPERATURE,
    BatteryLimits,
    DeviceLimits,
    EvLimits,
    ExportLimits,
    Limits,
    RelayLimits,
    SwitchLimits,
)
from services.safety.core.modes import MISMATCH, rank
from services.safety.core.plain import Plain
from services.safety.core.state import HOUR_S, SafetyState, Seen, look

OPTIMIZER, FALLBACK, OVERRIDE = "optimizer", "fallback", "override"
ORIGINS = (OPTIMIZER, FALLBACK, OVERRIDE)


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What somebody wants of a device. Not checked here: the gate judges garbage, too.

    ``origin`` must be set by the shell from who published the proposal, never from its text.
    ``sequence`` is the position in the log of the event that proposes. ``expires_s`` is the last
    instant for a verdict and an execution, ``until_s`` the lease that is asked for.
    """

    device: str
    kind: str
    value: int
    valid_from_s: int
    expires_s: int | None
    until_s: int
    sequence: int
    context: str
    origin: str
    boost: bool = False


@dataclass(frozen=True, kw_only=True)
class Evidence(Plain):
    """One rule, what it read, and what it held that against."""

    rule: str
    reading: str = ""
    value: int | None = None
    age_s: int | None = None
    limit: int | None = None
    allowed: int | None = None
    ok: bool


@dataclass(frozen=True, kw_only=True)
class Case:
    """One proposal before the rules: a known device, a well-formed active value, a lease end."""

    proposal: Proposal
    device: DeviceLimits
    state: SafetyState
    limits: Limits
    until_s: int
    now_s: int

    @property
    def asked(self) -> int:
        """Magnitude of what is asked, in the device's unit."""
        return abs(self.proposal.value)

    @property
    def positive(self) -> bool:
        """True for a request above 0; for a battery that is charging."""
        return self.proposal.value > 0

    def look(self, reading: str, entity: str = "") -> Seen:
        """A reading, judged for freshness now."""
        return look(self.state, self.limits, reading, entity, self.now_s)

    def grid(self) -> tuple[Seen, int]:
        """The base load, as read and as reckoned with: the worst case while it is not known."""
        seen = self.look(BASE_LOAD)
        if seen.known is None:
            return seen, self.limits.assumed_base_load_w
        return seen, max(0, seen.known)

    def others_w(self) -> int:
        """Power of every other device that may be drawing now, W."""
        return sum(
            draw_w(other, self.state, self.limits, self.now_s)
            for other in self.limits.devices
            if other.device != self.device.device
        )


def draw_w(device: DeviceLimits, state: SafetyState, limits: Limits, now_s: int) -> int:
    """The most a device may be drawing from the grid now, W.

    What it was granted, or what it is seen to do when that is more (its lease may have ended and
    its own rules taken over). A device that does not obey counts with all it has. Discharging,
    and charging under the inverter's own rules (from surplus), count as nothing.
    """
    lease = state.leases.get(device.device)
    granted = lease.value if lease is not None and now_s < lease.until_s else 0
    disobeys = MISMATCH + device.device in state.latches
    if isinstance(device, SwitchLimits):
        relay = state.relays.get(device.device)
        on = disobeys or granted == 1 or (relay is not None and relay.value == 1)
        return device.power_w if on else 0
    if isinstance(device, EvLimits):
        seen = look(state, limits, EV_POWER, device.device, now_s)
        power_w = device.power_w(device.maximum_current_ma if disobeys else granted)
        return power_w if seen.known is None else max(power_w, seen.known)
    if isinstance(device, BatteryLimits):
        return device.maximum_charge_w if disobeys else max(0, granted)
    return 0


# Health: any device.


def mode(case: Case) -> Evidence:
    """Normal lets all origins through, degraded the fallback, safe nothing but safe values."""
    if case.proposal.value == case.device.safe:
        worst = "safe"
    elif case.proposal.origin == FALLBACK:
        worst = DEGRADED
    else:
        worst = NORMAL
    now, most = rank(case.state.mode), rank(worst)
    return Evidence(
        rule="mode", reading=f"mode:{case.state.mode}", value=now, limit=most, ok=now <= most
    )


def obeys(case: Case) -> Evidence:
    """A device that did something else three times gets nothing active until a person clears it."""
    name = case.device.device
    return Evidence(
        rule="obeys",
        reading=f"mismatches:{name}",
        value=case.state.mismatches.get(name, 0),
        limit=case.limits.mismatches_to_latch,
        ok=MISMATCH + name not in case.state.latches,
    )


def sequence(case: Case) -> Evidence:
    """What was proposed before the command in force is old news."""
    lease = case.state.leases.get(case.device.device)
    newest = case.proposal.sequence if lease is None else lease.sequence
    return Evidence(
        rule="sequence",
        value=case.proposal.sequence,
        limit=newest,
        ok=case.proposal.sequence >= newest,
    )


# Relays and loads that may wait.


def relay_range(case: Case) -> Evidence:
    """A switch knows 0 and 1."""
    return Evidence(
        rule="relay-range", value=case.proposal.value, limit=1, ok=case.proposal.value == 1
    )


def room_temperature(case: Case) -> Evidence:
    """No heat into a room that is at its maximum, or whose temperature is not known."""
    assert isinstance(case.device, RelayLimits)
    seen = case.look(ROOM_TEMPERATURE, case.device.room)
    limit = case.device.room_maximum_milli_c
    cool = seen.known is not None and seen.known < limit
    return _evidence("room-temperature", seen, limit, None, cool)


def relay_rest(case: Case) -> Evidence:
    """What was switched off stays off for its minimum time."""
    assert isinstance(case.device, SwitchLimits)
    relay = case.state.relays.get(case.device.device)
    off_s = None if relay is None or relay.value == 1 else case.now_s - relay.changed_s
    return Evidence(
        rule="relay-rest",
        reading=f"off_s:{case.device.device}",
        value=off_s,
        limit=case.device.minimum_off_s,
        ok=off_s is None or off_s >= case.device.minimum_off_s,
    )


def relay_rate(case: Case) -> Evidence:
    """So many switches on an hour and no more; staying on is no switch."""
    assert isinstance(case.device, SwitchLimits)
    relay = case.state.relays.get(case.device.device)
    times = () if relay is None else relay.switched_on_s
    recent = sum(case.now_s - time_s < HOUR_S for time_s in times)
    stays_on = relay is not None and relay.value == 1
    return Evidence(
        rule="relay-rate",
        reading=f"switches_on:{case.device.device}",
        value=recent,
        limit=case.device.maximum_switches_per_hour,
        ok=stays_on or recent < case.device.maximum_switches_per_hour,
    )


def relay_fuse(case: Case) -> Evidence:
    """What is switched on must fit under the main fuse beside all that may be running."""
    assert isinstance(case.device, SwitchLimits)
    headroom_w, seen = _headroom(case)
    return _evidence(
        "fuse", seen, case.limits.grid_import_limit_w, None, case.device.power_w <= headroom_w
    )


# Battery.


def battery_power(case: Case) -> Evidence:
    """The inverter's greatest power in the direction asked."""
    assert isinstance(case.device, BatteryLimits)
    limit = case.device.maximum_charge_w if case.positive else case.device.maximum_discharge_w
    return Evidence(
        rule="battery-power",
        value=case.proposal.value,
        limit=limit,
        allowed=limit,
        ok=case.asked <= limit,
    )


def battery_soc(case: Case) -> Evidence:
    """The lease may not carry the battery past its floor or ceiling; this tapers near the ends.

    Power times the time from the reading to the end of the lease is at most the energy that is
    left to the end of the band, with no losses charging and the worst losses discharging.
    """
    assert isinstance(case.device, BatteryLimits)
    seen = case.look(BATTERY_SOC, case.device.device)
    limit = case.device.soc_ceiling_permille if case.positive else case.device.soc_floor_permille
    if seen.known is None:
        return _evidence("battery-soc", seen, limit, None, False)
    assert seen.age_s is not None
    left_permille = max(0, limit - seen.known if case.positive else seen.known - limit)
    efficiency = PERMILLE if case.positive else case.device.minimum_efficiency_permille
    lease_s = case.until_s - case.now_s + max(0, seen.age_s)
    energy_ws = left_permille * case.device.capacity_wh * HOUR_S * efficiency // PERMILLE**2
    allowed_w = energy_ws // lease_s
    return _evidence("battery-soc", seen, limit, allowed_w, case.asked <= allowed_w)


def battery_grid(case: Case) -> Evidence:
    """From the grid only in mode normal and where it is allowed; else PV surplus only."""
    assert isinstance(case.device, BatteryLimits)
    seen = case.look(PV_POWER)
    granted = case.device.grid_charge_allowed and case.state.mode == NORMAL
    if granted or not case.positive:
        return _evidence("battery-grid", seen, None, None, True)
    _, base_w = case.grid()
    used_w = base_w + case.others_w()
    surplus_w = 0 if seen.known is None else max(0, seen.known - used_w)
    return _evidence("battery-grid", seen, used_w, surplus_w, case.asked <= surplus_w)


def battery_fuse(case: Case) -> Evidence:
    """Charging power that fits under the main fuse; PV is not counted on, a cloud is fast."""
    headroom_w, seen = _headroom(case)
    limit = case.limits.grid_import_limit_w
    if not case.positive:
        return _evidence("fuse", seen, limit, None, True)
    return _evidence("fuse", seen, limit, headroom_w, case.asked <= headroom_w)


# EV.


def ev_range(case: Case) -> Evidence:
    """IEC 61851-1: no current between 0 and 6 A."""
    assert isinstance(case.device, EvLimits)
    limit = case.device.minimum_current_ma
    value = case.proposal.value
    return Evidence(rule="ev-range", value=value, limit=limit, ok=value >= limit)


def ev_current(case: Case) -> Evidence:
    """The charger's normal current; its maximum with boost, which exists in mode normal only."""
    assert isinstance(case.device, EvLimits)
    boost = boosted(case)
    limit = case.device.maximum_current_ma if boost else case.device.normal_current_ma
    return Evidence(
        rule="ev-current",
        reading=f"mode:{case.state.mode}",
        value=rank(case.state.mode),
        limit=limit,
        allowed=limit,
        ok=case.asked <= limit and boost == case.proposal.boost,
    )


def ev_fuse(case: Case) -> Evidence:
    """Current whose power fits under the main fuse."""
    assert isinstance(case.device, EvLimits)
    headroom_w, seen = _headroom(case)
    allowed_ma = case.device.current_ma(headroom_w)
    return _evidence(
        "fuse", seen, case.limits.grid_import_limit_w, allowed_ma, case.asked <= allowed_ma
    )


def boosted(case: Case) -> bool:
    """True when boost is asked for and may be had."""
    return case.proposal.boost and case.state.mode == NORMAL


# Inverter export.


def export_range(case: Case) -> Evidence:
    """There is no negative export limit."""
    value = case.proposal.value
    return Evidence(rule="export-range", value=value, limit=0, ok=value >= 0)


def export_maximum(case: Case) -> Evidence:
    """Never above what the connection agreement allows."""
    assert isinstance(case.device, ExportLimits)
    limit = case.device.maximum_export_w
    return Evidence(
        rule="export-maximum",
        value=case.proposal.value,
        limit=limit,
        allowed=limit,
        ok=case.asked <= limit,
    )


Rule = Callable[[Case], Evidence]
HEALTH: tuple[Rule, ...] = (mode, obeys, sequence)
RULES: dict[str, tuple[Rule, ...]] = {
    "relay": (relay_range, room_temperature, relay_rest, relay_rate, relay_fuse),
    "load": (relay_range, relay_rest, relay_rate, relay_fuse),
    "battery": (battery_power, battery_soc, battery_grid, battery_fuse),
    "ev": (ev_range, ev_current, ev_fuse),
    "inverter-export": (export_range, export_maximum),
}


def _headroom(case: Case) -> tuple[int, Seen]:
    """Power left under the main fuse for this device, W, never negative."""
    seen, base_w = case.grid()
    return max(0, case.limits.grid_import_limit_w - base_w - case.others_w()), seen


def _evidence(rule: str, seen: Seen, limit: int | None, allowed: int | None, ok: bool) -> Evidence:
    return Evidence(
        rule=rule,
        reading=seen.name,
        value=seen.value,
        age_s=seen.age_s,
        limit=limit,
        allowed=allowed,
        ok=ok,
    )
