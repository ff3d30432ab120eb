"""Old events read as new ones, a step at a time, by a table of this test's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ConfigDict

from contracts import catalog, envelope, upcast
from contracts.base import Record
from contracts.generate import examples

Payload = dict[str, Any]


def kilowatts_to_watts(value: Payload) -> Payload:
    return {"power_w": value["power_kw"] * 1_000}


def with_phase(value: Payload) -> Payload:
    return {**value, "phase": 1}


TABLE: dict[tuple[str, int], Callable[[Payload], Payload]] = {
    ("meter.read", 1): kilowatts_to_watts,
    ("meter.read", 2): with_phase,
}


def lift(stored: int, newest: int, value: Any) -> Payload:
    return upcast.to_newest("meter.read", stored, newest, json.dumps(value).encode(), TABLE)


def test_a_chain_is_walked_in_order() -> None:
    assert lift(1, 3, {"power_kw": 2.5}) == {"power_w": 2_500.0, "phase": 1}


def test_a_chain_starts_at_the_stored_version() -> None:
    assert lift(2, 3, {"power_w": 2_500.0}) == {"power_w": 2_500.0, "phase": 1}


def test_the_newest_version_is_left_alone() -> None:
    assert lift(3, 3, {"power_w": 1.0, "phase": 2}) == {"power_w": 1.0, "phase": 2}


def test_a_missing_step_is_named() -> None:
    with pytest.raises(upcast.UnknownVersionError, match=r"meter\.read: no upcaster from v3 to v4"):
        lift(1, 4, {"power_kw": 2.5})


@pytest.mark.parametrize("stored", [4, 99, 0, -1])
def test_a_version_from_nowhere_says_what_to_do(stored: int) -> None:
    with pytest.raises(upcast.UnknownVersionError, match=r"newest is v3\); update this service"):
        lift(stored, 3, {"power_kw": 2.5})


def test_a_body_that_is_not_json_is_named() -> None:
    with pytest.raises(upcast.UnknownVersionError, match=r"meter\.read v1: the body is not JSON"):
        upcast.to_newest("meter.read", 1, 3, b"{power", TABLE)


def test_the_upcasters_of_the_house_are_complete() -> None:
    for row in catalog.CATALOG:
        for version in range(1, row.version):
            assert (row.type, version) in upcast.UPCASTERS, (
                f"{row.type} v{version} -> v{version + 1}"
            )
    newest = {row.type: row.version for row in catalog.CATALOG}
    for type_, version in upcast.UPCASTERS:
        assert 1 <= version < newest[type_], f"upcaster {type_} v{version} leads nowhere"


class Reading(Record):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    power_w: float
    phase: int


class TestThroughTheEnvelope:
    """A catalogue row at version 3 reads what was written at version 1."""

    @pytest.fixture
    def row(self, monkeypatch: pytest.MonkeyPatch) -> catalog.Row:
        row = replace(catalog.BY_TYPE["clock.ticked"], version=3, model=Reading)
        monkeypatch.setattr(catalog, "BY_TYPE", {**catalog.BY_TYPE, "clock.ticked": row})
        monkeypatch.setattr(
            upcast,
            "UPCASTERS",
            {("clock.ticked", 1): kilowatts_to_watts, ("clock.ticked", 2): with_phase},
        )
        return row

    def decode(self, version: int, body: bytes) -> envelope.Event:
        subject, headers, _ = envelope.encode(examples.event(catalog.CATALOG[0]))
        schema = f"{envelope.SCHEMA_BASE}:clock.ticked:v{version}"
        return envelope.decode(subject, {**headers, "ce-dataschema": schema}, body)

    @pytest.mark.usefixtures("row")
    def test_old_body(self) -> None:
        event = self.decode(1, b'{"power_kw": 2.5}')
        assert event.data == Reading(power_w=2_500.0, phase=1)
        assert event.version == 3

    @pytest.mark.usefixtures("row")
    def test_result_of_the_chain_is_still_checked(self) -> None:
        with pytest.raises(envelope.PoisonError, match=r"clock\.ticked v2: power_w: is missing"):
            self.decode(2, b"{}")

    @pytest.mark.usefixtures("row")
    @pytest.mark.parametrize("body", [b'{"other": 1}', b"[1, 2]", b"3", b'{"power_kw": "much"}'])
    def test_a_body_that_an_upcaster_cannot_read_is_poison(self, body: bytes) -> None:
        with pytest.raises(envelope.PoisonError, match=r"clock\.ticked"):
            self.decode(1, body)
