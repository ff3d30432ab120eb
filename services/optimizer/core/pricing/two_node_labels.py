"""Forward search with exact modes, led by the lower bound; as labels.py, in two dimensions."""

from __future__ import annotations

import math

import numpy as np

from ..compiled import compiled
from .labels import write_schedule
from .room import FloatArray, IntArray
from .two_node import AT, FIRST0, FIRST1, HIGH0, HIGH1, LAST0, LAST1, LOW0, LOW1, run


@compiled
def _look_up(values: FloatArray, row: IntArray, at0: float, at1: float) -> float:
    """Bilinear interpolation of a plane at node coordinates, continued outside."""
    cell0 = min(max(math.floor(at0), row[FIRST0]), row[LAST0] - 1)
    cell1 = min(max(math.floor(at1), row[FIRST1]), row[LAST1] - 1)
    part0 = at0 - cell0
    part1 = at1 - cell1
    wide = row[LAST0] - row[FIRST0] + 1
    at = row[AT] + (cell1 - row[FIRST1]) * wide + cell0 - row[FIRST0]
    near = (1.0 - part0) * values[at] + part0 * values[at + 1]
    far = (1.0 - part0) * values[at + wide] + part0 * values[at + wide + 1]
    return float((1.0 - part1) * near + part1 * far)


@compiled
def greedy(
    begin: int,
    start: FloatArray,
    relay: int,
    ahead: IntArray,
    steps: FloatArray,
    terminal: FloatArray,
    view: FloatArray,
    switch_cost: float,
    offset: FloatArray,
    spacing: FloatArray,
    rows: IntArray,
    values: FloatArray,
    schedule: IntArray,
) -> float:
    """As `labels.greedy`."""
    n = steps.shape[0]
    t = begin
    s = relay
    slow, fast = start[0], start[1]
    total = 0.0
    while t < n:
        best = np.inf
        best_end, best_relay = n, s
        best_slow, best_fast, best_spent = slow, fast, 0.0
        for v in range(2):
            end = ahead[t, s, v]
            if end < 0:
                continue
            slow_there, fast_there, spent = run(
                t, end, v, slow, fast, steps, terminal, view
            )
            if v != s:
                spent += switch_cost
            estimate = spent
            row = rows[end, v]
            if row[FIRST0] < row[LAST0] and row[FIRST1] < row[LAST1]:
                estimate += _look_up(
                    values, row, (slow_there - offset[end, 0]) / spacing[end, 0],
                    (fast_there - offset[end, 1]) / spacing[end, 1],
                )  # fmt: skip
            if estimate < best:
                best, best_end, best_relay = estimate, end, v
                best_slow, best_fast, best_spent = slow_there, fast_there, spent
        for k in range(t, best_end):
            schedule[k] = best_relay
        t, s, slow, fast = best_end, best_relay, best_slow, best_fast
        total += best_spent
    return total


