"""The equations of a room with two temperatures, and the backward pass of its lower bound.

The room is split into its slow mode (axis 0) and its fast mode (axis 1): with P the shared
eigenvectors, ``T = P z`` and each mode follows its own scalar equation. Node (i, j) of step t stands
for ``z = offset[t] + (i * spacing[t, 0], j * spacing[t, 1])``; everything else is as in one_node.py,
once for each axis: a step with the relay as in the reference maps nodes onto nodes, one with the
other relay shifts all of them by the same amount. Between nodes a row of values means bilinear interpolation.

`steps` is the [n, 14] table of what a step does, columns below (GAIN + 2 v + axis: what the relay at
v adds to the reference). The air is ``view @ z``. `terminal`
is [1 + m, 4]: slopes by mode, then rows (weights by mode, target, value): value for each K missing.
"""

from __future__ import annotations

import math

import numpy as np

from ..compiled import compiled
from .plane import (
    add_oblique_kink,
    add_oblique_line,
    combine_planes,
    continue_plane,
    refine_plane,
    shift_plane,
)
from .room import FloatArray, IntArray
from .shift_grid import minimum_into

DECAY, GAIN, DRIFT, ON_COST, LOW, HIGH, PENALTY_LOW, PENALTY_HIGH = 0, 2, 6, 8, 9, 10, 11, 12
AIR_PRICE = 13
# Columns of a row: nodes computed (low, high) and held (first, last) by axis, and its place.
LOW0, HIGH0, LOW1, HIGH1, FIRST0, LAST0, FIRST1, LAST1, AT, ENDS = range(10)
# Bits of ENDS: nothing can be reached beyond the low (1, 4) or high (2, 8) node of axis 0, axis 1.


@compiled
def run(
    t: int,
    end: int,
    v: int,
    slow: float,
    fast: float,
    steps: FloatArray,
    terminal: FloatArray,
    view: FloatArray,
) -> tuple[float, float, float]:
    """Modes after, and cost of, holding the relay at v over [t, end), without switching."""
    cost = 0.0
    for k in range(t, end):
        slow = steps[k, DECAY] * slow + steps[k, DRIFT] + steps[k, GAIN + 2 * v]
        fast = steps[k, DECAY + 1] * fast + steps[k, DRIFT + 1] + steps[k, GAIN + 2 * v + 1]
        if v == 1:
            cost += steps[k, ON_COST]
        air = view[0] * slow + view[1] * fast
        cost += steps[k, AIR_PRICE] * air
        if air < steps[k, LOW]:
            cost += steps[k, PENALTY_LOW] * (steps[k, LOW] - air)
        elif air > steps[k, HIGH]:
            cost += steps[k, PENALTY_HIGH] * (air - steps[k, HIGH])
    if end == steps.shape[0]:
        cost += terminal[0, 0] * slow + terminal[0, 1] * fast
        for j in range(1, terminal.shape[0]):
            stored = terminal[j, 0] * slow + terminal[j, 1] * fast
            cost += terminal[j, 3] * max(0.0, terminal[j, 2] - stored)
    return slow, fast, cost


@compiled
def simulate(
    schedule: IntArray,
    start: FloatArray,
    relay: int,
    steps: FloatArray,
    terminal: FloatArray,
    view: FloatArray,
    switch_cost: float,
) -> tuple[float, FloatArray]:
    """Exact cost and modes [n+1, 2] of a schedule."""
    n = steps.shape[0]
    modes = np.empty((n + 1, 2))
    modes[0] = start
    total = 0.0
    for t in range(n):
        modes[t + 1, 0], modes[t + 1, 1], cost = run(
            t, t + 1, schedule[t], modes[t, 0], modes[t, 1], steps, terminal, view
        )
        total += cost
        if schedule[t] != relay:
            total += switch_cost
            relay = schedule[t]
    return total, modes


