"""Compiled passes for rooms with a mass node and frozen neighbours; exact two-node labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.cells.kernel import BIG, next_mode
from services.optimizer.core.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@compiled
def label_pass(
    first: float, width: float, count: int, bins_per_cell: int,
    transition: Floats, heat: Floats, drift: Floats, on_cost: Floats, switch_cost: float,
    comfort_low: Floats, comfort_high: Floats, penalty_low: Floats, penalty_high: Floats,
    linear: Floats, mass_price: Floats, mass_reference: Floats, tilt: Floats,
    end_slope: Floats, end_target: Floats, end_value: Floats,
    fixed: Ints, hold: Ints, allowed: Ints, locks: Ints, values: Floats,
    start: Floats, start_mode: int, max_labels: int, schedule: Ints,
) -> float:
    """Forward search with both temperatures exact; the air's cells and a mass price guide it.

    `linear[t]` prices the air at the end of step t; `mass_price[t]` (EUR/K, usually negative) what
    a kelvin of mass above `mass_reference[t]` is worth to the future. Returns the priced cost.
    """
    n = on_cost.size
    lock_off = locks[0]
    modes = 2 + locks[0] + locks[1]
    bins = count * bins_per_cell
    room = max_labels * 2 + 2
    air = np.empty((2, room))
    mass = np.empty((2, room))
    cost = np.empty((2, room))
    mode = np.empty((2, room), np.int64)
    parent = np.empty((n, room), np.int32)
    action = np.empty((n, room), np.int8)
    rank = np.empty(room)
    table = np.full(modes * bins, -1, np.int64)
    used = np.empty(room, np.int64)
    air[0, 0], mass[0, 0], cost[0, 0], mode[0, 0] = start[0], start[1], 0.0, start_mode
    size, now = 1, 0
    for t in range(n):
        new, nxt, used_count = 0, 1 - now, 0
        for label in range(size):
            m = mode[now, label]
            state_on = m == 1 or m >= 2 + lock_off
            for branch in range(2):
                price = 0.0
                if branch == 0:
                    on = state_on
                    if fixed[t] != -1 and fixed[t] != int(on):
                        continue
                    following = next_mode(m, lock_off)
                else:
                    on = not state_on
                    if fixed[t] == -1:
                        if m >= 2 or allowed[t, int(on)] == 0:
                            continue
                    elif fixed[t] != int(on):
                        continue
                    remaining = hold[t, int(on)] - 1
                    following = int(on)
                    if remaining > 0:
                        following = (2 + lock_off if on else 2) + remaining - 1
                    price = switch_cost
                u = 1.0 if on else 0.0
                ta, tm = air[now, label], mass[now, label]
                x = transition[t, 0, 0] * ta + transition[t, 0, 1] * tm
                x += heat[t, 0] * u + drift[t, 0]
                y = transition[t, 1, 0] * ta + transition[t, 1, 1] * tm
                y += heat[t, 1] * u + drift[t, 1]
                c = cost[now, label] + price + on_cost[t] * u + linear[t] * x
                c += penalty_low[t] * max(comfort_low[t] - x, 0.0)
                c += penalty_high[t] * max(x - comfort_high[t], 0.0)
                place = (x - first) / width
                if t == n - 1:
                    future = end_slope[0] * x + end_value[0] * max(end_target[0] - x, 0.0)
                    future += end_slope[1] * y + end_value[1] * max(end_target[1] - y, 0.0)
                else:
                    cell = min(max(int(np.floor(place)), 0), count - 1)
                    future = values[t + 1, following, cell] - tilt[t + 1] * x
                    future += mass_price[t + 1] * (y - mass_reference[t + 1])
                promise = c + future
                slot = min(max(int(np.floor(place * bins_per_cell)), 0), bins - 1)
                key = following * bins + slot
                other = table[key]
                if other >= 0:
                    if rank[other] <= promise:
                        continue
                    where = other
                else:
                    where = new
                    table[key] = where
                    used[used_count] = key
                    used_count += 1
                    new += 1
                air[nxt, where], mass[nxt, where] = x, y
                cost[nxt, where], mode[nxt, where], rank[where] = c, following, promise
                parent[t, where], action[t, where] = label, int(on)
        for k in range(used_count):
            table[used[k]] = -1
        if new == 0:
            return BIG
        if new > max_labels:
            order = np.argsort(rank[:new], kind="mergesort")
            kept = np.sort(order[:max_labels])
            for k in range(max_labels):
                source = kept[k]
                air[nxt, k], mass[nxt, k] = air[nxt, source], mass[nxt, source]
                cost[nxt, k], mode[nxt, k] = cost[nxt, source], mode[nxt, source]
                rank[k] = rank[source]
                parent[t, k], action[t, k] = parent[t, source], action[t, source]
            new = max_labels
        size, now = new, nxt
    best = 0
    for label in range(1, size):
        if rank[label] < rank[best]:
            best = label
    total, label = rank[best], best
    for t in range(n - 1, -1, -1):
        schedule[t] = action[t, label]
        label = parent[t, label]
    return float(total)
