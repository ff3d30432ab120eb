"""A certificate for coupled and two-node houses: rooms priced one by one, coupling dualised.

What a room gets from its neighbours is replaced by an input of its own choice, paid at the room's heat
price, and dearer when it is more than NEAR_K away from the neighbours' temperatures in the plan; the
neighbours are credited the same money for the temperatures they have. Equal payments cancel for any true
plan, near the made one or not, so the sum of the rooms' minima and the site's dual bound is below the cost of
every plan (Lagrangian relaxation with a convex price of the copied temperatures).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.cells import slow
from services.optimizer.core.columns import Column
from services.optimizer.core.coupled import CoupledPricer, HeatPrices, neighbour_linear
from services.optimizer.core.frozen_bound import planes_bound
from services.optimizer.core.house import House, RoomArrays
from services.optimizer.core.master import Prices
from services.optimizer.core.pricing import Scratch
from services.optimizer.core.side_by_side import side_by_side

Floats = NDArray[np.float64]

NODE_OFFSETS_K = np.linspace(-2.6, 2.6, 27)
"""Evenly: where nodes lie wide apart, the lines sink step by step, and the minimum goes there."""
NODE_MARGIN_K = 0.01
CELL_WIDTH_K = {1: 0.005, 2: 0.04}
"""By nodes of the room: without a slow mode the cells are one row, so they can be finer."""

NEAR_K = {1: 3.0, 2: 1.2}
"""How far from the reference the air of a room with so many nodes costs no more than its linear
price. A relay makes the air of a room with a mass swing about as far."""

SMOOTHED_STEPS = 6
"""The reference is the plan's air averaged over so many steps to both sides."""

AIR_SHARE, SLOW_SHARE = {1: 5.0, 2: 0.8}, 0.4
"""What a kelvin of air, or of the slow mode, costs more than its price when it comes from farther away, in
parts of the mean price. Dearer inputs bound tighter, but the same money tempts the neighbours."""

def slow_mode(room: RoomArrays, steps: int) -> tuple[float, Floats, Floats] | None:
    """(e, slow eigenvalues, fast eigenvalues): z = e air + mass decouples from the air.

    None when the left eigenvector changes over time (then no single z exists).
    """
    if room.nodes == 1:
        return 0.0, np.zeros(steps), room.transition[:steps, 0, 0].copy()
    a, m = room.transition[:steps, 0, 0], room.transition[:steps, 0, 1]
    c, d = room.transition[:steps, 1, 0], room.transition[:steps, 1, 1]
    root = np.sqrt((a - d) ** 2 / 4 + m * c)
    slow_values = (a + d) / 2 + root
    with np.errstate(divide="ignore", invalid="ignore"):
        e = np.where(m > 1e-12, (slow_values - d) / np.maximum(m, 1e-12), 0.0)
    if np.ptp(e) > 1e-7 * max(1.0, abs(float(e[0]))):
        return None
    return float(e.mean()), slow_values, a - m * e


@dataclass(frozen=True)
class Surroundings:
    """What rooms expect of each other's air, [rooms, steps] except for the limits, [rooms].

    `low`, `high`: range at the START of a step that costs the linear price only, degC. `air_limit`,
    `slow_limit`: what a room pays beyond it for each K of its own air and slow mode, EUR. `near_low`,
    `near_high`, `reward`: what a room gets for its air at the END of a step, EUR per K outside the range.
    """

    low: Floats
    high: Floats
    air_limit: Floats
    slow_limit: Floats
    near_low: Floats
    near_high: Floats
    reward: Floats


