"""``python -m bench [NAME ...]``: run benchmarks, each in a process of its own; all by default."""

from __future__ import annotations

import subprocess
import sys

BENCHES = {
    "pricing": (["-m", "bench.pricing"], "one room's schedule: time and certified gap"),
    "planner": (["-m", "bench.planner.run"], "whole houses beside monolithic HiGHS and SCIP"),
    "thermal": (["-m", "bench.thermal", "speed"], "filter step, prediction, planner matrices"),
    "forecast": (["bench/forecast/cycle.py"], "one cycle of all three forecasts, and training"),
}


def main(names: list[str]) -> int:
    """Run some benchmarks; the number of those that failed."""
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        known = "\n".join(f"  {name:<10}{what}" for name, (_, what) in BENCHES.items())
        print(f"no benchmark {', '.join(unknown)}; there are\n{known}", file=sys.stderr)
        return 1
    failed = 0
    for name in names or BENCHES:
        arguments, what = BENCHES[name]
        print(f"\n== {name}: {what}", flush=True)
        failed += subprocess.run([sys.executable, *arguments]).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
