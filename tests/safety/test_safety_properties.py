"""Properties of the gate for arbitrary limits, states and proposals."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from safety_house import LIMITS, NOW, ask, device_limits, healthy, leased, reads, relay
from safety_oracle import consumption_w, granted_w, wrongs
from safety_strategies import (
    DEVICES,
    GARBAGE,
    KIND,
    any_proposals,
    sound_proposals,
    states,
    tables,
)

from services.safety.core import gate, rules
from services.safety.core.fallback import fallback
from services.safety.core.gate import Verdict, granted, judge, withdrawals
from services.safety.core.limits import BASE_LOAD, BATTERY_SOC, ROOM_TEMPERATURE, Limits
from services.safety.core.modes import Signals, rank, step
from services.safety.core.rules import Proposal
from services.safety.core.state import SafetyState

many = settings(max_examples=250, deadline=None, derandomize=True)
some = settings(max_examples=100, deadline=None, derandomize=True)


@many
@given(proposal=sound_proposals(), state=states(), table=tables())
def test_no_approved_verdict_breaks_a_limit(proposal, state, table):
    verdict = judge(proposal, state, table, NOW)
    assert wrongs(verdict, proposal, state, table, NOW) == []


@many
@given(proposal=any_proposals(), state=states(), table=tables())
def test_garbage_neither_passes_nor_raises(proposal, state, table):
    verdict = judge(proposal, state, table, NOW)
    assert wrongs(verdict, proposal, state, table, NOW) == []
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict


@some
@given(value=GARBAGE, device=st.sampled_from(DEVICES), state=states(), table=tables())
def test_value_of_any_other_type_is_refused(value, device, state, table):
    proposal = Proposal(
        device=device,
        kind=KIND[device],
        value=value,
        valid_from_s=NOW,
        expires_s=NOW + 1,
        until_s=NOW + 1,
        sequence=99,
        context="live",
        origin="fallback",
    )
    assert type(value) is int or not judge(proposal, state, table, NOW).approved


@some
@given(proposal=sound_proposals(), state=states(), table=tables())
def test_inactive_is_always_allowed(proposal, state, table):
    inactive = table.by_name[proposal.device].inactive
    verdict = judge(replace(proposal, value=inactive), state, table, NOW)
    assert (verdict.approved, verdict.value, verdict.boost) == (True, inactive, False)


@some
@given(proposal=any_proposals(), state=states(), table=tables())
def test_verdict_depends_on_nothing_else(proposal, state, table):
    copy = SafetyState.from_dict(json.loads(json.dumps(state.to_dict())))
    again = Limits.from_dict(json.loads(json.dumps(table.to_dict())))
    first = judge(proposal, state, table, NOW)
    assert judge(proposal, copy, again, NOW) == first
    assert copy == state


@many
@given(proposal=sound_proposals(), state=states(), table=tables())
def test_worse_mode_never_grants_more(proposal, state, table):
    found = [
        judge(proposal, replace(state, mode=mode), table, NOW)
        for mode in ("safe", "degraded", "normal")
    ]
    for worse, better in pairwise(found):
        if worse.approved:
            assert better.approved
            assert abs(worse.value) <= abs(better.value)
            assert worse.until_s <= better.until_s
            assert better.boost or not worse.boost


@some
@given(proposal=sound_proposals(), state=states(), table=tables(), data=st.data())
def test_knowing_less_never_grants_more(proposal, state, table, data):
    """Losing any reading but the base load (which has its assumed worst) and the car's meter."""
    names = sorted(n for n in state.readings if not n.startswith(("base_load", "ev_power")))
    lost = data.draw(st.sets(st.sampled_from(names)) if names else st.just(set()))
    blind = replace(state, readings={n: r for n, r in state.readings.items() if n not in lost})
    before, after = judge(proposal, state, table, NOW), judge(proposal, blind, table, NOW)
    if after.approved:
        assert before.approved
        assert abs(after.value) <= abs(before.value)


@some
@given(proposal=sound_proposals(), state=states(), table=tables())
def test_granting_what_was_granted_asks_no_more(proposal, state, table):
    first = judge(proposal, state, table, NOW)
    if first.approved and proposal.kind not in ("relay", "load"):
        again = replace(proposal, value=first.value, until_s=first.until_s)
        assert judge(again, granted(state, first), table, NOW).value == first.value


@some
@given(state=states(), table=tables())
def test_withdrawals_leave_only_what_would_be_granted(state, table):
    back = withdrawals(state, table, NOW)
    for proposal in back:
        verdict = judge(proposal, state, table, NOW)
        assert verdict.approved
        assert verdict.value == proposal.value
        state = granted(state, verdict)
    assert len({item.device for item in back}) == len(back)
    for name, lease in state.leases.items():
        device = table.by_name[name]
        if lease.until_s <= NOW or lease.value == device.inactive:
            continue
        assert state.mode != "safe" or lease.value == device.safe
        assert f"mismatch:{name}" not in state.latches
        # a car that draws more than it was granted is not undone by taking less back
        mine_w = granted_w(device, lease.value)
        if mine_w > 0:
            used_w = consumption_w(state, table, NOW, name, mine_w)
            assert used_w <= table.grid_import_limit_w + 1e-6


@some
@given(
    state=states(),
    table=tables(),
    setpoint=st.integers(15_000, 23_000),
    need_wh=st.integers(-10, 10),
)
def test_fallback_proposes_only_what_passes(state, table, setpoint, need_wh):
    for name, lease in state.leases.items():
        state = replace(state, leases={**state.leases, name: replace(lease, sequence=1)})
    proposals = fallback(
        state,
        table,
        NOW,
        50,
        setpoints_milli_c={"a": setpoint, "b": setpoint},
        ev_need_wh={"ev-car": need_wh},
    )
    assert (state.mode == "normal") <= (proposals == ())
    for proposal in proposals:
        verdict = judge(proposal, state, table, NOW)
        assert wrongs(verdict, proposal, state, table, NOW) == []
        assert verdict.approved
        assert verdict.clamped_by == ()
        state = granted(state, verdict)


