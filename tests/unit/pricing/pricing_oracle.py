"""Random rooms, and the optimum by trying every schedule; shares nothing with the package's cores."""

from __future__ import annotations

import itertools

import numpy as np

from services.optimizer.core.pricing import RoomPricing, TwoNodeRoomPricing, grids_follow

Room = RoomPricing | TwoNodeRoomPricing


def random_room(rng: np.random.Generator, steps: int, wild: bool = False) -> RoomPricing:
    """A room with time-varying everything; `wild`: fast decay, cooling, orders, far-off starts."""
    decay = rng.uniform(0.3 if wild else 0.9, 1.0, steps)
    sign = -1.0 if wild and rng.random() < 0.2 else 1.0
    return RoomPricing(
        decay=decay,
        gain_on_k=sign * rng.uniform(0.1, 1.5, steps),
        drift_k=(1.0 - decay) * rng.uniform(-10.0, 25.0, steps),
        start_temperature_c=rng.uniform(10.0, 28.0) if wild else rng.uniform(18.0, 22.0),
        **random_wishes(rng, steps, wild),
        **random_terminal(rng),
    )


def random_two_node_room(
    rng: np.random.Generator, steps: int, wild: bool = False
) -> TwoNodeRoomPricing:
    """Air and mass with random capacities and conductances, steps of random length."""
    capacity = np.array([rng.uniform(0.1, 0.5), rng.uniform(0.6, 3.0)])  # kWh/K
    outside, inside = rng.uniform(0.02, 0.2), rng.uniform(0.1, 1.0)  # kW/K
    rate = np.array([[-(outside + inside), inside], [inside, -inside]]) / capacity[:, None]
    values, vectors = np.linalg.eig(rate)
    hours = rng.choice([0.25, 0.5, 1.0], steps) if wild else np.full(steps, 0.25)
    transition = np.stack([(vectors * np.exp(values * h)) @ np.linalg.inv(vectors) for h in hours])
    integral = np.linalg.inv(rate) @ (transition - np.eye(2))
    share = rng.choice([0.0, 0.5, 1.0])
    heat = rng.uniform(1.0, 5.0) * np.array([1.0 - share, share]) / capacity
    free = rng.uniform(-6.0, 4.0, (steps, 2)) * outside / capacity
    free[:, 1] *= 0.1
    base = rng.uniform(17.0, 22.0)
    drift = (np.eye(2) - transition) @ np.array([base, base])
    room = dict(
        transition=transition,
        gain_on_k=integral @ heat,
        drift_k=drift + np.einsum("tij,tj->ti", integral, free),
        start_temperature_c=rng.uniform(17.0, 23.0, 2),
        air_price_eur_per_k=rng.normal(0.0, 0.05, steps) if wild else np.zeros(steps),
        end_slope_eur_per_k=rng.normal(0.0, 0.2, 2) if wild else np.zeros(2),
        end_weights=np.array([[1.0, 0.0], [0.2, 0.8]]),
        end_target_c=rng.uniform(15.0, 25.0, 2),
        end_value_eur_per_k=rng.uniform(0.0, 0.5, 2) * rng.integers(0, 2, 2),
        **random_wishes(rng, steps, wild),
    )
    if not grids_follow(np.exp(values.min() * hours), room["min_off_steps"], room["min_on_steps"]):
        return random_two_node_room(rng, steps, wild)
    return TwoNodeRoomPricing(**room)


def random_wishes(rng: np.random.Generator, steps: int, wild: bool) -> dict:
    """Comfort, prices, minimum times and orders."""
    low = rng.uniform(17.0, 21.0, steps)
    fixed = np.full(steps, -1)
    if wild and rng.random() < 0.5:
        fixed = rng.choice([-1, -1, -1, 0, 1], steps)
    return {
        "comfort_low_c": low,
        "comfort_high_c": low + rng.uniform(0.0, 4.0, steps),
        "penalty_low_eur_per_k": rng.uniform(0.0, 0.5, steps) * rng.integers(0, 2, steps),
        "penalty_high_eur_per_k": rng.uniform(0.0, 0.5, steps),
        "energy_on_kwh": rng.uniform(0.1, 1.0, steps),
        "switch_cost_eur": rng.choice([0.0, 0.02]),
        "min_on_steps": rng.integers(1, 4, steps) if wild else int(rng.integers(1, 4)),
        "min_off_steps": int(rng.integers(1, 4)),
        "relay_on_at_start": bool(rng.integers(0, 2)),
        "steps_in_state_at_start": int(rng.integers(0, 4)),
        "relay_fixed": fixed,
    }


