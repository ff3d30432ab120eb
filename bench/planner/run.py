"""Side by side on shared instances: our planner, HiGHS and SCIP on the whole problem as one MIP.

    python -m bench.planner.run --out results --limit-s 60
    python -m bench.planner.run --out results --only growth --peers highs
    python -m bench.planner.run --peers highs,scip,emhass --emhass-python /path/to/venv/bin/python

Every plan is re-priced by the independent checker. Times are CPU seconds of all threads. Peers get a
limit in CPU seconds, because none of them has a useful limit in counts: they know wall time only,
so it is stretched by how much slower this machine's wall runs than its CPU at that moment
(`dilation`). EMHASS runs in an environment of its own.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import Bounds, LinearConstraint, milp

from bench.planner import with_emhass
from bench.planner.instances import (
    make_house,
    mild_house,
    with_boiler,
    with_grid,
    with_scenarios,
    with_wild_prices,
)
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
    "instance", "planner", "cpu_s", "cost_eur", "bound_eur", "gap_percent", "frozen_gap_percent", "switches",
    "comfort_deficit_k_h", "checked", "certificate",
)
FIVE_MINUTES = (300,) * 576
BLOCKS = (900,) * 24 + (1800,) * 36 + (3600,) * 24

INSTANCES: dict[str, Callable[[], PlanningProblem]] = {
    "16 rooms x 192": make_house,
    "16 rooms x 192, second house": lambda: make_house(seed=2),
    "16 two-node rooms x 192": lambda: make_house(two_node=True),
    "16 coupled two-node rooms x 192": lambda: make_house(two_node=True, coupled=True),
    "16 rooms x 576 of 5 min": lambda: make_house(step_s=FIVE_MINUTES),
    "64 rooms x 192": lambda: make_house(rooms=64),
    "16 rooms, blocks to 48 h": lambda: make_house(step_s=BLOCKS),
}

HARD: dict[str, Callable[[], PlanningProblem]] = {
    "13 K colder": lambda: make_house(outdoor_c=-12.0),
    "9 K milder": lambda: make_house(outdoor_c=10.0),
    "prices wild, negative for 6 h": lambda: with_wild_prices(make_house()),
    "4 EUR per kW of peak": lambda: with_grid(make_house(), peak_price_eur_per_kw=4.0),
    "fuse 9 kW": lambda: with_grid(make_house(), import_limit_w=9000.0),
    "fuse 5 kW a phase": lambda: with_grid(make_house(), phase_import_limit_w=5000.0),
    "no battery, 6 K colder, fuse 8 kW": lambda: with_grid(
        make_house(seed=3, battery=False, outdoor_c=-5.0), import_limit_w=8000.0
    ),
    "the same, 3.5 kW a phase instead": lambda: with_grid(
        make_house(seed=3, battery=False, outdoor_c=-5.0), phase_import_limit_w=3500.0
    ),
    "coupled two-node rooms, blocks, the same": lambda: with_grid(
        make_house(
            step_s=BLOCKS, two_node=True, coupled=True, seed=3, battery=False, outdoor_c=-5.0
        ),
        phase_import_limit_w=3500.0,
    ),
    "boiler 12 kW": lambda: with_boiler(make_house(), 12_000.0),
    "boiler 9 kW": lambda: with_boiler(make_house(), 9_000.0),
    "coupled, boiler 9 kW, blocks": lambda: with_boiler(
        make_house(step_s=BLOCKS, coupled=True), 9_000.0
    ),
}
"""16 rooms x 192 one-node unless it says otherwise: other winters, prices and limits that bind."""

HOUSES: dict[str, Callable[[], PlanningProblem]] = {
    f"house {seed}": lambda seed=seed: make_house(seed=seed) for seed in range(3, 19)
}
"""16 more houses of 16 rooms x 192: one or two say little about a gap."""

MILD: dict[str, Callable[[], PlanningProblem]] = {
    f"{outdoor_c} degC, {kwp} kWp, export {export}{', car' * ev}{', battery' * battery}":
        lambda given=(21 + number, outdoor_c, kwp, ev, export, (2.5, 1.0)[number % 2], battery):
            mild_house(*given)
    for number, (outdoor_c, kwp, ev, export, battery) in enumerate([
        *((*day, ev, export, False)
          for export, days in {
              "low": [(4, 7.8), (8, 9.4), (12, 8.7), (4, 5.4), (8, 5.8), (12, 9.2)],
              "zero": [(4, 4.0), (8, 8.9), (12, 8.8), (4, 6.8), (8, 5.8), (12, 5.7)],
              "negative": [(4, 5.5), (8, 6.7), (12, 7.0), (4, 7.3), (8, 10.0), (12, 8.8)],
          }.items() for day, ev in zip(days, [False] * 3 + [True] * 3, strict=True)),
        (9, 7.0, True, "low", True), (9, 7.0, False, "zero", True), (9, 7.0, True, "negative", True),
    ])
}
"""16 rooms x 192 on sunny days of spring, light and heavy, with and without a car, mostly without a battery."""


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
    limit_s *= dilation()
    if solver == "highs":
        solution = _highs(model, limit_s)
    else:
        solution = model.solve(solver, gap=1e-4, nodes=2_000_000_000, time_limit_s=limit_s)
    relays = np.array([solution.values[room.relay] for room in rooms])
    for room in house.rooms:
        relays[room.index] = np.where(
            room.duty_step, np.clip(relays[room.index], 0, 1), np.round(relays[room.index])
        )
    decisions = read_decisions(house, site, 0, solution.values, relays)
    return make_plan(
        house, decisions, np.zeros(house.steps), "full", None,
        solution.bound + problem.grid.fixed_fee_eur, "solver's own bound", WorkDone(), solver, 1,
    )


def dilation() -> float:
    """Wall seconds for one CPU second of this process just now, at least 1."""
    wall, spent = time.perf_counter(), time.process_time()
    while time.process_time() - spent < 0.2:
        pass
    return max(1.0, (time.perf_counter() - wall) / 0.2)


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
    name: str, planner: str, problem: PlanningProblem, solve: Callable[[], Plan | tuple[Plan, float]]
) -> dict[str, object]:
    """Solve, check and describe one plan; a solver in another process says its CPU seconds."""
    start = time.process_time()
    elsewhere = 0.0
    try:
        found = solve()
        made, elsewhere = found if isinstance(found, tuple) else (found, 0.0)
    except SolverFailed as failure:
        spent = time.process_time() - start
        return {"instance": name, "planner": planner, "cpu_s": round(spent, 3),
                "checked": f"no plan: {failure}"}
    spent = elsewhere or time.process_time() - start
    report = check_plan(problem, made)
    gap, held = (
        None if share is None else round(100 * share, 3)
        for share in (made.gap_fraction, made.frozen_gap_fraction)
    )
    return {
        "instance": name, "planner": planner, "cpu_s": round(spent, 3),
        "cost_eur": round(made.expected_cost_eur, 4),
        "bound_eur": None if made.bound_eur is None else round(made.bound_eur, 4),
        "gap_percent": gap, "frozen_gap_percent": held,
        "switches": report.switches, "comfort_deficit_k_h": round(report.comfort_deficit_k_h, 2),
        "checked": "ok" if report.ok else "; ".join(report.faults[:3]),
        "certificate": made.certificate if planner == "emhass" else "",
    }


def peer(
    name: str, problem: PlanningProblem, limit_s: float, emhass_python: str
) -> Plan | tuple[Plan, float]:
    """One of the peers on a problem."""
    if name == "emhass":
        return with_emhass.solve(problem, emhass_python, limit_s * dilation())
    return monolith(problem, name, limit_s)


def side_by_side(
    names: list[str], peers: list[str], limit_s: float, emhass_python: str
) -> list[dict[str, object]]:
    """The named instances: ours cold and warm, then the peers."""
    rows = []
    for name in names:
        problem = {**INSTANCES, **HARD}[name]()
        rows.append(row(name, "ours", problem, lambda p=problem: plan(p)))
        print(rows[-1], flush=True)
        warm = WarmStart(plan(problem))
        rows.append(row(name, "ours, warm", problem, lambda p=problem, w=warm: plan(p, w)))
        print(rows[-1], flush=True)
        for solver in peers:
            rows.append(
                row(name, solver, problem,
                    lambda p=problem, s=solver: peer(s, p, limit_s, emhass_python))
            )  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def many(houses: dict[str, Callable[[], PlanningProblem]]) -> list[dict[str, object]]:
    """Ours, cold, on every one of `houses`."""
    rows = []
    for name, make in houses.items():
        problem = make()
        rows.append(row(name, "ours", problem, lambda p=problem: plan(p)))
        print(rows[-1], flush=True)
    gaps, seconds = ([float(str(one[name])) for one in rows] for name in ("gap_percent", "cpu_s"))
    within = sum(gap <= 0.1 for gap in gaps)
    print(f"within 0.1 %: {within} of {len(gaps)}; median {np.median(gaps):.3f} %, worst {max(gaps):.3f} %; "
          f"CPU median {np.median(seconds):.2f} s, worst {max(seconds):.2f} s")  # fmt: skip
    return rows


def growth(peers: list[str], limit_s: float, emhass_python: str) -> list[dict[str, object]]:
    """Ours, and peers if asked, over rooms, steps and scenarios."""
    rows = []
    for axis, sizes in GROWTH.items():
        for size, make in sizes:
            problem, name = make(), f"{axis}={size}"
            rows.append(row(name, "ours", problem, lambda p=problem: plan(p)))
            print(rows[-1], flush=True)
            for solver in peers if axis != "scenarios" else ():
                rows.append(
                    row(name, solver, problem,
                        lambda p=problem, s=solver: peer(s, p, limit_s, emhass_python))
                )  # fmt: skip
                print(rows[-1], flush=True)
    return rows


def show(rows: list[dict[str, object]], console: Console) -> None:
    """All rows as one table, the cheapest checked plan of each instance in bold."""
    table = Table(title="planner and peers: CPU seconds, plans replayed")
    for column in COLUMNS:
        words = column.replace("_", " ")
        table.add_column(words, justify="left" if column in ("instance", "planner", "checked", "certificate")
                         else "right", overflow="fold")  # fmt: skip
    best: dict[object, float] = {}
    for line in rows:
        if line["checked"] == "ok":
            cost = float(str(line["cost_eur"]))
            best[line["instance"]] = min(cost, best.get(line["instance"], cost))
    before: object = None
    for line in rows:
        if before is not None and line["instance"] != before:
            table.add_section()
        name = "" if line["instance"] == before else str(line["instance"])
        before = line["instance"]
        cells = [name, *("" if line.get(c) is None else str(line[c]) for c in COLUMNS[1:])]
        first = line.get("cost_eur") is not None and line["cost_eur"] == best.get(before)
        table.add_row(*cells, style="bold" if first else "")
    console.print(table)


def plot(rows: list[dict[str, object]], path: Path) -> None:
    """CPU time and certified gap over size, a line for every planner."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(GROWTH), figsize=(12, 6), sharex="col")
    for column, name in enumerate(GROWTH):
        mine = [r for r in rows if str(r["instance"]).startswith(f"{name}=")]
        for planner in dict.fromkeys(str(r["planner"]) for r in mine):
            found = [r for r in mine if r["planner"] == planner]
            sizes = [int(str(r["instance"]).split("=")[1]) for r in found]
            for line, field in enumerate(("cpu_s", "gap_percent")):
                values = [r.get(field) for r in found]
                axes[line, column].plot(
                    sizes, [np.nan if v is None else float(str(v)) for v in values], "o-",
                    label=planner,
                )  # fmt: skip
        for line in (0, 1):
            axes[line, column].set_yscale("log")
            axes[line, column].grid(alpha=0.3)
        axes[1, column].set_xlabel(name)
    axes[0, 0].set_ylabel("CPU s")
    axes[1, 0].set_ylabel("certified gap, %")
    axes[0, 0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    parser.add_argument("--limit-s", type=float, default=60.0, help="CPU seconds of a peer")
    parser.add_argument("--peers", default="highs,scip", help="of highs, scip, emhass")
    parser.add_argument("--emhass-python", default="", help="python of EMHASS's environment")
    parser.add_argument("--instances", default=";".join(INSTANCES), help="names, separated by ;")
    parser.add_argument("--only", choices=("side", "hard", "houses", "mild", "growth", "all"), default="all")
    options = parser.parse_args()
    peers = [name for name in options.peers.split(",") if name]
    if "emhass" in peers and not options.emhass_python:
        parser.error("emhass needs --emhass-python: the python of a venv with emhass installed")
    options.out.mkdir(parents=True, exist_ok=True)
    plan(make_house(rooms=2))  # compile outside the clock
    plan(make_house(rooms=2, two_node=True, coupled=True))
    rows: list[dict[str, object]] = []
    if options.only in ("side", "all"):
        names = options.instances.split(";")
        rows += side_by_side(names, peers, options.limit_s, options.emhass_python)
    if options.only == "hard":
        rows += side_by_side(list(HARD), peers, options.limit_s, options.emhass_python)
    if options.only in ("houses", "mild"):
        rows += many(HOUSES if options.only == "houses" else MILD)
    if options.only in ("growth", "all"):
        grown = growth(
            peers if options.only == "growth" else [], options.limit_s, options.emhass_python
        )
        plot(grown, options.out / "growth.png")
        rows += grown
    show(rows, Console(width=150))
    with (options.out / "planner.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
