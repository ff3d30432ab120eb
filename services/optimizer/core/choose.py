"""From fractional columns to one schedule per room: dive with fresh columns, then swap rooms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.linear_model import Solution
from services.optimizer.core.master import Master, Prices

Floats = NDArray[np.float64]

ALMOST_ONE = 0.9
FIX_SHARE = 0.25

PriceRoom = Callable[[int, Prices], bool]


def dive(master: Master, price_room: PriceRoom) -> tuple[list[int], float, int]:
    """Fix rooms one after another where the LP is surest, pricing the free ones in between.

    `price_room(room, prices)` may add a column to the master. Returns (picked column per room,
    objective with all rooms fixed, LPs solved). The site's own integers stay relaxed.
    """
    picked: dict[int, int] = {}
    solves = 0
    rooms = range(len(master.columns))
    while True:
        solution, chosen, prices = solve_fixed(master, picked)
        solves += 1
        if len(picked) == len(master.columns):
            return [picked[room] for room in rooms], solution.objective, solves
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


def swap(
    master: Master, picked: list[int], objective: float, price_room: PriceRoom, sweeps: int = 1
) -> tuple[list[int], float, int]:
    """Let one room at a time choose again at the prices the others set; keep what is cheaper."""
    solves = 0
    for _ in range(sweeps):
        improved = False
        for room in range(len(master.columns)):
            fixed = dict(enumerate(picked))
            del fixed[room]
            solution, chosen, prices = solve_fixed(master, fixed)
            solves += 1
            if solution.objective > objective - 1e-6 and not price_room(room, prices):
                continue
            solution, chosen, _ = solve_fixed(master, fixed)
            solves += 1
            if solution.objective > objective - 1e-6:
                continue
            weights = solution.values[chosen[room]]
            for pick in np.argsort(-weights, kind="stable")[:2]:
                if weights[pick] < 1e-6 or int(pick) == picked[room]:
                    continue
                trial = [*picked[:room], int(pick), *picked[room + 1 :]]
                found, _, _ = solve_fixed(master, dict(enumerate(trial)))
                solves += 1
                if found.objective < objective - 1e-7:
                    picked, objective, improved = trial, found.objective, True
        if not improved:
            break
    return picked, objective, solves


def solve_fixed(
    master: Master, picked: dict[int, int]
) -> tuple[Solution, list[NDArray[np.int64]], Prices]:
    """The restricted master's LP with some rooms fixed to one of their columns."""
    model, chosen, convexity = master.model(integer=False)
    fixed = {
        int(variable): float(position == pick)
        for room, pick in picked.items()
        for position, variable in enumerate(chosen[room])
    }
    solution = model.solve("glop", fixed=fixed)
    return solution, chosen, master.prices(solution.duals, solution.duals[convexity])
