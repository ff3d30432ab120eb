"""Temperatures that relays lead to: one room by itself, or the whole house with its neighbours.

Rooms are padded to two nodes (air, mass), so that one compiled loop serves every house.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.optimizer.core.compiled import compiled
from services.optimizer.core.house import House, RoomArrays

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@compiled
def simulate_room(
    relay: Ints, transition: Floats, heat: Floats, drift: Floats, start: Floats
) -> Floats:
    """Temperatures (steps + 1, 2) of one room; a one-node room has zeros in its second node."""
    n = relay.size
    out = np.empty((n + 1, 2))
    out[0] = start
    for t in range(n):
        for k in range(2):
            out[t + 1, k] = (
                transition[t, k, 0] * out[t, 0]
                + transition[t, k, 1] * out[t, 1]
                + heat[t, k] * relay[t]
                + drift[t, k]
            )
    return out


@compiled
def simulate_house(
    relays: Floats,
    transition: Floats,
    heat: Floats,
    drift: Floats,
    start: Floats,
    link_room: Ints,
    link_other: Ints,
    link_gain: Floats,
) -> Floats:
    """Temperatures (rooms, steps + 1, 2) of coupled rooms; links are (room, other, gain (n, 2))."""
    rooms, n = relays.shape
    out = np.empty((rooms, n + 1, 2))
    for r in range(rooms):
        out[r, 0] = start[r]
    for t in range(n):
        for r in range(rooms):
            for k in range(2):
                out[r, t + 1, k] = (
                    transition[r, t, k, 0] * out[r, t, 0]
                    + transition[r, t, k, 1] * out[r, t, 1]
                    + heat[r, t, k] * relays[r, t]
                    + drift[r, t, k]
                )
        for link in range(link_room.size):
            air = out[link_other[link], t, 0]
            for k in range(2):
                out[link_room[link], t + 1, k] += link_gain[link, t, k] * air
    return out


@dataclass(frozen=True)
class PaddedRoom:
    """One room padded to two nodes: transition (steps, 2, 2), heat and drift (steps, 2), start."""

    transition: Floats
    heat: Floats
    drift: Floats
    start: Floats

    @classmethod
    def of(cls, room: RoomArrays, steps: int) -> PaddedRoom:
        """The first `steps` steps of a room."""
        nodes = room.nodes
        transition, start = np.zeros((steps, 2, 2)), np.zeros(2)
        heat, drift = np.zeros((steps, 2)), np.zeros((steps, 2))
        transition[:, :nodes, :nodes] = room.transition[:steps]
        heat[:, :nodes], drift[:, :nodes] = room.heat_k[:steps], room.drift_k[:steps]
        start[:nodes] = room.start_c
        return cls(transition, heat, drift, start)

    def track(self, relay: Ints) -> Floats:
        """Temperatures (steps + 1, 2) under `relay`, neighbours as they are in `drift`."""
        temperatures: Floats = simulate_room(
            relay, self.transition, self.heat, self.drift, self.start
        )
        return temperatures


@dataclass(frozen=True)
class PaddedHouse:
    """All rooms and what they feel of each other: links (room, other, gain (steps, 2))."""

    rooms: tuple[PaddedRoom, ...]
    transition: Floats
    heat: Floats
    drift: Floats
    start: Floats
    link_room: Ints
    link_other: Ints
    link_gain: Floats

    @classmethod
    def of(cls, house: House) -> PaddedHouse:
        """Pad the rooms of `house`."""
        steps = house.steps
        rooms = tuple(PaddedRoom.of(room, steps) for room in house.rooms)
        links: list[tuple[int, int, Floats]] = []
        for room in house.rooms:
            for other, gain in room.neighbour_gain.items():
                padded = np.zeros((steps, 2))
                padded[:, : room.nodes] = gain
                links.append((room.index, other, padded))
        return cls(
            rooms,
            np.array([room.transition for room in rooms]).reshape(len(rooms), steps, 2, 2),
            np.array([room.heat for room in rooms]).reshape(len(rooms), steps, 2),
            np.array([room.drift for room in rooms]).reshape(len(rooms), steps, 2),
            np.array([room.start for room in rooms]).reshape(len(rooms), 2),
            np.array([link[0] for link in links], dtype=np.int64),
            np.array([link[1] for link in links], dtype=np.int64),
            np.array([link[2] for link in links]).reshape(len(links), steps, 2),
        )

    def simulate(self, relays: Floats) -> Floats:
        """Temperatures (rooms, steps + 1, 2) under `relays` (rooms, steps)."""
        temperatures: Floats = simulate_house(
            relays,
            self.transition,
            self.heat,
            self.drift,
            self.start,
            self.link_room,
            self.link_other,
            self.link_gain,
        )
        return temperatures


def simulate(house: House, relays: Floats) -> list[Floats]:
    """Temperatures (steps + 1, nodes) of every room under `relays` (rooms, steps)."""
    tracks = PaddedHouse.of(house).simulate(np.asarray(relays, dtype=np.float64))
    return [tracks[room.index, :, : room.nodes] for room in house.rooms]
