"""Compiled passes of the tilted-cell dynamic programme; docs/planner.md says what they mean.

Array names: W[t, m, i] is the tilted lower bound of mode m in cell i at the start of step t.
Modes: 0 off-free, 1 on-free, then off locked for 1, 2, ... steps, then on locked for 1, 2, ...
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BIG = 1e18


@compiled
def stage_floor(
    low: float, high: float, penalty_low: float, penalty_high: float, slope: float,
    left: float, right: float, near_low: float = 0.0, near_high: float = 0.0, reward: float = 0.0,
) -> float:
    """Minimum over [left, right] of comfort cost + slope * T - reward * distance from the near range.

    The reward is concave, so only the ends and the kinks of comfort can be least.
    """
    best = BIG
    for k in range(4):
        x = left
        if k == 1:
            x = right
        elif k == 2:
            x = min(max(low, left), right)
        elif k == 3:
            x = min(max(high, left), right)
        value = slope * x + penalty_low * max(low - x, 0.0) + penalty_high * max(x - high, 0.0)
        value -= reward * max(max(near_low - x, x - near_high), 0.0)
        best = min(best, value)
    return best


@compiled
def lower_pass(
    first: float, width: float, count: int, reach_low: Floats, reach_high: Floats,
    decay: Floats, gain: Floats, drift: Floats, on_cost: Floats, switch_cost: float,
    comfort_low: Floats, comfort_high: Floats, penalty_low: Floats, penalty_high: Floats,
    linear: Floats, heat_price: Floats, end_slope: float, end_target: float, end_value: float,
    fixed: Ints, hold: Ints, allowed: Ints, locks: Ints, values: Floats,
) -> None:
    """Fill values[t, mode, cell], t = n .. 0, with tilted lower bounds.

    tilt[t] = decay[t] * heat_price[t]; tilt[n] = 0. V(T) >= values[t, m, i] - tilt[t] * T for every
    T in cell i. The first and last cell reach out to what any relay sequence can reach.
    """
    n = decay.size
    lock_off, lock_on = locks[0], locks[1]
    modes = 2 + lock_off + lock_on
    floor = np.empty(count)
    after = np.empty((modes, count))
    pair = np.empty((modes, count))
    step_value = np.empty((modes, count))
    for i in range(count):
        left = first + i * width if i > 0 else min(first, reach_low[n])
        right = first + (i + 1) * width if i < count - 1 else max(
            first + count * width, reach_high[n])
        at_left = end_slope * left + end_value * max(end_target - left, 0.0)
        at_right = end_slope * right + end_value * max(end_target - right, 0.0)
        inner = min(max(end_target, left), right)
        at_inner = end_slope * inner + end_value * max(end_target - inner, 0.0)
        value = min(at_left, at_right, at_inner)
        for m in range(modes):
            values[n, m, i] = value
    for t in range(n - 1, -1, -1):
        tilt_next = decay[t + 1] * heat_price[t + 1] if t + 1 < n else 0.0
        slope = linear[t] + heat_price[t] - tilt_next
        for i in range(count):
            left = first + i * width if i > 0 else min(first, reach_low[t + 1])
            right = first + (i + 1) * width if i < count - 1 else max(
                first + count * width, reach_high[t + 1])
            floor[i] = stage_floor(comfort_low[t], comfort_high[t], penalty_low[t],
                                   penalty_high[t], slope, left, right)
        for m in range(modes):
            for i in range(count):
                after[m, i] = values[t + 1, m, i] + floor[i]
        a = decay[t]
        for m in range(modes):
            on = m == 1 or m >= 2 + lock_off
            if (on and fixed[t] == 0) or (not on and fixed[t] == 1):
                continue
            constant = (on_cost[t] if on else 0.0) - heat_price[t] * (
                drift[t] + (gain[t] if on else 0.0))
            shift = drift[t] + (gain[t] if on else 0.0)
            # a cell shrinks with the decay, so its image touches two cells at most
            for i in range(count - 1):
                pair[m, i] = min(after[m, i], after[m, i + 1])
            pair[m, count - 1] = after[m, count - 1]
            row, target = pair[m], step_value[m]
            position = (a * first + shift - first) / width
            for i in range(1, count - 1):
                j = int(np.floor(position + a * i))
                j = min(max(j, 0), count - 1)
                target[i] = row[j] + constant
            # where the image lies below the grid it touches the first cell only
            for i in range(1, count - 1):
                if int(np.floor(position + a * i)) >= 0:
                    break
                target[i] = after[m, 0] + constant
            for side in range(2):
                i = 0 if side == 0 else count - 1
                left = first + i * width if i > 0 else min(first, reach_low[t])
                right = first + (i + 1) * width if i < count - 1 else max(
                    first + count * width, reach_high[t])
                low_cell = int(np.floor((a * left + shift - first) / width))
                high_cell = int(np.floor(
                    (a * right + shift - first) / width))
                low_cell = min(max(low_cell, 0), count - 1)
                high_cell = min(max(high_cell, 0), count - 1)
                best = after[m, low_cell]
                for k in range(low_cell + 1, high_cell + 1):
                    best = min(best, after[m, k])
                target[i] = best + constant
        _choose(values, t, step_value, on_cost.size, fixed[t], hold, allowed, lock_off, lock_on,
                switch_cost, count)


@compiled
def _choose(
    values: Floats, t: int, step_value: Floats, n: int, order: int, hold: Ints, allowed: Ints,
    lock_off: int, lock_on: int, switch_cost: float, count: int,
) -> None:
    """Mode values at t from the step values: stay, or switch and hold, or obey an order."""
    off_first, on_first = 2, 2 + lock_off
    into_on = hold[t, 1] - 1
    into_off = hold[t, 0] - 1
    on_mode = 1 if into_on == 0 else on_first + into_on - 1
    off_mode = 0 if into_off == 0 else off_first + into_off - 1
    for i in range(count):
        if order == -1:
            stay_off, stay_on = step_value[0, i], step_value[1, i]
            best_off, best_on = stay_off, stay_on
            if allowed[t, 1] == 1:
                best_off = min(best_off, switch_cost + step_value[on_mode, i])
            if allowed[t, 0] == 1:
                best_on = min(best_on, switch_cost + step_value[off_mode, i])
            values[t, 0, i] = best_off
            values[t, 1, i] = best_on
            for k in range(lock_off):
                source = 0 if k == 0 else off_first + k - 1
                values[t, off_first + k, i] = step_value[source, i]
            for k in range(lock_on):
                source = 1 if k == 0 else on_first + k - 1
                values[t, on_first + k, i] = step_value[source, i]
        elif order == 1:
            values[t, 1, i] = step_value[1, i]
            for k in range(lock_on):
                source = 1 if k == 0 else on_first + k - 1
                values[t, on_first + k, i] = step_value[source, i]
            forced = switch_cost + step_value[on_mode, i]
            values[t, 0, i] = forced
            for k in range(lock_off):
                values[t, off_first + k, i] = forced
        else:
            values[t, 0, i] = step_value[0, i]
            for k in range(lock_off):
                source = 0 if k == 0 else off_first + k - 1
                values[t, off_first + k, i] = step_value[source, i]
            forced = switch_cost + step_value[off_mode, i]
            values[t, 1, i] = forced
            for k in range(lock_on):
                values[t, on_first + k, i] = forced


@compiled
def next_mode(mode: int, lock_off: int) -> int:
    """Mode after a step spent in `mode`: a lock gets shorter, a free mode stays free."""
    if mode < 2:
        return mode
    if mode < 2 + lock_off:
        return 0 if mode == 2 else mode - 1
    return 1 if mode == 2 + lock_off else mode - 1
