"""The primitives of shift_grid.py for planes of nodes and bilinear interpolation.

A plane is out[j, i]: axis 0 (slow mode) runs along the row, axis 1 (fast mode) from row to row. A
shift acts on one axis after the other; each is a lower bound on the node lines of the other axis, and
between two such lines bilinear functions are mixtures of the lines (README.md).
"""

from __future__ import annotations

import math

import numpy as np

from ..compiled import compiled
from .room import FloatArray
from .shift_grid import continue_straight, refine, shift_lower


@compiled
def shift_plane(
    out: FloatArray, window: FloatArray, part0: float, part1: float, add: float
) -> None:
    """Lower bound of ``f(j, i) = window(j + 1 + part1, i + 1 + part0) + add`` at the nodes of out.

    `window` has three rows and three columns more than `out`.
    """
    up, across = out.shape
    rest = 1.0 - part1
    weight = part1 * rest
    line = np.empty(across + 3)
    for j in range(up):
        middle = window[j + 1]
        if part1 == 0.0:
            shift_lower(out[j], middle, 1, part0, add)
            continue
        before, after, beyond = window[j], window[j + 2], window[j + 3]
        for i in range(across + 3):
            left, right = middle[i], after[i]
            bend = max(max(before[i] - 2.0 * left + right, left - 2.0 * right + beyond[i]), 0.0)
            line[i] = rest * left + part1 * right - weight * bend
        shift_lower(out[j], line, 1, part0, add)


@compiled
def refine_plane(
    out: FloatArray,
    source: FloatArray,
    lead0: int,
    lead1: int,
    halvings0: int,
    halvings1: int,
) -> None:
    """Node values of `source` on a finer grid, from its fine node (lead1, lead0) (exact)."""
    width = 1 << halvings1
    spare = np.empty(out.shape[1])
    held = -1
    for j in range(out.shape[0]):
        fine = lead1 + j
        cell = fine >> halvings1
        part = (fine - (cell << halvings1)) / width
        line = out[j]
        refine(line, source[cell], lead0, halvings0)
        if part > 0.0:
            if held != cell + 1:
                refine(spare, source[cell + 1], lead0, halvings0)
                held = cell + 1
            for i in range(line.size):
                line[i] = (1.0 - part) * line[i] + part * spare[i]


@compiled
def add_oblique_line(out: FloatArray, at_zero: float, slope0: float, slope1: float) -> None:
    """Add ``at_zero + slope0 * i + slope1 * j`` at node (j, i) (exact)."""
    for j in range(out.shape[0]):
        line = out[j]
        base = at_zero + slope1 * j
        for i in range(line.size):
            line[i] += base + slope0 * i


@compiled
def add_oblique_kink(
    out: FloatArray, at_zero: float, slope0: float, slope1: float, price: float
) -> None:
    """Add ``price * max(0, g)``, ``g = at_zero + slope0 * i + slope1 * j``, lowered near g = 0.

    Over a cell g runs over an interval [m, m + r], r = |slope0| + |slope1|. The bilinear chord of
    max(0, g) is the mean of it over corners whose mean g is the point's, so it lies at most
    -m * (m + r) / r above it (the most spread mean: the two ends). A node is lowered by the largest
    excess of its four cells.
    """
    if price <= 0.0:
        return
    reach = abs(slope0) + abs(slope1)
    steep0, steep1 = abs(slope0), abs(slope1)
    for j in range(out.shape[0]):
        line = out[j]
        base = at_zero + slope1 * j
        low, high = _span(base, slope0, line.size)
        tail = line[low:high]
        for i in range(tail.size):
            tail[i] += price * max(0.0, base + slope0 * (low + i))
        if reach <= 0.0:
            continue
        low, high = _window(base, slope0, reach, line.size)
        for i in range(low, high):
            g = base + slope0 * i
            excess = max(g * (reach - g), -g * (reach + g))
            excess = max(excess, max((g + steep0) * (steep1 - g), (g + steep1) * (steep0 - g)))
            if excess > 0.0:
                line[i] -= price * excess / reach


@compiled
def _span(base: float, slope: float, size: int) -> tuple[int, int]:
    """A range [low, high) of i that holds every i with base + slope * i > 0."""
    if slope == 0.0:
        return (0, size) if base > 0.0 else (0, 0)
    cross = min(max(-base / slope, -2.0), size + 2.0)
    if slope > 0.0:
        return max(0, math.floor(cross)), size
    return 0, min(size, math.ceil(cross) + 1)


@compiled
def _window(base: float, slope: float, reach: float, size: int) -> tuple[int, int]:
    """A range [low, high) of i that holds every i with |base + slope * i| < reach."""
    if slope == 0.0:
        return (0, size) if abs(base) < reach else (0, 0)
    one = (-reach - base) / slope
    other = (reach - base) / slope
    low = min(max(min(one, other), -2.0), size + 2.0)
    high = min(max(max(one, other), -2.0), size + 2.0)
    return max(0, math.floor(low)), min(size, math.ceil(high) + 1)


@compiled
def continue_plane(plane: FloatArray, inner0: int, across: int, inner1: int, up: int) -> None:
    """Continue the computed nodes of a plane in straight lines to all sides."""
    for j in range(inner1, inner1 + up):
        continue_straight(plane[j], inner0, across)
    column = np.empty(plane.shape[0])
    for i in range(plane.shape[1]):
        column[:] = plane[:, i]
        continue_straight(column, inner1, up)
        plane[:, i] = column


@compiled
def combine_planes(
    out: FloatArray,
    coarse: FloatArray,
    allowance: float,
    free_left: bool,
    free_right: bool,
    free_bottom: bool,
    free_top: bool,
) -> None:
    """`shift_grid.combine_levels` for planes; `coarse` is used up.

    Over a cell the lead of one bound over the other runs over an interval [m, M]; the bilinear
    chord of the larger bound lies at most -m * M / (M - m) above it (as in add_oblique_kink).
    """
    up, across = out.shape
    for j in range(up):
        for i in range(across):
            lead = out[j, i] - coarse[j, i] + allowance
            coarse[j, i] = lead
            out[j, i] -= min(lead, 0.0)
    below = np.zeros(across + 1)
    above = np.zeros(across + 1)
    for j in range(up):
        above[:] = 0.0
        if j < up - 1:
            for i in range(across - 1):
                a, b = coarse[j, i], coarse[j, i + 1]
                c, d = coarse[j + 1, i], coarse[j + 1, i + 1]
                low = min(min(a, b), min(c, d))
                high = max(max(a, b), max(c, d))
                if low < 0.0 < high:
                    above[i + 1] = -low * high / (high - low)
        for i in range(across):
            excess = max(max(below[i], below[i + 1]), max(above[i], above[i + 1]))
            lead = coarse[j, i]
            # Down to the smaller of the two bounds: the larger one less what it leads by.
            drop = max(-min(lead, 0.0), max(lead, 0.0) - allowance)
            ring = (i == 0 and not free_left) or (i == across - 1 and not free_right)
            ring = ring or (j == 0 and not free_bottom) or (j == up - 1 and not free_top)
            out[j, i] -= max(excess, drop) if ring else excess
        below, above = above, below
