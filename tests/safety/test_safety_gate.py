"""The gate: form, health and folding, each rule in both directions and at its very edge."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from safety_house import (
    ACTIVE,
    INACTIVE,
    LIMITS,
    NOW,
    answer,
    ask,
    evidence,
    healthy,
    judged,
    leased,
    reads,
)

from services.safety.core.gate import Verdict, granted, judge
from services.safety.core.limits import (
    PV_POWER,
)
from services.safety.core.rules import Proposal
from services.safety.core.state import Lease, Relay

# Form: the whitelist.


@pytest.mark.parametrize("value", [float("nan"), 1.0, "1", True, False, None, [1], {}, b"1"])
def test_value_that_is_no_int_is_refused(value):
    for device in INACTIVE:
        verdict = judged(value, device)
        assert answer(verdict) == "form"
        assert [item.rule for item in verdict.evidence] == ["form"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("device", None),
        ("device", ["relay-a"]),
        ("kind", 1),
        ("context", None),
        ("origin", 3),
        ("valid_from_s", None),
        ("valid_from_s", float(NOW)),
        ("valid_from_s", True),
        ("expires_s", float("inf")),
        ("expires_s", True),
        ("until_s", None),
        ("sequence", None),
        ("sequence", "100"),
        ("boost", 1),
        ("boost", None),
    ],
)
def test_ill_typed_fields_are_refused(field, value):
    for wish in (0, 1):
        verdict = judge(replace(ask(wish), **{field: value}), healthy(), LIMITS, NOW)
        assert answer(verdict) == "form"
    assert verdict.device == ("" if field == "device" else "relay-a")
    assert verdict.kind == ("" if field == "kind" else "relay")
    assert verdict.sequence == (0 if field == "sequence" else 100)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0),
        ({"device": "relay-x"}, "device"),
        ({"device": ""}, "device"),
        ({"kind": "battery"}, "kind"),
        ({"kind": ""}, "kind"),
        ({"context": "replay"}, "context"),
        ({"context": "shadow"}, "context"),
        ({"context": "mate"}, "context"),
        ({"origin": "optimizer"}, 0),
        ({"origin": "fallback"}, 0),
        ({"origin": "override"}, 0),
        ({"origin": "stranger"}, "origin"),
        ({"origin": "zebra"}, "origin"),
        ({"valid_from_s": NOW - 1}, 0),
        ({"valid_from_s": NOW}, 0),
        ({"valid_from_s": NOW + 1}, "valid-from"),
        ({"expires_s": None}, "expiry"),
        ({"expires_s": NOW - 1}, "expiry"),
        ({"expires_s": NOW}, "expiry"),
        ({"expires_s": NOW + 1}, 0),
        ({"until_s": NOW}, "until"),
        ({"until_s": NOW - 1}, "until"),
        ({"until_s": NOW + 1}, 0),
    ],
)
def test_whitelist_binds_even_the_inactive_value(changes, expected):
    assert answer(judged(0, **changes)) == expected
    if expected != 0:
        assert answer(judged(1, **changes)) == expected


def test_form_quotes_what_it_saw():
    verdict = judged(0)
    assert [item.rule for item in verdict.evidence] == [
        "form",
        "device",
        "kind",
        "context",
        "origin",
        "valid-from",
        "expiry",
        "until",
        "inactive",
    ]
    assert evidence(verdict, "form") == ("", None, None, None, None, True)
    assert evidence(verdict, "device") == ("relay-a", None, None, None, None, True)
    assert evidence(verdict, "kind") == ("relay", None, None, None, None, True)
    assert evidence(verdict, "context") == ("live", None, None, None, None, True)
    assert evidence(verdict, "origin") == ("optimizer", None, None, None, None, True)
    assert evidence(verdict, "valid-from") == ("", NOW, None, NOW, None, True)
    assert evidence(verdict, "expiry") == ("", NOW, None, NOW + 300, None, True)
    assert evidence(verdict, "until") == ("", NOW, None, NOW + 600, None, True)
    assert evidence(verdict, "inactive") == ("", 0, None, 0, None, True)


def test_verdict_carries_who_when_and_mode():
    verdict = judged(1)
    assert verdict.device == "relay-a"
    assert verdict.kind == "relay"
    assert verdict.sequence == 100
    assert verdict.mode == "normal"
    assert verdict.judged_s == NOW
    assert verdict.boost is False
    assert verdict.clamped_by == ()
    refused = judged(1, state=healthy("safe"))
    assert (refused.mode, refused.rule, refused.clamped_by) == ("safe", "mode", ())
    assert refused.boost is False


@pytest.mark.parametrize("now_s", [None, 1.5, True, "now"])
def test_time_must_be_an_int(now_s):
    with pytest.raises(ValueError, match="now_s"):
        judge(ask(0), healthy(), LIMITS, now_s)


@pytest.mark.parametrize(
    ("until_s", "expires_s", "lease", "expiry"),
    [
        (NOW + 600, NOW + 300, NOW + 600, NOW + 300),
        (NOW + 899, NOW + 5_000, NOW + 899, NOW + 899),
        (NOW + 901, NOW + 899, NOW + 900, NOW + 899),
        (NOW + 9_999, NOW + 9_999, NOW + 900, NOW + 900),
    ],
)
def test_lease_is_cut_to_its_longest(until_s, expires_s, lease, expiry):
    for value in (0, 1):
        verdict = judged(value, until_s=until_s, expires_s=expires_s)
        assert (verdict.until_s, verdict.expires_s) == (lease, expiry)


# Health.


@pytest.mark.parametrize("mode", ["normal", "degraded", "safe"])
@pytest.mark.parametrize("device", sorted(INACTIVE))
def test_inactive_is_always_allowed(mode, device):
    worst = healthy(mode, latches=("estop", f"mismatch:{device}"), readings={}, heartbeats={})
    worst = leased(worst, device, ACTIVE[device], sequence=10_000)
    for origin in ("optimizer", "fallback", "override"):
        verdict = judged(INACTIVE[device], device, worst, origin=origin, boost=True)
        assert answer(verdict) == INACTIVE[device]
        assert verdict.boost is False
        assert verdict.clamped_by == ()


@pytest.mark.parametrize(
    ("mode", "origin", "active", "safe"),
    [
        ("normal", "optimizer", True, True),
        ("normal", "override", True, True),
        ("normal", "fallback", True, True),
        ("degraded", "optimizer", False, True),
        ("degraded", "override", False, True),
        ("degraded", "fallback", True, True),
        ("safe", "optimizer", False, True),
        ("safe", "override", False, True),
        ("safe", "fallback", False, True),
    ],
)
def test_mode_decides_who_may(mode, origin, active, safe):
    state = reads(healthy(mode), PV_POWER, 9_000)
    for device, value in ACTIVE.items():
        verdict = judged(value, device, state, origin=origin)
        assert answer(verdict) == (value if active else "mode"), device
    assert answer(judged(3_000, "export", state, origin=origin)) == (3_000 if safe else "mode")


@pytest.mark.parametrize(
    ("mode", "origin", "value", "number", "most"),
    [
        ("normal", "optimizer", 5_000, 0, 0),
        ("degraded", "fallback", 5_000, 1, 1),
        ("safe", "optimizer", 3_000, 2, 2),
    ],
)
def test_mode_evidence(mode, origin, value, number, most):
    verdict = judged(value, "export", healthy(mode), origin=origin)
    assert evidence(verdict, "mode") == (f"mode:{mode}", number, None, most, None, True)


def test_device_that_does_not_obey_gets_nothing_active():
    for device, value in ACTIVE.items():
        latched = healthy(latches=(f"mismatch:{device}",), mismatches={device: 3})
        verdict = judged(value, device, latched)
        assert answer(verdict) == "obeys"
        assert evidence(verdict, "obeys") == (f"mismatches:{device}", 3, None, 3, None, False)
    other = healthy(latches=("mismatch:relay-b",))
    fine = judged(1, "relay-a", other)
    assert answer(fine) == 1
    assert evidence(fine, "obeys") == ("mismatches:relay-a", 0, None, 3, None, True)


@pytest.mark.parametrize(("number", "expected"), [(99, "sequence"), (100, 1), (101, 1)])
def test_older_proposal_than_the_one_in_force_is_refused(number, expected):
    state = leased(healthy(), "relay-a", 1, sequence=100)
    verdict = judged(1, state=state, sequence=number)
    assert answer(verdict) == expected
    assert evidence(verdict, "sequence") == ("", number, None, 100, None, number >= 100)
    assert evidence(judged(1, sequence=7), "sequence") == ("", 7, None, 7, None, True)


# Folding verdicts.


def test_granted_verdict_becomes_a_lease():
    state = granted(healthy(), judged(12_000, "ev-car", boost=True, sequence=7))
    assert state.leases["ev-car"] == Lease(value=12_000, boost=True, until_s=NOW + 600, sequence=7)
    assert state.relays == {}
    state = granted(healthy(), judged(1))
    assert state.leases["relay-a"].value == 1
    assert state.relays["relay-a"] == Relay(value=1, changed_s=NOW, switched_on_s=(NOW,))


def test_rejected_verdict_changes_nothing():
    before = healthy()
    assert granted(before, judged(2)) is before


def test_verdict_survives_json():
    for verdict in (judged(9_000, "battery"), judged(2), judged(None)):
        assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict


def test_proposal_defaults_to_no_boost():
    fields = {name: getattr(ask(0), name) for name in Proposal.__dataclass_fields__}
    del fields["boost"]
    assert Proposal(**fields).boost is False
