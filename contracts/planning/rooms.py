"""Rooms of a planning problem: linear dynamics, comfort, relay rules, shared heat sources."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contracts.planning.series import (
    Celsius,
    CelsiusSeries,
    DeviceW,
    FiniteSeries,
    Fraction,
    Frozen,
    KelvinSeries,
    Name,
    NonNegative,
    PowerW,
    require_length,
    require_unique,
    require_whole,
)


class NeighbourGain(Frozen):
    """Influence of a neighbouring room's air at the start of a step on this room's nodes.

    `gain_air[t]` and `gain_mass[t]` are kelvin per kelvin of the neighbour's air temperature;
    the room's own `decay` entries must already contain the loss towards that neighbour.
    """

    room: Name
    gain_air: FiniteSeries
    gain_mass: FiniteSeries = ()


class RoomDynamics(Frozen):
    """Exact linear step of one room; node 0 is the air, node 1 (optional) the building mass.

    T0' = decay_air T0 + mass_to_air T1 + heat_air_k u + drift_air_k + N0
    T1' = air_to_mass T0 + decay_mass T1 + heat_mass_k u + drift_mass_k + N1
    with u the relay (0..1), N the neighbours' terms, drift = outdoor air, sun, people (kelvin).
    The four `*_mass` series are empty for a one-node room.
    """

    decay_air: FiniteSeries
    heat_air_k: KelvinSeries
    drift_air_k: KelvinSeries
    mass_to_air: FiniteSeries = ()
    air_to_mass: FiniteSeries = ()
    decay_mass: FiniteSeries = ()
    heat_mass_k: KelvinSeries = ()
    drift_mass_k: KelvinSeries = ()
    neighbours: tuple[NeighbourGain, ...] = ()

    @property
    def nodes(self) -> int:
        """1 (air) or 2 (air and mass)."""
        return 2 if self.decay_mass else 1


class Room(Frozen):
    """One room heated by one relay; comfort is a wish with a price, never a wall.

    The comfort band of step t applies to the air temperature at the end of step t; a kelvin
    outside it for an hour costs the penalty. `terminal_value_eur_per_k[i]` is what each kelvin
    that node i ends below `terminal_target_c[i]` costs (stored heat; one entry per node).
    `fixed_relay[t]` (0, 1 or None) is an override; it wins over minimum times, and no free switch
    is made whose minimum time a later override would cut.
    `initial_in_state_s` is how long the relay has been in its present state.
    """

    name: Name
    heater_w: DeviceW
    dynamics: RoomDynamics
    initial_air_c: Celsius
    initial_mass_c: Celsius | None = None
    low_c: CelsiusSeries
    high_c: CelsiusSeries
    penalty_low_eur_per_k_h: NonNegative = 1.0
    penalty_high_eur_per_k_h: NonNegative = 1.0
    min_on_s: int = Field(default=0, ge=0, le=24 * 3600)
    min_off_s: int = Field(default=0, ge=0, le=24 * 3600)
    switch_cost_eur: NonNegative = 0.0
    initial_on: bool = False
    initial_in_state_s: int = Field(default=24 * 3600, ge=0)
    fixed_relay: tuple[Literal[0, 1] | None, ...] = ()
    heating_group: Name | None = None
    phase_shares: tuple[Fraction, Fraction, Fraction] = (1 / 3, 1 / 3, 1 / 3)
    terminal_target_c: CelsiusSeries = ()
    terminal_value_eur_per_k: tuple[NonNegative, ...] = ()


class HeatingGroup(Frozen):
    """Rooms that share one heat source: the sum of their heater powers stays below the capacity."""

    name: Name
    capacity_w: PowerW


MOST_KEPT = 1.02
"""Share of two equal temperatures that a node may keep over a step: 1 and something for rounding."""

MOST_KEPT_WITH_NEIGHBOURS = 1.1
"""The same of an air and its neighbours': what a coarse discretisation leaves out is borne with, wrong units
are not."""


def check_room(room: Room, steps: int, rooms: set[str], groups: set[str]) -> None:
    """Refuse a room whose series, nodes, neighbours or heating group do not fit, by field."""
    owner = f"room {room.name}"
    require_whole(owner, room.phase_shares)
    dynamics = room.dynamics
    for field in ("decay_air", "heat_air_k", "drift_air_k"):
        require_length(owner, f"dynamics.{field}", getattr(dynamics, field), steps)
    mass_fields = ("mass_to_air", "air_to_mass", "decay_mass", "heat_mass_k", "drift_mass_k")
    given = [field for field in mass_fields if getattr(dynamics, field)]
    if given and len(given) != len(mass_fields):
        missing = sorted(set(mass_fields) - set(given))
        raise ValueError(f"{owner}.dynamics lacks {missing}; a two-node room needs all five")
    for field in given:
        require_length(owner, f"dynamics.{field}", getattr(dynamics, field), steps)
    if (dynamics.nodes == 2) != (room.initial_mass_c is not None):
        raise ValueError(f"{owner}.initial_mass_c must be given exactly for two-node rooms")
    if max(dynamics.decay_air) > 1 or max(dynamics.decay_mass or (0.0,)) > 1:
        raise ValueError(
            f"{owner}.dynamics: decay_air and decay_mass must not exceed 1 (a room that warms "
            "itself up); give shares, not percent"
        )
    if min(dynamics.decay_air) < 0 or min(dynamics.heat_air_k) < 0:
        raise ValueError(
            f"{owner}.dynamics: decay_air and heat_air_k must not be negative; "
            "shorten the steps or discretise exactly"
        )
    if dynamics.nodes == 2 and min(
        min(dynamics.mass_to_air), min(dynamics.air_to_mass),
        min(dynamics.decay_mass), min(dynamics.heat_mass_k),
    ) < 0:
        raise ValueError(f"{owner}.dynamics: two-node gains must not be negative")
    for own, other in (("decay_air", "mass_to_air"), ("decay_mass", "air_to_mass")):
        pairs = zip(getattr(dynamics, own), getattr(dynamics, other), strict=bool(given))
        most = max((a + b for a, b in pairs), default=0.0)
        if most > MOST_KEPT:
            raise ValueError(
                f"{owner}.dynamics: {own} and {other} add to {most:.3g}, a room that warms itself up; "
                "discretise both nodes together, then they add to 1 at most"
            )
    require_unique(f"{owner}.dynamics.neighbours", [n.room for n in dynamics.neighbours])
    require_length(owner, "low_c", room.low_c, steps)
    require_length(owner, "high_c", room.high_c, steps)
    for step, (low, high) in enumerate(zip(room.low_c, room.high_c, strict=True)):
        if low > high:
            raise ValueError(f"{owner}: low_c[{step}] is above high_c[{step}]; swap them")
    require_length(owner, "fixed_relay", room.fixed_relay or None, steps)
    for field in ("terminal_target_c", "terminal_value_eur_per_k"):
        values = getattr(room, field)
        if values and len(values) != dynamics.nodes:
            raise ValueError(f"{owner}.{field} needs one value per node or none")
    if bool(room.terminal_target_c) != bool(room.terminal_value_eur_per_k):
        raise ValueError(
            f"{owner}: give terminal_target_c and terminal_value_eur_per_k together"
        )
    for neighbour in dynamics.neighbours:
        label = f"{owner}.neighbour {neighbour.room}"
        if neighbour.room not in rooms or neighbour.room == room.name:
            raise ValueError(f"{label} is not another room of this problem")
        require_length(label, "gain_air", neighbour.gain_air, steps)
        if neighbour.gain_mass:
            require_length(label, "gain_mass", neighbour.gain_mass, steps)
            if dynamics.nodes == 1:
                raise ValueError(f"{label}.gain_mass is given but the room has no mass node")
        gains = neighbour.gain_air + neighbour.gain_mass
        if min(gains) < 0 or max(gains) > 1:
            raise ValueError(f"{label}: gains must lie in 0..1; give shares, not percent")
    felt = [sum(each) for each in zip(*(n.gain_air for n in dynamics.neighbours), strict=True)]
    kept = [a + b for a, b in zip(dynamics.decay_air, felt, strict=bool(felt))]
    if max(kept, default=0.0) > MOST_KEPT_WITH_NEIGHBOURS:
        raise ValueError(
            f"{owner}.dynamics: decay_air and the neighbours' gain_air add to {max(kept):.3g}, a room that "
            "warms itself up; decay_air must contain the loss towards the neighbours"
        )
    if room.heating_group is not None and room.heating_group not in groups:
        raise ValueError(
            f"{owner}.heating_group {room.heating_group!r} is not in heating_groups"
        )
