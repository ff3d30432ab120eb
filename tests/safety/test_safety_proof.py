"""Proofs with z3: the gate's arithmetic, written again as formulas, for all integers at once.

Each theorem is "approved implies within limits". That a proof can fail is shown by breaking each
formula and demanding a counterexample; that the formulas are the code is shown by comparing both on
many numbers.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import z3
from safety_house import NOW, device_limits, evidence, healthy, judged, limits, reads

from services.safety.core.limits import BASE_LOAD, BATTERY_SOC, PV_POWER, EvLimits

Formula = Any

base, others, fuse, asked, top = z3.Ints("base others fuse asked top")
power, pv = z3.Ints("power pv")
soc, ceiling, floor, capacity, seconds, efficiency = z3.Ints(
    "soc ceiling floor capacity seconds efficiency"
)


def least(*items: Formula) -> Formula:
    """The smallest of some terms."""
    result = items[0]
    for item in items[1:]:
        result = z3.If(item < result, item, result)
    return result


def positive(item: Formula) -> Formula:
    """The term, or 0 when it is negative."""
    return z3.If(item > 0, item, 0)


def headroom(slack: int = 0) -> Formula:
    """Power left under the fuse."""
    return positive(fuse - positive(base) - others + slack)


def car_allowed(watt_per_ampere: int, slack: int = 0) -> Formula:
    """Current that fits under the fuse, mA; mA times W/A are mW."""
    return headroom(slack) * 1_000 / z3.IntVal(watt_per_ampere)


def charge_energy() -> Formula:
    """Watt seconds up to the ceiling, times 1000 (permille)."""
    return positive(ceiling - soc) * capacity * 3_600


def discharge_energy() -> Formula:
    """Watt seconds at the AC side down to the floor, times 1e6 (permille of permille)."""
    return positive(soc - floor) * capacity * 3_600 * efficiency


def solve(assumptions: list[Formula], claim: Formula) -> z3.CheckSatResult:
    """unsat: the claim follows. sat: there is a counterexample."""
    solver = z3.Solver()
    solver.set("timeout", 60_000)
    solver.set("random_seed", 1)
    solver.add(*assumptions, z3.Not(claim))
    return solver.check()


SANE = [others >= 0, fuse > 0]
DOMAIN = [asked >= 1, top >= 0, seconds >= 1, capacity >= 1]


@pytest.mark.parametrize(("slack", "outcome"), [(0, z3.unsat), (1, z3.sat)])
def test_relay_granted_means_fuse_holds(slack, outcome):
    granted = z3.And(power >= 1, power <= headroom(slack))
    total = positive(base) + others + power
    assert solve([*SANE, granted], total <= fuse) == outcome


@pytest.mark.parametrize(("slack", "outcome"), [(0, z3.unsat), (1, z3.sat)])
def test_battery_granted_means_fuse_holds(slack, outcome):
    granted = least(asked, top, headroom(slack))
    approved = [*SANE, *DOMAIN, granted >= 1]
    assert solve(approved, positive(base) + others + granted <= fuse) == outcome
    if slack == 0:
        assert solve(approved, z3.And(granted <= asked, granted <= top)) == z3.unsat


@pytest.mark.parametrize("watt_per_ampere", [110, 120, 220, 230, 240, 253, 660, 690, 720, 759])
def test_car_granted_means_fuse_holds(watt_per_ampere):
    for slack, outcome in ((0, z3.unsat), (1, z3.sat)):
        granted = least(asked, top, car_allowed(watt_per_ampere, slack))
        drawn = -(-granted * watt_per_ampere / 1_000)  # rounded up, as the gate counts it
        claim = positive(base) + others + drawn <= fuse
        assert solve([*SANE, *DOMAIN, granted >= 6_000], claim) == outcome


def test_car_power_and_current_round_to_the_safe_side_for_any_voltage():
    watt_per_ampere, current, room = z3.Ints("watt_per_ampere current room")
    fits = [watt_per_ampere >= 1, room >= 0, current >= 0]
    product = current * watt_per_ampere
    drawn = -(-product / 1_000)
    # current <= room * 1000 div w is the same as current * w <= room * 1000
    assert solve([*fits, product <= room * 1_000], drawn <= room) == z3.unsat
    assert solve([*fits, product <= room * 1_000 + 1], drawn <= room) == z3.sat


@pytest.mark.parametrize(("slack", "outcome"), [(0, z3.unsat), (1, z3.sat)])
def test_surplus_charging_imports_nothing(slack, outcome):
    surplus = positive(pv - positive(base) - others + slack)
    granted = least(asked, top, surplus, headroom())
    approved = [*SANE, *DOMAIN, pv >= 0, granted >= 1]
    assert solve(approved, positive(base) + others + granted <= pv) == outcome


@pytest.mark.parametrize(("slack", "outcome"), [(0, z3.unsat), (1, z3.sat)])
def test_charging_ends_at_or_below_the_ceiling(slack, outcome):
    # allowed = energy div seconds; for a divisor that is a variable z3 is given what div means
    energy, allowed, rest = z3.Ints("energy allowed rest")
    divided = [
        energy == charge_energy() / 1_000 + slack * seconds,
        energy == allowed * seconds + rest,
        rest >= 0,
        rest < seconds,
    ]
    granted = least(asked, top, allowed)
    claim = granted * seconds * 1_000 <= charge_energy()
    facts = [*DOMAIN, *divided, granted >= 1, granted * seconds <= allowed * seconds]
    assert solve(facts, claim) == outcome


@pytest.mark.parametrize(("slack", "outcome"), [(0, z3.unsat), (1, z3.sat)])
def test_discharging_ends_at_or_above_the_floor(slack, outcome):
    energy, allowed, rest = z3.Ints("energy allowed rest")
    divided = [
        energy == discharge_energy() / 1_000_000 + slack * seconds,
        energy == allowed * seconds + rest,
        rest >= 0,
        rest < seconds,
    ]
    granted = least(asked, top, allowed)
    claim = granted * seconds * 1_000_000 <= discharge_energy()
    facts = [*DOMAIN, *divided, efficiency >= 1, granted >= 1]
    facts.append(granted * seconds <= allowed * seconds)
    assert solve(facts, claim) == outcome


def test_smaller_power_for_the_same_time_is_less_energy():
    """The step that the two proofs above take for granted."""
    small, great = z3.Ints("small great")
    claim = small * seconds <= great * seconds
    assert solve([seconds >= 1, small <= great], claim) == z3.unsat


def test_no_energy_left_means_nothing_granted():
    energy, allowed = z3.Ints("energy allowed")
    divided = [energy == charge_energy() / 1_000, allowed * seconds <= energy]
    granted = least(asked, top, allowed)
    claim = granted < 1
    assert solve([*DOMAIN, *divided, soc >= ceiling], claim) == z3.unsat


def test_magnitude_is_never_above_any_cap():
    caps = z3.Ints("a b c d e")
    result = least(*caps)
    assert solve([], z3.And(*(result <= cap for cap in caps))) == z3.unsat
    assert solve([], z3.Or(*(result == cap for cap in caps))) == z3.unsat
    assert solve([], z3.And(*(result < cap for cap in caps))) == z3.sat


# The formulas are the code.


def number(formula: Formula, **values: int) -> int:
    """A formula's value for given numbers."""
    pairs = [(z3.Int(name), z3.IntVal(value)) for name, value in values.items()]
    return z3.simplify(z3.substitute(formula, *pairs)).as_long()


