"""Equal problems give equal bytes in other processes, whatever the cores, threads and hash seeds."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.optimizer.core.planner import WarmStart, WorkBudget, plan
from tests.unit.optimizer.broken_houses import broken_house
from tests.unit.optimizer.small_houses import small_house

ROOT = Path(__file__).resolve().parents[3]
BLOCKS = (900,) * 6 + (1800,) * 3 + (3600,) * 2
PROGRAM = """
import json, os
if os.environ["ONE_CORE"] == "1":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from tests.unit.optimizer.test_determinism import fingerprints
print(json.dumps(fingerprints()))
"""


def fingerprints() -> dict[str, str]:
    """A hash of the plan's bytes for every kind of problem and every rung."""
    warm = plan(small_house(12, rooms=3, steps=16))
    made = {
        "apart": warm,
        "warm": plan(small_house(12, rooms=3, steps=16), WarmStart(warm)),
        "coupled": plan(small_house(13, rooms=3, steps=12, coupled=True)),
        "two nodes": plan(small_house(14, rooms=2, steps=12, two_node=True)),
        "coupled, two nodes, blocks": plan(
            small_house(15, rooms=3, two_node=True, coupled=True, step_s=BLOCKS)
        ),
        "scenarios": plan(broken_house(5, 2, "quarters", ["scenarios"], False, False)),
        "scenarios, coupled": plan(broken_house(7, 3, "blocks", ["scenarios"], True, True)),
        "no rooms": plan(broken_house(8, 0, "quarters", ["negative prices"], False, False)),
    }
    for rung in ("restricted", "lp_rounded", "shifted", "rules"):
        house = small_house(12, rooms=3, steps=16)
        made[rung] = plan(house, WarmStart(warm), WorkBudget(rung=rung))
    return {
        name: hashlib.sha256(found.model_dump_json().encode()).hexdigest()
        for name, found in made.items()
    }


@pytest.fixture(scope="module")
def here():
    return fingerprints()


@pytest.mark.parametrize(
    "environment",
    [
        {"ONE_CORE": "1", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "PYTHONHASHSEED": "0"},
        {"ONE_CORE": "0", "OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2", "PYTHONHASHSEED": "7",
         "OPENBLAS_NUM_THREADS": "2"},
    ],
    ids=["one core", "two threads"],
)  # fmt: skip
def test_another_process_makes_the_same_plans_byte_for_byte(here, environment):
    there = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env={**os.environ, **environment},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(there.stdout.splitlines()[-1]) == here
