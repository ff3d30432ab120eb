"""Which relay schedules are allowed: orders, minimum times, and the lock at the start."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled
from .room import IntArray, RoomPricing
from .two_node_room import TwoNodeRoomPricing


@compiled
def transitions(fixed: IntArray, min_off: IntArray, min_on: IntArray) -> IntArray:
    """Where a relay that is free to decide at step t in state s gets to: ahead[n, s, v].

    ahead[t, s, v] is the step at which it may decide again if the relay is v from t on, or -1 if v
    is not allowed. Staying lasts one step, a switch its minimum run. An order cuts a run; a free
    switch whose run an order would cut is not allowed; an order is always followed.
    """
    n = fixed.size
    ahead = np.full((n, 2, 2), -1, np.int64)
    for t in range(n):
        for v in range(2):
            if fixed[t] == 1 - v:
                continue
            ahead[t, v, v] = t + 1
            end = min(n, t + (min_on[t] if v == 1 else min_off[t]))
            cut = end
            for k in range(t + 1, end):
                if fixed[k] == 1 - v:
                    cut = k
                    break
            if fixed[t] == v or cut == end:
                ahead[t, 1 - v, v] = cut
    return ahead


@compiled
def locked_until(
    fixed: IntArray, min_off: IntArray, min_on: IntArray, relay: int, steps_in_state: int
) -> int:
    """First step at which the relay may leave its initial state: minimum time over, or an order."""
    minimum = int(min_on[0] if relay == 1 else min_off[0])
    end = min(fixed.size, max(0, minimum - steps_in_state))
    for t in range(end):
        if fixed[t] == 1 - relay:
            return t
    return end


@compiled
def obeys(schedule: IntArray, ahead: IntArray, relay: int, until: int) -> bool:
    """Whether a schedule is allowed for a relay that is in state `relay`, locked `until` a step."""
    for t in range(schedule.size):
        value = schedule[t]
        if value < 0 or value > 1:
            return False
        if t < until:
            if value != relay:
                return False
        else:
            end = ahead[t, relay, value]
            if end < 0:
                return False
            if value != relay:
                relay = value
                until = end
    return True


@compiled
def idle_schedule(fixed: IntArray, relay: int) -> IntArray:
    """Switch only when ordered to: always allowed, so there is always a plan."""
    schedule = np.empty(fixed.size, np.int64)
    for t in range(fixed.size):
        if fixed[t] >= 0:
            relay = fixed[t]
        schedule[t] = relay
    return schedule


def allowed_by(room: RoomPricing | TwoNodeRoomPricing) -> tuple[IntArray, int]:
    """(`transitions` of the room, the step up to which its relay is locked at the start)."""
    min_off, min_on = np.asarray(room.min_off_steps), np.asarray(room.min_on_steps)
    relay = int(room.relay_on_at_start)
    begin = locked_until(room.relay_fixed, min_off, min_on, relay, room.steps_in_state_at_start)
    return transitions(room.relay_fixed, min_off, min_on), begin


def is_feasible(room: RoomPricing, schedule: NDArray[np.integer]) -> bool:
    """Whether a schedule obeys the room's orders and minimum times (see RoomPricing)."""
    if np.asarray(schedule).shape != room.relay_fixed.shape:
        return False
    ahead, begin = allowed_by(room)
    values = np.asarray(schedule).astype(np.int64)
    return bool(obeys(values, ahead, int(room.relay_on_at_start), begin))