@compiled
def label_pass(
    begin: int,
    start: FloatArray,
    relay: int,
    incumbent_cost: float,
    ceiling: float,
    ahead: IntArray,
    steps: FloatArray,
    terminal: FloatArray,
    view: FloatArray,
    switch_cost: float,
    offset: FloatArray,
    spacing: FloatArray,
    rows: IntArray,
    values: FloatArray,
    cost: FloatArray,
    rank: FloatArray,
    modes: FloatArray,
    parent: IntArray,
    queue: IntArray,
    schedule: IntArray,
) -> tuple[float, FloatArray, FloatArray]:
    """As `labels.label_pass`: one label for each step, relay state and node.

    Returns the best cost known and the range of the living modes, lowest and highest [n+1, 2, 2].
    `queue` holds the slots in use of every row, in the order of their first use.
    """
    n = steps.shape[0]
    place = np.zeros(2 * n + 3, np.int64)
    for row in range(2 * begin, 2 * n + 2):
        box = rows[row >> 1, row & 1]
        size = max(0, box[HIGH0] - box[LOW0] + 1) * max(0, box[HIGH1] - box[LOW1] + 1)
        place[row + 1] = place[row] + size
    total = place[2 * n + 2]
    rank[:total] = np.inf
    used = np.zeros(2 * n + 2, np.int64)
    alive_low = np.full((n + 1, 2, 2), np.inf)
    alive_high = np.full((n + 1, 2, 2), -np.inf)
    box = rows[begin, relay]
    root = place[2 * begin + relay] - box[LOW0]
    root -= box[LOW1] * (box[HIGH0] - box[LOW0] + 1)
    cost[root], rank[root], parent[root] = 0.0, -np.inf, -1
    modes[2 * root], modes[2 * root + 1] = start[0], start[1]
    queue[place[2 * begin + relay]] = root
    used[2 * begin + relay] = 1
    for t in range(begin, n):
        for s in range(2):
            row = 2 * t + s
            for entry in range(place[row], place[row] + used[row]):
                label = queue[entry]
                if rank[label] >= ceiling:
                    continue
                for axis in range(2):
                    mode = modes[2 * label + axis]
                    alive_low[t, s, axis] = min(alive_low[t, s, axis], mode)
                    alive_high[t, s, axis] = max(alive_high[t, s, axis], mode)
                for v in range(2):
                    end = ahead[t, s, v]
                    if end < 0:
                        continue
                    box = rows[end, v]
                    slow, fast, spent = run(
                        t, end, v, modes[2 * label], modes[2 * label + 1], steps, terminal, view,
                    )  # fmt: skip
                    at0 = (slow - offset[end, 0]) / spacing[end, 0]
                    at1 = (fast - offset[end, 1]) / spacing[end, 1]
                    near0 = math.floor(at0 + 0.5)
                    near1 = math.floor(at1 + 0.5)
                    if (
                        near0 < box[LOW0] or near0 > box[HIGH0]
                        or near1 < box[LOW1] or near1 > box[HIGH1]
                    ):  # fmt: skip
                        continue
                    spent += cost[label]
                    if v != s:
                        spent += switch_cost
                    estimate = spent + _look_up(values, box, at0, at1)
                    target = 2 * end + v
                    slot = place[target] + near0 - box[LOW0]
                    slot += (near1 - box[LOW1]) * (box[HIGH0] - box[LOW0] + 1)
                    if estimate < rank[slot] and estimate < ceiling:
                        if rank[slot] == np.inf:
                            queue[place[target] + used[target]] = slot
                            used[target] += 1
                        rank[slot] = estimate
                        cost[slot] = spent
                        modes[2 * slot], modes[2 * slot + 1] = slow, fast
                        parent[slot] = label
    best_label = -1
    best = incumbent_cost
    for row in range(2 * n, 2 * n + 2):
        for entry in range(place[row], place[row] + used[row]):
            if cost[queue[entry]] < best:
                best_label = queue[entry]
                best = cost[best_label]
    if best_label >= 0:
        write_schedule(best_label, begin, n, place, parent, schedule)
    return best, alive_low, alive_high


@compiled
def widen_to_path(
    begin: int,
    relay: int,
    schedule: IntArray,
    start: FloatArray,
    steps: FloatArray,
    ahead: IntArray,
    alive_low: FloatArray,
    alive_high: FloatArray,
) -> None:
    """Widen the living range so that it holds every decision point of a schedule."""
    n = schedule.size
    t = begin
    s = relay
    modes = start.copy()
    nothing = np.zeros((1, 4))
    blind = np.zeros(2)
    while True:
        for axis in range(2):
            alive_low[t, s, axis] = min(alive_low[t, s, axis], modes[axis])
            alive_high[t, s, axis] = max(alive_high[t, s, axis], modes[axis])
        if t == n:
            return
        v = schedule[t]
        end = ahead[t, s, v]
        modes[0], modes[1], _ = run(t, end, v, modes[0], modes[1], steps, nothing, blind)
        t = end
        s = v
