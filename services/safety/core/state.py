"""What the gate knows: one plain record, and the folds that carry events into it.

Every fold is ``(state, fact) -> state``; the state is never changed in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from services.safety.core.limits import MODES, SAFE, Limits, require
from services.safety.core.plain import Plain, is_whole, table_of

HOUR_S = 3_600


@dataclass(frozen=True, kw_only=True)
class Reading(Plain):
    """A measured value in the unit its name says, and when it was measured (epoch s)."""

    value: int
    at_s: int


@dataclass(frozen=True, kw_only=True)
class Lease(Plain):
    """What a device was last granted, until when, and by which proposal (log position)."""

    value: int
    boost: bool
    until_s: int
    sequence: int


@dataclass(frozen=True, kw_only=True)
class Relay(Plain):
    """A relay as last commanded or read back: 0 or 1, since when, and its switches on."""

    value: int
    changed_s: int
    switched_on_s: tuple[int, ...] = ()
    """Times of the switches on of the last hour."""


@dataclass(frozen=True, kw_only=True)
class SafetyState(Plain):
    """The whole state of the safety service."""

    context: str
    """The run this house belongs to (live, simulated, ...); proposals of others are refused."""
    mode: str = SAFE
    reasons: tuple[str, ...] = ("start",)
    """Why the house is in this mode; empty in normal."""
    latches: tuple[str, ...] = ()
    """What only a person clears: ``estop``, ``mismatch:<device>``. Sorted."""
    healthy_since_s: int | None = None
    """Since when the way up has been free; None while it is not."""
    clock_s: int | None = None
    """Time of the last step of the mode machine."""
    readings: Mapping[str, Reading] = field(default_factory=dict)
    heartbeats: Mapping[str, int] = field(default_factory=dict)
    """When each service last showed that it lives, epoch s."""
    mismatches: Mapping[str, int] = field(default_factory=dict)
    """Read-backs in a row that did not match, by device."""
    leases: Mapping[str, Lease] = field(default_factory=dict)
    relays: Mapping[str, Relay] = field(default_factory=dict)

    decoders: ClassVar[Mapping[str, Any]] = {
        "readings": table_of(Reading),
        "heartbeats": dict,
        "mismatches": dict,
        "leases": table_of(Lease),
        "relays": table_of(Relay),
    }

    def __post_init__(self) -> None:
        """ValueError naming the field when it cannot be."""
        super().__post_init__()
        require(self.mode in MODES, f"SafetyState.mode: must be one of {MODES}, got {self.mode!r}")
        for name in ("heartbeats", "mismatches"):
            numbers = getattr(self, name).values()
            require(all(map(is_whole, numbers)), f"SafetyState.{name}: must hold ints")


def key(reading: str, entity: str = "") -> str:
    """Name of a reading in the state: ``base_load_w``, ``battery_soc_permille:battery``."""
    return f"{reading}:{entity}" if entity else reading


def with_reading(
    state: SafetyState, reading: str, entity: str, value: int, at_s: int
) -> SafetyState:
    """Fold a measurement; the log's order decides, so one absurd time cannot block a sensor.

    A missing value is not folded at all: what is known then grows old by itself.
    ValueError when value or time is no int.
    """
    new = Reading(value=value, at_s=at_s)
    return replace(state, readings={**state.readings, key(reading, entity): new})


def with_heartbeat(state: SafetyState, service: str, at_s: int) -> SafetyState:
    """Fold a sign of life of a service."""
    return replace(state, heartbeats={**state.heartbeats, service: at_s})


def with_read_back(state: SafetyState, device: str, matched: bool) -> SafetyState:
    """Fold the outcome of a read-back (verified or failed): a match ends the row of mismatches."""
    count = 0 if matched else state.mismatches.get(device, 0) + 1
    return replace(state, mismatches={**state.mismatches, device: count})


def with_relay(state: SafetyState, device: str, value: int, at_s: int) -> SafetyState:
    """Fold that a relay is on (1) or off (0); no change is no switch."""
    known = state.relays.get(device)
    if known is not None and known.value == value:
        return state
    switched = () if known is None else known.switched_on_s
    if value == 1:
        switched = (*switched, at_s)
    recent = tuple(time_s for time_s in switched if time_s > at_s - HOUR_S)
    new = Relay(value=value, changed_s=at_s, switched_on_s=recent)
    return replace(state, relays={**state.relays, device: new})


def with_relay_seen(
    state: SafetyState, limits: Limits, device: str, value: int, at_s: int
) -> SafetyState:
    """Fold a relay's read-back. Against a younger command than the settling time it is an echo
    of the time before, and not believed yet.
    """
    known = state.relays.get(device)
    if known is not None and at_s - known.changed_s < limits.relay_settle_s:
        return state
    return with_relay(state, device, value, at_s)


def with_lease(state: SafetyState, device: str, lease: Lease) -> SafetyState:
    """Fold what a device was granted."""
    return replace(state, leases={**state.leases, device: lease})


def without_times(state: SafetyState) -> SafetyState:
    """Forget all that was timed by a clock that has since been set back.

    Readings and heartbeats must come anew, leases are void; relays keep their value and may be
    switched, because waiting for the old clock to come again could mean a year without heating.
    """
    relays = {
        name: Relay(value=relay.value, changed_s=0, switched_on_s=())
        for name, relay in state.relays.items()
    }
    return replace(state, readings={}, heartbeats={}, leases={}, relays=relays)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A reading as a rule may use it."""

    name: str
    value: int | None
    """None: never seen."""
    age_s: int | None
    known: int | None
    """The value when it is young enough, not from the future and plausible; else None."""


def look(state: SafetyState, limits: Limits, reading: str, entity: str, now_s: int) -> Seen:
    """Look a reading up and judge whether it may be believed now."""
    name = key(reading, entity)
    known = state.readings.get(name)
    if known is None:
        return Seen(name=name, value=None, age_s=None, known=None)
    bound = limits.by_reading[reading]
    age_s = now_s - known.at_s
    plausible = bound.minimum <= known.value <= bound.maximum
    fresh = timely(age_s, bound.maximum_age_s, limits) and plausible
    believed = known.value if fresh else None
    return Seen(name=name, value=known.value, age_s=age_s, known=believed)


def timely(age_s: int, maximum_age_s: int, limits: Limits) -> bool:
    """True when an age is not too great, and not from further ahead than clocks may differ."""
    return -limits.clock_tolerance_s <= age_s <= maximum_age_s
