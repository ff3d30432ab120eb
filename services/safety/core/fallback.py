"""The fallback controller: what runs the house while it is degraded.

Deliberately dull: thermostats with hysteresis, the battery in the inverter's own self-use mode,
cars at the least current until their need is met, loads that may wait by
their own timers. No forecast, no price, no plan. It is the
baseline controller of the Simplex architecture (Sha, "Using simplicity to control complexity",
IEEE Software 18(4), 2001); its proposals pass the gate like everybody's.
"""

from __future__ import annotations

from collections.abc import Mapping

from services.safety.core.gate import granted, judge
from services.safety.core.limits import (
    DEGRADED,
    NORMAL,
    ROOM_TEMPERATURE,
    DeviceLimits,
    EvLimits,
    Limits,
    LoadLimits,
    RelayLimits,
)
from services.safety.core.rules import FALLBACK, Proposal
from services.safety.core.state import SafetyState, look

NONE: Mapping[str, int] = {}


def fallback(
    state: SafetyState,
    limits: Limits,
    now_s: int,
    sequence: int,
    *,
    setpoints_milli_c: Mapping[str, int] = NONE,
    ev_need_wh: Mapping[str, int] = NONE,
) -> tuple[Proposal, ...]:
    """What the house does now on its own, as proposals in the order they are to be judged.

    Parameters
    ----------
    state : mode, readings, relays and leases
    limits : devices, setpoints, hysteresis and minimum times
    now_s : time of the tick, epoch s
    sequence : log position of the tick
    setpoints_milli_c : setpoint by room for this hour (day or night); rooms left out keep the
        one of the limits table
    ev_need_wh : energy still to be charged before departure, by charger; left out means none

    Returns
    -------
    Nothing in mode normal. In safe the safe value of every device. In degraded: first all that
    goes to inactive, then relays from the coldest room (against its setpoint) to the warmest,
    then cars, each only if the gate grants it beside those before it; so the fuse staggers them
    and the same state gives the same order. A room without a fresh temperature gets no proposal:
    its lease ends and the relay's own thermostat takes over. A device whose lease in force
    already says the same is left alone until half of it is used up.
    """
    if state.mode == NORMAL:
        return ()
    temperatures = _temperatures(state, limits, now_s)
    less: list[Proposal] = []
    heat: list[tuple[int, Proposal]] = []
    cars: list[Proposal] = []
    for name in sorted(limits.by_name):
        device = limits.by_name[name]
        value = _wish(state, device, now_s, temperatures, setpoints_milli_c, ev_need_wh)
        if value is None or _holds(state, device, value, now_s):
            continue
        proposal = Proposal(
            device=name,
            kind=device.kind,
            value=value,
            valid_from_s=now_s,
            expires_s=now_s + device.maximum_lease_s,
            until_s=now_s + device.maximum_lease_s,
            sequence=sequence,
            context=state.context,
            origin=FALLBACK,
        )
        if value in (device.inactive, device.safe):
            less.append(proposal)
        elif isinstance(device, RelayLimits):
            above = temperatures[name] - _setpoint(device, setpoints_milli_c)
            heat.append((above, proposal))
        else:
            cars.append(proposal)
    coldest_first = [item for _, item in sorted(heat, key=lambda pair: pair[0])]

    passed: list[Proposal] = []
    for proposal in (*less, *coldest_first, *cars):
        verdict = judge(proposal, state, limits, now_s)
        if verdict.approved:
            passed.append(proposal)
            state = granted(state, verdict)
    return tuple(passed)


def _temperatures(state: SafetyState, limits: Limits, now_s: int) -> dict[str, int]:
    """Temperature of each relay's room, m degC; rooms not known are left out."""
    found = {}
    for device in limits.devices:
        if isinstance(device, RelayLimits):
            seen = look(state, limits, ROOM_TEMPERATURE, device.room, now_s)
            if seen.known is not None:
                found[device.device] = seen.known
    return found


def _setpoint(device: RelayLimits, setpoints_milli_c: Mapping[str, int]) -> int:
    return setpoints_milli_c.get(device.room, device.setpoint_milli_c)


def _wish(
    state: SafetyState,
    device: DeviceLimits,
    now_s: int,
    temperatures: Mapping[str, int],
    setpoints_milli_c: Mapping[str, int],
    ev_need_wh: Mapping[str, int],
) -> int | None:
    """The value for one device; None leaves it to its own rules."""
    if state.mode != DEGRADED:
        return device.safe
    if isinstance(device, RelayLimits):
        setpoint = _setpoint(device, setpoints_milli_c)
        return _thermostat(state, device, now_s, temperatures.get(device.device), setpoint)
    if isinstance(device, LoadLimits):
        return None
    need_wh = ev_need_wh.get(device.device)
    if isinstance(device, EvLimits) and need_wh is not None and need_wh > 0:
        return device.minimum_current_ma
    return device.inactive


def _thermostat(
    state: SafetyState,
    device: RelayLimits,
    now_s: int,
    temperature_milli_c: int | None,
    setpoint_milli_c: int,
) -> int | None:
    """On below the band, off above it, in between as it is; once on, on for its minimum time."""
    if temperature_milli_c is None:
        return None
    if temperature_milli_c >= device.room_maximum_milli_c:
        return device.inactive
    above = temperature_milli_c - setpoint_milli_c
    relay = state.relays.get(device.device)
    on = relay is not None and relay.value == 1
    young = relay is not None and now_s - relay.changed_s < device.minimum_on_s
    if above <= -device.hysteresis_milli_c or (on and (young or above < device.hysteresis_milli_c)):
        return 1
    return device.inactive


def _holds(state: SafetyState, device: DeviceLimits, value: int, now_s: int) -> bool:
    """True while the lease in force says the same and more than half of it is left."""
    lease = state.leases.get(device.device)
    return (
        lease is not None
        and (lease.value, lease.boost) == (value, False)
        and lease.until_s - now_s > device.maximum_lease_s // 2
    )
