"""The mode machine: safe -> degraded -> normal, down at once, up after a healthy hold.

========  ==========================================================================
mode      what the gate lets through
========  ==========================================================================
normal    everything that is whitelisted and within limits
degraded  inactive and safe values, and the fallback controller; no grid charging, no EV boost
safe      each device's safe value and, as everywhere, the inactive one
========  ==========================================================================

A restart starts in safe and earns its way up. See docs/safety.md for every trigger.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from services.safety.core.limits import (
    BASE_LOAD,
    BATTERY_SOC,
    DEGRADED,
    MODES,
    NORMAL,
    ROOM_TEMPERATURE,
    SAFE,
    Limits,
    RelayLimits,
    require,
)
from services.safety.core.plain import Plain, is_whole
from services.safety.core.state import SafetyState, look, timely, without_times

ESTOP = "estop"
MISMATCH = "mismatch:"

Trigger = tuple[str, str]
"""The mode that something demands, and the reason."""


@dataclass(frozen=True, kw_only=True)
class Signals(Plain):
    """What the shell tells the machine at a step."""

    log_accepting: bool = True
    disk_free_bytes: int | None = None
    """None: not known, which alone is no reason to degrade; a full disk stops the log."""
    configuration_known: bool = True
    """False while the house runs a configuration whose hash the gate has not been given."""
    estop: bool = False
    """A person asks for the emergency stop."""
    cleared: bool = False
    """A person clears the latches; a stop asked for in the same step wins."""


@dataclass(frozen=True, kw_only=True)
class Transition(Plain):
    """The house moved from one mode to another."""

    before: str
    after: str
    reasons: tuple[str, ...]
    latched: bool
    at_s: int


def rank(mode: str) -> int:
    """0 normal, 1 degraded, 2 safe."""
    return MODES.index(mode)


def step(
    state: SafetyState, signals: Signals, limits: Limits, now_s: int
) -> tuple[SafetyState, tuple[Transition, ...]]:
    """Move the mode machine to ``now_s``; to be called at every tick and every signal.

    Parameters
    ----------
    state : everything folded so far
    signals : what else is known at this instant
    limits : holds, ages and counts
    now_s : time of the tick, epoch s

    Returns
    -------
    the new state, and at most one transition. Up goes one mode a step; down goes all the way.
    """
    require(is_whole(now_s), f"now_s: must be epoch seconds as int, got {now_s!r}")
    if state.clock_s is not None and state.clock_s - now_s > limits.clock_tolerance_s:
        state = without_times(state)
    if signals.cleared:
        state = replace(state, latches=(), mismatches={})
    state = replace(state, latches=_latches(state, signals, limits))

    found = triggers(state, signals, limits, now_s)
    wanted = max((mode for mode, _ in found), key=rank, default=NORMAL)
    reasons = tuple(reason for _, reason in found)
    mode, since = _move(state, wanted, limits, now_s)
    moved = replace(state, mode=mode, reasons=reasons, healthy_since_s=since, clock_s=now_s)
    if mode == state.mode:
        return moved, ()
    change = Transition(
        before=state.mode, after=mode, reasons=reasons, latched=bool(state.latches), at_s=now_s
    )
    return moved, (change,)


def triggers(
    state: SafetyState, signals: Signals, limits: Limits, now_s: int
) -> tuple[Trigger, ...]:
    """Everything that now speaks against a better mode, in a fixed order."""
    found: list[Trigger] = []
    if ESTOP in state.latches:
        found.append((SAFE, ESTOP))
    if not signals.log_accepting:
        found.append((SAFE, "log-not-accepting"))
    if _jumped(state, limits, now_s):
        found.append((SAFE, "clock-jump"))
    for beat in limits.heartbeats:
        seen_s = state.heartbeats.get(beat.service)
        if seen_s is None or not timely(now_s - seen_s, beat.maximum_age_s, limits):
            found.append((beat.mode, f"heartbeat:{beat.service}"))
    found.extend((DEGRADED, latch) for latch in state.latches if latch != ESTOP)
    if not signals.configuration_known:
        found.append((DEGRADED, "configuration-unknown"))
    disk = signals.disk_free_bytes
    if disk is not None and disk < limits.minimum_disk_free_bytes:
        found.append((DEGRADED, "disk-nearly-full"))
    found.extend((DEGRADED, f"stale:{name}") for name in _stale(state, limits, now_s))
    return tuple(found)


def _latches(state: SafetyState, signals: Signals, limits: Limits) -> tuple[str, ...]:
    latches = set(state.latches)
    if signals.estop:
        latches.add(ESTOP)
    for device, count in state.mismatches.items():
        if count >= limits.mismatches_to_latch:
            latches.add(MISMATCH + device)
    return tuple(sorted(latches))


def _jumped(state: SafetyState, limits: Limits, now_s: int) -> bool:
    return state.clock_s is not None and not timely(
        now_s - state.clock_s, limits.maximum_tick_step_s, limits
    )


def _stale(state: SafetyState, limits: Limits, now_s: int) -> list[str]:
    """Readings without which the whole house is worse off.

    One silent room is the gate's business (it refuses that room's relay); the house is degraded
    only when more rooms than tolerated are silent, or the base load or a battery is.
    """
    wanted = [(BASE_LOAD, "")] + [(BATTERY_SOC, name) for name in limits.of_kind("battery")]
    seen = [look(state, limits, reading, entity, now_s) for reading, entity in wanted]
    stale = [item.name for item in seen if item.known is None]
    rooms = sorted({item.room for item in limits.devices if isinstance(item, RelayLimits)})
    heard = [look(state, limits, ROOM_TEMPERATURE, room, now_s) for room in rooms]
    silent = [item for item in heard if item.known is None]
    if len(silent) > limits.tolerated_stale_rooms:
        stale.append(f"rooms({len(silent)})")
    return stale


def _move(state: SafetyState, wanted: str, limits: Limits, now_s: int) -> tuple[str, int | None]:
    """The next mode, and since when the way up has been free."""
    if rank(wanted) >= rank(state.mode):
        return wanted, None
    since_s = now_s if state.healthy_since_s is None else state.healthy_since_s
    hold_s = limits.safe_hold_s if state.mode == SAFE else limits.degraded_hold_s
    if now_s - since_s < hold_s:
        return state.mode, since_s
    return MODES[rank(state.mode) - 1], now_s
