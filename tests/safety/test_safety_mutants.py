"""The tables must notice when the core is broken: a sample in every run, all with -m slow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mutate
import pytest

SCRIPT = Path(mutate.__file__)


def run(*arguments: str) -> tuple[int, str]:
    """Exit code and output of the mutation run, in a small process of its own."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_sample_of_mutants_is_noticed():
    code, told = run("--sample", "90")
    assert code == 0, told
    assert told.startswith("90 mutants, ")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_mutant_is_noticed_or_justified():
    code, told = run()
    assert code == 0, told


def test_there_are_mutants_of_every_kind():
    found = {name: mutate.sites(name) for name in mutate.MODULES}
    assert sum(map(len, found.values())) > 800
    assert all(len(items) > 30 for items in found.values())
    changed = {(made.before, made.after) for made in (make() for make in found["gate"])}
    assert ("if refused is not None:", "if refused is None:") in changed
    assert ("if refused is not None:", "pass") in changed
    assert any("<=" in after and "<=" not in before for before, after in changed)
    assert any(" or " in after and " or " not in before for before, after in changed)


def test_planted_fault_is_noticed_and_the_whole_core_is_not():
    bench = mutate.Bench()
    assert bench.noticed_by(None) is None
    planted = "return case.asked"
    for make in mutate.sites("rules"):
        mutant = make()
        if mutant.place == "room_temperature" and "seen.known < limit" in mutant.before:
            assert bench.noticed_by(mutant) is not None, planted
            return
    pytest.fail("the rule on room temperature has no mutant")


def test_run_that_tests_nothing_finds_survivors():
    bench = mutate.Bench()
    bench.tests = {}
    fates = [bench.noticed_by(make()) for make in mutate.sites("gate")[:20]]
    assert None in fates


def test_every_allowed_survivor_has_a_reason():
    for name, reason in mutate.ALLOWED.items():
        assert name.split(".")[0] in mutate.MODULES
        assert len(reason) > 5
