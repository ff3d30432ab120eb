"""Benchmark houses: seeded, shared by our planner and every peer."""

from __future__ import annotations

import datetime as dt

import numpy as np

from contracts.planning import (
    Battery,
    EvSession,
    Grid,
    HeatingGroup,
    NeighbourGain,
    PlanningProblem,
    Room,
    RoomDynamics,
    Scenario,
)

START = dt.datetime(2025, 1, 13, 11, 0, tzinfo=dt.UTC)


def make_house(
    rooms: int = 16,
    step_s: tuple[int, ...] = (900,) * 192,
    two_node: bool = False,
    coupled: bool = False,
    minimum_s: int = 1800,
    ev: bool = True,
    battery: bool = True,
    seed: int = 1,
    switch_cost_eur: float = 0.01,
    outdoor_c: float = 1.0,
    hours: int = 0,
) -> PlanningProblem:
    """A winter house with night set-back, PV, a day-ahead price with two peaks, seeded noise.

    `hours` after `START` it is the same house with other noise, like a forecast made anew.
    """
    rng = np.random.default_rng(seed)
    seconds = np.array(step_s)
    hour = 11.0 + hours + (np.cumsum(seconds) - seconds / 2) / 3600.0
    clock = hour % 24
    outdoor = outdoor_c + 3.0 * np.cos((clock - 15) / 24 * 2 * np.pi) + rng.normal(0, 0.2, seconds.size)
    sun = np.clip(np.sin((clock - 7.5) / 9.0 * np.pi), 0, None) * ((clock > 7.5) & (clock < 16.5))
    buy = 0.22 + 0.06 * np.exp(-((clock - 8) ** 2) / 4) + 0.10 * np.exp(-((clock - 18) ** 2) / 5)
    buy = buy - 0.08 * np.exp(-((clock - 13) ** 2) / 6) + rng.normal(0, 0.004, seconds.size)
    sell = buy * 0.45 - 0.03
    built = []
    for index in range(rooms):
        built.append(
            _room(index, rooms, seconds / 3600.0, clock, outdoor, sun, two_node, coupled,
                  minimum_s, switch_cost_eur, rng)
        )
    base = 300 + 500 * np.exp(-((clock - 19) ** 2) / 6) + rng.uniform(0, 80, seconds.size)
    scale = max(1.0, rooms / 16)
    end = START + dt.timedelta(seconds=int(seconds.sum()))
    evs = ()
    if ev:
        evs = (
            EvSession(
                name="car", arrival=START + dt.timedelta(hours=6, minutes=20),
                departure=min(end, START + dt.timedelta(hours=20)), target_kwh=18.0, max_kwh=30.0,
                min_power_w=4140.0, max_power_w=11000.0, unmet_penalty_eur_per_kwh=1.5,
            ),
        )
    return PlanningProblem(
        start=START + dt.timedelta(hours=hours),
        step_s=step_s,
        base_load_w=tuple(base * scale),
        pv_w=tuple(7000.0 * scale * sun * rng.uniform(0.7, 1.0, seconds.size)),
        grid=Grid(
            buy_price_eur_per_kwh=tuple(buy),
            sell_price_eur_per_kwh=tuple(sell),
            import_limit_w=17250.0 * scale,
            export_limit_w=10000.0 * scale,
        ),
        rooms=tuple(built),
        battery=Battery(
            capacity_wh=10000.0 * scale, initial_soc_fraction=0.5, charge_limit_w=5000.0 * scale,
            discharge_limit_w=5000.0 * scale, wear_eur_per_kwh=0.02,
            terminal_value_eur_per_kwh=0.18,
        ) if battery else None,
        evs=evs,
    )


