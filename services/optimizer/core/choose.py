"""From fractional columns to one schedule per room: dive with fresh columns, then refine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.linear_model import Solution
from services.optimizer.core.master import QUICK_GLOP, Master, Prices

Floats = NDArray[np.float64]

ALMOST_ONE = 0.9
FIX_SHARE = 0.4
MOST_TURNS, TRIFLE = 10, 1e-4

PriceRoom = Callable[[int, Prices], bool]


def dive(
    master: Master, price_room: PriceRoom, kept: dict[int, int] | None = None
) -> tuple[list[int], float, int]:
    """Fix rooms one after another where the LP is surest, pricing the free ones in between.

    `kept` rooms are fixed from the start. `price_room(room, prices)` may add a column.
    Returns (picked column per room, objective with all rooms fixed, LPs solved). The site's own
    integers stay relaxed. Where heating groups share a limit, the rooms then settle among themselves.
    """
    picked: dict[int, int] = dict(kept or {})
    solves = 0
    rooms = range(len(master.columns))
    while True:
        solution, chosen, prices = solve_fixed(master, picked)
        solves += 1
        if len(picked) == len(master.columns):
            whole, objective = [picked[room] for room in rooms], solution.objective
            if master.site.group_rows:
                whole, objective, more = improve(master, whole, prices, objective, price_room)
                solves += more
            return whole, objective, solves
        weight = {
            room: solution.values[chosen[room]] for room in rooms if room not in picked
        }
        order = sorted(weight, key=lambda room: (-float(weight[room].max()), room))
        few = max(1, int(FIX_SHARE * len(order)))
        for position, room in enumerate(order):
            if position < few or weight[room].max() > ALMOST_ONE:
                picked[room] = int(np.argmax(weight[room]))
        for room in order:
            if room not in picked:
                price_room(room, prices)


def refine(
    master: Master, picked: list[int], objective: float, price_room: PriceRoom, groups: int
) -> tuple[list[int], float, int]:
    """Free every `groups`-th room in turn and dive again among the rest; keep what is cheaper."""
    solves = 0
    for group in range(groups):
        kept = {room: pick for room, pick in enumerate(picked) if room % groups != group}
        trial, found, count = dive(master, price_room, kept)
        solves += count
        if found < objective - 1e-7:
            picked, objective = trial, found
    return picked, objective, solves


def improve(
    master: Master, picked: list[int], prices: Prices, objective: float, price_room: PriceRoom
) -> tuple[list[int], float, int]:
    """One room after another answers to what all others do, until a turn of all gains a trifle.

    Fractions of schedules fit into a full heating group where whole ones do not; a room that sees what
    the others leave finds its place. `prices` are those with `picked` fixed.
    """
    solves = 0
    for _ in range(MOST_TURNS):
        before = objective
        for room in range(len(picked)):
            price_room(room, prices)
            pick = master.cheapest(room, prices)
            if pick == picked[room]:
                continue
            trial = [*picked[:room], pick, *picked[room + 1 :]]
            solution, _, answer = solve_fixed(master, dict(enumerate(trial)))
            solves += 1
            if solution.objective < objective - 1e-7:
                picked, objective, prices = trial, solution.objective, answer
        if objective > before - TRIFLE * abs(before):
            break
    return picked, objective, solves


def solve_fixed(
    master: Master, picked: dict[int, int]
) -> tuple[Solution, list[NDArray[np.int64]], Prices]:
    """The restricted master's LP with some rooms fixed to one of their columns."""
    model, chosen, convexity = master.model(picked)
    solution = model.solve("glop", parameters=QUICK_GLOP)
    prices = master.prices(solution.duals, solution.duals[convexity])
    return solution, chosen, master.crowded(prices, solution.duals, picked)