def draws(count: int) -> list[random.Random]:
    """So many independent sources of numbers, always the same."""
    return [random.Random(seed) for seed in range(count)]


def test_code_and_formula_agree_on_the_fuse():
    for draw in draws(60):
        values = {"base": draw.randint(-3_000, 12_000), "fuse": draw.randint(1, 15_000)}
        room = number(headroom(), others=0, **values)
        table = limits(grid_import_limit_w=values["fuse"])
        state = reads(healthy(), BASE_LOAD, values["base"])
        assert evidence(judged(5_000, "battery", state, table), "fuse")[4] == room
        verdict = judged(1, "relay-b", state, table)
        assert verdict.approved == (room >= 2_000)
        current = number(car_allowed(690), others=0, **values)
        assert evidence(judged(10_000, "ev-car", state, table), "fuse")[4] == current


def test_code_and_formula_agree_on_the_car():
    for draw in draws(60):
        volts, current_ma = draw.randint(100, 260), draw.randint(0, 40_000)
        device = EvLimits(
            device="x", normal_current_ma=6_000, maximum_current_ma=6_000, voltage_v=volts
        )
        exact = number(-(-z3.IntVal(current_ma) * 3 * volts / 1_000))
        assert device.power_w(current_ma) == exact


def test_code_and_formula_agree_on_the_taper():
    for draw in draws(120):
        values = {
            "soc": draw.randint(0, 1_000),
            "ceiling": draw.randint(500, 1_000),
            "floor": draw.randint(0, 499),
            "capacity": draw.randint(1, 30_000),
            "efficiency": draw.randint(1, 1_000),
            "seconds": draw.randint(1, 900),
        }
        age_s = draw.randint(0, min(600, values["seconds"] - 1))
        table = device_limits(
            "battery",
            soc_ceiling_permille=values["ceiling"],
            soc_floor_permille=values["floor"],
            capacity_wh=values["capacity"],
            minimum_efficiency_permille=values["efficiency"],
        )
        state = reads(healthy(), BATTERY_SOC, values["soc"], "battery", age_s)
        until_s = NOW + values["seconds"] - age_s
        for value, energy in (
            (5_000, charge_energy() / 1_000),
            (-5_000, discharge_energy() / 1_000_000),
        ):
            allowed = number(energy / seconds, **values)
            verdict = judged(value, "battery", state, table, until_s=until_s)
            assert evidence(verdict, "battery-soc")[4] == allowed


def test_code_and_formula_agree_on_surplus():
    surplus = positive(pv - positive(base) - others)
    for draw in draws(60):
        values = {"base": draw.randint(-3_000, 9_000), "pv": draw.randint(0, 12_000)}
        state = reads(reads(healthy(), BASE_LOAD, values["base"]), PV_POWER, values["pv"])
        table = device_limits("battery", grid_charge_allowed=False)
        verdict = judged(5_000, "battery", state, table)
        assert evidence(verdict, "battery-grid")[4] == number(surplus, others=0, **values)
