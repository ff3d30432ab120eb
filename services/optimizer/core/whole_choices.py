"""Whole choices of the site (battery direction, cars, loads) beside the master's schedules.

The master's LP takes them as fractions. Here SCIP makes them whole: beside fractions of schedules, beside
whole schedules, and in a bound. All by counts of nodes, never by the clock.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.linear_model import QUICK_SCIP, Solution, SolverFailed
from services.optimizer.core.master import Master

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WHOLE_GAP, WHOLE_NODES = 3e-4, 100
"""Relative gap and nodes at which a search among all schedules ends."""
DUAL_TOLERANCE = 1e-7
"""SCIP's LPs take reduced costs this far below 0 for 0; over the box of all columns that may hide so much."""
WHOLE_WORK = 100_000
"""Rows of the site times whole columns in such a search: about a second."""
LEAST_SCHEDULES, MOST_SCHEDULES = 4, 16
"""Schedules a room in such a search."""
BESIDE_GAP, BESIDE_NODES = 1e-4, 50
"""Where only the site is made whole, beside fractions of schedules."""


def whole_beside_fractions(master: Master) -> dict[int, float]:
    """Whole choices of the site, by its columns, that are best beside fractions of schedules; none
    where there is nothing to choose or a short search finds nothing."""
    whole = np.flatnonzero(master.base.vectors()[5])
    if whole.size == 0:
        return {}
    model, _, _ = master.model({})
    try:
        found = model.solve("scip", gap=BESIDE_GAP, nodes=BESIDE_NODES, parameters=QUICK_SCIP)
    except SolverFailed:
        return {}
    return {int(column): float(np.round(found.values[column])) for column in whole}


def solve_whole(
    master: Master, known: list[int], whole: dict[int, float], known_eur: float
) -> tuple[list[int], Solution] | None:
    """One schedule a room and whole choices of the site, better than the `known` and `whole` ones, which
    cost `known_eur`, by a short search among all; None where that finds nothing or is too large.

    A schedule whose reduced cost exceeds what the known plan lies above the LP is in no better plan; of
    the others those of the least reduced cost take part.
    """
    if not master.goes_on:
        return None  # each of the search's many LPs would take long
    integers = int(master.base.vectors()[5].sum())
    most = (WHOLE_WORK // master.base.rows - integers) // len(known)
    if most < LEAST_SCHEDULES:
        return None
    solution, _, prices = master.solve()
    few: list[Ints] = []
    for room, pick in enumerate(known):
        reduced = master.costs_at(room, prices) - prices.convexity_eur[room]
        order = np.argsort(reduced, kind="stable")[: min(most, MOST_SCHEDULES)]
        order = order[reduced[order] <= known_eur - solution.objective]
        few.append(np.union1d(order, [pick]))
    model, chosen, _ = master.model_of(few)
    start = dict(whole)
    for columns, picks, pick in zip(chosen, few, known, strict=True):
        model.make_whole(columns)
        start.update(zip(columns.tolist(), (picks == pick).astype(float).tolist(), strict=True))
    try:
        found = model.solve(
            "scip", gap=WHOLE_GAP, nodes=WHOLE_NODES, parameters=QUICK_SCIP, start=start
        )
    except SolverFailed:
        return None
    if found.objective > known_eur - WHOLE_GAP * abs(known_eur):
        return None
    picked = [
        int(picks[int(np.argmax(found.values[columns]))])
        for columns, picks in zip(chosen, few, strict=True)
    ]
    return picked, found


def whole_bound(master: Master, duals: Floats, ends_c: list[tuple[float, float]]) -> float:
    """As `base.dual_bound`, but with whole choices of the site: a lower bound on what it costs, less what
    the rooms pay at `duals`; -inf where none is found.

    The site gets copies of the relays (0..1) and of the temperatures that one-node rooms leave to their
    tails (within `ends_c`), at the prices that the rooms pay for theirs. In a true plan the copies are the
    relays and temperatures themselves and the payments cancel, so that the sum of both minima is a bound.
    """
    model, prices = master.base.clone(), master.prices(duals, np.zeros(len(master.columns)))
    for room, arrays in enumerate(master.house.rooms):
        relay = model.variables(master.steps, 0.0, 1.0, -prices.on_cost_eur[room])
        for rows, coefficient in master.entries[room]:
            model.put(rows[: master.steps], relay, coefficient * arrays.power_kw)
        for row, cut in enumerate(master.cuts, master.base.rows - len(master.cuts)):
            model.put(row, relay[cut.step], -cut.slope[room])
        for rows, gain in master.tail_links[room]:
            end = model.variables(1, *ends_c[room], -(duals[rows] @ gain))
            model.put(rows, end, -gain[:, 0])
    low, high = model.vectors()[:2]
    try:
        found = model.solve("scip", gap=WHOLE_GAP, nodes=WHOLE_NODES, parameters=QUICK_SCIP)
    except SolverFailed:
        return -np.inf
    return found.bound - DUAL_TOLERANCE * float((high - low).sum())
