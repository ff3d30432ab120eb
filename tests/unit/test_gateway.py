"""The gateway's own last look at a verdict, and read-back within the device's resolution."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chassis.signing import Signer, Verifier, new_seed
from contracts.events.clock import Ticked
from contracts.events.command import Approved
from contracts.events.measurement import LoadSampled
from services.gateway.core.admit import matches, refusal
from services.gateway.core.readings import LoadReading, Sweep
from services.gateway.service import Gateway

NOW = datetime(2026, 1, 12, 18, 2, tzinfo=UTC)
SUBJECT = "pems.home.command.battery.approved"
SIGNER = Signer(new_seed())
VERIFIER = Verifier(SIGNER.public_bytes)
DEVICES = ("battery", "relay-living")


def verdict(**changes: object) -> Approved:
    values = {
        "proposal": "p", "device": "battery", "kind": "battery", "value": 3_000, "asked": 4_000,
        "expires": NOW + timedelta(minutes=2), "until": NOW + timedelta(minutes=20),
        "mode": "normal",
    } | changes  # fmt: skip
    return Approved.model_validate(values)


def judge(approved: Approved, subject: str = SUBJECT, sequence: int = 9, newest: int = 8) -> str | None:
    return refusal(approved, subject, sequence, NOW, newest, DEVICES, VERIFIER)


def test_a_signed_fresh_verdict_passes() -> None:
    assert judge(SIGNER.sign(SUBJECT, verdict())) is None


@pytest.mark.parametrize("field", ["value", "until", "expires", "device", "mode", "asked"])
def test_a_verdict_altered_after_signing_does_not(field: str) -> None:
    signed = SIGNER.sign(SUBJECT, verdict())
    other = {"value": 6_000, "until": NOW + timedelta(days=1), "expires": NOW + timedelta(days=1),
             "device": "relay-living", "mode": "safe", "asked": 1}  # fmt: skip
    altered = signed.model_copy(update={field: other[field]})
    assert "signature" in str(judge(altered))


def test_neither_does_one_without_signature_by_a_stranger_or_moved_to_another_subject() -> None:
    assert "signature" in str(judge(verdict()))
    assert "signature" in str(judge(Signer(new_seed()).sign(SUBJECT, verdict())))
    moved = "pems.other.command.battery.approved"
    assert "signature" in str(judge(SIGNER.sign(SUBJECT, verdict()), subject=moved))


def test_expired_stale_or_foreign_verdicts_do_not_pass() -> None:
    late = verdict(expires=NOW - timedelta(seconds=1))
    assert judge(SIGNER.sign(SUBJECT, late)) == "expired"
    assert "newer verdict" in str(judge(SIGNER.sign(SUBJECT, verdict()), sequence=8))
    subject = "pems.home.command.sauna.approved"
    assert "no device" not in str(judge(SIGNER.sign(SUBJECT, verdict())))
    foreign = SIGNER.sign(subject, verdict(device="sauna"))
    assert "not a device of this house" in str(judge(foreign, subject=subject))


def test_a_load_is_sampled_every_five_minutes_and_when_it_switches() -> None:
    gateway = Gateway(Disk(), VERIFIER)  # type: ignore[arg-type]
    found = []
    for minute, on in ((0, False), (1, False), (2, True), (3, True), (4, None), (5, None)):
        sweep = Sweep(loads={"boiler": LoadReading(on, None if on is None else 2_000.0 * on)})
        clock = Ticked(time=NOW - timedelta(minutes=2 - minute), interval_s=60, number=minute)
        gateway._relays = {"living": True}
        found += [
            (minute, sample.data.on, sample.data.power_w)
            for sample in gateway._samples(sweep, clock)
            if isinstance(sample.data, LoadSampled)
        ]
    assert found == [
        (0, False, 0.0), (2, True, 2_000.0), (4, None, None), (5, None, None),
    ]  # fmt: skip


class Disk:
    """The only thing of the field that samples ask for."""

    def free_bytes(self) -> tuple[int, int]:
        return 10**12, 0


@pytest.mark.parametrize(
    ("kind", "expected", "observed", "same"),
    [("relay", 1, 1, True), ("relay", 1, 0, False), ("battery", 3_000, 2_940, True),
     ("battery", 3_000, 2_500, False), ("ev", 6_000, 6_000, True), ("ev", 6_000, 0, False)],
)  # fmt: skip
def test_read_back(kind: str, expected: int, observed: int, same: bool) -> None:
    assert matches(kind, expected, observed) is same  # type: ignore[arg-type]
