"""A certificate for coupled houses whose neighbours stay as planned: how good the search is.

Every room is beside the temperatures that its neighbours have in the plan, and what its own air does to
them is paid at their heat prices: the house that the master chooses schedules for. The plan costs there
what it costs in truth. No allowed schedules cost less than the bound THERE; a true plan whose rooms lie
far from these temperatures may (`coupled_bound.py` has what holds for all).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.columns import Column, one_node_pricing, relay_rules
from services.optimizer.core.coupled import CoupledPricer
from services.optimizer.core.house import House
from services.optimizer.core.master import Prices
from services.optimizer.core.pricing import (
    RoomPriced,
    Scratch,
    TwoNodeRoomPricing,
    grids_follow,
    price_room,
    price_room_two_node,
    split_modes,
)
from services.optimizer.core.side_by_side import side_by_side

Floats = NDArray[np.float64]

GAP_FRACTION = {1: 5e-4, 2: 5e-3}
"""By nodes of the room: distance of its schedule and its bound that is good enough."""

PENALTY_SHARE = 1.2
"""A room with a mass is first bounded at a comfort price of at most this many times the price of
a kelvin of its air. A lower price is still a bound, and the steep bend of the true price is what the
planes lose most at; usually missed comfort does not pay even so."""

MISSED = 3e-3
"""Where a room's schedule lies further above its bound than this share of the plan's cost, the true comfort
price is tried, too: it takes three times as long."""


def frozen_bound(
    house: House, pricers: list[CoupledPricer], site_bound: float, prices: Prices,
    guesses: list[Column], cost_eur: float,
) -> float | None:
    """Lagrangian bound (EUR) of the house whose pricers are frozen at a plan's temperatures; None when
    the grids cannot follow a room. `guesses` are good schedules at these prices, one a room; the plan's cost
    only says what a tighter bound of a room is worth."""

    def part(pricer: CoupledPricer, scratch: Scratch) -> float | None:
        index = pricer.room.index
        return planes_bound(
            pricer, prices.on_cost_eur[index], prices.end_slope_eur_per_k[index], guesses[index],
            cost_eur, scratch,
        )

    total = site_bound + house.problem.grid.fixed_fee_eur
    for pricer, room in zip(pricers, side_by_side(part, pricers), strict=True):
        if room is None:
            return None
        total += room + pricer.linear_base_eur
    return total


def planes_bound(
    pricer: CoupledPricer, on_cost_eur: Floats, end_slope: Floats, guess: Column, cost_eur: float,
    scratch: Scratch,
) -> float | None:
    """True lower bound on what any schedule of one room costs beside its frozen neighbours, without
    `linear_base_eur`; None when the grids cannot follow the room. `cost_eur` is that of the whole plan."""
    on_cost = on_cost_eur + pricer.churn
    if pricer.room.nodes == 1:
        lower = _one_node(pricer, on_cost, end_slope, guess, scratch)
    else:
        lower = _two_node(pricer, on_cost, end_slope, guess, cost_eur, scratch)
    return None if lower is None else lower + pricer.churn_base_eur


def _one_node(
    pricer: CoupledPricer, on_cost: Floats, end_slope: Floats, guess: Column, scratch: Scratch
) -> float | None:
    room, steps, frozen = pricer.room, pricer.steps, pricer.frozen
    rules = relay_rules(room, steps)
    decay = room.transition[:steps, 0, 0]
    if not grids_follow(decay, rules["min_off_steps"], rules["min_on_steps"]):
        return None
    # the air's price is linear in the relays: what a kelvin at the end of each step brings until the end
    worth = pricer.linear.copy()
    for step in range(steps - 2, -1, -1):
        worth[step] += decay[step + 1] * worth[step + 1]
    off = frozen.track(np.zeros(steps, dtype=np.int64))
    found = price_room(
        replace(one_node_pricing(room, steps), drift_k=frozen.drift[:, 0].copy()),
        on_cost + worth * room.heat_k[:steps, 0],
        end_slope_eur_per_k=float(pricer.ends(end_slope)[0][0]),
        gap_fraction=GAP_FRACTION[1], guess=guess.relay, scratch=scratch,
    )
    return float(found.lower_bound_eur + pricer.linear @ off[1:, 0])


def _two_node(
    pricer: CoupledPricer, on_cost: Floats, end_slope: Floats, guess: Column, cost_eur: float,
    scratch: Scratch,
) -> float | None:
    room, steps = pricer.room, pricer.steps
    try:
        modes = split_modes(room.transition[:steps])
    except ValueError:
        return None
    rules = relay_rules(room, steps)
    for mode in modes.decay.T:
        if not grids_follow(mode, rules["min_off_steps"], rules["min_on_steps"]):
            return None
    kelvin = float(np.median(on_cost / np.maximum(room.heat_k[:steps, 0], 1e-9)))
    slopes, targets, worth = pricer.ends(end_slope)

    def priced(highest_price: float) -> RoomPriced:
        problem = TwoNodeRoomPricing(
            transition=room.transition[:steps],
            gain_on_k=room.heat_k[:steps],
            drift_k=pricer.frozen.drift,
            start_temperature_c=room.start_c,
            penalty_low_eur_per_k=np.minimum(room.penalty_low_eur_per_k[:steps], highest_price),
            penalty_high_eur_per_k=np.minimum(room.penalty_high_eur_per_k[:steps], highest_price),
            air_price_eur_per_k=pricer.linear,
            end_slope_eur_per_k=slopes,
            end_weights=np.eye(2),
            end_target_c=targets,
            end_value_eur_per_k=worth,
            **rules,
        )
        return price_room_two_node(
            problem, on_cost, gap_fraction=GAP_FRACTION[2], guess=guess.relay, scratch=scratch
        )

    found = priced(PENALTY_SHARE * max(kelvin, 0.0))
    lower = found.lower_bound_eur
    column = pricer.column(found.schedule.astype(np.int64))
    cost = column.cost_eur - pricer.linear_base_eur - pricer.churn_base_eur
    cost += float((on_cost - pricer.churn) @ column.relay) + float(slopes @ column.end_c)
    if cost - lower > MISSED * abs(cost_eur):
        lower = max(lower, priced(np.inf).lower_bound_eur)
    return float(lower)