def _room(
    index: int, rooms: int, step_h: np.ndarray, clock: np.ndarray, outdoor: np.ndarray,
    sun: np.ndarray, two_node: bool, coupled: bool, minimum_s: int, switch_cost: float,
    rng: np.random.Generator,
) -> Room:
    loss = rng.uniform(0.018, 0.03)  # kW per K
    capacity = rng.uniform(0.9, 1.5)  # kWh per K, air and mass together
    heater = round(rng.uniform(32, 42) * loss, 2)
    gain = rng.uniform(0.05, 0.25) * sun
    others = [] if not coupled else [o for o in (index - 1, index + 1) if 0 <= o < rooms]
    pair = 0.006
    ua_nb = pair * len(others)
    neighbours = []
    if not two_node:
        total = loss + ua_nb
        decay = np.exp(-step_h * total / capacity)
        per_kw = (1 - decay) / total
        dynamics = {
            "decay_air": tuple(decay),
            "heat_air_k": tuple(per_kw * heater),
            "drift_air_k": tuple(per_kw * (loss * outdoor + gain)),
        }
        for other in others:
            neighbours.append(NeighbourGain(room=f"room{other:02d}", gain_air=tuple(per_kw * pair)))
    else:
        dynamics, neighbours = _two_node(
            step_h, loss, capacity, heater, gain, outdoor, pair, others
        )
    high = rng.uniform(23.5, 24.0)
    day = rng.uniform(20.5, 21.5)
    low = np.where((clock >= 6) & (clock < 22), day, day - 2.5)
    return Room(
        name=f"room{index:02d}",
        heater_w=heater * 1000.0,
        dynamics=RoomDynamics(**dynamics, neighbours=tuple(neighbours)),
        initial_air_c=float(day + rng.uniform(-0.3, 0.8)),
        initial_mass_c=float(day + 0.1) if two_node else None,
        low_c=tuple(low),
        high_c=(float(high),) * step_h.size,
        min_on_s=minimum_s,
        min_off_s=minimum_s,
        switch_cost_eur=switch_cost,
        terminal_target_c=(float(day), float(day)) if two_node else (float(day),),
        terminal_value_eur_per_k=(
            (round(0.15 * capacity * 0.2, 4), round(0.15 * capacity * 0.8, 4))
            if two_node else (round(0.2 * capacity, 4),)
        ),
    )


def _two_node(
    step_h: np.ndarray, loss: float, capacity: float, heater: float, gain: np.ndarray,
    outdoor: np.ndarray, pair: float, others: list[int],
) -> tuple[dict[str, tuple[float, ...]], list[NeighbourGain]]:
    """Air node (20 % of the capacity) and mass node, exact step by matrix exponential."""
    from scipy.linalg import expm

    air, mass, link = 0.2 * capacity, 0.8 * capacity, 6.0 * loss
    ua_nb = pair * len(others)
    matrix = np.array([
        [-(0.6 * loss + link + ua_nb) / air, link / air],
        [link / mass, -(0.4 * loss + link) / mass],
    ])
    inputs = np.array([
        [1 / air, 0.6 * loss / air, pair / air],
        [0.0, 0.4 * loss / mass, 0.0],
    ])
    series: dict[float, tuple[np.ndarray, np.ndarray]] = {}
    for dt_h in np.unique(step_h):
        block = np.zeros((5, 5))
        block[:2, :2], block[:2, 2:] = matrix, inputs
        big = expm(block * dt_h)
        series[float(dt_h)] = (big[:2, :2], big[:2, 2:])
    a = np.array([series[float(h)][0] for h in step_h])
    b = np.array([series[float(h)][1] for h in step_h])
    drift = b[:, :, 0] * gain[:, None] + b[:, :, 1] * outdoor[:, None]
    dynamics = {
        "decay_air": tuple(a[:, 0, 0]), "mass_to_air": tuple(a[:, 0, 1]),
        "air_to_mass": tuple(a[:, 1, 0]), "decay_mass": tuple(a[:, 1, 1]),
        "heat_air_k": tuple(b[:, 0, 0] * heater), "heat_mass_k": tuple(b[:, 1, 0] * heater),
        "drift_air_k": tuple(drift[:, 0]), "drift_mass_k": tuple(drift[:, 1]),
    }
    neighbours = [
        NeighbourGain(room=f"room{o:02d}", gain_air=tuple(b[:, 0, 2]), gain_mass=tuple(b[:, 1, 2]))
        for o in others
    ]
    return dynamics, neighbours