def surroundings(
    house: House, prices: HeatPrices, reach: tuple[list[Floats], list[Floats]],
    temperatures: Floats, steps: int,
) -> Surroundings:
    """The near range around the plan's temperatures, and payments for what lies outside it.

    A room that nothing warms is bounded without a reward (`planes_bound`); all it can reach is near.
    """
    low = np.array([limit[:steps, 0] for limit in reach[0]])
    high = np.array([limit[:steps, 0] for limit in reach[1]])
    # a mean over hours can lie where the first steps cannot get to
    reference = np.clip(_smoothed(temperatures[:, :steps, 0]), low, high)
    lone = np.array([r.nodes == 2 and not r.neighbour_gain for r in house.rooms])
    near = np.array([NEAR_K[r.nodes] for r in house.rooms])[:, None] + np.zeros(steps)
    near[lone] = np.inf
    near[:, 0] = 0.0
    low, high = np.maximum(low, reference - near), np.minimum(high, reference + near)
    share = np.array([AIR_SHARE[r.nodes] for r in house.rooms])
    air_limit = share * np.maximum(prices.air[:, :steps].mean(axis=1), 0.0)
    # where warmth is unwanted its price has the other sign, and what goes beyond the range is just not dearer
    slow_limit = SLOW_SHARE * np.maximum(-prices.mass[:, : steps + 1].mean(axis=1), 0.0)
    paid = np.zeros((len(house.rooms), steps))
    for room in house.rooms:
        mode = slow_mode(room, steps)
        for other, gain in room.neighbour_gain.items():
            both = 0.0 if mode is None else slow_gain(room.nodes, mode[0], gain[:steps])
            paid[other] += np.abs(gain[:steps, 0]) * air_limit[room.index]
            paid[other] += np.abs(both) * slow_limit[room.index]
    paid[lone] = 0.0

    def at_end(values: Floats) -> Floats:
        return np.hstack([values[:, 1:], np.zeros((len(house.rooms), 1))])

    return Surroundings(
        low, high, air_limit, slow_limit, at_end(low), at_end(high), at_end(paid)
    )


def _smoothed(air: Floats) -> Floats:
    """Moving mean along the steps; the start stays what it is."""
    wide = np.pad(air, ((0, 0), (SMOOTHED_STEPS, SMOOTHED_STEPS)), mode="edge")
    views = np.lib.stride_tricks.sliding_window_view(wide, 2 * SMOOTHED_STEPS + 1, axis=1)
    return np.hstack([air[:, :1], views.mean(axis=2)[:, 1:]])


def slow_gain(nodes: int, e: float, gain: Floats) -> Floats:
    """What [n, nodes] kelvins of air and mass add to the slow mode z = e air + mass."""
    return e * gain[:, 0] + gain[:, 1] if nodes == 2 else np.zeros(len(gain))


def room_bound(
    house: House, pricer: CoupledPricer, on_cost_eur: Floats, end_slope: Floats,
    prices: HeatPrices, reach: tuple[list[Floats], list[Floats]], reference: Floats,
    around: Surroundings, width_k: float,
) -> float | None:
    """True lower bound on one room's share of the Lagrangian; None when z does not exist."""
    room, steps = pricer.room, pricer.steps
    index, cells = room.index, pricer.cells
    mode = slow_mode(room, steps)
    if mode is None:
        return None
    e, slow_values, fast_values = mode
    low, high = reach
    two = room.nodes == 2
    gain, drift = room.heat_k[:steps], room.drift_k[:steps]
    extra = np.zeros((2, steps))
    slow_extra = np.zeros((2, steps))
    for other, share in room.neighbour_gain.items():
        both = slow_gain(room.nodes, e, share[:steps])
        for side, air in enumerate((around.low[other], around.high[other])):
            extra[side] += share[:steps, 0] * air
            slow_extra[side] += both * air
    tilt = -prices.mass[index, : steps + 1] if two else np.zeros(steps + 1)
    heat_price = prices.air[index, :steps] - e * tilt[1:]
    slopes, targets, worth = pricer.ends(end_slope)
    # the mass's end value is convex: the line with slope -tilt lies below it
    end_mass = float(tilt[-1]) if pricer.whole else -float(slopes[1])
    end_slope_air = float(slopes[0]) + (e * end_mass if two else 0.0)
    constant = end_mass * float(targets[1]) if pricer.whole and two else 0.0
    if two:
        z_low = e * low[index][: steps + 1, 0] + low[index][: steps + 1, 1]
        z_high = e * high[index][: steps + 1, 0] + high[index][: steps + 1, 1]
        z_mid = e * reference[: steps + 1, 0] + reference[: steps + 1, 1]
        nodes = z_mid[:, None] + NODE_OFFSETS_K[None, :] * (1.0 + e)
        nodes[:, 0] = np.minimum(nodes[:, 0], z_low - NODE_MARGIN_K)
        nodes[:, -1] = np.maximum(nodes[:, -1], z_high + NODE_MARGIN_K)
    else:
        nodes = np.tile(np.array([-1.0, 1.0]), (steps + 1, 1))
    width_k = cells.width_k(width_k, nodes.shape[1])
    count = int(np.ceil((cells.high - cells.low) / width_k))
    values = slow.lower_pass(
        cells.low, width_k, count, cells.reach_low, cells.reach_high, nodes,
        np.ascontiguousarray(fast_values), np.ascontiguousarray(gain[:, 0]),
        np.ascontiguousarray(drift[:, 0]),
        np.ascontiguousarray(room.transition[:steps, 0, 1]) if two else np.zeros(steps),
        slow_values, slow_gain(room.nodes, e, gain), slow_gain(room.nodes, e, drift),
        extra[0], extra[1], slow_extra[0], slow_extra[1],
        on_cost_eur + pricer.churn, room.switch_cost_eur,
        room.low_c[:steps], room.high_c[:steps], room.penalty_low_eur_per_k[:steps],
        room.penalty_high_eur_per_k[:steps], pricer.linear, np.ascontiguousarray(heat_price), tilt,
        around.air_limit[index], around.slow_limit[index], around.near_low[index],
        around.near_high[index], around.reward[index],
        end_slope_air, float(targets[0]), float(worth[0]),
        cells.fixed, cells.hold, cells.allowed, cells.locks,
    )
    start_air = float(room.start_c[0])
    start_z = e * start_air + (float(room.start_c[1]) if two else 0.0)
    cell = min(max(int(np.floor((start_air - cells.low) / width_k)), 0), count - 1)
    at = float(np.interp(start_z, nodes[0], values[cells.start_mode, :, cell]))
    bound = at - fast_values[0] * heat_price[0] * start_air - float(tilt[0]) * start_z
    return float(bound + constant + pricer.churn_base_eur + _start_credit(house, prices, index))


