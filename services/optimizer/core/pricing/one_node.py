"""The equations of one room with one temperature, and the backward pass of its lower bound.

Grid: node i of step t stands for ``offset[t] + i * spacing[t]`` degC, where `offset` is the
temperature under a reference schedule and ``spacing[t+1] = decay[t] * spacing[t] *
2**doubling[t]``. So a step with the relay as in the reference maps nodes onto nodes exactly, and a
step with the other relay shifts all of them by the same amount. Value function ``V[t, s]``: cheapest
cost from step t on, relay in state s and free to leave it; a switch buys its whole minimum run at
once (schedules.transitions).

`steps` is the [n, 9] table of what a step does, columns DECAY .. PENALTY_HIGH below: DRIFT holds the
reference's heat, GAIN + v what the relay at v adds to it (0 where the reference is v).
"""

from __future__ import annotations

import math

import numpy as np

from ..compiled import compiled
from .room import FloatArray, IntArray
from .shift_grid import (
    add_falling_kink,
    add_line,
    add_rising_kink,
    combine_levels,
    continue_straight,
    minimum_into,
    refine,
    shift_lower,
)

DECAY, GAIN, _, DRIFT, ON_COST, LOW, HIGH, PENALTY_LOW, PENALTY_HIGH = range(9)
ROW_LOW, ROW_HIGH, ROW_FIRST, ROW_LAST, ROW_AT, ROW_ENDS = range(6)
LOW_IS_END, HIGH_IS_END = 1, 2  # bits of ROW_ENDS: nothing can be reached beyond that node


@compiled
def run(
    t: int, end: int, v: int, temperature: float, steps: FloatArray, terminal: FloatArray
) -> tuple[float, float]:
    """Temperature after, and cost of, holding the relay at v over [t, end), without switching."""
    cost = 0.0
    for k in range(t, end):
        temperature = steps[k, DECAY] * temperature + steps[k, DRIFT] + steps[k, GAIN + v]
        if v == 1:
            cost += steps[k, ON_COST]
        cold = steps[k, LOW] - temperature
        hot = temperature - steps[k, HIGH]
        if cold > 0.0:
            cost += steps[k, PENALTY_LOW] * cold
        elif hot > 0.0:
            cost += steps[k, PENALTY_HIGH] * hot
    if end == steps.shape[0]:
        cost += terminal[0, 0] + terminal[0, 1] * temperature
        for j in range(1, terminal.shape[0]):
            if temperature > terminal[j, 0]:
                cost += terminal[j, 1] * (temperature - terminal[j, 0])
    return temperature, cost


@compiled
def simulate(
    schedule: IntArray,
    start: float,
    relay: int,
    steps: FloatArray,
    terminal: FloatArray,
    switch_cost: float,
) -> tuple[float, FloatArray]:
    """Exact cost and temperatures [n+1] of a schedule."""
    n = steps.shape[0]
    temperatures = np.empty(n + 1)
    temperatures[0] = start
    total = 0.0
    for t in range(n):
        temperatures[t + 1], cost = run(t, t + 1, schedule[t], temperatures[t], steps, terminal)
        total += cost
        if schedule[t] != relay:
            total += switch_cost
            relay = schedule[t]
    return total, temperatures


