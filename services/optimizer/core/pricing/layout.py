"""Where the nodes of a level lie (see one_node.py for the grid)."""

from __future__ import annotations

import math

import numpy as np

from ..compiled import compiled
from .one_node import (
    DECAY,
    DRIFT,
    GAIN,
    HIGH_IS_END,
    LOW_IS_END,
    ROW_AT,
    ROW_ENDS,
    ROW_FIRST,
    ROW_HIGH,
    ROW_LAST,
    ROW_LOW,
)
from .room import FloatArray, IntArray


@compiled
def frame(
    begin: int, start: float, coarse_spacing: float, fixed: IntArray, steps: FloatArray
) -> tuple[FloatArray, FloatArray, IntArray, FloatArray, FloatArray]:
    """Reference trajectory, coarse node distance, its doublings, and the reachable range, by step.

    The node distance shrinks with the temperatures and is doubled whenever that keeps it nearest to
    `coarse_spacing`.
    """
    n = steps.shape[0]
    offset = np.full(n + 1, start)
    spacing = np.full(n + 1, coarse_spacing)
    doubling = np.zeros(n, np.int64)
    low = np.full(n + 1, start)
    high = np.full(n + 1, start)
    for t in range(begin, n):
        offset[t + 1] = steps[t, DECAY] * offset[t] + steps[t, DRIFT]
        shrunk = steps[t, DECAY] * spacing[t]
        while shrunk * 1.5 < coarse_spacing:
            shrunk *= 2.0
            doubling[t] += 1
        spacing[t + 1] = shrunk
        off, on = steps[t, GAIN], steps[t, GAIN + 1]
        cold = min(off, on) if fixed[t] == -1 else steps[t, GAIN + fixed[t]]
        hot = max(off, on) if fixed[t] == -1 else steps[t, GAIN + fixed[t]]
        low[t + 1] = steps[t, DECAY] * low[t] + steps[t, DRIFT] + cold
        high[t + 1] = steps[t, DECAY] * high[t] + steps[t, DRIFT] + hot
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
    """Rows of a level: nodes of the living temperatures and `margin` nodes more, by (step, state).

    They never leave what can be reached, nor (halvings > 0) the nodes of the rows `coarse`, which
    are 2**halvings times coarser. Fills ROW_LOW, ROW_HIGH (low > high: none) and ROW_ENDS; also returns how
    many nodes that is.
    """
    n = offset.size
    rows = np.zeros((n, 2, 6), np.int64)
    count = 0
    for t in range(n):
        bottom = math.floor((reach_low[t] - offset[t]) / spacing[t])
        top = math.ceil((reach_high[t] - offset[t]) / spacing[t])
        for s in range(2):
            rows[t, s, ROW_LOW] = 1
            if t < begin or not alive_low[t, s] <= alive_high[t, s]:
                continue
            first, last = bottom, top
            if alive_low[t, s] > -np.inf:
                cell = math.floor((alive_low[t, s] - offset[t]) / spacing[t])
                first = max(first, cell - margin)
            if alive_high[t, s] < np.inf:
                cell = math.ceil((alive_high[t, s] - offset[t]) / spacing[t])
                last = min(last, cell + margin)
            if halvings > 0:
                first = max(first, coarse[t, s, ROW_LOW] << halvings)
                last = min(last, coarse[t, s, ROW_HIGH] << halvings)
            if first <= last:
                rows[t, s, ROW_LOW], rows[t, s, ROW_HIGH] = first, last
                ends = LOW_IS_END if first == bottom else 0
                rows[t, s, ROW_ENDS] = ends + (HIGH_IS_END if last == top else 0)
                count += last - first + 1
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
    """Fill ROW_FIRST, ROW_LAST and ROW_AT; returns the length of all rows together.

    A row holds its own nodes ROW_LOW..ROW_HIGH, three more on both sides, and every node that the
    nodes of another row look at.
    """
    n = steps.shape[0]
    total = 0
    rows[:, :, ROW_FIRST] = np.iinfo(np.int64).max
    rows[:, :, ROW_LAST] = np.iinfo(np.int64).min
    for t in range(begin, n + 1):
        for s in range(2):
            low = rows[t, s, ROW_LOW]
            high = rows[t, s, ROW_HIGH]
            if low <= high:
                rows[t, s, ROW_FIRST] = min(rows[t, s, ROW_FIRST], low - 3)
                rows[t, s, ROW_LAST] = max(rows[t, s, ROW_LAST], high + 3)
            if rows[t, s, ROW_FIRST] > rows[t, s, ROW_LAST]:
                rows[t, s, ROW_FIRST] = 1
                rows[t, s, ROW_LAST] = 0
            rows[t, s, ROW_AT] = total
            total += rows[t, s, ROW_LAST] - rows[t, s, ROW_FIRST] + 1
            if low > high or t == n:
                continue
            for v in range(2):
                end = ahead[t, s, v]
                if end < 0:
                    continue
                shift = 0.0
                halvings = 0
                scale = spacing[t]
                for k in range(t, end):
                    scale *= steps[k, DECAY]
                    halvings += doubling[k]
                    shift += steps[k, GAIN + v] / scale
                whole = math.floor(shift)
                first = (low + whole - 2) >> halvings
                last = ((high + whole + 3) >> halvings) + 1
                rows[end, v, ROW_FIRST] = min(rows[end, v, ROW_FIRST], first)
                rows[end, v, ROW_LAST] = max(rows[end, v, ROW_LAST], last)
    return total
