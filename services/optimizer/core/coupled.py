"""Rooms that feel each other or have a mass node: priced against a frozen reference of the rest.

A schedule is simulated with the room's own two nodes exactly and its neighbours at a reference
trajectory; what the room's air does to its neighbours enters at the neighbours' heat prices. The
reference is corrected round by round; the plan's cost always comes from the true joint simulation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.cells import kernel, two_node
from services.optimizer.core.cells.room import CellRoom
from services.optimizer.core.columns import Column, Relay, column_cost
from services.optimizer.core.house import House
from services.optimizer.core.trajectories import PaddedRoom

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LABELS = 60
"""Most labels kept in a step of the search."""


@dataclass(frozen=True)
class HeatPrices:
    """Value of heat by room and step: `air` (EUR per K added to the air row of step t, >= 0) and
    `mass` (rooms, steps + 1; EUR per K of mass at the start of step t, <= 0)."""

    air: Floats
    mass: Floats

    @classmethod
    def adjoint(cls, house: House, air: Floats, end_mass: Floats, steps: int) -> HeatPrices:
        """Mass prices that follow from air prices and those at the end of so many steps:
        q[t] = decay q[t+1] - mass_to_air air[t]."""
        mass = np.zeros((len(house.rooms), house.steps + 1))
        for room in house.rooms:
            if room.nodes == 1:
                continue
            q = mass[room.index]
            q[steps] = end_mass[room.index]
            for t in range(steps - 1, -1, -1):
                q[t] = room.transition[t, 1, 1] * q[t + 1] - room.transition[t, 0, 1] * air[
                    room.index, t
                ]
        return cls(air, mass)


def neighbour_linear(house: House, prices: HeatPrices, steps: int) -> Floats:
    """(rooms, steps): price of a kelvin of a room's air at the END of step t to its neighbours.

    What the air at the end of the relay steps does is in the master's rows, if there are any.
    """
    linear = np.zeros((len(house.rooms), steps))
    for room in house.rooms:
        q = prices.mass[room.index, 1:]
        for other, gain in room.neighbour_gain.items():
            effect = -prices.air[room.index] * gain[:, 0]
            if room.nodes == 2:
                effect = effect + q * gain[:, 1]
            linear[other, :-1] += effect[1:steps]
    return linear


class CoupledPricer:
    """Prices schedules of one room against a frozen reference (same face as RoomPricer)."""

    def __init__(
        self, house: House, index: int, steps: int, reach: tuple[Floats, Floats],
        prices: HeatPrices,
    ) -> None:
        room = house.rooms[index]
        self.room, self.steps = room, steps
        self.whole = steps == house.steps
        self.cells = CellRoom(room, steps, reach[0][:, 0], reach[1][:, 0])
        self.prices = prices
        self.linear = np.ascontiguousarray(neighbour_linear(house, prices, steps)[index])
        self.churn = (room.churn_cost_on_eur - room.churn_cost_off_eur)[:steps]
        self.churn_base_eur = float(room.churn_cost_off_eur[:steps].sum())
        self.alone = PaddedRoom.of(room, steps)
        self.frozen = self.alone
        self.reference = np.zeros((steps + 1, 2))
        self.linear_base_eur = 0.0

    def freeze(self, temperatures: Floats) -> None:
        """Take the other rooms' air, and this room's reference, from a joint trajectory."""
        steps = self.steps
        drift = self.alone.drift.copy()
        for other, gain in self.room.neighbour_gain.items():
            drift[:, : self.room.nodes] += gain[:steps] * temperatures[other, :steps, :1]
        self.frozen = replace(self.alone, drift=drift)
        self.reference = np.ascontiguousarray(temperatures[self.room.index, : steps + 1])
        # so that a column at the reference costs its neighbours nothing extra
        self.linear_base_eur = -float(self.linear @ self.reference[1:, 0])

    def feasible(self, relay: Relay) -> bool:
        """Whether a schedule keeps overrides and minimum times."""
        return self.cells.feasible(relay)

    def search(
        self, on_cost_eur: Floats, end_slope: Floats, guess: Column | None, width_k: float
    ) -> tuple[Column, float]:
        """(best schedule found, its priced cost) for the cost of each on-step; needs no guess."""
        room, steps, cells, frozen = self.room, self.steps, self.cells, self.frozen
        on_cost = on_cost_eur + self.churn
        mass_price = np.ascontiguousarray(self.prices.mass[room.index, : steps + 1])
        air_price = np.ascontiguousarray(self.prices.air[room.index, :steps])
        width_k = cells.width_k(width_k)
        count = int(np.ceil((cells.high - cells.low) / width_k))
        values = np.empty((steps + 1, 2 + int(cells.locks.sum()), count))
        comfort = (
            room.low_c[:steps], room.high_c[:steps],
            room.penalty_low_eur_per_k[:steps], room.penalty_high_eur_per_k[:steps],
        )
        slopes, targets, worth = self.ends(end_slope)
        # the guide sees the mass at its reference and pays for what the relay gives to the mass
        guide_cost = on_cost + mass_price[1:] * frozen.heat[:, 1]
        guide_linear = self.linear.copy()
        guide_linear[:-1] += mass_price[2:] * frozen.transition[1:, 1, 0]
        guide_drift = frozen.drift[:, 0] + frozen.transition[:, 0, 1] * self.reference[:-1, 1]
        kernel.lower_pass(
            cells.low, width_k, count, cells.reach_low, cells.reach_high, cells.decay, cells.gain,
            guide_drift, guide_cost, room.switch_cost_eur, *comfort, guide_linear,
            air_price, float(slopes[0]), float(targets[0]), float(worth[0]), cells.fixed,
            cells.hold, cells.allowed, cells.locks, values,
        )
        # a label carries its true mass, so what its air does to the mass in the coming step is not
        # yet charged when the guide takes over: that share goes on top of the guide's tilt
        tilt = np.append(cells.decay * air_price, 0.0) - _air_to_mass(frozen.transition, mass_price)
        schedule = np.zeros(steps, dtype=np.int64)
        cost = two_node.label_pass(
            cells.low, width_k, count, 4, frozen.transition, frozen.heat, frozen.drift, on_cost,
            room.switch_cost_eur, *comfort, self.linear, mass_price, self.reference[:, 1].copy(),
            tilt, slopes, targets, worth, cells.fixed, cells.hold, cells.allowed, cells.locks,
            values, frozen.start, cells.start_mode, LABELS, schedule,
        )
        return self.column(schedule), cost + self.churn_base_eur + self.linear_base_eur

    def ends(self, end_slope: Floats) -> tuple[Floats, Floats, Floats]:
        """(slope, target, value below target) for air and mass at the end of the relay steps."""
        slopes, targets, worth = np.zeros(2), np.zeros(2), np.zeros(2)
        nodes = self.room.nodes
        if self.whole:
            targets[:nodes] = self.room.terminal_target_c
            worth[:nodes] = self.room.terminal_value_eur_per_k
        else:
            slopes[: end_slope.size] = end_slope
        return slopes, targets, worth

    def column(self, relay: Relay) -> Column:
        """A schedule with its cost at the frozen reference."""
        track = self.frozen.track(relay)[:, : self.room.nodes]
        neighbours = float(self.linear @ track[1:, 0]) + self.linear_base_eur
        return Column(
            relay, column_cost(self.room, relay, track, self.whole) + neighbours, track[-1]
        )


def _air_to_mass(transition: Floats, mass_price: Floats) -> Floats:
    """Price of the air at the start of each step through what it gives to the mass, EUR/K."""
    out = np.zeros(mass_price.size)
    out[:-1] = mass_price[1:] * transition[:, 1, 0]
    return out
