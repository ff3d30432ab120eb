"""From a wish to a device: proposed, judged, executed, read back.

The value is an integer in the device's own unit so that what is signed is exact:
relay and load 0/1, battery W (+ charge, - discharge, 0 the inverter's own self-use), EV mA per phase
(0 pauses), export limit W.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.base import Record
from contracts.units import Name, UtcTime

Kind = Literal["relay", "battery", "ev", "inverter-export", "load"]
Origin = Literal["optimizer", "fallback", "override"]
Value = Annotated[int, Field(strict=True, ge=-1_000_000, le=1_000_000)]


class Proposed(Record):
    """Somebody wants a device to do something until ``until``."""

    device: Name
    kind: Kind
    value: Value
    valid_from: UtcTime
    expires: UtcTime
    """A verdict or an execution after this instant is refused."""
    until: UtcTime
    """The lease: after it the device falls back to its own rules."""
    origin: Origin
    reason: str
    plan: str | None = None
    """Id of the plan event that this implements."""
    because: tuple[str, ...] = ()


class Evidence(Record):
    """One rule that the gate looked at."""

    rule: str
    reading: str
    value: int | None
    age_s: int | None
    limit: int | None
    ok: bool


class Approved(Record):
    """The gate's signed yes, maybe to less than was asked."""

    proposal: str
    device: Name
    kind: Kind
    value: Value
    asked: Value
    clamped_by: str | None = None
    expires: UtcTime
    until: UtcTime
    mode: str
    evidence: tuple[Evidence, ...] = ()
    key: str = ""
    signature: str = ""
    """Ed25519 over the canonical bytes, base64; see ``chassis.signing``."""


class Rejected(Record):
    """The gate's no, with the rule that said it."""

    proposal: str
    device: Name
    kind: Kind
    asked: Value
    rule: str
    reason: str
    mode: str
    evidence: tuple[Evidence, ...] = ()


class Executed(Record):
    """The device accepted the command."""

    verdict: str
    proposal: str
    device: Name
    value: Value
    until: UtcTime
    time: UtcTime


class Verified(Record):
    """Read-back matched within tolerance before the deadline."""

    verdict: str
    proposal: str
    device: Name
    expected: Value
    observed: Value
    time: UtcTime


class Failed(Record):
    """The device refused, did not answer, or did something else."""

    verdict: str
    proposal: str
    device: Name
    expected: Value
    observed: Value | None
    time: UtcTime
    reason: str


class Expired(Record):
    """A verdict reached the gateway too late and was not executed."""

    verdict: str
    proposal: str
    device: Name
    time: UtcTime


class Superseded(Record):
    """A newer command for the device came before this one was verified."""

    verdict: str
    proposal: str
    device: Name
    by: str
    time: UtcTime