@some
@given(
    state=states(),
    table=tables(),
    now_s=st.integers(NOW - 5_000, NOW + 5_000),
    clock_s=st.one_of(st.none(), st.integers(NOW - 4_000, NOW + 4_000)),
    since_s=st.one_of(st.none(), st.integers(NOW - 4_000, NOW)),
    signals=st.builds(
        Signals,
        log_accepting=st.booleans(),
        disk_free_bytes=st.one_of(st.none(), st.integers(0, 2 * 10**9)),
        configuration_known=st.booleans(),
        estop=st.booleans(),
        cleared=st.booleans(),
    ),
)
def test_mode_falls_at_once_and_climbs_one_at_a_time(
    state, table, now_s, clock_s, since_s, signals
):
    state = replace(state, clock_s=clock_s, healthy_since_s=since_s)
    after, changes = step(state, signals, table, now_s)
    assert rank(after.mode) >= rank(state.mode) - 1
    assert (len(changes) == 1) == (after.mode != state.mode)
    assert signals.log_accepting or after.mode == "safe"
    assert not signals.estop or (after.mode == "safe" and "estop" in after.latches)
    assert "estop" not in after.latches or after.mode == "safe"
    assert not after.latches or after.mode != "normal"
    assert after.reasons == () or after.mode != "normal"
    assert SafetyState.from_dict(json.loads(json.dumps(after.to_dict()))) == after


ALL_RULES = [
    *(("health", rule.__name__) for rule in rules.HEALTH),
    *((kind, rule.__name__) for kind, found in rules.RULES.items() for rule in found),
]


def take_out(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the gate forget one rule."""
    table = rules.HEALTH if kind == "health" else rules.RULES[kind]
    left = tuple(rule for rule in table if rule.__name__ != name)
    assert len(left) == len(table) - 1
    if kind == "health":
        monkeypatch.setattr(gate, "HEALTH", left)
    else:
        monkeypatch.setitem(rules.RULES, kind, left)


LITTLE = reads(healthy(), BATTERY_SOC, 110, "battery")
CLOUDY = device_limits("battery", grid_charge_allowed=False)
TRAPS = {
    "mode": (ask(1), healthy("degraded"), LIMITS),
    "obeys": (ask(1), healthy(latches=("mismatch:relay-a",)), LIMITS),
    "sequence": (ask(1, sequence=1), leased(healthy(), "relay-a", 1, sequence=2), LIMITS),
    "room_temperature": (ask(1), reads(healthy(), ROOM_TEMPERATURE, 27_000, "a"), LIMITS),
    "battery_power": (ask(6_000, "battery"), healthy(), LIMITS),
    "battery_soc": (ask(-4_000, "battery"), LITTLE, LIMITS),
    "battery_grid": (ask(1_000, "battery"), healthy(), CLOUDY),
    "battery_fuse": (ask(5_000, "battery"), reads(healthy(), BASE_LOAD, 9_500), LIMITS),
    "ev_range": (ask(5_000, "ev-car"), healthy(), LIMITS),
    "ev_current": (ask(12_000, "ev-car"), healthy(), LIMITS),
    "ev_fuse": (ask(10_000, "ev-car"), reads(healthy(), BASE_LOAD, 9_500), LIMITS),
    "export_range": (ask(-5, "export"), healthy(), LIMITS),
    "export_maximum": (ask(9_500, "export"), healthy(), LIMITS),
}
SWITCHED = {"relay": "relay-a", "load": "load-boiler"}


def switch_traps(device: str) -> dict[str, tuple[Proposal, SafetyState, Limits]]:
    """Traps of the rules that a relay and a load share."""
    often = relay(healthy(), device, 0, 400, *range(500, 1_100, 100))
    return {
        "relay_range": (ask(2, device), healthy(), LIMITS),
        "relay_rest": (ask(1, device), relay(healthy(), device, 0, 10), LIMITS),
        "relay_rate": (ask(1, device), often, LIMITS),
        "relay_fuse": (ask(1, device), reads(healthy(), BASE_LOAD, 9_500), LIMITS),
    }


@pytest.mark.parametrize(("kind", "name"), ALL_RULES)
def test_oracle_notices_every_rule_that_is_taken_out(kind, name, monkeypatch):
    """The properties above are worth something only if they can fail: one trap a rule."""
    traps = {**TRAPS, **switch_traps(SWITCHED.get(kind, ""))}
    proposal, state, table = traps[name]
    assert wrongs(judge(proposal, state, table, NOW), proposal, state, table, NOW) == []
    take_out(kind, name, monkeypatch)
    assert wrongs(judge(proposal, state, table, NOW), proposal, state, table, NOW) != []


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), ALL_RULES)
def test_random_cases_reach_every_rule(kind, name, monkeypatch):
    """And the strategies are worth something only if chance finds each missing rule, too."""
    take_out(kind, name, monkeypatch)

    def broken(case):
        proposal, state, table = case
        return wrongs(judge(proposal, state, table, NOW), proposal, state, table, NOW) != []

    devices = tuple(device for device in DEVICES if kind in ("health", KIND[device]))
    cases = st.tuples(sound_proposals(devices), states(), tables())
    generate = settings(
        max_examples=20_000, deadline=None, derandomize=True, phases=[Phase.generate]
    )
    find(cases, broken, settings=generate)
