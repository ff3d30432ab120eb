"""Hypothesis strategies: any table of limits, any state, any proposal, garbage included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from safety_house import NOW

from services.safety.core.limits import (
    BASE_LOAD,
    BATTERY_SOC,
    EV_POWER,
    MODES,
    NORMAL,
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
from services.safety.core.state import Lease, Reading, Relay, SafetyState, key

DEVICES = ("relay-a", "relay-b", "battery", "ev-car", "export", "load-boiler")
KIND = {
    "relay-a": "relay",
    "relay-b": "relay",
    "battery": "battery",
    "ev-car": "ev",
    "export": "inverter-export",
    "load-boiler": "load",
}


@st.composite
def tables(draw: st.DrawFn) -> Limits:
    """A table with two relays, a battery, a car, an export limit and a load."""
    number = lambda low, high: draw(st.integers(low, high))  # noqa: E731
    floor = number(0, 400)
    normal = number(6_000, 20_000)
    export = number(0, 10_000)
    return Limits(
        grid_import_limit_w=draw(st.integers(8_000, 25_000) | st.integers(1, 8_000)),
        assumed_base_load_w=number(0, 6_000),
        tolerated_stale_rooms=number(0, 2),
        devices=(
            RelayLimits(device="relay-a", room="a", power_w=number(1, 4_000)),
            RelayLimits(
                device="relay-b",
                room="b",
                power_w=number(1, 4_000),
                minimum_off_s=number(0, 900),
                maximum_switches_per_hour=number(1, 4),
            ),
            BatteryLimits(
                device="battery",
                capacity_wh=number(1, 20_000),
                maximum_charge_w=number(0, 8_000),
                maximum_discharge_w=number(0, 8_000),
                soc_floor_permille=floor,
                soc_ceiling_permille=number(floor + 1, 1_000),
                grid_charge_allowed=draw(st.booleans()),
                minimum_efficiency_permille=number(500, 1_000),
                maximum_lease_s=number(1, 3_600),
            ),
            EvLimits(
                device="ev-car",
                normal_current_ma=normal,
                maximum_current_ma=number(normal, 32_000),
                phases=draw(st.sampled_from((1, 3))),
                voltage_v=number(200, 250),
            ),
            ExportLimits(device="export", maximum_export_w=export, safe_export_w=number(0, export)),
            LoadLimits(
                device="load-boiler",
                power_w=number(1, 4_000),
                minimum_off_s=number(0, 900),
                maximum_switches_per_hour=number(1, 4),
            ),
        ),
    )


def _readings(value: Callable[[int, int], Any], age: Any) -> dict[str, Any]:
    ranges = {
        key(ROOM_TEMPERATURE, "a"): (18_000, 27_000),
        key(ROOM_TEMPERATURE, "b"): (18_000, 27_000),
        key(BATTERY_SOC, "battery"): (0, 1_000),
        BASE_LOAD: (-2_000, 8_000),
        PV_POWER: (0, 9_000),
        key(EV_POWER, "ev-car"): (0, 11_000),
    }
    return {
        name: st.builds(Reading, value=value(*bounds), at_s=age.map(lambda age_s: NOW - age_s))
        for name, bounds in ranges.items()
    }


GOOD = _readings(st.integers, st.integers(0, 300))
ANY = _readings(
    lambda low, high: st.integers(low, high) | st.integers(-200_000, 200_000),
    st.integers(0, 300) | st.integers(-200, 4_000),
)
READINGS = (
    st.fixed_dictionaries(GOOD)  # often, or hardly anything would ever be approved
    | st.fixed_dictionaries(GOOD)
    | st.fixed_dictionaries({}, optional=GOOD)
    | st.fixed_dictionaries({}, optional=ANY)
)
VALUES = {
    "relay-a": st.integers(0, 1),
    "relay-b": st.integers(0, 1),
    "battery": st.integers(-9_000, 9_000),
    "ev-car": st.integers(6_000, 33_000) | st.just(0),
    "export": st.integers(0, 11_000),
    "load-boiler": st.integers(0, 1),
}
SWITCHES = ("relay-a", "relay-b", "load-boiler")
ACTIVE = {**VALUES, **{name: st.just(1) for name in SWITCHES}}
AT = st.integers(NOW - 4_000, NOW)
RELAYS = st.builds(
    Relay,
    value=st.integers(0, 1),
    changed_s=st.integers(NOW - 400, NOW) | AT,
    switched_on_s=st.lists(AT, max_size=8).map(tuple),
)


@st.composite
def states(draw: st.DrawFn) -> SafetyState:
    """Any state: each reading, lease and relay may be there or not."""
    readings = draw(READINGS)
    leases = {}
    for device in DEVICES:
        if draw(st.booleans()):
            leases[device] = Lease(
                value=draw(VALUES[device]),
                boost=draw(st.booleans()),
                until_s=NOW + draw(st.integers(-300, 900)),
                sequence=draw(st.integers(0, 15)),
            )
    latches = draw(st.sets(st.sampled_from(["estop", *(f"mismatch:{name}" for name in DEVICES)])))
    return SafetyState(
        context="live",
        mode=draw(st.sampled_from((NORMAL, NORMAL, *MODES))),
        reasons=(),
        latches=tuple(sorted(latches)) if draw(st.integers(0, 4)) == 0 else (),
        readings=readings,
        leases=leases,
        relays=draw(st.fixed_dictionaries({}, optional=dict.fromkeys(SWITCHES, RELAYS))),
    )


@st.composite
def sound_proposals(draw: st.DrawFn, devices: tuple[str, ...] = DEVICES) -> Proposal:
    """A well-formed proposal of any size for any of the devices."""
    device = draw(st.sampled_from(devices))
    value = draw(st.one_of(ACTIVE[device], VALUES[device], st.integers(-40_000, 40_000)))
    return Proposal(
        device=device,
        kind=KIND[device],
        value=value,
        valid_from_s=NOW - draw(st.integers(0, 100)),
        expires_s=NOW + draw(st.integers(1, 900)),
        until_s=NOW + draw(st.integers(1, 4_000)),
        sequence=draw(st.integers(5, 40)),
        context="live",
        origin=draw(st.sampled_from(("optimizer", "fallback", "override"))),
        boost=draw(st.booleans()),
    )


GARBAGE: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.integers(),
    st.text(max_size=4),
    st.binary(max_size=2),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
    st.just(object()),
)


@st.composite
def any_proposals(draw: st.DrawFn) -> Proposal:
    """A proposal of which some fields may hold anything at all."""
    sound = draw(sound_proposals())
    names = st.sampled_from(sorted(Proposal.__dataclass_fields__))
    broken = {name: draw(GARBAGE) for name in draw(st.sets(names, max_size=3))}
    return Proposal(**{**sound.__dict__, **broken})
