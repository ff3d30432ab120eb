"""Properties of the gate for arbitrary limits, states and proposals."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from safety_house import NOW
from safety_oracle import consumption_w, wrongs
from safety_strategies import (
    DEVICES,
    GARBAGE,
    KIND,
    any_proposals,
    sound_proposals,
    states,
    tables,
)

from services.safety.core.fallback import fallback
from services.safety.core.gate import Verdict, granted, judge, withdrawals
from services.safety.core.limits import Limits
from services.safety.core.modes import Signals, rank, step
from services.safety.core.rules import Proposal
from services.safety.core.state import SafetyState

many = settings(max_examples=400, deadline=None, derandomize=True)
some = settings(max_examples=120, deadline=None, derandomize=True)


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
    if first.approved and proposal.kind != "relay":
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
        if device.kind in ("relay", "ev") or (device.kind == "battery" and lease.value > 0):
            assert consumption_w(state, table, NOW, "") <= table.grid_import_limit_w + 1e-6


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