def mild_house(
    seed: int, outdoor_c: float, kwp: float, ev: bool, export: str, heavy: float = 1.0,
    battery: bool = False,
) -> PlanningProblem:
    """A sunny day of spring: 16 rooms `heavy` times as sluggish, and an export that pays a quarter of the price
    ("low"), nothing ("zero"), or costs money at noon ("negative")."""
    problem = make_house(seed=seed, outdoor_c=outdoor_c, ev=ev, battery=battery)
    rooms = []
    for room in problem.rooms:
        before = np.array(room.dynamics.decay_air)
        decay = before ** (1.0 / heavy)
        share = (1.0 - decay) / (1.0 - before)
        rooms.append(room.model_copy(update={
            "dynamics": room.dynamics.model_copy(update={
                "decay_air": tuple(decay),
                "heat_air_k": tuple(share * room.dynamics.heat_air_k),
                "drift_air_k": tuple(share * room.dynamics.drift_air_k),
            }),
            "terminal_value_eur_per_k": tuple(heavy * v for v in room.terminal_value_eur_per_k),
        }))
    buy = np.array(problem.grid.buy_price_eur_per_kwh)
    seconds = np.array(problem.step_s)
    clock = (11.0 + (np.cumsum(seconds) - seconds / 2) / 3600.0) % 24
    sell = {
        "low": 0.25 * buy - 0.01, "zero": 0.0 * buy,
        "negative": 0.3 * buy - 0.16 * np.exp(-((clock - 13) ** 2) / 6),
    }[export]
    return problem.model_copy(update={
        "rooms": tuple(rooms), "pv_w": tuple(kwp / 7.0 * np.array(problem.pv_w)),
        "grid": problem.grid.model_copy(update={"sell_price_eur_per_kwh": tuple(sell)}),
    })


def with_boiler(problem: PlanningProblem, capacity_w: float) -> PlanningProblem:
    """All rooms behind one heat source of `capacity_w`."""
    rooms = tuple(room.model_copy(update={"heating_group": "boiler"}) for room in problem.rooms)
    group = HeatingGroup(name="boiler", capacity_w=capacity_w)
    return problem.model_copy(update={"rooms": rooms, "heating_groups": (group,)})


def with_grid(problem: PlanningProblem, **changes: float) -> PlanningProblem:
    """Other limits or charges of the grid connection; rooms on one phase each."""
    rooms = tuple(
        room.model_copy(update={"phase_shares": tuple(float(p == i % 3) for p in range(3))})
        for i, room in enumerate(problem.rooms)
    )
    grid = problem.grid.model_copy(update=changes)
    return problem.model_copy(update={"rooms": rooms, "grid": grid})


def with_wild_prices(problem: PlanningProblem, seed: int = 3) -> PlanningProblem:
    """Every step's price times its own factor of 0.2 to 2, and six hours of negative ones."""
    rng = np.random.default_rng(seed)
    buy = np.array(problem.grid.buy_price_eur_per_kwh) * rng.uniform(0.2, 2.0, problem.steps)
    hour = np.cumsum(problem.step_s) / 3600.0
    buy[(hour > 25) & (hour <= 31)] = -0.05
    grid = problem.grid.model_copy(update={
        "buy_price_eur_per_kwh": tuple(buy), "sell_price_eur_per_kwh": tuple(0.9 * buy - 0.02),
    })
    return problem.model_copy(update={"grid": grid})


def with_scenarios(problem: PlanningProblem, count: int, seed: int = 5) -> PlanningProblem:
    """`count` equally likely futures: PV and load scaled by correlated random walks."""
    if count == 1:
        return problem
    rng = np.random.default_rng(seed)
    futures = []
    for _ in range(count):
        walk = np.cumsum(rng.normal(0, 0.05, (2, problem.steps)), axis=1)
        factor = np.exp(0.5 * np.tanh(walk))
        futures.append(
            Scenario(
                probability=1.0 / count,
                pv_w=tuple(np.array(problem.pv_w) * factor[0]),
                base_load_w=tuple(np.array(problem.base_load_w) * factor[1]),
            )
        )
    return problem.model_copy(update={"scenarios": tuple(futures)})
