"""How long the pricing of a room takes and how tight its bound is.

    python -m bench.pricing            # one-node rooms, two-node rooms, warm starts, growth

Random rooms (seeded), 15-minute steps over 48 hours, minimum times of 2 steps unless said. Times are
CPU milliseconds of one thread, after compilation, with the working memory kept between rooms as the
planner does. `gap` is (cost - bound) / cost of the schedule found.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from services.optimizer.core.pricing import (
    RoomPriced,
    RoomPricing,
    Scratch,
    TwoNodeRoomPricing,
    price_room,
    price_room_two_node,
)

ROOMS = 32


def weather(rng: np.random.Generator, hours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outdoor temperature, degC, and solar gain, kW."""
    outdoor = rng.uniform(-5.0, 6.0) + 4.0 * np.sin(2.0 * np.pi * (hours - 9.0) / 24.0)
    sun = rng.uniform(0.0, 0.8) * np.maximum(0.0, np.sin(2.0 * np.pi * (hours - 6.0) / 24.0))
    return outdoor, sun


def wishes(hours: np.ndarray, step_h: float, power_kw: float) -> dict:
    """Comfort band with a night setback, switching."""
    day = (hours % 24.0 >= 6.0) & (hours % 24.0 < 22.0)
    minimum = max(1, round(0.5 / step_h))
    return {
        "comfort_low_c": np.where(day, 20.5, 18.0),
        "comfort_high_c": np.full(hours.size, 23.0),
        "penalty_low_eur_per_k": np.full(hours.size, 0.4 * step_h),
        "penalty_high_eur_per_k": np.full(hours.size, 0.4 * step_h),
        "energy_on_kwh": np.full(hours.size, power_kw * step_h),
        "switch_cost_eur": 0.01,
        "min_on_steps": minimum,
        "min_off_steps": minimum,
    }


def prices(rng: np.random.Generator, hours: np.ndarray) -> np.ndarray:
    """Ragged marginal prices as a master hands them out, EUR/kWh."""
    wave = 0.15 + 0.07 * np.sin(2.0 * np.pi * (hours - 14.0) / 12.0)
    return wave + rng.normal(0.0, 0.02, hours.size)


def one_node_room(
    seed: int, steps: int = 192, step_h: float = 0.25
) -> tuple[RoomPricing, np.ndarray]:
    """A room with a time constant of 15 to 60 h and its prices."""
    rng = np.random.default_rng(seed)
    hours = np.arange(steps) * step_h
    constant_h, heat = rng.uniform(15.0, 60.0), rng.uniform(1.0, 3.5)
    loss = heat / constant_h
    power = rng.uniform(1.5, 2.5) * loss * 25.0
    outdoor, sun = weather(rng, hours)
    decay = np.full(steps, np.exp(-step_h / constant_h))
    room = RoomPricing(
        decay=decay,
        gain_on_k=(1.0 - decay) * power / loss,
        drift_k=(1.0 - decay) * (outdoor + sun / loss),
        start_temperature_c=rng.uniform(19.0, 22.0),
        terminal_temperature_c=np.array([15.0, 20.5, 25.0]),
        terminal_value_eur=0.12 * heat * np.array([-5.5, 0.0, 1.35]),
        **wishes(hours, step_h, power),
    )
    return room, prices(rng, hours)


