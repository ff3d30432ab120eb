"""Piecewise-linear lower bounds on a grid that the dynamics only shift.

The primitives of the bound (README.md, "Why the bound holds"): each takes node values whose
straight-line interpolation lies below some function and returns node values whose interpolation
lies below the transformed function, between the nodes too.
"""

from __future__ import annotations

import math

from ..compiled import compiled
from .room import FloatArray


@compiled
def shift_lower(out: FloatArray, source: FloatArray, first: int, part: float, add: float) -> None:
    """Lower bound of ``f(i) = source(first + i + part) + add`` at the nodes i = 0 .. out.size - 1.

    The cell (i, i + 1) sees the bend of `source` at node first + i + 1. Where that bend is convex
    the chord would lie above f by part * (1 - part) * bend, so both ends of the cell are lowered by
    it; where it is concave the chord already lies below.
    """
    count = out.size
    middle = source[first : first + count]
    if part == 0.0:
        for i in range(count):
            out[i] = middle[i] + add
        return
    rest = 1.0 - part
    weight = part * rest
    before = source[first - 1 : first - 1 + count]
    after = source[first + 1 : first + 1 + count]
    beyond = source[first + 2 : first + 2 + count]
    for i in range(count):
        left, right = middle[i], after[i]
        bend = max(max(before[i] - 2.0 * left + right, left - 2.0 * right + beyond[i]), 0.0)
        out[i] = rest * left + part * right - weight * bend + add


@compiled
def add_falling_kink(out: FloatArray, position: float, slope: float) -> None:
    """Add ``slope * max(0, position - i)`` at node i, lowered at the cell that holds the kink."""
    if slope <= 0.0 or position <= 0.0:
        return
    count = out.size
    cell = math.floor(min(position, 1e15))
    last = min(cell + 1, count)
    for i in range(last):
        out[i] += slope * (position - i)
    _lower_kink_cell(out, cell, position - cell, slope)


@compiled
def add_rising_kink(out: FloatArray, position: float, slope: float) -> None:
    """Add ``slope * max(0, i - position)`` at node i, lowered at the cell that holds the kink."""
    count = out.size
    if slope <= 0.0 or position >= count - 1:
        return
    cell = math.floor(max(position, -1e15))
    begin = max(cell + 1, 0)
    tail = out[begin:]
    base = begin - position
    for i in range(tail.size):
        tail[i] += slope * (base + i)
    _lower_kink_cell(out, cell, position - cell, slope)


@compiled
def _lower_kink_cell(out: FloatArray, cell: int, part: float, slope: float) -> None:
    """Take the chord's excess over a convex kink off both ends of its cell."""
    if 0 <= cell < out.size - 1:
        excess = slope * part * (1.0 - part)
        out[cell] -= excess
        out[cell + 1] -= excess


@compiled
def add_line(out: FloatArray, at_zero: float, slope: float) -> None:
    """Add ``at_zero + slope * i`` at node i (exact)."""
    for i in range(out.size):
        out[i] += at_zero + slope * i


@compiled
def refine(out: FloatArray, source: FloatArray, first: int, halvings: int) -> None:
    """Node values of `source` on a grid 2**halvings times finer, from fine node `first` (exact).

    Fine node k lies at k / 2**halvings of `source`; `first` is counted from source node 0.
    """
    width = 1 << halvings
    inverse = 1.0 / width
    for i in range(out.size):
        fine = first + i
        cell = fine >> halvings
        part = (fine - (cell << halvings)) * inverse
        if part == 0.0:
            out[i] = source[cell]
        else:
            out[i] = (1.0 - part) * source[cell] + part * source[cell + 1]


@compiled
def minimum_into(out: FloatArray, other: FloatArray) -> None:
    """``out = min(out, other)``: the chord of a minimum lies below both chords."""
    for i in range(out.size):
        out[i] = min(out[i], other[i])


@compiled
def continue_straight(row: FloatArray, inner: int, count: int) -> None:
    """Continue the computed nodes row[inner : inner + count] in straight lines to both ends."""
    step = row[inner] - row[inner + 1] if count > 1 else 0.0
    for i in range(inner - 1, -1, -1):
        row[i] = row[i + 1] + step
    step = row[inner + count - 1] - row[inner + count - 2] if count > 1 else 0.0
    for i in range(inner + count, row.size):
        row[i] = row[i - 1] + step


@compiled
def combine_levels(
    out: FloatArray, coarse: FloatArray, allowance: float, free_first: bool, free_last: bool
) -> None:
    """Larger of a bound and a coarser level's bound less `allowance`, fit to the coarse one outside.

    The larger of two chords is convex, so where they cross inside a cell both its ends are lowered
    by the chord's excess. The allowance keeps two bounds that hardly differ from crossing. The
    outermost nodes are not above the coarse value: the cells beyond them belong to the coarse level
    (`free_first`, `free_last`: no schedule can get beyond that end).
    """
    last = out.size - 1
    first_cap = min(out[0], coarse[0])
    last_cap = min(out[last], coarse[last])
    before = 0.0
    lead = out[0] - coarse[0] + allowance
    for i in range(last + 1):
        after = 0.0
        next_lead = 0.0
        if i < last:
            next_lead = out[i + 1] - coarse[i + 1] + allowance
            if lead * next_lead < 0.0:
                after = abs(lead) * abs(next_lead) / (abs(lead) + abs(next_lead))
        out[i] -= min(lead, 0.0) + max(before, after)
        before = after
        lead = next_lead
    if not free_first:
        out[0] = min(out[0], first_cap)
    if not free_last:
        out[last] = min(out[last], last_cap)
