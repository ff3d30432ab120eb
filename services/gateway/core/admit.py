"""May this verdict move a device? The gateway's own last look, beside the broker's and the gate's.

Four questions, all must be answered yes: signed by safety, not expired, not older than what the
device already follows, a device of this house.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from contracts.events.command import Approved, Kind

TOLERANCE: dict[Kind, int] = {
    "relay": 0, "load": 0, "battery": 150, "ev": 500, "inverter-export": 150,
}  # fmt: skip
"""How far read-back may lie from the command: W for powers (1 % steps of the inverter), mA."""


class Verifier(Protocol):
    """Knows safety's public key."""

    def valid(self, subject: str, verdict: Approved) -> bool: ...


def refusal(
    verdict: Approved,
    subject: str,
    sequence: int,
    now: datetime,
    newest: int,
    devices: Collection[str],
    verifier: Verifier,
) -> str | None:
    """Why a verdict must not be executed; None when it may.

    Parameters
    ----------
    subject, sequence : where the verdict stands on the log
    now : the log's clock
    newest : sequence of the newest verdict that this device has already been given
    """
    if not verifier.valid(subject, verdict):
        return "signature: not signed by the safety service"
    if verdict.device not in devices or f".{verdict.device}." not in subject:
        return f"device: {verdict.device} is not a device of this house"
    if sequence <= newest:
        return f"sequence: a newer verdict ({newest}) is in force"
    if now > verdict.expires:
        return "expired"
    return None


def matches(kind: Kind, expected: int, observed: int) -> bool:
    """Whether read-back is what was commanded, within the device's resolution."""
    return abs(expected - observed) <= TOLERANCE[kind]
