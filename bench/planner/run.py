"""Side by side on shared instances: our planner, HiGHS and SCIP on the whole problem as one MIP.

    python -m bench.planner.run --out results --limit-s 60
    python -m bench.planner.run --out results --only growth

Every plan is re-priced by the independent checker. Times are CPU seconds of this process (one
thread each). Peers get a wall-clock limit, because none of them has a useful limit in counts.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from bench.planner.instances import make_house, with_scenarios
from contracts.planning import Plan, PlanningProblem, WorkDone
from services.optimizer.core.assemble import make_plan
from services.optimizer.core.checker import check_plan
from services.optimizer.core.decisions import read_decisions
from services.optimizer.core.house import compile_house
from services.optimizer.core.linear_model import LinearModel, Solution, SolverFailed
from services.optimizer.core.planner import WarmStart, plan
from services.optimizer.core.room_rows import build_rooms
from services.optimizer.core.site_rows import build_site

COLUMNS = (
    "instance", "planner", "cpu_s", "cost_eur", "bound_eur", "gap_percent", "switches",
    "comfort_deficit_k_h", "checked",
)
FIVE_MINUTES = (300,) * 576
BLOCKS = (900,) * 24 + (1800,) * 36 + (3600,) * 24

INSTANCES: dict[str, Callable[[], PlanningProblem]] = {
    "16 rooms x 192": make_house,
    "16 rooms x 192, second house": lambda: make_house(seed=2),
    "16 coupled two-node rooms x 192": lambda: make_house(two_node=True, coupled=True),
    "16 rooms x 576 of 5 min": lambda: make_house(step_s=FIVE_MINUTES),
    "64 rooms x 192": lambda: make_house(rooms=64),
    "16 rooms, blocks to 48 h": lambda: make_house(step_s=BLOCKS),
}


def _all_relays(problem: PlanningProblem) -> PlanningProblem:
    """Relays in every step, however long."""
    return problem.model_copy(update={"duty_from_step_s": 86_400})


GROWTH: dict[str, list[tuple[int, Callable[[], PlanningProblem]]]] = {
    "rooms": [(n, lambda n=n: make_house(rooms=n)) for n in (4, 8, 16, 32, 64)],
    "steps": [
        (n, lambda n=n: _all_relays(make_house(step_s=(48 * 3600 // n,) * n)))
        for n in (48, 96, 192, 288, 576)
    ],
    "scenarios": [(n, lambda n=n: with_scenarios(make_house(), n)) for n in (1, 5, 10, 20)],
}


def monolith(problem: PlanningProblem, solver: str, limit_s: float) -> Plan:
    """The whole problem as one MIP; binary relays, minimum times, semicontinuous cars."""
    house = compile_house(problem)
    model = LinearModel()
    site = build_site(model, house)
    rooms = build_rooms(model, house, site, binary=True)
    if solver == "highs":
        solution = _highs(model, limit_s)
    else:
        solution = model.solve(solver, gap=1e-4, nodes=2_000_000_000, time_limit_s=limit_s)
    relays = np.array([solution.values[room.relay] for room in rooms])
    for room in house.rooms:
        relays[room.index] = np.where(
            room.duty_step, np.clip(relays[room.index], 0, 1), np.round(relays[room.index])
        )
    decisions = read_decisions(house, site, site.scenarios[0], solution.values, relays)
    return make_plan(
        house, decisions, np.zeros(house.steps), "full", None,
        solution.bound + problem.grid.fixed_fee_eur, "solver's own bound", WorkDone(), solver, 1,
    )


def _highs(model: LinearModel, limit_s: float) -> Solution:
    """HiGHS through scipy: through OR-tools it gives nothing back when its time is over."""
    low, high, cost, row_low, row_high, integer = model.vectors()
    found = milp(
        cost, integrality=integer.astype(int), bounds=Bounds(low, high),
        constraints=LinearConstraint(model.matrix(), row_low, row_high),
        options={"time_limit": limit_s, "mip_rel_gap": 1e-4},
    )
    if found.x is None:
        raise SolverFailed(f"highs: {found.message}")
    bound = found.fun if found.mip_dual_bound is None else found.mip_dual_bound
    return Solution(found.x, np.zeros(0), float(found.fun), float(bound))


def row(
    name: str, planner: str, problem: PlanningProblem, solve: Callable[[], Plan]
) -> dict[str, object]:
    """Solve, check and describe one plan."""
    start = time.process_time()
    try:
        made = solve()
    except SolverFailed as failure:
        spent = time.process_time() - start
        return {"instance": name, "planner": planner, "cpu_s": round(spent, 3),
                "checked": f"no plan: {failure}"}
    spent = time.process_time() - start
    report = check_plan(problem, made)
    gap = made.gap_fraction
    return {
        "instance": name, "planner": planner, "cpu_s": round(spent, 3),
        "cost_eur": round(made.expected_cost_eur, 4),
        "bound_eur": None if made.bound_eur is None else round(made.bound_eur, 4),
        "gap_percent": None if gap is None else round(100 * gap, 3),
        "switches": report.switches, "comfort_deficit_k_h": round(report.comfort_deficit_k_h, 2),
        "checked": "ok" if report.ok else "; ".join(report.faults[:3]),
    }


def side_by_side(limit_s: float, peers: Iterable[str]) -> list[dict[str, object]]:
    """All instances, ours cold and warm, then the peers."""
    rows = []
    for name, make in INSTANCES.items():
        problem = make()
        rows.append(row(name, "ours", problem, lambda p=problem: plan(p)))
        warm = WarmStart(plan(problem))
        rows.append(row(name, "ours, warm", problem, lambda p=problem, w=warm: plan(p, w)))
        for solver in peers:
            rows.append(
                row(name, solver, problem, lambda p=problem, s=solver: monolith(p, s, limit_s))
            )
        for line in rows[-2 - len(list(peers)):]:
            print(line, flush=True)
    return rows


def growth() -> list[dict[str, object]]:
    """Ours over rooms, steps and scenarios."""
    rows = []
    for axis, sizes in GROWTH.items():
        for size, make in sizes:
            problem = make()
            rows.append(row(f"{axis}={size}", "ours", problem, lambda p=problem: plan(p)))
            print(rows[-1], flush=True)
    return rows


def plot(rows: list[dict[str, object]], path: Path) -> None:
    """CPU time and certified gap over size."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(GROWTH), figsize=(12, 3.6))
    for axis, name in zip(axes, GROWTH, strict=True):
        mine = [r for r in rows if str(r["instance"]).startswith(name)]
        sizes = [int(str(r["instance"]).split("=")[1]) for r in mine]
        axis.plot(sizes, [r["cpu_s"] for r in mine], "o-", label="CPU s")
        other = axis.twinx()
        other.plot(sizes, [r["gap_percent"] for r in mine], "s--", color="tab:red", label="gap %")
        axis.set_xlabel(name)
        axis.set_ylabel("CPU s")
        other.set_ylabel("certified gap, %", color="tab:red")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    parser.add_argument("--limit-s", type=float, default=60.0)
    parser.add_argument("--peers", default="highs,scip")
    parser.add_argument("--only", choices=("side", "growth", "all"), default="all")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    plan(make_house(rooms=2))  # compile outside the clock
    plan(make_house(rooms=2, two_node=True, coupled=True))
    peers = [name for name in options.peers.split(",") if name]
    rows = side_by_side(options.limit_s, peers) if options.only != "growth" else []
    if options.only != "side":
        grown = growth()
        plot(grown, options.out / "growth.png")
        rows += grown
    with (options.out / "planner.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