def two_node_room(
    seed: int, steps: int = 192, step_h: float = 0.25
) -> tuple[TwoNodeRoomPricing, np.ndarray]:
    """Air and mass: fast mode of 0.1 to 0.8 h, slow mode of 20 to 90 h; heated air or floor."""
    rng = np.random.default_rng(seed)
    hours = np.arange(steps) * step_h
    heat = np.array([rng.uniform(0.1, 0.4), rng.uniform(1.5, 4.0)])
    loss, inside = rng.uniform(0.04, 0.12), rng.uniform(0.3, 1.0)
    power = rng.uniform(1.5, 2.5) * loss * 25.0
    rate = np.array([[-(loss + inside), inside], [inside, -inside]]) / heat[:, None]
    values, vectors = np.linalg.eig(rate)
    transition = (vectors * np.exp(values * step_h)) @ np.linalg.inv(vectors)
    integral = np.linalg.inv(rate) @ (transition - np.eye(2))
    floor = rng.choice([0.0, 0.5])
    outdoor, sun = weather(rng, hours)
    free = np.stack([loss * outdoor + 0.4 * sun, 0.6 * sun], axis=1) / heat
    room = TwoNodeRoomPricing(
        transition=np.repeat(transition[None], steps, axis=0),
        gain_on_k=np.repeat(
            (integral @ (power * np.array([1.0 - floor, floor]) / heat))[None], steps, 0
        ),
        drift_k=free @ integral.T,
        start_temperature_c=np.array([20.0, 20.0]),
        end_weights=np.array([[0.0, 1.0]]),
        end_target_c=np.array([20.5]),
        end_value_eur_per_k=np.array([0.12 * heat[1]]),
        **wishes(hours, step_h, power),
    )
    return room, prices(rng, hours)


def measure(name: str, work: Callable[[int], RoomPriced], rooms: int = ROOMS) -> None:
    """Run every room twice (the first time compiles and warms the memory) and print one line."""
    for seed in range(rooms):
        work(seed)
    rows = []
    for seed in range(rooms):
        begin = time.process_time()
        priced = work(seed)
        spent = 1e3 * (time.process_time() - begin)
        rows.append((spent, 100.0 * priced.gap_eur / abs(priced.cost_eur), priced.work_nodes))
    spent, gap, nodes = np.array(rows).T
    print(
        f"{name:34s} {np.median(spent):8.2f} {spent.mean():8.2f} {spent.max():8.2f} "
        f"{np.median(gap):8.4f} {gap.max():8.4f} {nodes.mean():10.0f}"
    )


def main() -> None:
    """Print the table of README.md."""
    scratch = Scratch()
    print(f"{'':34s}{'CPU ms a room':>27s} {'gap %':>17s} {'nodes':>10s}")
    print(
        f"{'':34s} {'median':>8s} {'mean':>8s} {'max':>8s} {'median':>8s} {'max':>8s} {'mean':>10s}"
    )
    rooms = [one_node_room(seed) for seed in range(ROOMS)]
    for gap in (2e-2, 1e-2, 2e-3, 5e-4, 1e-4):
        measure(
            f"one node, gap wanted {100 * gap:.2f} %",
            lambda seed, gap=gap: price_room(*rooms[seed], gap_fraction=gap, scratch=scratch),
        )
    guesses = [price_room(*room, gap_fraction=2e-2).schedule for room in rooms]
    measure(
        "one node, from a guess, 0.05 %",
        lambda seed: price_room(*rooms[seed], guess=guesses[seed], scratch=scratch),
    )
    for steps, step_h in ((48, 1.0), (96, 0.5), (576, 1.0 / 12.0)):
        other_rooms = [one_node_room(seed, steps, step_h) for seed in range(ROOMS)]
        measure(
            f"one node, {steps} steps, wanted 0.05 %",
            lambda seed, rooms=other_rooms: price_room(*rooms[seed], scratch=scratch),
        )
    two = [two_node_room(seed) for seed in range(16)]
    for gap in (5e-2, 2e-2, 1e-2, 5e-3):
        measure(
            f"two nodes, gap wanted {100 * gap:.1f} %",
            lambda seed, gap=gap: price_room_two_node(
                *two[seed], gap_fraction=gap, scratch=scratch
            ),
            16,
        )
    near = [price_room_two_node(*room, gap_fraction=5e-2).schedule for room in two]
    measure(
        "two nodes, from a guess, 1.0 %",
        lambda seed: price_room_two_node(*two[seed], guess=near[seed], scratch=scratch),
        16,
    )


if __name__ == "__main__":
    main()
