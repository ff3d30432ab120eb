"""From fractional columns to one schedule per room: dive with fresh columns, refine; settle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.linear_model import Solution
from services.optimizer.core.master import Master, Prices

Floats = NDArray[np.float64]

ALMOST_ONE = 0.9
FIX_SHARE = 0.4
MOST_TURNS, TRIFLE = 10, 1e-4
"""Rooms answer each other at most so often, while a turn of all gains this share of the cost."""
WORTH_ASKING = 1e-6
"""Share of the cost that an answer must promise before the house is solved with it."""
KICKS = (0.3, 3.0)
"""Parts of the limits' prices at which rooms leave scarce hours. On 15 small houses with tight boilers the
two end 5.1 % above the bound on average, twice the price itself 7.8 %, six other parts 4.6 %."""

PriceRoom = Callable[[int, Prices], bool]


def dive(
    master: Master, price_room: PriceRoom, kept: dict[int, int] | None = None
) -> tuple[list[int], Solution, int]:
    """Fix rooms one after another where the LP is surest, pricing the free ones in between.

    `kept` rooms are fixed from the start. `price_room(room, prices)` may add a column.
    Returns (picked column per room, the LP with all rooms fixed, LPs solved). The site's own
    integers stay relaxed.
    """
    picked: dict[int, int] = dict(kept or {})
    solves = 0
    rooms = range(len(master.columns))
    while True:
        solution, chosen, prices = master.solve(picked)
        solves += 1
        if len(picked) == len(master.columns):
            return [picked[room] for room in rooms], solution, solves
        weight = {
            room: solution.values[chosen[room]] for room in rooms if room not in picked
        }
        order = sorted(weight, key=lambda room: (-float(weight[room].max()), room))
        few = max(1, int(FIX_SHARE * len(order)))
        for position, room in enumerate(order):
            if position < few or weight[room].max() > ALMOST_ONE:
                picked[room] = int(np.argmax(weight[room]))
        crowded = master.crowded(prices, solution.duals, picked)
        for room in order:
            if room not in picked:
                price_room(room, crowded)


def settle(
    master: Master, picked: list[int], price_room: PriceRoom
) -> tuple[list[int], Solution, int]:
    """Rooms answer each other, from `picked`, until no answer gains; returns as `dive`.

    Fractions of schedules fit into a limit, and into the sun, where whole ones do not. So one room after
    another answers to what all others leave, at what its whole power costs; in heating groups then all
    rooms leave the hours that are scarce to those that need them most, and settle again.
    """
    scarcity = master.scarcity
    assert scarcity is not None, "columns come first, and prices with them"
    state = _State(picked, master.solve(dict(enumerate(picked)))[0], 1)
    best = _turns(master, state, price_room)
    for part in KICKS if master.site.group_rows else ():
        state = best
        for room in range(len(picked)):
            state = _answer(master, state, room, price_room, part * scarcity)
        state = _turns(master, state, price_room)
        if state.solution.objective < best.solution.objective - 1e-7:
            best = state
        best = replace(best, solves=state.solves)
    return best.picked, best.solution, best.solves


@dataclass(frozen=True)
class _State:
    """A schedule for every room, the LP with them, and how many LPs that took."""

    picked: list[int]
    solution: Solution
    solves: int


def _turns(master: Master, state: _State, price_room: PriceRoom) -> _State:
    """Every room in turn takes its best answer where that helps the house, while turns still gain."""
    for _ in range(MOST_TURNS):
        before = state.solution.objective
        for room in range(len(state.picked)):
            answer = _answer(master, state, room, price_room, None)
            if answer.solution.objective < state.solution.objective - 1e-7:
                state = answer
            state = replace(state, solves=answer.solves)
        if state.solution.objective > before - TRIFLE * abs(before):
            break
    return state


def _answer(
    master: Master, state: _State, room: int, price_room: PriceRoom, scarcity: Floats | None
) -> _State:
    """The house with one room's best answer to all others (at least at `scarcity` prices)."""
    prices = master.prices(state.solution.duals, np.zeros(len(state.picked)))
    others = {other: pick for other, pick in enumerate(state.picked) if other != room}
    prices = master.crowded(prices, state.solution.duals, others, scarcity)
    if not master.site.group_rows:
        # behind a boiler both together ended up to 1 % dearer than `crowded` alone
        prices = master.beside(prices, state.solution, room, state.picked)
    price_room(room, prices)
    costs = master.costs_at(room, prices)
    pick = int(np.argmin(costs))
    if costs[pick] > costs[state.picked[room]] - WORTH_ASKING * abs(state.solution.objective):
        return state
    picked = [*state.picked[:room], pick, *state.picked[room + 1 :]]
    return _State(picked, master.solve(dict(enumerate(picked)))[0], state.solves + 1)


def refine(
    master: Master, picked: list[int], solution: Solution, price_room: PriceRoom, groups: int
) -> tuple[list[int], Solution, int]:
    """Free every `groups`-th room in turn and dive again among the rest; keep what is cheaper."""
    solves = 0
    for group in range(groups):
        kept = {room: pick for room, pick in enumerate(picked) if room % groups != group}
        trial, found, count = dive(master, price_room, kept)
        solves += count
        if found.objective < solution.objective - 1e-7:
            picked, solution = trial, found
    return picked, solution, solves
