"""Rooms that feel each other or have a mass node: priced against a frozen reference of the rest.

A schedule is simulated with the room's own two nodes exactly and its neighbours at a reference
trajectory; what the room's air does to its neighbours enters at the neighbours' heat prices. The
reference is corrected round by round; the plan's cost always comes from the true joint simulation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.cells import kernel, two_node
from services.optimizer.core.cells.room import CellRoom
from services.optimizer.core.columns import Column, Relay
from services.optimizer.core.house import House

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class JointArrays:
    """All rooms padded to two nodes, for the compiled joint simulation."""

    transition: Floats
    heat: Floats
    drift: Floats
    start: Floats
    link_room: Ints
    link_other: Ints
    link_gain: Floats

    @classmethod
    def of(cls, house: House) -> JointArrays:
        """Pad the rooms of `house`."""
        rooms, steps = len(house.rooms), house.steps
        transition = np.zeros((rooms, steps, 2, 2))
        heat, drift = np.zeros((rooms, steps, 2)), np.zeros((rooms, steps, 2))
        start = np.zeros((rooms, 2))
        links: list[tuple[int, int, Floats]] = []
        for room in house.rooms:
            nodes = room.nodes
            transition[room.index, :, :nodes, :nodes] = room.transition
            heat[room.index, :, :nodes] = room.heat_k
            drift[room.index, :, :nodes] = room.drift_k
            start[room.index, :nodes] = room.start_c
            for other, gain in room.neighbour_gain.items():
                padded = np.zeros((steps, 2))
                padded[:, :nodes] = gain
                links.append((room.index, other, padded))
        return cls(
            transition, heat, drift, start,
            np.array([link[0] for link in links], dtype=np.int64),
            np.array([link[1] for link in links], dtype=np.int64),
            np.array([link[2] for link in links]).reshape(len(links), steps, 2),
        )

    def simulate(self, relays: Floats) -> Floats:
        """Temperatures (rooms, steps + 1, 2)."""
        temperatures: Floats = two_node.simulate_house(
            relays, self.transition, self.heat, self.drift, self.start, self.link_room,
            self.link_other, self.link_gain,
        )
        return temperatures


@dataclass(frozen=True)
class HeatPrices:
    """Value of heat by room and step: `air` (EUR per K added to the air row of step t, >= 0) and
    `mass` (rooms, steps + 1; EUR per K of mass at the start of step t, <= 0)."""

    air: Floats
    mass: Floats

    @classmethod
    def adjoint(cls, house: House, air: Floats, end_mass: Floats) -> HeatPrices:
        """Mass prices that follow from air prices: q[t] = decay q[t+1] - mass_to_air air[t]."""
        mass = np.zeros((len(house.rooms), house.steps + 1))
        for room in house.rooms:
            if room.nodes == 1:
                continue
            q = mass[room.index]
            q[-1] = end_mass[room.index]
            for t in range(house.steps - 1, -1, -1):
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
        self, house: House, joint: JointArrays, index: int, steps: int,
        reach: tuple[Floats, Floats], prices: HeatPrices,
    ) -> None:
        room = house.rooms[index]
        self.house, self.joint, self.room, self.steps = house, joint, room, steps
        self.whole = steps == house.steps
        self.cells = CellRoom(room, steps, reach[0][:, 0], reach[1][:, 0])
        self.prices = prices
        self.linear = np.ascontiguousarray(neighbour_linear(house, prices, steps)[index])
        self.churn = (room.churn_cost_on_eur - room.churn_cost_off_eur)[:steps]
        self.churn_base_eur = float(room.churn_cost_off_eur[:steps].sum())
        self.transition = np.ascontiguousarray(joint.transition[index, :steps])
        self.heat = np.ascontiguousarray(joint.heat[index, :steps])
        self.drift = np.ascontiguousarray(joint.drift[index, :steps])
        self.reference = np.zeros((steps + 1, 2))
        self.linear_base_eur = 0.0

    def freeze(self, temperatures: Floats) -> None:
        """Take the other rooms' air, and this room's reference, from a joint trajectory."""
        index, steps = self.room.index, self.steps
        drift = self.joint.drift[index, :steps].copy()
        for other, gain in self.room.neighbour_gain.items():
            drift[:, : self.room.nodes] += gain[:steps] * temperatures[other, :steps, :1]
        self.drift = np.ascontiguousarray(drift)
        self.reference = np.ascontiguousarray(temperatures[index, : steps + 1])
        # so that a column at the reference costs its neighbours nothing extra
        self.linear_base_eur = -float(self.linear @ self.reference[1:, 0])

    def search(
        self, on_cost_eur: Floats, end_slope: Floats, width_k: float, labels: int
    ) -> tuple[Column, float]:
        """(best schedule found, its priced cost) for the cost of each on-step."""
        room, steps, cells = self.room, self.steps, self.cells
        on_cost = on_cost_eur + self.churn
        mass_price = np.ascontiguousarray(self.prices.mass[room.index, : steps + 1])
        air_price = np.ascontiguousarray(self.prices.air[room.index, :steps])
        count = int(np.ceil((cells.high - cells.low) / width_k))
        values = np.empty((steps + 1, 2 + int(cells.locks.sum()), count))
        comfort = (
            room.low_c[:steps], room.high_c[:steps],
            room.penalty_low_eur_per_k[:steps], room.penalty_high_eur_per_k[:steps],
        )
        slopes, targets, worth = self.ends(end_slope)
        # the guide sees the mass at its reference and pays for what the relay gives to the mass
        guide_cost = on_cost + mass_price[1:] * self.heat[:, 1]
        guide_linear = self.linear.copy()
        guide_linear[:-1] += mass_price[2:] * self.transition[1:, 1, 0]
        guide_drift = self.drift[:, 0] + self.transition[:, 0, 1] * self.reference[:-1, 1]
        kernel.lower_pass(
            cells.low, width_k, count, cells.reach_low, cells.reach_high, cells.decay, cells.gain,
            guide_drift, guide_cost, room.switch_cost_eur, *comfort, guide_linear,
            air_price, float(slopes[0]), float(targets[0]), float(worth[0]), cells.fixed,
            cells.hold, cells.allowed, cells.locks, values,
        )
        # a label carries its true mass, so what its air does to the mass in the coming step is not
        # yet charged when the guide takes over: that share goes on top of the guide's tilt
        tilt = np.append(cells.decay * air_price, 0.0) - _air_to_mass(self.transition, mass_price)
        schedule = np.zeros(steps, dtype=np.int64)
        cost = two_node.label_pass(
            cells.low, width_k, count, 4, self.transition, self.heat, self.drift, on_cost,
            room.switch_cost_eur, *comfort, self.linear, mass_price, self.reference[:, 1].copy(),
            tilt, slopes, targets, worth, cells.fixed, cells.hold, cells.allowed, cells.locks,
            values,
            self.joint.start[room.index], cells.start_mode, labels, schedule,
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
        track = two_node.simulate_room(
            relay, self.transition, self.heat, self.drift, self.joint.start[self.room.index]
        )
        room, steps = self.room, self.steps
        below = np.maximum(room.low_c[:steps] - track[1:, 0], 0.0)
        above = np.maximum(track[1:, 0] - room.high_c[:steps], 0.0)
        switches = np.abs(np.diff(relay, prepend=room.initial_on)).sum()
        cost = (
            below @ room.penalty_low_eur_per_k[:steps]
            + above @ room.penalty_high_eur_per_k[:steps]
            + room.switch_cost_eur * switches
            + relay @ self.churn + self.churn_base_eur
            + self.linear @ track[1:, 0] + self.linear_base_eur
        )
        if self.whole:
            ends = track[-1, : room.nodes]
            cost += np.maximum(room.terminal_target_c - ends, 0.0) @ room.terminal_value_eur_per_k
        return Column(relay, float(cost), track[-1, : room.nodes])


def _air_to_mass(transition: Floats, mass_price: Floats) -> Floats:
    """Price of the air at the start of each step through what it gives to the mass, EUR/K."""
    out = np.zeros(mass_price.size)
    out[:-1] = mass_price[1:] * transition[:, 1, 0]
    return out
