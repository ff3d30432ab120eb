"""Columns of the master: whole relay schedules of one room, and how a room is priced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.house import House, RoomArrays, terminal_cost
from services.optimizer.core.pricing import RoomPricing, Scratch, is_feasible, price_room
from services.optimizer.core.trajectories import PaddedRoom

Floats = NDArray[np.float64]
Relay = NDArray[np.int64]


@dataclass(frozen=True)
class Column:
    """One schedule over the relay steps of one room: its own cost and where it ends.

    `end_c` holds the temperature of each node at the end of the relay steps.
    """

    relay: Relay
    cost_eur: float
    end_c: Floats


def relay_steps(house: House) -> int:
    """Leading steps with relays; from the first duty step on, rooms are linear."""
    if not house.rooms:
        return house.steps
    duty = np.flatnonzero(house.rooms[0].duty_step)
    return int(duty[0]) if duty.size else house.steps


class RoomPricer:
    """Prices the relay schedules of a one-node room without neighbours.

    `scratch` is working memory that the rooms of a house share.
    """

    def __init__(self, house: House, index: int, steps: int, scratch: Scratch) -> None:
        room = house.rooms[index]
        self.room = room
        self.steps = steps
        self.scratch = scratch
        self.whole = steps == house.steps
        self.pricing = one_node_pricing(room, steps)
        self.dynamics = PaddedRoom.of(room, steps)
        self.churn = (room.churn_cost_on_eur - room.churn_cost_off_eur)[:steps]
        self.churn_base_eur = float(room.churn_cost_off_eur[:steps].sum())

    def feasible(self, relay: Relay) -> bool:
        """Whether a schedule keeps overrides and minimum times."""
        return is_feasible(self.pricing, relay)

    def search(
        self, on_cost_eur: Floats, end_slope: Floats, guess: Column | None, gap_fraction: float
    ) -> tuple[Column, float]:
        """(a schedule within the gap, its priced cost) for the cost of each on-step.

        `guess` is a good schedule at these prices, if one is known.
        """
        column, cost, _ = self.certify(on_cost_eur, end_slope, guess, gap_fraction)
        return column, cost

    def certify(
        self, on_cost_eur: Floats, end_slope: Floats, guess: Column | None, gap_fraction: float
    ) -> tuple[Column, float, float]:
        """As `search`, and a true lower bound on any schedule's priced cost."""
        found = price_room(
            self.pricing, on_cost_eur + self.churn, end_slope_eur_per_k=float(end_slope[0]),
            gap_fraction=gap_fraction, guess=None if guess is None else guess.relay,
            scratch=self.scratch,
        )
        return (
            self.column(found.schedule.astype(np.int64)),
            found.cost_eur + self.churn_base_eur,
            found.lower_bound_eur + self.churn_base_eur,
        )

    def column(self, relay: Relay) -> Column:
        """A schedule with its own cost (comfort, switching, churn, terminal) by simulation."""
        track = self.dynamics.track(relay)[:, :1]
        return Column(relay, column_cost(self.room, relay, track, self.whole), track[-1])


def one_node_pricing(room: RoomArrays, steps: int) -> RoomPricing:
    """The first `steps` steps of a one-node room as the pricing problem sees them."""
    window = slice(0, steps)
    terminal: dict[str, Any] = {}
    if steps == room.relay_fixed.size:
        target, value = room.terminal_target_c[0], float(room.terminal_value_eur_per_k[0])
        terminal = {
            "terminal_temperature_c": np.array([target - 1.0, target, target + 1.0]),
            "terminal_value_eur": np.array([-value, 0.0, 0.0]),
        }
    return RoomPricing(
        decay=room.transition[window, 0, 0],
        gain_on_k=room.heat_k[window, 0],
        drift_k=room.drift_k[window, 0],
        start_temperature_c=float(room.start_c[0]),
        penalty_low_eur_per_k=room.penalty_low_eur_per_k[window],
        penalty_high_eur_per_k=room.penalty_high_eur_per_k[window],
        **terminal,
        **relay_rules(room, steps),
    )


def relay_rules(room: RoomArrays, steps: int) -> dict[str, Any]:
    """The fields that pricing problems share: comfort band, switching, minimum times, orders.

    Priced is each step with the relay on, so that a step's "energy" is 1.
    """
    minimum = room.min_on_steps if room.initial_on else room.min_off_steps
    return {
        "comfort_low_c": room.low_c[:steps],
        "comfort_high_c": room.high_c[:steps],
        "energy_on_kwh": np.ones(steps),
        "switch_cost_eur": room.switch_cost_eur,
        "min_on_steps": room.min_on_steps[:steps],
        "min_off_steps": room.min_off_steps[:steps],
        "relay_on_at_start": bool(room.initial_on),
        "steps_in_state_at_start": max(0, int(minimum[0]) - room.held_steps),
        "relay_fixed": room.relay_fixed[:steps],
    }


def column_cost(room: RoomArrays, relay: Relay, track_c: Floats, whole: bool) -> float:
    """Comfort, switching, churn and (over the whole horizon) terminal cost of a schedule, EUR.

    `track_c` (steps + 1, nodes) are the temperatures it leads to.
    """
    steps, air = relay.size, track_c[1:, 0]
    below = np.maximum(room.low_c[:steps] - air, 0.0)
    above = np.maximum(air - room.high_c[:steps], 0.0)
    switches = np.abs(np.diff(relay, prepend=room.initial_on)).sum()
    cost = (
        below @ room.penalty_low_eur_per_k[:steps]
        + above @ room.penalty_high_eur_per_k[:steps]
        + room.switch_cost_eur * switches
        + relay @ room.churn_cost_on_eur[:steps]
        + (1 - relay) @ room.churn_cost_off_eur[:steps]
    )
    return float(cost) + (terminal_cost(room, track_c[-1]) if whole else 0.0)
