"""Forward search with exact temperatures, led by the lower bound.

Both searches give feasible schedules with exact costs. Neither touches the bound: which labels they
keep or drop decides only where the next level is refined.
"""

from __future__ import annotations

import math

import numpy as np

from ..compiled import compiled
from .one_node import ROW_AT, ROW_FIRST, ROW_HIGH, ROW_LAST, ROW_LOW, run
from .room import FloatArray, IntArray


@compiled
def greedy(
    begin: int,
    start: float,
    relay: int,
    ahead: IntArray,
    steps: FloatArray,
    terminal: FloatArray,
    switch_cost: float,
    offset: FloatArray,
    spacing: FloatArray,
    rows: IntArray,
    values: FloatArray,
    schedule: IntArray,
) -> float:
    """Take at every step the branch with the least cost plus bound; writes `schedule[begin:]`.

    Returns the cost from `begin` on.
    """
    n = steps.shape[0]
    t = begin
    s = relay
    here = start
    total = 0.0
    while t < n:
        best = np.inf
        best_end = n
        best_relay = s
        best_there = here
        best_spent = 0.0
        for v in range(2):
            end = ahead[t, s, v]
            if end < 0:
                continue
            there, spent = run(t, end, v, here, steps, terminal)
            if v != s:
                spent += switch_cost
            estimate = spent
            first = rows[end, v, ROW_FIRST]
            last = rows[end, v, ROW_LAST]
            if first < last:
                coordinate = (there - offset[end]) / spacing[end]
                cell = min(max(math.floor(coordinate), first), last - 1)
                at = rows[end, v, ROW_AT] + cell - first
                part = coordinate - cell
                estimate += (1.0 - part) * values[at] + part * values[at + 1]
            if estimate < best:
                best, best_end, best_relay = estimate, end, v
                best_there, best_spent = there, spent
        for k in range(t, best_end):
            schedule[k] = best_relay
        t, s, here = best_end, best_relay, best_there
        total += best_spent
    return total


@compiled
def label_pass(
    begin: int,
    start: float,
    relay: int,
    incumbent_cost: float,
    ceiling: float,
    ahead: IntArray,
    steps: FloatArray,
    terminal: FloatArray,
    switch_cost: float,
    offset: FloatArray,
    spacing: FloatArray,
    rows: IntArray,
    values: FloatArray,
    cost: FloatArray,
    rank: FloatArray,
    temperature: FloatArray,
    parent: IntArray,
    schedule: IntArray,
) -> tuple[float, FloatArray, FloatArray]:
    """Keep, per step, relay state and node, the label with the least cost so far plus bound.

    Labels whose cost plus bound reaches `ceiling` are dropped. A schedule cheaper than
    `incumbent_cost` is written into `schedule[begin:]`. Returns the best cost known and the range of
    the living temperatures, lowest and highest [n+1, 2] (low > high: none). `cost`, `rank`,
    `temperature` and `parent` are working memory, one place for each node.
    """
    n = steps.shape[0]
    place = np.zeros(2 * n + 3, np.int64)
    for row in range(2 * begin, 2 * n + 2):
        t, s = row >> 1, row & 1
        place[row + 1] = place[row] + max(0, rows[t, s, ROW_HIGH] - rows[t, s, ROW_LOW] + 1)
    total = place[2 * n + 2]
    rank[:total] = np.inf
    slot_low = place[1:].copy()
    slot_high = place[:-1] - 1
    alive_low = np.full((n + 1, 2), np.inf)
    alive_high = np.full((n + 1, 2), -np.inf)
    root = place[2 * begin + relay] - rows[begin, relay, ROW_LOW]
    cost[root], rank[root], temperature[root], parent[root] = 0.0, -np.inf, start, -1
    slot_low[2 * begin + relay] = slot_high[2 * begin + relay] = root
    for t in range(begin, n):
        for s in range(2):
            row = 2 * t + s
            for label in range(slot_low[row], slot_high[row] + 1):
                if rank[label] < ceiling:
                    alive_low[t, s] = min(alive_low[t, s], temperature[label])
                    alive_high[t, s] = max(alive_high[t, s], temperature[label])
            for v in range(2):
                end = ahead[t, s, v]
                if end < 0:
                    continue
                extra = switch_cost if v != s else 0.0
                low = rows[end, v, ROW_LOW]
                high = rows[end, v, ROW_HIGH]
                at = rows[end, v, ROW_AT] - rows[end, v, ROW_FIRST]
                base = offset[end]
                density = 1.0 / spacing[end]
                target = place[2 * end + v] - low
                lowest = slot_low[2 * end + v]
                highest = slot_high[2 * end + v]
                for label in range(slot_low[row], slot_high[row] + 1):
                    if rank[label] >= ceiling:
                        continue
                    there, spent = run(t, end, v, temperature[label], steps, terminal)
                    coordinate = (there - base) * density
                    nearest = math.floor(coordinate + 0.5)
                    if nearest < low or nearest > high:
                        continue
                    spent += cost[label] + extra
                    cell = math.floor(coordinate)
                    part = coordinate - cell
                    look = at + int(cell)
                    estimate = spent + (1.0 - part) * values[look] + part * values[look + 1]
                    slot = target + nearest
                    if estimate < rank[slot] and estimate < ceiling:
                        rank[slot] = estimate
                        cost[slot] = spent
                        temperature[slot] = there
                        parent[slot] = label
                        lowest = min(lowest, slot)
                        highest = max(highest, slot)
                slot_low[2 * end + v] = lowest
                slot_high[2 * end + v] = highest
    best_label = -1
    best = incumbent_cost
    for label in range(place[2 * n], total):
        if rank[label] < np.inf and cost[label] < best:
            best = cost[label]
            best_label = label
    if best_label >= 0:
        write_schedule(best_label, begin, n, place, parent, schedule)
    return best, alive_low, alive_high


@compiled
def write_schedule(
    label: int, begin: int, n: int, place: IntArray, parent: IntArray, schedule: IntArray
) -> None:
    """Walk the parents back and write the relay values of the steps between."""
    row = 2 * n + (0 if label < place[2 * n + 1] else 1)
    while row >> 1 > begin:
        above = parent[label]
        before = row - 1
        while not place[before] <= above < place[before + 1]:
            before -= 1
        for step in range(before >> 1, row >> 1):
            schedule[step] = row & 1
        row = before
        label = above


@compiled
def widen_to_path(
    begin: int,
    relay: int,
    schedule: IntArray,
    temperatures: FloatArray,
    ahead: IntArray,
    alive_low: FloatArray,
    alive_high: FloatArray,
) -> None:
    """Widen the living range so that it holds every decision point of a schedule."""
    n = schedule.size
    t = begin
    s = relay
    while True:
        alive_low[t, s] = min(alive_low[t, s], temperatures[t])
        alive_high[t, s] = max(alive_high[t, s], temperatures[t])
        if t == n:
            return
        v = schedule[t]
        t = ahead[t, s, v]
        s = v
