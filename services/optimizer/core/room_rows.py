"""Rooms as explicit linear rows: the relaxation of the 'lp' rung, the bound and the plain MIP.

The air temperature of a step end is band + above - below, where band lies inside the comfort band;
so comfort needs no rows of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.house import FREE, House, RoomArrays
from services.optimizer.core.linear_model import LinearModel
from services.optimizer.core.site_rows import SiteRows
from services.optimizer.core.trajectories import simulate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass
class RoomColumns:
    """Columns of one room; air = band + above - below at each step end.

    `dynamics` holds the rows of each node; their duals are minus the value of a kelvin.
    """

    relay: Ints
    band: Ints
    below: Ints
    above: Ints
    mass: Ints | None
    dynamics: list[Ints] = field(default_factory=list)


def temperature_limits(house: House) -> tuple[list[Floats], list[Floats]]:
    """Lowest and highest reachable temperatures: all relays off and all on (gains are >= 0)."""
    shape = len(house.rooms), house.steps
    low = np.array([room.lower_relay() for room in house.rooms]).reshape(shape)
    high = np.array([room.upper_relay() for room in house.rooms]).reshape(shape)
    return simulate(house, low), simulate(house, high)


def build_rooms(
    model: LinearModel, house: House, site: SiteRows, binary: bool = False
) -> list[RoomColumns]:
    """Add all rooms to `model`; with `binary` also integrality, minimum times and switching."""
    coldest, hottest = temperature_limits(house)
    columns = [
        _room_columns(model, house, room, coldest[room.index], hottest[room.index], binary, 0)
        for room in house.rooms
    ]
    for room in house.rooms:
        own = columns[room.index]
        _dynamics_rows(model, house, room, columns, 0)
        for rows, coefficient in site.heat_entries(house, room.index):
            model.put(rows, own.relay, coefficient * room.power_kw)
        _terminal_rows(model, room, own)
        if binary:
            _minimum_time_rows(model, house, room, own)
    return columns


def build_tail(
    model: LinearModel, house: House, site: SiteRows, first: int
) -> tuple[list[RoomColumns], list[Ints]]:
    """The rooms from step `first` on as linear rows (duty steps only).

    Also returns, for each room, the rows (one per node) of step `first`, into which the caller puts
    -transition x temperature at the start of that step.
    """
    coldest, hottest = temperature_limits(house)
    columns = [
        _room_columns(model, house, room, coldest[room.index], hottest[room.index], False, first)
        for room in house.rooms
    ]
    first_rows = []
    for room in house.rooms:
        own = columns[room.index]
        first_rows.append(_dynamics_rows(model, house, room, columns, first))
        for rows, coefficient in site.heat_entries(house, room.index):
            model.put(rows[first:], own.relay, coefficient * room.power_kw)
        _terminal_rows(model, room, own)
    return columns, first_rows


def _room_columns(
    model: LinearModel,
    house: House,
    room: RoomArrays,
    coldest: Floats,
    hottest: Floats,
    binary: bool,
    first: int,
) -> RoomColumns:
    steps = house.steps - first
    later = slice(first, None)
    coldest, hottest = coldest[first + 1 :], hottest[first + 1 :]
    relay = model.variables(
        steps,
        room.lower_relay()[later],
        room.upper_relay()[later],
        (room.churn_cost_on_eur - room.churn_cost_off_eur)[later],
        integer=~room.duty_step[later] if binary else False,
    )
    low, high = room.low_c[later], room.high_c[later]
    band = model.variables(steps, low, high)
    below = model.variables(
        steps, 0.0, np.maximum(low - coldest[:, 0], 0.0) + 1.0, room.penalty_low_eur_per_k[later]
    )
    above = model.variables(
        steps, 0.0, np.maximum(hottest[:, 0] - high, 0.0) + 1.0, room.penalty_high_eur_per_k[later]
    )
    mass = None
    if room.nodes == 2:
        mass = model.variables(steps, coldest[:, 1] - 1.0, hottest[:, 1] + 1.0)
    if room.churn_cost_off_eur[later].any():
        model.variables(1, 1.0, 1.0, float(room.churn_cost_off_eur[later].sum()))
    return RoomColumns(relay, band, below, above, mass)


def _dynamics_rows(
    model: LinearModel, house: House, room: RoomArrays, columns: list[RoomColumns], first: int
) -> Ints:
    """Dynamics from step `first` on; returns the rows of that step, one per node."""
    own = columns[room.index]
    first_rows = []
    for node in range(room.nodes):
        constant = room.drift_k[first:, node].copy()
        if first == 0:
            constant[0] += float(room.transition[0, node] @ room.start_c)
            for other, gain in room.neighbour_gain.items():
                constant[0] += gain[0, node] * house.rooms[other].start_c[0]
        rows = model.add_rows(house.steps - first, constant, constant)
        first_rows.append(rows[0])
        own.dynamics.append(rows)
        if node == 0:
            _put_air(model, rows, own, slice(None), -1.0)
        elif own.mass is not None:
            model.put(rows, own.mass, 1.0)
        model.put(rows, own.relay, -room.heat_k[first:, node])
        later = rows[1:]
        _put_air(model, later, own, slice(None, -1), room.transition[first + 1 :, node, 0])
        if own.mass is not None:
            model.put(later, own.mass[:-1], -room.transition[first + 1 :, node, 1])
        for other, gain in room.neighbour_gain.items():
            _put_air(model, later, columns[other], slice(None, -1), gain[first + 1 :, node])
    return np.array(first_rows, dtype=np.int64)


def _put_air(
    model: LinearModel, rows: Ints, room: RoomColumns, where: slice, gain: Floats | float
) -> None:
    """Put -gain x air temperature into rows."""
    model.put(rows, room.band[where], -np.asarray(gain))
    model.put(rows, room.above[where], -np.asarray(gain))
    model.put(rows, room.below[where], np.asarray(gain))


def _terminal_rows(model: LinearModel, room: RoomArrays, own: RoomColumns) -> None:
    for node in range(room.nodes):
        value = room.terminal_value_eur_per_k[node]
        if value <= 0:
            continue
        target = float(room.terminal_target_c[node])
        missing = model.variables(1, 0.0, abs(target) + 200.0, value)
        row = model.add_rows(1, target, np.inf)
        model.put(row, missing, 1.0)
        if node == 1 and own.mass is not None:
            model.put(row, own.mass[-1], 1.0)
        else:
            _put_air(model, row, own, slice(-1, None), -1.0)


def _minimum_time_rows(
    model: LinearModel, house: House, room: RoomArrays, own: RoomColumns
) -> None:
    """Switch-on and switch-off indicators, minimum times (Rajan and Takriti's turn-on rows)."""
    steps = house.steps
    relay_steps = ~room.duty_step
    previous_duty = np.concatenate([[False], room.duty_step[:-1]])
    counted = relay_steps & ~previous_duty
    switch_on = model.variables(steps, 0.0, 1.0, np.where(counted, room.switch_cost_eur, 0.0))
    switch_off = model.variables(steps, 0.0, 1.0, np.where(counted, room.switch_cost_eur, 0.0))
    offset = np.zeros(steps)
    offset[0] = room.initial_on
    rows = model.add_rows(steps, offset, offset)
    model.put(rows, own.relay, 1.0)
    model.put(rows[1:], own.relay[:-1], -1.0)
    model.put(rows, switch_on, -1.0)
    model.put(rows, switch_off, 1.0)
    fixed = room.relay_fixed != FREE
    for step in range(steps):
        if not counted[step]:
            continue
        # an order needs no minimum time, but no free switch is made whose minimum time an order cuts
        for later in range(step, min(steps, step + int(room.min_on_steps[step]))):
            if relay_steps[later] and not (fixed[later] and fixed[step]):
                row = model.add_rows(1, 0.0, np.inf)
                model.put(row, own.relay[later], 1.0)
                model.put(row, switch_on[step], -1.0)
        for later in range(step, min(steps, step + int(room.min_off_steps[step]))):
            if relay_steps[later] and not (fixed[later] and fixed[step]):
                row = model.add_rows(1, -np.inf, 1.0)
                model.put(row, own.relay[later], 1.0)
                model.put(row, switch_off[step], 1.0)
    for step in range(room.held_steps):
        if not fixed[step] and relay_steps[step]:
            row = model.add_rows(1, room.initial_on, room.initial_on)
            model.put(row, own.relay[step], 1.0)
