"""Numeric view of a PlanningProblem: arrays in kW, hours, kelvin and EUR."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from contracts.planning import EvSession, Plan, PlanningProblem, Room
from services.optimizer.core.pricing import grids_follow

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FREE = -1


@dataclass(frozen=True)
class RoomArrays:
    """One room. Temperatures are air at step ends unless said otherwise.

    `transition` (n, nodes, nodes), `heat_k` and `drift_k` (n, nodes) in kelvin per full-on step;
    `neighbour_gain` maps the other room's index to (n, nodes) kelvin per kelvin of its air.
    `relay_fixed` (n) holds 0, 1 or FREE; `duty_step` (n) marks steps with any duty 0..1.
    `min_on_steps[t]` is how many steps from t on a relay switched on at t must stay on.
    The first `held_steps` steps must keep the initial state: its minimum time is not over.
    """

    name: str
    index: int
    power_kw: float
    nodes: int
    transition: Floats
    heat_k: Floats
    drift_k: Floats
    neighbour_gain: dict[int, Floats]
    start_c: Floats
    low_c: Floats
    high_c: Floats
    penalty_low_eur_per_k: Floats
    penalty_high_eur_per_k: Floats
    switch_cost_eur: float
    min_on_steps: Ints
    min_off_steps: Ints
    initial_on: int
    held_steps: int
    relay_fixed: Ints
    duty_step: NDArray[np.bool_]
    terminal_target_c: Floats
    terminal_value_eur_per_k: Floats
    churn_cost_on_eur: Floats
    churn_cost_off_eur: Floats
    group: int
    phase_shares: Floats

    def lower_relay(self) -> Floats:
        """Lowest relay value per step (1 where an override holds it on)."""
        return np.where(self.relay_fixed == 1, 1.0, 0.0)

    def upper_relay(self) -> Floats:
        """Highest relay value per step (0 where an override holds it off)."""
        return np.where(self.relay_fixed == 0, 0.0, 1.0)


@dataclass(frozen=True)
class EvArrays:
    """One EV session: `share` (n) is the part of each step in which it may charge, 0..1."""

    session: EvSession
    share: Floats
    fixed_kw: Floats


@dataclass(frozen=True)
class ScenarioArrays:
    """One future: net uncontrollable load is base_kw - pv_kw."""

    probability: float
    base_kw: Floats
    pv_kw: Floats
    buy: Floats
    sell: Floats


@dataclass(frozen=True)
class House:
    """All arrays of one problem."""

    problem: PlanningProblem
    step_h: Floats
    rooms: tuple[RoomArrays, ...]
    evs: tuple[EvArrays, ...]
    nominal: ScenarioArrays
    scenarios: tuple[ScenarioArrays, ...] = field(default=())

    @property
    def steps(self) -> int:
        """Number of steps."""
        return int(self.step_h.size)

    @property
    def here_and_now_steps(self) -> int:
        """Steps in which the battery does the same in every scenario."""
        seconds = self.problem.here_and_now_s
        ends = np.cumsum(self.problem.step_s)
        return max(1, int(np.searchsorted(ends, seconds, side="right"))) if seconds else 0

    @cached_property
    def coupled(self) -> bool:
        """True when any room feels a neighbour, has a mass node or is too quick for grids."""
        return any(
            room.neighbour_gain or room.nodes == 2
            or not grids_follow(room.transition[:, 0, 0], room.min_off_steps, room.min_on_steps)
            for room in self.rooms
        )


def compile_house(problem: PlanningProblem) -> House:
    """Turn the contract into arrays; the problem is already validated."""
    seconds = np.asarray(problem.step_s, dtype=np.int64)
    edges = np.concatenate([[0], np.cumsum(seconds)])
    step_h = seconds / 3600.0
    index = {room.name: position for position, room in enumerate(problem.rooms)}
    groups = {group.name: position for position, group in enumerate(problem.heating_groups)}
    rooms = tuple(
        _compile_room(problem, room, index, groups, seconds, step_h) for room in problem.rooms
    )
    nominal = ScenarioArrays(
        1.0,
        _kw(problem.base_load_w),
        _kw(problem.pv_w),
        np.asarray(problem.grid.buy_price_eur_per_kwh),
        np.asarray(problem.grid.sell_price_eur_per_kwh),
    )
    scenarios = tuple(
        ScenarioArrays(
            scenario.probability,
            _kw(scenario.base_load_w),
            _kw(scenario.pv_w),
            nominal.buy if scenario.buy_price_eur_per_kwh is None
            else np.asarray(scenario.buy_price_eur_per_kwh),
            nominal.sell if scenario.sell_price_eur_per_kwh is None
            else np.asarray(scenario.sell_price_eur_per_kwh),
        )
        for scenario in problem.scenarios
    )
    evs = tuple(_compile_ev(problem, ev, edges, nominal.buy) for ev in problem.evs)
    return House(problem, step_h, rooms, evs, nominal, scenarios or (nominal,))


def _kw(values: tuple[float, ...]) -> Floats:
    return np.asarray(values, dtype=np.float64) / 1000.0


def hold_steps(seconds: Ints, minimum_s: int) -> Ints:
    """For each step t, how many steps from t on cover `minimum_s` seconds (at least 1)."""
    edges = np.concatenate([[0], np.cumsum(seconds)])
    ends = np.searchsorted(edges, edges[:-1] + minimum_s, side="left")
    return np.maximum(1, np.minimum(ends, seconds.size) - np.arange(seconds.size))


def _compile_room(
    problem: PlanningProblem,
    room: Room,
    index: dict[str, int],
    groups: dict[str, int],
    seconds: Ints,
    step_h: Floats,
) -> RoomArrays:
    steps = seconds.size
    dynamics = room.dynamics
    nodes = dynamics.nodes
    transition = np.zeros((steps, nodes, nodes))
    heat = np.zeros((steps, nodes))
    drift = np.zeros((steps, nodes))
    transition[:, 0, 0] = dynamics.decay_air
    heat[:, 0] = dynamics.heat_air_k
    drift[:, 0] = dynamics.drift_air_k
    start = [room.initial_air_c]
    if nodes == 2:
        transition[:, 0, 1] = dynamics.mass_to_air
        transition[:, 1, 0] = dynamics.air_to_mass
        transition[:, 1, 1] = dynamics.decay_mass
        heat[:, 1] = dynamics.heat_mass_k
        drift[:, 1] = dynamics.drift_mass_k
        start.append(room.initial_mass_c or 0.0)
    neighbours: dict[int, Floats] = {}
    for neighbour in dynamics.neighbours:
        gain = np.zeros((steps, nodes))
        gain[:, 0] = neighbour.gain_air
        if neighbour.gain_mass:
            gain[:, 1] = neighbour.gain_mass
        other = index[neighbour.room]
        neighbours[other] = neighbours.get(other, 0.0) + gain
    fixed = np.array(
        [FREE if value is None else int(value) for value in room.fixed_relay] or [FREE] * steps,
        dtype=np.int64,
    )
    minimum = room.min_on_s if room.initial_on else room.min_off_s
    remaining = max(0, minimum - room.initial_in_state_s)
    edges = np.concatenate([[0], np.cumsum(seconds)])
    held = int(np.searchsorted(edges, remaining, side="left"))
    weight = problem.weights.churn_eur_per_change
    churn_on, churn_off = np.zeros(steps), np.zeros(steps)
    if problem.previous is not None and weight > 0:
        for step, value in enumerate(problem.previous.relays.get(room.name, ())):
            if value is not None:
                (churn_on if value == 0 else churn_off)[step] = weight
    return RoomArrays(
        name=room.name,
        index=index[room.name],
        power_kw=room.heater_w / 1000.0,
        nodes=nodes,
        transition=transition,
        heat_k=heat,
        drift_k=drift,
        neighbour_gain=neighbours,
        start_c=np.asarray(start, dtype=np.float64),
        low_c=np.asarray(room.low_c, dtype=np.float64),
        high_c=np.asarray(room.high_c, dtype=np.float64),
        penalty_low_eur_per_k=room.penalty_low_eur_per_k_h * step_h,
        penalty_high_eur_per_k=room.penalty_high_eur_per_k_h * step_h,
        switch_cost_eur=room.switch_cost_eur,
        min_on_steps=hold_steps(seconds, room.min_on_s),
        min_off_steps=hold_steps(seconds, room.min_off_s),
        initial_on=int(room.initial_on),
        held_steps=min(held, steps),
        relay_fixed=fixed,
        duty_step=seconds >= problem.duty_from_step_s,
        terminal_target_c=np.asarray(room.terminal_target_c or (0.0,) * nodes),
        terminal_value_eur_per_k=np.asarray(room.terminal_value_eur_per_k or (0.0,) * nodes),
        churn_cost_on_eur=churn_on,
        churn_cost_off_eur=churn_off,
        group=groups[room.heating_group] if room.heating_group is not None else -1,
        phase_shares=np.asarray(room.phase_shares),
    )


def _compile_ev(
    problem: PlanningProblem, ev: EvSession, edges: Ints, buy: Floats
) -> EvArrays:
    arrival = (ev.arrival - problem.start).total_seconds()
    departure = (ev.departure - problem.start).total_seconds()
    inside = np.minimum(edges[1:], departure) - np.maximum(edges[:-1], arrival)
    share = np.clip(inside / np.diff(edges), 0.0, 1.0)
    if ev.price_cap_eur_per_kwh is not None:
        share = np.where(buy > ev.price_cap_eur_per_kwh, 0.0, share)
    fixed = np.array(
        [np.nan if value is None else value / 1000.0 for value in ev.fixed_power_w]
        or [np.nan] * buy.size
    )
    return EvArrays(ev, share, fixed)


def count_switches(room: RoomArrays, relay: Floats) -> float:
    """Switches of a schedule: changes between relay steps (a duty step counts none)."""
    previous = np.concatenate([[float(room.initial_on)], relay[:-1]])
    counted = ~room.duty_step & ~np.concatenate([[False], room.duty_step[:-1]])
    return float(np.abs(relay - previous)[counted].sum())


def terminal_cost(room: RoomArrays, end_c: Floats) -> float:
    """EUR for heat missing at the end: each kelvin below the target of each node."""
    return float(
        np.maximum(room.terminal_target_c - end_c, 0.0) @ room.terminal_value_eur_per_k
    )


def steps_of(house: House, old: Plan) -> tuple[Ints, NDArray[np.bool_]]:
    """(step of an older plan at the middle of each step, whether that plan reaches there).

    Before and beyond the older plan its first and last steps are given.
    """
    edges = np.concatenate([[0.0], np.cumsum(old.step_s)])
    ends = (house.problem.start - old.start).total_seconds() + np.cumsum(house.problem.step_s)
    middle = ends - 0.5 * np.asarray(house.problem.step_s)
    where = np.clip(np.searchsorted(edges, middle, side="right") - 1, 0, len(old.step_s) - 1)
    return where, (middle >= 0) & (middle < edges[-1])