def _start_credit(house: House, prices: HeatPrices, index: int) -> float:
    """What the neighbours pay for this room's air at the very start (a constant)."""
    credit = 0.0
    for other in house.rooms:
        gain = other.neighbour_gain.get(index)
        if gain is not None:
            effect = -prices.air[other.index, 0] * gain[0, 0]
            if other.nodes == 2:
                effect += prices.mass[other.index, 1] * gain[0, 1]
            credit += effect * float(house.rooms[index].start_c[0])
    return float(credit)


def coupled_bound(
    house: House, pricers: list[CoupledPricer], site_bound: float, prices: Prices,
    heat: HeatPrices, reach: tuple[list[Floats], list[Floats]], temperatures: Floats,
    guesses: list[Column], cost_eur: float,
) -> float | None:
    """Lagrangian bound of the whole house (EUR), or None when a room has no slow mode.

    `guesses` are good schedules at these prices, one a room; `cost_eur` is the plan's cost.
    """
    total = site_bound + house.problem.grid.fixed_fee_eur
    steps = pricers[0].steps
    if steps < house.steps:
        # what lies behind the relay steps has prices of its own, on which those of the masses must end
        ends = np.array([slope[-1] for slope in prices.end_slope_eur_per_k])
        heat = HeatPrices.adjoint(house, heat.air, ends, steps)
    linear = neighbour_linear(house, heat, steps)
    around = surroundings(house, heat, reach, temperatures, steps)

    def part(pricer: CoupledPricer, scratch: Scratch) -> float | None:
        index = pricer.room.index
        pricer.linear = np.ascontiguousarray(linear[index])
        on_cost, end_slope = prices.on_cost_eur[index], prices.end_slope_eur_per_k[index]
        if pricer.room.nodes == 2 and not pricer.room.neighbour_gain:
            # nothing warms it, so it needs no free input, and the planes are far tighter
            lone = planes_bound(pricer, on_cost, end_slope, guesses[index], cost_eur, scratch)
            if lone is not None:
                return lone + _start_credit(house, heat, index)
        return room_bound(
            house, pricer, on_cost, end_slope, heat, reach, temperatures[index], around,
            CELL_WIDTH_K[pricer.room.nodes],
        )

    for room in side_by_side(part, pricers):
        if room is None:
            return None
        total += room
    return total
