"""Lower bound for rooms with a mass node: air in tilted cells, the slow mode on interpolated nodes.

Coordinates: air T and slow mode z = e T + mass, chosen so that z' = l z + g u + d + w does not
depend on T, and T' = f T + m z + b u + d + v. `v` and `w` are what the neighbours add: chosen freely within
windows, and beyond them at `air_limit` and `slow_limit` EUR for each K that T' and z' gain or lose.

values[mode, k, i] at step t: for every T in air cell i and z between nodes k and k + 1,
V(T, z) + tilt T + slow_tilt z is at least the straight line between values k and k + 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.cells.kernel import BIG, stage_floor
from services.optimizer.core.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@compiled
def _interval_lines(
    after: Floats, nodes: Floats, left: float, right: float, low: float, high: float,
    at_left: Floats, at_right: Floats, excess: Floats,
) -> None:
    """Lines over [left, right] below min over s in [low, high] of after(y + s), for each air cell.

    The chord between the end minima can exceed a convex bend at a node in between; the largest
    excess is taken off both ends.
    """
    count = nodes.size
    first = 0
    while first < count - 2 and nodes[first + 1] <= left + low:
        first += 1
    last = first
    while last < count - 2 and nodes[last + 1] < right + high:
        last += 1
    _side_minimum(after, nodes, first, last, left + low, left + high, at_left)
    _side_minimum(after, nodes, first, last, right + low, right + high, at_right)
    length = right - left
    excess[:] = 0.0
    for n in range(first + 1, last + 1):
        # the line's largest value over all y whose shifted image can meet this node
        a = min(max((nodes[n] - high - left) / length, 0.0), 1.0)
        b = min(max((nodes[n] - low - left) / length, 0.0), 1.0)
        for j in range(excess.size):
            rise = at_right[j] - at_left[j]
            line = at_left[j] + max(a * rise, b * rise)
            excess[j] = max(excess[j], line - after[n, j])
    for j in range(excess.size):
        at_left[j] -= excess[j]
        at_right[j] -= excess[j]


@compiled
def _side_minimum(
    after: Floats, nodes: Floats, first: int, last: int, low: float, high: float, out: Floats
) -> None:
    """out[j] = min over y in [low, high] of after(y) in air cell j; y lies in cells first .. last."""
    k, part = _place(nodes, first, last, low)
    upper, upper_part = _place(nodes, first, last, high)
    for j in range(out.size):
        out[j] = min(
            (1.0 - part) * after[k, j] + part * after[k + 1, j],
            (1.0 - upper_part) * after[upper, j] + upper_part * after[upper + 1, j],
        )
    for n in range(first + 1, last + 1):
        if low < nodes[n] < high:
            for j in range(out.size):
                out[j] = min(out[j], after[n, j])


@compiled
def _place(nodes: Floats, first: int, last: int, y: float) -> tuple[int, float]:
    """(cell, share of the way through it) of y among the cells first .. last."""
    k = first
    while k < last and nodes[k + 1] < y:
        k += 1
    part = (y - nodes[k]) / (nodes[k + 1] - nodes[k])
    return k, min(max(part, 0.0), 1.0)


@compiled
def _window_minimum(source: Floats, touch: int, out: Floats) -> None:
    """out[i] = min(source[i .. i + touch - 1]), clipped at the end (doubling)."""
    count = source.size
    out[:] = source
    reach = 1
    while reach < touch:
        step = min(reach, touch - reach)
        for i in range(count - step):
            out[i] = min(out[i], out[i + step])
        for i in range(max(count - step, 0), count):
            out[i] = min(out[i], out[count - 1])
        reach += step


@compiled
def _limit_rows(after: Floats, nodes: Floats, limit: float) -> None:
    """Lower the lines until none rises by more than `limit` per unit of z in either direction.

    Below the function that may move along z at that price (exact at nodes, chords lie below).
    """
    for k in range(1, nodes.size):
        rise = limit * (nodes[k] - nodes[k - 1])
        for i in range(after.shape[1]):
            after[k, i] = min(after[k, i], after[k - 1, i] + rise)
    for k in range(nodes.size - 2, -1, -1):
        rise = limit * (nodes[k + 1] - nodes[k])
        for i in range(after.shape[1]):
            after[k, i] = min(after[k, i], after[k + 1, i] + rise)


@compiled
def _spread(
    left: Floats, right: Floats, far: float, colder_left: Floats, warmer_left: Floats,
    colder_right: Floats, warmer_right: Floats,
) -> None:
    """Least of the cells up to (from) each one, `far` dearer for every cell between.

    The four chains are independent of each other; in one loop they run side by side.
    """
    last = left.size - 1
    a, b, c, d = left[0], left[last], right[0], right[last]
    for i in range(last + 1):
        j = last - i
        a, b = min(left[i], a + far), min(left[j], b + far)
        c, d = min(right[i], c + far), min(right[j], d + far)
        colder_left[i], warmer_left[j] = a, b
        colder_right[i], warmer_right[j] = c, d


@compiled
def lower_pass(
    first: float, width: float, count: int, reach_low: Floats, reach_high: Floats, nodes: Floats,
    fast: Floats, gain: Floats, drift: Floats, link: Floats,
    slow: Floats, slow_gain: Floats, slow_drift: Floats,
    extra_low: Floats, extra_high: Floats, slow_low: Floats, slow_high: Floats,
    on_cost: Floats, switch_cost: float,
    comfort_low: Floats, comfort_high: Floats, penalty_low: Floats, penalty_high: Floats,
    linear: Floats, heat_price: Floats, slow_tilt: Floats,
    air_limit: float, slow_limit: float, near_low: Floats, near_high: Floats, reward: Floats,
    end_slope: float, end_target: float, end_value: float,
    fixed: Ints, hold: Ints, allowed: Ints, locks: Ints,
) -> Floats:
    """values[mode, node, cell] at step 0. `nodes` is (n + 1, K); see the module's head."""
    n = fast.size
    lock_off, lock_on = locks[0], locks[1]
    modes = 2 + lock_off + lock_on
    rows = nodes.shape[1]
    values = np.empty((modes, rows, count))
    fresh = np.empty((modes, rows, count))
    step_value = np.empty((modes, rows, count))
    after = np.empty((rows, count))
    at_left, at_right, excess = np.empty(count), np.empty(count), np.empty(count)
    window_left, window_right = np.empty(count), np.empty(count)
    colder_left, warmer_left = np.empty(count), np.empty(count)
    colder_right, warmer_right = np.empty(count), np.empty(count)
    floor = np.empty(count)
    for i in range(count):
        left, right = _edges(first, width, count, i, reach_low[n], reach_high[n])
        best = BIG
        inner = min(max(end_target, left), right)
        for x in (left, right, inner):
            best = min(best, end_slope * x + end_value * max(end_target - x, 0.0))
        for m in range(modes):
            for k in range(rows):
                values[m, k, i] = best
    for t in range(n - 1, -1, -1):
        tilt_next = fast[t + 1] * heat_price[t + 1] if t + 1 < n else 0.0
        slope = linear[t] + heat_price[t] - tilt_next
        for i in range(count):
            left, right = _edges(first, width, count, i, reach_low[t + 1], reach_high[t + 1])
            floor[i] = stage_floor(comfort_low[t], comfort_high[t], penalty_low[t],
                                   penalty_high[t], slope, left, right,
                                   near_low[t], near_high[t], reward[t])
        for m in range(modes):
            on = m == 1 or m >= 2 + lock_off
            if (on and fixed[t] == 0) or (not on and fixed[t] == 1):
                continue
            u = 1.0 if on else 0.0
            constant = on_cost[t] * u - heat_price[t] * (drift[t] + gain[t] * u)
            constant -= slow_tilt[t + 1] * (slow_drift[t] + slow_gain[t] * u)
            for k in range(rows):
                for i in range(count):
                    after[k, i] = values[m, k, i] + floor[i]
                    step_value[m, k, i] = BIG
            if t > 0:  # what the neighbours give in the first step is known
                _limit_rows(after, nodes[t + 1], slow_limit)
            for k in range(rows - 1):
                base = slow_drift[t] + slow_gain[t] * u
                _interval_lines(
                    after, nodes[t + 1], slow[t] * nodes[t, k] + base,
                    slow[t] * nodes[t, k + 1] + base, slow_low[t], slow_high[t],
                    at_left, at_right, excess,
                )
                shift_low = drift[t] + gain[t] * u + extra_low[t] + link[t] * nodes[t, k]
                shift_high = drift[t] + gain[t] * u + extra_high[t] + link[t] * nodes[t, k + 1]
                span = fast[t] * width + shift_high - shift_low
                touch = min(int(np.floor(span / width)) + 2, count)
                fewer = touch - 1
                _window_minimum(at_left, fewer, window_left)
                _window_minimum(at_right, fewer, window_right)
                far = air_limit * width if t > 0 else np.inf
                _spread(
                    at_left, at_right, far, colder_left, warmer_left, colder_right, warmer_right
                )
                position = (fast[t] * first + shift_low - first) / width
                for i in range(count):
                    begin = position + fast[t] * i
                    j = int(np.floor(begin)) if 0 < i < count - 1 else -1
                    if j >= 0:
                        j = min(j, count - 1)
                        low_value, high_value = window_left[j], window_right[j]
                        end = begin + span / width
                        below, above = j - 1, j + fewer
                        if end >= above and above < count:
                            low_value = min(low_value, at_left[above])
                            high_value = min(high_value, at_right[above])
                            above += 1
                    else:
                        left, right = _edges(first, width, count, i, reach_low[t], reach_high[t])
                        begin = (fast[t] * left + shift_low - first) / width
                        end = (fast[t] * right + shift_high - first) / width
                        a = min(max(int(np.floor(begin)), 0), count - 1)
                        b = min(max(int(np.floor(end)), 0), count - 1)
                        low_value, high_value = at_left[a], at_right[a]
                        for j in range(a + 1, b + 1):
                            low_value = min(low_value, at_left[j])
                            high_value = min(high_value, at_right[j])
                        below, above = a - 1, b + 1
                    if below >= 0:
                        more = far * (begin - below - 1) if begin > below + 1 else 0.0
                        low_value = min(low_value, colder_left[below] + more)
                        high_value = min(high_value, colder_right[below] + more)
                    if above < count:
                        more = far * (above - end) if end < above else 0.0
                        low_value = min(low_value, warmer_left[above] + more)
                        high_value = min(high_value, warmer_right[above] + more)
                    step_value[m, k, i] = min(step_value[m, k, i], low_value + constant)
                    step_value[m, k + 1, i] = min(step_value[m, k + 1, i], high_value + constant)
        _choose(fresh, step_value, t, fixed[t], hold, allowed, lock_off, lock_on, switch_cost)
        values, fresh = fresh, values
    return values


