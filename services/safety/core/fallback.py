"""The fallback controller: what runs the house while it is degraded.

Deliberately dull: thermostats with hysteresis, the battery in the inverter's own self-use mode,
cars at the least current until their need is met. No forecast, no price, no plan. It is the
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
    less: list[Proposal] = []
    more: list[tuple[int, Proposal]] = []
    for name in sorted(limits.by_name):
        device = limits.by_name[name]
        wish = _wish(state, limits, device, now_s, setpoints_milli_c, ev_need_wh)
        if wish is None or _holds(state, device, wish[0], now_s):
            continue
        value, urgency = wish
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
        else:
            more.append((urgency, proposal))
    more.sort(key=lambda item: (item[1].kind == EvLimits.kind, item[0], item[1].device))

    passed: list[Proposal] = []
    for proposal in (*less, *(item[1] for item in more)):
        verdict = judge(proposal, state, limits, now_s)
        if verdict.approved:
            passed.append(proposal)
            state = granted(state, verdict)
    return tuple(passed)


def _wish(
    state: SafetyState,
    limits: Limits,
    device: DeviceLimits,
    now_s: int,
    setpoints_milli_c: Mapping[str, int],
    ev_need_wh: Mapping[str, int],
) -> tuple[int, int] | None:
    """Value for one device and its urgency (least first); None leaves it to its own rules."""
    if state.mode != DEGRADED:
        return device.safe, 0
    if isinstance(device, RelayLimits):
        return _thermostat(state, limits, device, now_s, setpoints_milli_c)
    if isinstance(device, EvLimits) and ev_need_wh.get(device.device, 0) > 0:
        return device.minimum_current_ma, 0
    return device.inactive, 0


def _thermostat(
    state: SafetyState,
    limits: Limits,
    device: RelayLimits,
    now_s: int,
    setpoints_milli_c: Mapping[str, int],
) -> tuple[int, int] | None:
    seen = look(state, limits, ROOM_TEMPERATURE, device.room, now_s)
    if not seen.fresh or seen.value is None:
        return None
    setpoint = setpoints_milli_c.get(device.room, device.setpoint_milli_c)
    above = seen.value - setpoint
    if seen.value >= device.room_maximum_milli_c:
        return device.inactive, above
    relay = state.relays.get(device.device)
    on = relay is not None and relay.value == 1
    young = relay is not None and now_s - relay.changed_s < device.minimum_on_s
    if above <= -device.hysteresis_milli_c or (on and (young or above < device.hysteresis_milli_c)):
        return 1, above
    return device.inactive, above


def _holds(state: SafetyState, device: DeviceLimits, value: int, now_s: int) -> bool:
    """True while the lease in force says the same and more than half of it is left."""
    lease = state.leases.get(device.device)
    return (
        lease is not None
        and (lease.value, lease.boost) == (value, False)
        and lease.until_s - now_s > device.maximum_lease_s // 2
    )