@compiled
def lower_pass(
    begin: int,
    ahead: IntArray,
    steps: FloatArray,
    terminal: FloatArray,
    view: FloatArray,
    switch_cost: float,
    offset: FloatArray,
    spacing: FloatArray,
    doubling: IntArray,
    rows: IntArray,
    values: FloatArray,
    coarse_rows: IntArray,
    coarse_values: FloatArray,
    halvings: int,
    allowance: float,
) -> int:
    """Fill `values` with node values whose interpolation lies below the true value function.

    Plane (t, s) lies at ``values[rows[t, s, AT]:]``, axis 0 running fastest. Otherwise as
    `one_node.lower_pass`. Returns the number of nodes computed.
    """
    n = steps.shape[0]
    widest = 1
    work = 0
    for t in range(begin, n + 1):
        for s in range(2):
            row = rows[t, s]
            widest = max(widest, (row[LAST0] - row[FIRST0] + 9) * (row[LAST1] - row[FIRST1] + 9))
    trial = np.empty(widest)
    look = np.empty(widest)
    half = np.empty(widest)
    for t in range(n, begin - 1, -1):
        for s in range(2):
            row = rows[t, s]
            wide = row[LAST0] - row[FIRST0] + 1
            tall = row[LAST1] - row[FIRST1] + 1
            if wide <= 0 or tall <= 0:
                continue
            plane = values[row[AT] : row[AT] + wide * tall].reshape(tall, wide)
            if t == n:
                plane[:, :] = 0.0
                continue
            across = max(0, row[HIGH0] - row[LOW0] + 1)
            up = max(0, row[HIGH1] - row[LOW1] + 1)
            if halvings > 0:
                below = coarse_rows[t, s]
                coarse_wide = below[LAST0] - below[FIRST0] + 1
                coarse_tall = below[LAST1] - below[FIRST1] + 1
                size = coarse_wide * coarse_tall
                source = coarse_values[below[AT] : below[AT] + size]
                refine_plane(
                    plane,
                    source.reshape(coarse_tall, coarse_wide),
                    row[FIRST0] - (below[FIRST0] << halvings),
                    row[FIRST1] - (below[FIRST1] << halvings),
                    halvings,
                    halvings,
                )
            if across == 0 or up == 0:
                continue
            work += across * up
            best = trial[: across * up]
            empty = True
            for v in range(2):
                end = ahead[t, s, v]
                if end < 0:
                    continue
                target = rows[end, v]
                ahead_wide = target[LAST0] - target[FIRST0] + 1
                ahead_tall = target[LAST1] - target[FIRST1] + 1
                at = target[AT]
                _branch(
                    half[: across * up].reshape(up, across), t, end, v, row[LOW0], row[LOW1],
                    switch_cost if v != s else 0.0, steps, terminal, view, offset,
                    spacing, doubling,
                    values[at : at + ahead_wide * ahead_tall].reshape(ahead_tall, ahead_wide),
                    target[FIRST0], target[FIRST1], look,
                )  # fmt: skip
                if empty:
                    best[:] = half[: across * up]
                else:
                    minimum_into(best, half[: across * up])
                empty = False
            inner0 = row[LOW0] - row[FIRST0]
            inner1 = row[LOW1] - row[FIRST1]
            if halvings > 0:
                other = half[: across * up].reshape(up, across)
                for j in range(up):
                    for i in range(across):
                        other[j, i] = plane[inner1 + j, inner0 + i]
                ends = row[ENDS]
                combine_planes(
                    best.reshape(up, across),
                    other,
                    allowance,
                    ends & 1 != 0,
                    ends & 2 != 0,
                    ends & 4 != 0,
                    ends & 8 != 0,
                )
            plane[inner1 : inner1 + up, inner0 : inner0 + across] = best.reshape(up, across)
            if halvings == 0:
                continue_plane(plane, inner0, across, inner1, up)
    return work


@compiled
def _branch(
    out: FloatArray,
    t: int,
    end: int,
    v: int,
    node0: int,
    node1: int,
    extra: float,
    steps: FloatArray,
    terminal: FloatArray,
    view: FloatArray,
    offset: FloatArray,
    spacing: FloatArray,
    doubling: IntArray,
    source: FloatArray,
    first0: int,
    first1: int,
    look: FloatArray,
) -> None:
    """Lower bound of holding v over [t, end) and going on from there, at the nodes of `out`."""
    up, across = out.shape
    shift0 = shift1 = 0.0
    halvings0 = halvings1 = 0
    scale0, scale1 = spacing[t, 0], spacing[t, 1]
    cost = extra
    for k in range(t, end):
        scale0 *= steps[k, DECAY]
        scale1 *= steps[k, DECAY + 1]
        halvings0 += doubling[k, 0]
        halvings1 += doubling[k, 1]
        shift0 += steps[k, GAIN + 2 * v] / scale0
        shift1 += steps[k, GAIN + 2 * v + 1] / scale1
        if v == 1:
            cost += steps[k, ON_COST]
    whole0, whole1 = math.floor(shift0), math.floor(shift1)
    lead0 = node0 + int(whole0) - 1
    lead1 = node1 + int(whole1) - 1
    if halvings0 == 0 and halvings1 == 0:
        window = source[
            lead1 - first1 : lead1 - first1 + up + 3, lead0 - first0 : lead0 - first0 + across + 3
        ]
        shift_plane(out, window, shift0 - whole0, shift1 - whole1, cost)
    else:
        fine = look[: (up + 3) * (across + 3)].reshape(up + 3, across + 3)
        refine_plane(
            fine, source, lead0 - (first0 << halvings0), lead1 - (first1 << halvings1), halvings0,
            halvings1,
        )  # fmt: skip
        shift_plane(out, fine, shift0 - whole0, shift1 - whole1, cost)
    at0, at1 = float(node0), float(node1)
    scale0, scale1 = spacing[t, 0], spacing[t, 1]
    for k in range(t, end):
        scale0 *= steps[k, DECAY]
        scale1 *= steps[k, DECAY + 1]
        at0 += steps[k, GAIN + 2 * v] / scale0
        at1 += steps[k, GAIN + 2 * v + 1] / scale1
        slope0, slope1 = view[0] * scale0, view[1] * scale1
        air = view[0] * offset[k + 1, 0] + view[1] * offset[k + 1, 1] + slope0 * at0 + slope1 * at1
        add_oblique_kink(out, steps[k, LOW] - air, -slope0, -slope1, steps[k, PENALTY_LOW])
        add_oblique_kink(out, air - steps[k, HIGH], slope0, slope1, steps[k, PENALTY_HIGH])
        price = steps[k, AIR_PRICE]
        if price != 0.0:
            add_oblique_line(out, price * air, price * slope0, price * slope1)
    if end == steps.shape[0]:
        corner0, corner1 = offset[end, 0] + scale0 * at0, offset[end, 1] + scale1 * at1
        line0, line1 = terminal[0, 0], terminal[0, 1]
        add_oblique_line(out, line0 * corner0 + line1 * corner1, line0 * scale0, line1 * scale1)
        for j in range(1, terminal.shape[0]):
            slope0, slope1 = terminal[j, 0] * scale0, terminal[j, 1] * scale1
            stored = terminal[j, 0] * corner0 + terminal[j, 1] * corner1
            add_oblique_kink(out, terminal[j, 2] - stored, -slope0, -slope1, terminal[j, 3])