def random_terminal(rng: np.random.Generator) -> dict:
    """A concave value of the final temperature, with up to three break points."""
    points = np.sort(rng.uniform(15.0, 25.0, rng.integers(0, 4)))
    slopes = np.sort(rng.uniform(-0.3, 0.5, max(points.size - 1, 0)))[::-1]
    values = np.concatenate([[0.1], 0.1 + np.cumsum(slopes * np.diff(points))])[: points.size]
    return {"terminal_temperature_c": points, "terminal_value_eur": values}


def trajectory(room: Room, schedule: np.ndarray) -> np.ndarray:
    """Temperatures [n+1] or [n+1, 2] by the plain recursion."""
    temperatures = [np.asarray(room.start_temperature_c, dtype=float)]
    for t, u in enumerate(int(x) for x in schedule):
        if isinstance(room, TwoNodeRoomPricing):
            kept = room.transition[t] @ temperatures[-1]
        else:
            kept = room.decay[t] * temperatures[-1]
        temperatures.append(kept + room.gain_on_k[t] * u + room.drift_k[t])
    return np.array(temperatures)


def cost_by_hand(room: Room, price: np.ndarray, schedule: np.ndarray) -> float:
    """Re-simulation that shares nothing with the package."""
    temperatures = trajectory(room, schedule)
    air, final = temperatures, temperatures[-1]
    if isinstance(room, TwoNodeRoomPricing):
        air = temperatures[:, 0]
    before, cost = int(room.relay_on_at_start), 0.0
    for t, u in enumerate(int(x) for x in schedule):
        temperature = air[t + 1]
        cost += u * room.energy_on_kwh[t] * price[t]
        cost += room.penalty_low_eur_per_k[t] * max(0.0, room.comfort_low_c[t] - temperature)
        cost += room.penalty_high_eur_per_k[t] * max(0.0, temperature - room.comfort_high_c[t])
        cost += room.switch_cost_eur * (u != before)
        before = u
    if isinstance(room, TwoNodeRoomPricing):
        missing = np.maximum(0.0, room.end_target_c - room.end_weights @ final)
        cost += room.air_price_eur_per_k @ air[1:] + room.end_slope_eur_per_k @ final
        return float(cost + room.end_value_eur_per_k @ missing)
    points, values = room.terminal_temperature_c, room.terminal_value_eur
    if points.size == 1:
        return cost - values[0]
    if points.size > 1:
        slopes = np.diff(values) / np.diff(points)
        lines = values[:-1] + slopes * (final - points[:-1])
        return cost - lines.min()  # concave: the lowest of its lines
    return cost


def allowed_by_hand(room: Room, schedule: tuple[int, ...]) -> bool:
    """The rules of RoomPricing.relay_fixed and the minimum times, said directly."""
    fixed = room.relay_fixed
    if any(f >= 0 and u != f for u, f in zip(schedule, fixed, strict=True)):
        return False
    minimum = (room.min_off_steps, room.min_on_steps)
    state = int(room.relay_on_at_start)
    must = int(minimum[state][0]) - room.steps_in_state_at_start
    for t, u in enumerate(schedule):
        if u == state:
            must -= 1
            continue
        ordered = fixed[t] == u
        if must > 0 and not ordered:
            return False
        run = int(minimum[u][t])
        if not ordered and (fixed[t : t + run] == 1 - u).any():
            return False
        state, must = u, run - 1
    return True


def enumerate_best(room: Room, price: np.ndarray) -> float:
    steps = room.relay_fixed.size
    return min(
        cost_by_hand(room, price, np.array(schedule))
        for schedule in itertools.product((0, 1), repeat=steps)
        if allowed_by_hand(room, schedule)
    )
