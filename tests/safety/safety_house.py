"""A small house for the safety tests: three rooms, a battery, a car, an export limit, a load."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from services.safety.core.gate import Verdict, judge
from services.safety.core.limits import (
    BASE_LOAD,
    BATTERY_SOC,
    PV_POWER,
    ROOM_TEMPERATURE,
    BatteryLimits,
    EvLimits,
    ExportLimits,
    Limits,
    LoadLimits,
    RelayLimits,
)
from services.safety.core.rules import Proposal
from services.safety.core.state import (
    Lease,
    Reading,
    Relay,
    SafetyState,
    key,
    with_heartbeat,
    with_lease,
    with_reading,
)

NOW = 1_000_000
LIMITS = Limits(
    grid_import_limit_w=10_000,
    assumed_base_load_w=3_000,
    tolerated_stale_rooms=1,
    devices=(
        RelayLimits(device="relay-a", room="a", power_w=1_000),
        RelayLimits(device="relay-b", room="b", power_w=2_000),
        RelayLimits(device="relay-c", room="c", power_w=1_500),
        BatteryLimits(
            device="battery",
            capacity_wh=10_000,
            maximum_charge_w=5_000,
            maximum_discharge_w=4_000,
            soc_floor_permille=100,
            soc_ceiling_permille=900,
            grid_charge_allowed=True,
        ),
        EvLimits(device="ev-car", normal_current_ma=10_000, maximum_current_ma=16_000),
        ExportLimits(device="export", maximum_export_w=9_000, safe_export_w=3_000),
        LoadLimits(device="load-boiler", power_w=1_200),
    ),
)
SERVICES = ("dispatcher", "gateway", "optimizer", "thermal")
INACTIVE = {
    "relay-a": 0,
    "relay-b": 0,
    "relay-c": 0,
    "battery": 0,
    "ev-car": 0,
    "export": 9_000,
    "load-boiler": 0,
}
ACTIVE = {
    "relay-a": 1,
    "relay-b": 1,
    "relay-c": 1,
    "battery": 1_000,
    "ev-car": 6_000,
    "export": 5_000,
    "load-boiler": 1,
}


def limits(**changes: Any) -> Limits:
    """The house's limits with some fields changed."""
    return replace(LIMITS, **changes)


def device_limits(name: str, **changes: Any) -> Limits:
    """The house's limits with one device changed."""
    devices = tuple(
        replace(item, **changes) if item.device == name else item for item in LIMITS.devices
    )
    return replace(LIMITS, devices=devices)


def healthy(mode: str = "normal", now_s: int = NOW, **changes: Any) -> SafetyState:
    """A state in which everything is known and nothing runs."""
    state = SafetyState(context="live", mode=mode, reasons=(), clock_s=now_s)
    for service in SERVICES:
        state = with_heartbeat(state, service, now_s)
    for room in "abc":
        state = with_reading(state, ROOM_TEMPERATURE, room, 20_000, now_s)
    state = with_reading(state, BATTERY_SOC, "battery", 500, now_s)
    state = with_reading(state, BASE_LOAD, "", 500, now_s)
    state = with_reading(state, PV_POWER, "", 0, now_s)
    return replace(state, **changes)


def reads(
    state: SafetyState, name: str, value: int, entity: str = "", age_s: int = 0
) -> SafetyState:
    """The state with one reading of a given age."""
    return with_reading(state, name, entity, value, NOW - age_s)


def unread(state: SafetyState, name: str, entity: str = "") -> SafetyState:
    """The state without one reading."""
    left = {item: value for item, value in state.readings.items() if item != key(name, entity)}
    return replace(state, readings=left)


def leased(
    state: SafetyState,
    device: str,
    value: int,
    *,
    boost: bool = False,
    until_s: int = NOW + 300,
    sequence: int = 50,
) -> SafetyState:
    """The state with a lease in force (relays are on or off since an hour)."""
    if device.startswith("relay"):
        relays = {**state.relays, device: Relay(value=value, changed_s=NOW - 3_600)}
        state = replace(state, relays=relays)
    lease = Lease(value=value, boost=boost, until_s=until_s, sequence=sequence)
    return with_lease(state, device, lease)


def relay(
    state: SafetyState, device: str, value: int, since_s: int, *switched_on_s: int
) -> SafetyState:
    """The state with a relay seen at ``value`` for ``since_s`` seconds, without a lease."""
    seen = Relay(
        value=value,
        changed_s=NOW - since_s,
        switched_on_s=tuple(NOW - ago_s for ago_s in switched_on_s),
    )
    return replace(state, relays={**state.relays, device: seen})


def ask(value: Any, device: str = "relay-a", **changes: Any) -> Proposal:
    """A well-formed proposal of the optimizer."""
    known = LIMITS.by_name.get(device)
    fields: dict[str, Any] = {
        "device": device,
        "kind": known.kind if known else "relay",
        "value": value,
        "valid_from_s": NOW,
        "expires_s": NOW + 300,
        "until_s": NOW + 600,
        "sequence": 100,
        "context": "live",
        "origin": "optimizer",
    }
    return Proposal(**{**fields, **changes})


def judged(
    value: Any,
    device: str = "relay-a",
    state: SafetyState | None = None,
    limits: Limits = LIMITS,
    **changes: Any,
) -> Verdict:
    """The gate's verdict at NOW."""
    return judge(ask(value, device, **changes), state or healthy(), limits, NOW)


def evidence(verdict: Verdict, rule: str) -> tuple[Any, ...]:
    """What one rule quoted: (reading, value, age_s, limit, allowed, ok)."""
    found = [item for item in verdict.evidence if item.rule == rule]
    assert len(found) == 1, f"{rule}: {len(found)} times in the evidence"
    item = found[0]
    return item.reading, item.value, item.age_s, item.limit, item.allowed, item.ok


def answer(verdict: Verdict) -> Any:
    """The value granted, or the rule that refused."""
    assert verdict.approved == (verdict.value is not None) == (verdict.rule == "")
    assert (verdict.until_s is None) == (verdict.expires_s is None) == (not verdict.approved)
    return verdict.value if verdict.approved else verdict.rule


__all__ = [
    "ACTIVE",
    "INACTIVE",
    "LIMITS",
    "NOW",
    "SERVICES",
    "Reading",
    "answer",
    "ask",
    "device_limits",
    "evidence",
    "healthy",
    "judged",
    "leased",
    "limits",
    "reads",
    "relay",
    "unread",
]
