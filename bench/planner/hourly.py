"""Plans that follow each other hour by hour, warm and cold: CPU seconds, gaps and costs.

    python -m bench.planner.hourly

Between two plans an hour passes as the first one says, but for 0.08 K a room and 1 % of the battery's
charge, and all forecasts are made anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from bench.planner.instances import make_house
from bench.planner.run import BLOCKS
from contracts.planning import Plan, PlanningProblem
from services.optimizer.core.planner import WarmStart, plan

HOURS, SEEDS = 4, (1, 2, 3)
HOUSES: dict[str, Callable[..., PlanningProblem]] = {
    "quarter hours": make_house,
    "blocks": partial(make_house, step_s=BLOCKS),
    "quarter hours, 13 K colder": partial(make_house, outdoor_c=-12.0),
    "blocks, 13 K colder": partial(make_house, step_s=BLOCKS, outdoor_c=-12.0),
}


def an_hour_later(
    problem: PlanningProblem, old: Plan, rng: np.random.Generator
) -> PlanningProblem:
    """`problem`, which begins an hour after `old`, from where that plan led."""
    edges = np.concatenate([[0], np.cumsum(old.step_s)])
    now = int(np.searchsorted(edges, (problem.start - old.start).total_seconds()))
    rooms = []
    for room, planned in zip(problem.rooms, old.rooms, strict=True):
        relay = np.round(planned.relay[:now])
        other = np.flatnonzero(relay != relay[-1])
        since = edges[other[-1] + 1] if other.size else 0
        rooms.append(room.model_copy(update={
            "initial_air_c": planned.air_c[now] + rng.normal(0.0, 0.08),
            "initial_on": bool(relay[-1]), "initial_in_state_s": int(edges[now] - since),
        }))
    soc = old.battery_soc_fraction[now] + rng.normal(0.0, 0.01)
    battery = problem.battery.model_copy(update={"initial_soc_fraction": float(np.clip(soc, 0.06, 0.98))})
    return problem.model_copy(update={"rooms": tuple(rooms), "battery": battery})


def timed(problem: PlanningProblem, warm: WarmStart | None = None) -> tuple[Plan, float]:
    """A plan and its CPU seconds."""
    begin = time.process_time()
    made = plan(problem, warm)
    return made, time.process_time() - begin


def main() -> None:
    """One line a house."""
    plan(make_house(rooms=2))  # compile outside the clock
    for name, house in HOUSES.items():
        rows = []
        for seed in SEEDS:
            rng = np.random.default_rng(seed + 100)
            old = plan(house(seed=seed))
            for hour in range(1, HOURS + 1):
                problem = an_hour_later(house(seed=seed, hours=hour), old, rng)
                cold, cold_s = timed(problem)
                old, warm_s = timed(problem, WarmStart(old))
                dearer = old.expected_cost_eur / cold.expected_cost_eur - 1.0
                rows.append((cold_s, warm_s, 100 * cold.gap_fraction, 100 * old.gap_fraction, 100 * dearer))
        found = np.array(rows)
        print(
            f"{name:28s} cold {np.median(found[:, 0]):.2f} s, gap {found[:, 2].mean():.2f} %; "
            f"warm {np.median(found[:, 1]):.2f} s, gap {found[:, 3].mean():.2f} % "
            f"(worst {found[:, 3].max():.2f}), dearer by {found[:, 4].mean():+.3f} %", flush=True,
        )


if __name__ == "__main__":
    main()