@compiled
def lower_pass(
    begin: int,
    ahead: IntArray,
    steps: FloatArray,
    terminal: FloatArray,
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

    Row (t, s) lies at ``values[rows[t, s, ROW_AT]:]`` and holds the nodes ROW_FIRST..ROW_LAST. Nodes
    ROW_LOW..ROW_HIGH are computed; the others come from the coarser level (2**halvings times
    coarser, halvings > 0) or, on the first level (halvings = 0), where no schedule can get to, by
    continuing the row in a straight line. `allowance`: see combine_levels. Returns the number of
    nodes computed.
    """
    n = steps.shape[0]
    widest = 0
    for t in range(begin, n + 1):
        for s in range(2):
            widest = max(widest, rows[t, s, ROW_LAST] - rows[t, s, ROW_FIRST] + 1)
    trial = np.empty(widest)
    fine = np.empty(widest + 8)
    work = 0
    for t in range(n, begin - 1, -1):
        for s in range(2):
            first = rows[t, s, ROW_FIRST]
            at = rows[t, s, ROW_AT]
            size = rows[t, s, ROW_LAST] - first + 1
            if size <= 0:
                continue
            row = values[at : at + size]
            if t == n:
                row[:] = 0.0
                continue
            low = rows[t, s, ROW_LOW]
            count = rows[t, s, ROW_HIGH] - low + 1
            inner = low - first
            if count > 0:
                work += count
                out = row[inner : inner + count]
                empty = True
                for v in range(2):
                    end = ahead[t, s, v]
                    if end < 0:
                        continue
                    target = out if empty else trial[:count]
                    _branch(
                        target, t, end, v, low, switch_cost if v != s else 0.0, steps, terminal,
                        offset, spacing[t], doubling, values[rows[end, v, ROW_AT] :],
                        rows[end, v, ROW_FIRST], fine,
                    )  # fmt: skip
                    if not empty:
                        minimum_into(out, target)
                    empty = False
            else:
                count = 0
                inner = size
            if halvings > 0:
                source = coarse_values[coarse_rows[t, s, ROW_AT] :]
                lead = first - (coarse_rows[t, s, ROW_FIRST] << halvings)
                refine(row[:inner], source, lead, halvings)
                refine(row[inner + count :], source, lead + inner + count, halvings)
                if count > 0:
                    other = trial[:count]
                    refine(other, source, lead + inner, halvings)
                    ends = rows[t, s, ROW_ENDS]
                    combine_levels(
                        row[inner : inner + count],
                        other,
                        allowance,
                        ends & LOW_IS_END != 0,
                        ends & HIGH_IS_END != 0,
                    )
            else:
                continue_straight(row, inner, count)
    return work


@compiled
def _branch(
    out: FloatArray,
    t: int,
    end: int,
    v: int,
    node: int,
    extra: float,
    steps: FloatArray,
    terminal: FloatArray,
    offset: FloatArray,
    spacing: float,
    doubling: IntArray,
    source: FloatArray,
    source_first: int,
    fine: FloatArray,
) -> None:
    """Lower bound of holding v over [t, end) and going on from there, at nodes node, node + 1, ..."""
    count = out.size
    shift = 0.0
    halvings = 0
    scale = spacing
    cost = extra
    for k in range(t, end):
        scale *= steps[k, DECAY]
        halvings += doubling[k]
        shift += steps[k, GAIN + v] / scale
        if v == 1:
            cost += steps[k, ON_COST]
    whole = math.floor(shift)
    part = shift - whole
    lead = node + int(whole)
    if halvings == 0:
        shift_lower(out, source, lead - source_first, part, cost)
    else:
        look = fine[: count + 3]
        refine(look, source, lead - 1 - (source_first << halvings), halvings)
        shift_lower(out, look, 1, part, cost)
    at = float(node)
    scale = spacing
    for k in range(t, end):
        scale *= steps[k, DECAY]
        at += steps[k, GAIN + v] / scale
        base = offset[k + 1]
        add_falling_kink(out, (steps[k, LOW] - base) / scale - at, steps[k, PENALTY_LOW] * scale)
        add_rising_kink(out, (steps[k, HIGH] - base) / scale - at, steps[k, PENALTY_HIGH] * scale)
    if end == steps.shape[0]:
        line = terminal[0, 1]
        add_line(out, terminal[0, 0] + line * (offset[end] + at * scale), line * scale)
        for j in range(1, terminal.shape[0]):
            add_rising_kink(
                out, (terminal[j, 0] - offset[end]) / scale - at, terminal[j, 1] * scale
            )
