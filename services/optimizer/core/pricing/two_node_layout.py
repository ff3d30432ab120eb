"""Where the nodes of a two-node level lie: boxes by step and relay state (see two_node.py)."""

from __future__ import annotations

import math

import numpy as np

from ..compiled import compiled
from .room import FloatArray, IntArray
from .two_node import AT, DECAY, DRIFT, ENDS, FIRST0, GAIN, HIGH0, LAST0, LOW0


@compiled
def frame(
    begin: int, start: FloatArray, coarse_spacing: FloatArray, fixed: IntArray, steps: FloatArray
) -> tuple[FloatArray, FloatArray, IntArray, FloatArray, FloatArray]:
    """Reference trajectory, coarse node distance, its doublings, and the reachable range, [n+1, 2]."""
    n = steps.shape[0]
    offset = np.empty((n + 1, 2))
    spacing = np.empty((n + 1, 2))
    doubling = np.zeros((n, 2), np.int64)
    low = np.empty((n + 1, 2))
    high = np.empty((n + 1, 2))
    for t in range(begin + 1):
        offset[t] = start
        spacing[t] = coarse_spacing
        low[t] = start
        high[t] = start
    for t in range(begin, n):
        for axis in range(2):
            decay = steps[t, DECAY + axis]
            drift = steps[t, DRIFT + axis]
            off, on = steps[t, GAIN + axis], steps[t, GAIN + 2 + axis]
            only = steps[t, GAIN + 2 * max(fixed[t], 0) + axis]
            offset[t + 1, axis] = decay * offset[t, axis] + drift
            shrunk = decay * spacing[t, axis]
            while shrunk * 1.5 < coarse_spacing[axis]:
                shrunk *= 2.0
                doubling[t, axis] += 1
            spacing[t + 1, axis] = shrunk
            cold = min(off, on) if fixed[t] == -1 else only
            hot = max(off, on) if fixed[t] == -1 else only
            low[t + 1, axis] = decay * low[t, axis] + drift + cold
            high[t + 1, axis] = decay * high[t, axis] + drift + hot
    return offset, spacing, doubling, low, high


@compiled
def next_nodes(
    begin: int,
    offset: FloatArray,
    spacing: FloatArray,
    reach_low: FloatArray,
    reach_high: FloatArray,
    alive_low: FloatArray,
    alive_high: FloatArray,
    margin: int,
    halvings: int,
    coarse: IntArray,
) -> tuple[IntArray, int]:
    """Boxes of a level around the living modes [n+1, 2, 2]; as `layout.next_nodes`, by axis."""
    n = offset.shape[0]
    rows = np.zeros((n, 2, 10), np.int64)
    count = 0
    for t in range(n):
        for s in range(2):
            rows[t, s, LOW0] = rows[t, s, LOW0 + 2] = 1
            if t < begin or not alive_low[t, s, 0] <= alive_high[t, s, 0]:
                continue
            size = 1
            for axis in range(2):
                distance = spacing[t, axis]
                base = offset[t, axis]
                low = math.floor((reach_low[t, axis] - base) / distance)
                high = math.ceil((reach_high[t, axis] - base) / distance)
                bottom, top = low, high
                if alive_low[t, s, axis] > -np.inf:
                    cell = math.floor((alive_low[t, s, axis] - base) / distance)
                    low = max(low, cell - margin)
                if alive_high[t, s, axis] < np.inf:
                    cell = math.ceil((alive_high[t, s, axis] - base) / distance)
                    high = min(high, cell + margin)
                if halvings > 0:
                    low = max(low, coarse[t, s, LOW0 + 2 * axis] << halvings)
                    high = min(high, coarse[t, s, HIGH0 + 2 * axis] << halvings)
                rows[t, s, LOW0 + 2 * axis], rows[t, s, HIGH0 + 2 * axis] = low, high
                size *= max(0, high - low + 1)
                ends = (1 if low == bottom else 0) + (2 if high == top else 0)
                rows[t, s, ENDS] += ends << 2 * axis
            count += size
    return rows, count


@compiled
def place_rows(
    begin: int,
    ahead: IntArray,
    steps: FloatArray,
    spacing: FloatArray,
    doubling: IntArray,
    rows: IntArray,
) -> int:
    """Fill first, last and place of every plane; returns the length of all planes together.

    As `layout.place_rows`, by axis.
    """
    n = steps.shape[0]
    total = 0
    for axis in range(2):
        rows[:, :, FIRST0 + 2 * axis] = np.iinfo(np.int64).max
        rows[:, :, LAST0 + 2 * axis] = np.iinfo(np.int64).min
    for t in range(begin, n + 1):
        for s in range(2):
            row = rows[t, s]
            inside = row[LOW0] <= row[HIGH0] and row[LOW0 + 2] <= row[HIGH0 + 2]
            size = 1
            for axis in range(2):
                first, last = FIRST0 + 2 * axis, LAST0 + 2 * axis
                if inside:
                    row[first] = min(row[first], row[LOW0 + 2 * axis] - 3)
                    row[last] = max(row[last], row[HIGH0 + 2 * axis] + 3)
                if row[first] > row[last]:
                    row[first] = 1
                    row[last] = 0
                size *= row[last] - row[first] + 1
            row[AT] = total
            total += size
            if not inside or t == n:
                continue
            for v in range(2):
                end = ahead[t, s, v]
                if end < 0:
                    continue
                for axis in range(2):
                    shift = 0.0
                    halvings = 0
                    scale = spacing[t, axis]
                    for k in range(t, end):
                        scale *= steps[k, DECAY + axis]
                        halvings += doubling[k, axis]
                        shift += steps[k, GAIN + 2 * v + axis] / scale
                    whole = math.floor(shift)
                    first = (row[LOW0 + 2 * axis] + whole - 2) >> halvings
                    last = ((row[HIGH0 + 2 * axis] + whole + 3) >> halvings) + 1
                    there = rows[end, v]
                    there[FIRST0 + 2 * axis] = min(there[FIRST0 + 2 * axis], first)
                    there[LAST0 + 2 * axis] = max(there[LAST0 + 2 * axis], last)
    return total
