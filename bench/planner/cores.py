"""What more than one core is worth to a plan: the same plans on one core and on all, in turn.

    python -m bench.planner.cores [--rounds 3]

Wall-clock seconds, medians over the rounds; on a busy machine they say little.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.planner.run import INSTANCES
from contracts.planning import Plan
from services.optimizer.core.planner import WarmStart, plan

TWO_NODE = ("16 two-node rooms x 192", "16 coupled two-node rooms x 192")
"""Rooms of one node are priced too fast for threads to pay."""


def measured(allowed: set[int], make: Callable[[], Plan]) -> tuple[float, Plan]:
    """Wall seconds of a plan made on these cores, and the plan."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, allowed)
    try:
        begin = time.perf_counter()
        made = make()
        return time.perf_counter() - begin, made
    finally:
        os.sched_setaffinity(0, before)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    everywhere = os.sched_getaffinity(0)
    one = {min(everywhere)}
    count = len(everywhere)
    table = Table(title=f"a plan on one core and on {count}: wall seconds")
    for name in ("instance", "one core", f"{count} cores", "ratio", f"warm, {count} cores"):
        table.add_column(name, justify="left" if name == "instance" else "right")
    for name in TWO_NODE:
        problem = INSTANCES[name]()
        warm = WarmStart(plan(problem))
        times = []
        for _ in range(rounds):
            alone, first = measured(one, lambda p=problem: plan(p))
            together, second = measured(everywhere, lambda p=problem: plan(p))
            again, _ = measured(everywhere, lambda p=problem, w=warm: plan(p, w))
            if first != second:
                raise AssertionError(f"{name}: another number of cores made another plan")
            times.append((alone, together, again))
        alone, together, again = np.median(np.array(times), axis=0)
        table.add_row(
            name, f"{alone:.2f}", f"{together:.2f}", f"{alone / together:.2f}", f"{again:.2f}"
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
