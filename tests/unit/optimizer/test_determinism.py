"""Equal problems give equal bytes in another process with other thread settings."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from services.optimizer.core.planner import plan
from tests.unit.optimizer.small_houses import small_house

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import hashlib
from services.optimizer.core.planner import plan
from tests.unit.optimizer.small_houses import small_house
made = plan(small_house(12, rooms=3, steps=16))
print(hashlib.sha256(made.model_dump_json().encode()).hexdigest())
"""


def test_another_process_makes_the_same_plan_byte_for_byte():
    here = hashlib.sha256(
        plan(small_house(12, rooms=3, steps=16)).model_dump_json().encode()
    ).hexdigest()
    environment = dict(os.environ, OMP_NUM_THREADS="2", NUMBA_NUM_THREADS="2", PYTHONHASHSEED="7")
    there = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment, capture_output=True,
        text=True, check=True,
    )
    assert there.stdout.split()[-1] == here
