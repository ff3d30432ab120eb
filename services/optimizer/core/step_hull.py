"""The hull of what one step needs beyond a kink: whole relays against fractions of them (numba).

A step takes c + P @ u kW more than a kink allows for nothing (the sun left over, a fuse), and something
must give f(u) = max(0, c + P @ u). Fractions of relays meet the kink exactly, whole ones do not. `steepest`
finds the plane a + b @ u below f at every whole u that is highest at given fractions (the hull of the knapsack
with one continuous variable of Marchand and Wolsey 1999).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.compiled import compiled

Floats = NDArray[np.float64]

FRACTION = 1e-6
MOST_FRACTIONS, MOST_PIVOTS = 9, 60
"""Relays whose whole vectors are enumerated, and pivots among these vectors: a plane that is not the highest is
still one below f."""
GRID_KW, MOST_NODES = 0.01, 4096
"""Powers of heaters are multiples of so much mostly; others are rounded to the safe side."""
APART = 1e-7
"""Fractions that are alike are told apart by this, so that the simplex method does not go round in circles."""
SAFE_KW = 1e-6
"""What rounding errors may hide."""
LEAST_KW = 1e-4
"""Slopes are multiples of so much, rounded down: tiny ones lead GLOP astray."""


@compiled
def steepest(level: float, power: Floats, fraction: Floats) -> tuple[float, Floats]:
    """(a, b) with a + b @ u <= max(0, level + power @ u) at every whole u, high at `fraction`.

    Among the relays that are least whole the plane is found by the simplex method; the others, taken as off or
    on, are lifted into it one after another.
    """
    n = power.size
    slope = np.zeros(n)
    inner = np.abs(fraction - np.floor(fraction + 0.5))
    order = np.argsort(-inner, kind="mergesort")
    count = 0
    while count < min(n, MOST_FRACTIONS) and inner[order[count]] > FRACTION:
        count += 1
    on = fraction > 0.5
    fixed = level
    for place in range(count, n):
        if on[order[place]]:
            fixed += power[order[place]]
    free = order[:count].copy()
    taken, value = _vertices(fixed, power[free])
    base, steep = _plane(taken, value, fraction[free])
    # below f at every vertex, whatever the simplex method came to
    lowest = np.inf
    above = np.empty(taken.size)
    for vertex in range(taken.size):
        total = 0.0
        for k in range(count):
            if vertex >> k & 1:
                total += steep[k]
        above[vertex] = total
        lowest = min(lowest, value[vertex] - total)
    base = min(base, lowest)
    above += base
    for k in range(count):
        slope[free[k]] = steep[k]
    base = _lift(level, power, on, order[count:], taken, above, base, slope)
    return base - SAFE_KW, np.floor(slope / LEAST_KW + 1e-4) * LEAST_KW


@compiled
def _vertices(level: float, power: Floats) -> tuple[Floats, Floats]:
    """(level + power @ s, max(0, that)) for every whole s; bit k of the number is relay k."""
    taken = np.empty(1 << power.size)
    taken[0] = level
    for k in range(power.size):
        size = 1 << k
        for vertex in range(size):
            taken[size + vertex] = taken[vertex] + power[k]
    return taken, np.maximum(taken, 0.0)


@compiled
def _plane(taken: Floats, value: Floats, fraction: Floats) -> tuple[float, Floats]:
    """The plane below `value` that is highest at `fraction`: the dual of mixing vertices to these fractions at
    the least cost. The simplex method begins at the chain of vertices that turns relays on by their
    fractions."""
    n = fraction.size
    rows = n + 1
    basis = np.zeros(rows, np.int64)
    order = np.argsort(-fraction, kind="mergesort")
    sorted_ = fraction[order] - APART * np.arange(n)
    share = np.empty(rows)
    inverse = np.zeros((rows, rows))
    number = 0
    for place in range(rows):
        before = 1.0 if place == 0 else sorted_[place - 1]
        after = 0.0 if place == n else sorted_[place]
        basis[place] = number
        share[place] = before - after
        # the share of a vertex of the chain: the relay before it less the relay after it
        inverse[place, n if place == 0 else order[place - 1]] += 1.0
        if place < n:
            inverse[place, order[place]] -= 1.0
            number |= 1 << order[place]
    dual = np.zeros(rows)
    for _ in range(MOST_PIVOTS):
        dual[:] = 0.0
        for place in range(rows):
            dual += value[basis[place]] * inverse[place]
        entering, least = -1, -1e-9
        total = np.empty(taken.size)
        total[0] = dual[n]
        for k in range(n):
            size = 1 << k
            for vertex in range(size):
                total[size + vertex] = total[vertex] + dual[k]
        for vertex in range(taken.size):
            if value[vertex] - total[vertex] < least:
                entering, least = vertex, value[vertex] - total[vertex]
        if entering < 0:
            break
        column = inverse[:, n].copy()
        for k in range(n):
            if entering >> k & 1:
                column += inverse[:, k]
        leaving, step = -1, np.inf
        for place in range(rows):
            if column[place] > 1e-9 and share[place] / column[place] < step:
                leaving, step = place, share[place] / column[place]
        if leaving < 0:
            break
        inverse[leaving] /= column[leaving]
        share[leaving] = step
        for place in range(rows):
            if place != leaving:
                inverse[place] -= column[place] * inverse[leaving]
                share[place] = max(0.0, share[place] - column[place] * step)
        basis[leaving] = entering
    return dual[n], dual[:n].copy()


@compiled
def _lift(
    level: float, power: Floats, on: NDArray[np.bool_], others: NDArray[np.int64], taken: Floats,
    above: Floats, base: float, slope: Floats,
) -> float:
    """Give the other relays the steepest slopes that keep the plane below f; returns the plane's new base.

    Of all whole vectors so far only the highest plane for each power matters, and less power is safe.
    """
    width = max(GRID_KW, power.sum() / MOST_NODES)
    nodes = int(power.sum() / width) + 2 + power.size
    lowest = level - width * power.size
    highest = np.full(nodes + power.size, -np.inf)
    for vertex in range(taken.size):
        node = int(np.floor((taken[vertex] - lowest) / width + 1e-6))
        highest[node] = max(highest[node], above[vertex])
    for other in others:
        if on[other]:
            shift = int(np.ceil(power[other] / width - 1e-6))
            least = np.inf
            for node in range(shift, highest.size):
                needed = max(0.0, lowest + width * (node - shift))
                least = min(least, needed - highest[node])
            # on it changes nothing, off it leaves the plane lower by its slope
            slope[other] = -least
            base += least
            for node in range(highest.size - shift):
                highest[node] = max(highest[node], highest[node + shift] + least)
        else:
            shift = int(np.floor(power[other] / width + 1e-6))
            least = np.inf
            for node in range(highest.size - shift):
                needed = max(0.0, lowest + width * (node + shift))
                least = min(least, needed - highest[node])
            slope[other] = least
            for node in range(highest.size - 1, shift - 1, -1):
                highest[node] = max(highest[node], highest[node - shift] + least)
    return base
