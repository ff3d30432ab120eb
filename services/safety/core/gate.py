"""The gate: whitelist AND limits AND health; inactive is always allowed.

``judge`` is the only way to a verdict, and a signed verdict is the only way to a device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from services.safety.core.limits import (
    KINDS,
    BatteryLimits,
    DeviceLimits,
    EvLimits,
    Limits,
    SwitchLimits,
    require,
)
from services.safety.core.plain import Plain, is_whole, tuple_of
from services.safety.core.rules import (
    FALLBACK,
    HEALTH,
    ORIGINS,
    RULES,
    Case,
    Evidence,
    Proposal,
    boosted,
)
from services.safety.core.state import Lease, SafetyState, with_lease, with_relay

SHED_ORDER = ("ev", "battery", "inverter-export", "load", "relay")
"""What gives way first when the fuse is overloaded: cars, the battery, loads that may wait, heat."""
SWITCHED = tuple(kind for kind, cls in KINDS.items() if issubclass(cls, SwitchLimits))
"""Kinds whose switching is remembered, for rest and rate."""


@dataclass(frozen=True, kw_only=True)
class Verdict(Plain):
    """The gate's answer, with every rule it looked at.

    ``value``, ``until_s`` and ``expires_s`` are None when rejected; ``rule`` names the refusing
    rule, ``clamped_by`` those that granted less than was asked.
    """

    device: str
    kind: str
    approved: bool
    value: int | None
    boost: bool
    until_s: int | None
    expires_s: int | None
    sequence: int
    rule: str
    clamped_by: tuple[str, ...]
    mode: str
    judged_s: int
    evidence: tuple[Evidence, ...]

    decoders: ClassVar[Mapping[str, Any]] = {"evidence": tuple_of(Evidence)}


def judge(proposal: Proposal, state: SafetyState, limits: Limits, now_s: int) -> Verdict:
    """Judge one proposal against what is known now; pure, total and deterministic.

    Parameters
    ----------
    proposal : anything of that shape; ill-typed fields are refused, not raised
    state : the mode and everything folded so far
    limits : the gate's own tables
    now_s : time of the last tick, epoch s

    Returns
    -------
    Verdict : approved with the value granted (never of greater magnitude than asked, never of the
        other sign), or rejected. A clamp that would leave nothing is a rejection.
    """
    require(is_whole(now_s), f"now_s: must be epoch seconds as int, got {now_s!r}")
    form = _form(proposal, state, limits, now_s)
    refused = _first_refusal(form)
    if refused is not None:
        return _verdict(proposal, state, now_s, form, rule=refused)

    device = limits.by_name[proposal.device]
    until_s = min(proposal.until_s, now_s + device.maximum_lease_s)
    if proposal.value == device.inactive:
        always = Evidence(rule="inactive", value=proposal.value, limit=device.inactive, ok=True)
        evidence = (*form, always)
        return _verdict(proposal, state, now_s, evidence, value=proposal.value, until_s=until_s)

    case = Case(
        proposal=proposal,
        device=device,
        state=state,
        limits=limits,
        until_s=until_s,
        now_s=now_s,
    )
    found = tuple(rule(case) for rule in (*HEALTH, *RULES[device.kind]))
    evidence = (*form, *found)
    refused = _first_refusal(found)
    if refused is not None:
        return _verdict(proposal, state, now_s, evidence, rule=refused)

    caps = [(item.allowed, item.rule) for item in found if item.allowed is not None]
    magnitude, tightest = min([(case.asked, ""), *caps])
    if magnitude < _least_useful(device):
        return _verdict(proposal, state, now_s, evidence, rule=tightest)
    value = magnitude if case.positive else -magnitude
    return _verdict(
        proposal, state, now_s, evidence, value=value, boost=boosted(case), until_s=until_s
    )


def granted(state: SafetyState, verdict: Verdict) -> SafetyState:
    """Fold an own approved verdict: the device holds a lease now. A rejection changes nothing."""
    if not verdict.approved:
        return state
    assert verdict.value is not None
    assert verdict.until_s is not None
    lease = Lease(
        value=verdict.value,
        boost=verdict.boost,
        until_s=verdict.until_s,
        sequence=verdict.sequence,
    )
    state = with_lease(state, verdict.device, lease)
    if verdict.kind in SWITCHED:
        state = with_relay(state, verdict.device, verdict.value, verdict.judged_s)
    return state


def withdrawals(state: SafetyState, limits: Limits, now_s: int) -> tuple[Proposal, ...]:
    """What must be taken back: a lease lasts only while it would be granted again.

    To be called after the mode step of every tick. Each lease in force is judged anew, as if the
    fallback asked for it, in the order ``SHED_ORDER``; what is no longer granted in full is
    proposed at the value that is, or at the inactive value. The proposals pass :func:`judge`
    like any other.
    """
    back: list[Proposal] = []
    order = [name for kind in SHED_ORDER for name in reversed(limits.of_kind(kind))]
    for name in order:
        device, lease = limits.by_name[name], state.leases.get(name)
        if lease is None or now_s >= lease.until_s:
            continue
        asked = Proposal(
            device=name,
            kind=device.kind,
            value=lease.value,
            boost=lease.boost,
            valid_from_s=now_s,
            expires_s=lease.until_s,
            until_s=lease.until_s,
            sequence=lease.sequence,
            context=state.context,
            origin=FALLBACK,
        )
        verdict = judge(asked, state, limits, now_s)
        if (verdict.value, verdict.boost) == (lease.value, lease.boost):
            continue
        less = device.inactive if verdict.value is None else verdict.value
        taken = replace(asked, value=less, boost=verdict.boost)
        back.append(taken)
        state = granted(state, judge(taken, state, limits, now_s))
    return tuple(back)


def _form(
    proposal: Proposal, state: SafetyState, limits: Limits, now_s: int
) -> tuple[Evidence, ...]:
    """The whitelist: well-typed, for this house, a known device, and neither early nor late."""
    texts = (proposal.device, proposal.kind, proposal.context, proposal.origin)
    numbers = (proposal.value, proposal.valid_from_s, proposal.until_s, proposal.sequence)
    typed = (
        all(type(item) is str for item in texts)
        and all(is_whole(item) for item in numbers)
        and type(proposal.boost) is bool
        and (proposal.expires_s is None or is_whole(proposal.expires_s))
    )
    if not typed:
        return (Evidence(rule="form", ok=False),)
    known = limits.by_name.get(proposal.device)
    expires_s = proposal.expires_s
    return (
        Evidence(rule="form", ok=True),
        Evidence(rule="device", reading=proposal.device, ok=known is not None),
        Evidence(
            rule="kind",
            reading=proposal.kind,
            ok=known is not None and known.kind == proposal.kind,
        ),
        Evidence(rule="context", reading=proposal.context, ok=proposal.context == state.context),
        Evidence(rule="origin", reading=proposal.origin, ok=proposal.origin in ORIGINS),
        Evidence(
            rule="valid-from",
            value=now_s,
            limit=proposal.valid_from_s,
            ok=proposal.valid_from_s <= now_s,
        ),
        Evidence(
            rule="expiry",
            value=now_s,
            limit=expires_s,
            ok=expires_s is not None and now_s < expires_s,
        ),
        Evidence(rule="until", value=now_s, limit=proposal.until_s, ok=now_s < proposal.until_s),
    )


def _first_refusal(evidence: tuple[Evidence, ...]) -> str | None:
    """Name of the first yes-or-no rule that says no."""
    for item in evidence:
        if not item.ok and item.allowed is None:
            return item.rule
    return None


def _least_useful(device: DeviceLimits) -> int:
    """The smallest magnitude that still does something; less is a refusal."""
    if isinstance(device, EvLimits):
        return device.minimum_current_ma
    return 1 if isinstance(device, BatteryLimits | SwitchLimits) else 0


def _verdict(
    proposal: Proposal,
    state: SafetyState,
    now_s: int,
    evidence: tuple[Evidence, ...],
    *,
    rule: str = "",
    value: int | None = None,
    boost: bool = False,
    until_s: int | None = None,
) -> Verdict:
    expires_s = None
    if until_s is not None:
        assert proposal.expires_s is not None
        expires_s = min(proposal.expires_s, until_s)
    approved = value is not None
    return Verdict(
        device=proposal.device if type(proposal.device) is str else "",
        kind=proposal.kind if type(proposal.kind) is str else "",
        approved=approved,
        value=value,
        boost=boost,
        until_s=until_s,
        expires_s=expires_s,
        sequence=proposal.sequence if is_whole(proposal.sequence) else 0,
        rule=rule,
        clamped_by=tuple(item.rule for item in evidence if approved and not item.ok),
        mode=state.mode,
        judged_s=now_s,
        evidence=evidence,
    )
