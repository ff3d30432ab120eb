"""From wished temperatures to relays: follow them, never breaking minimum times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.house import FREE, House
from services.optimizer.core.trajectories import PaddedHouse

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


def round_relays(
    house: House, target_air_c: Floats, bias: float = 0.5, begun: Floats | None = None
) -> Floats:
    """Relays (rooms, steps) whose simulated air stays near `target_air_c` (rooms, steps + 1).

    A relay is on when the air would otherwise end the step more than `1 - bias` of one full
    step's heat below its target; larger `bias` is warmer. Overrides, remaining minimum times,
    minimum on and off times and heating-group capacities are kept. Duty steps get the duty that
    reaches the target. The relays `begun` (rooms, first steps) are taken as they are.
    """
    padded = PaddedHouse.of(house)
    shape = len(house.rooms), house.steps
    relays = np.zeros(shape)
    # dtypes are named for houses without rooms
    fixed = np.array([room.relay_fixed for room in house.rooms], dtype=np.int64).reshape(shape)
    duty = np.array([room.duty_step for room in house.rooms], dtype=np.bool_).reshape(shape)
    holds = np.array(
        [[room.min_off_steps for room in house.rooms], [room.min_on_steps for room in house.rooms]],
        dtype=np.int64,
    ).reshape(2, *shape)
    cut = np.stack([_would_be_cut(fixed, holds[state], state) for state in range(2)])
    state = padded.start.copy()
    on = np.array([room.initial_on for room in house.rooms], dtype=np.int64)
    locked = np.array([room.held_steps for room in house.rooms], dtype=np.int64)
    every = np.arange(len(house.rooms))
    known = 0 if begun is None else begun.shape[1]
    for step in range(house.steps):
        base = (padded.transition[:, step] * state[:, None, :]).sum(axis=2) + padded.drift[:, step]
        np.add.at(
            base, padded.link_room,
            padded.link_gain[:, step] * state[padded.link_other, :1],
        )
        heat = padded.heat[:, step]
        need = (target_air_c[:, step + 1] - base[:, 0]) / np.maximum(heat[:, 0], 1e-9)
        wanted = (need > 1.0 - bias).astype(np.int64)
        free = np.where((locked > 0) | ((wanted != on) & cut[wanted, every, step]), on, wanted)
        value = np.where(duty[:, step], np.clip(need, 0.0, 1.0), free)
        value = np.where(fixed[:, step] != FREE, fixed[:, step], value)
        if begun is not None and step < known:
            value = begun[:, step].astype(np.float64)
        elif house.problem.heating_groups:
            forced = (fixed[:, step] == 1) | (
                (fixed[:, step] == FREE) & (on == 1) & ((locked > 0) | cut[0, :, step])
            )
            _share_groups(house, value, duty[:, step], forced, need)
        relays[:, step] = value
        state = base + heat * value[:, None]
        switched = ~duty[:, step] & (value.astype(np.int64) != on)
        on = np.where(duty[:, step], 0, np.where(switched, value.astype(np.int64), on))
        locked = np.where(switched, holds[on, every, step], locked)
        locked = np.where(duty[:, step], 0, np.maximum(0, locked - 1))
    return relays


def _share_groups(house: House, value: Floats, duty: Flags, forced: Flags, need: Floats) -> None:
    """Let free relays wait for a heating group's capacity, the coldest rooms first; forced ones go before."""
    left = [group.capacity_w / 1000.0 for group in house.problem.heating_groups]
    for index in sorted(range(value.size), key=lambda r: (not forced[r], -need[r], r)):
        room = house.rooms[index]
        if room.group < 0:
            continue
        free = max(0.0, left[room.group])  # forced relays may have taken more than there is
        if not forced[index] and value[index] * room.power_kw > free + 1e-9:
            # a locked-off relay never gets here; a free one waits for capacity
            value[index] = free / room.power_kw if duty[index] else 0.0
        left[room.group] -= value[index] * room.power_kw


def _would_be_cut(fixed: Ints, hold: Ints, state: int) -> Flags:
    """(rooms, steps): whether an override would cut the minimum time of a switch to `state` short."""
    steps = fixed.shape[1]
    after = np.full(fixed.shape[0], steps)
    cut = np.zeros(fixed.shape, dtype=np.bool_)
    for step in range(steps - 1, -1, -1):
        after = np.where(fixed[:, step] == 1 - state, step, after)
        cut[:, step] = after < np.minimum(step + hold[:, step], steps)
    return cut