@compiled
def _edges(
    first: float, width: float, count: int, i: int, reach_low: float, reach_high: float
) -> tuple[float, float]:
    """Ends of air cell i; the outer cells reach as far as any relay sequence can."""
    left, right = first + i * width, first + (i + 1) * width
    if i == 0:
        left = min(left, reach_low)
    if i == count - 1:
        right = max(right, reach_high)
    return left, right


@compiled
def _choose(
    out: Floats, step_value: Floats, t: int, order: int, hold: Ints, allowed: Ints, lock_off: int,
    lock_on: int, switch_cost: float,
) -> None:
    """Mode values: stay, or switch and hold, or obey an order (as in the one-node kernel)."""
    off_first, on_first = 2, 2 + lock_off
    into_on, into_off = hold[t, 1] - 1, hold[t, 0] - 1
    on_mode = 1 if into_on == 0 else on_first + into_on - 1
    off_mode = 0 if into_off == 0 else off_first + into_off - 1
    rows, cells = step_value.shape[1], step_value.shape[2]
    for k in range(rows):
        for i in range(cells):
            forced_on = switch_cost + step_value[on_mode, k, i]
            forced_off = switch_cost + step_value[off_mode, k, i]
            if order == 1:
                out[0, k, i], out[1, k, i] = forced_on, step_value[1, k, i]
            elif order == 0:
                out[0, k, i], out[1, k, i] = step_value[0, k, i], forced_off
            else:
                out[0, k, i], out[1, k, i] = step_value[0, k, i], step_value[1, k, i]
                if allowed[t, 1] == 1:
                    out[0, k, i] = min(out[0, k, i], forced_on)
                if allowed[t, 0] == 1:
                    out[1, k, i] = min(out[1, k, i], forced_off)
            for lock in range(lock_off):
                source = 0 if lock == 0 else off_first + lock - 1
                out[off_first + lock, k, i] = (
                    forced_on if order == 1 else step_value[source, k, i]
                )
            for lock in range(lock_on):
                source = 1 if lock == 0 else on_first + lock - 1
                out[on_first + lock, k, i] = (
                    forced_off if order == 0 else step_value[source, k, i]
                )
