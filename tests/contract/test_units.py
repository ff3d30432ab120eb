"""A reading outside its bounds is a broken sensor: refused, never clamped."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ConfigDict, TypeAdapter, ValidationError

from contracts import units

BOUNDS: dict[str, tuple[float, float]] = {
    "Watts": (-200_000, 200_000),
    "PositiveWatts": (0, 200_000),
    "WattHours": (-1e12, 1e12),
    "Celsius": (-60, 120),
    "Kelvin": (-100, 100),
    "StateOfCharge": (0, 1),
    "Fraction": (0, 1),
    "EurPerKwh": (-10, 10),
    "EurPerMwh": (-10_000, 10_000),
    "Irradiance": (0, 2_000),
    "Amperes": (0, 250),
    "Seconds": (0, 400 * 86_400),
    "StepSeconds": (60, 86_400),
}


def adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(getattr(units, name), config=ConfigDict(allow_inf_nan=False))


@pytest.mark.parametrize("name", BOUNDS)
class TestBounds:
    def test_are_inside(self, name: str) -> None:
        for bound in BOUNDS[name]:
            assert adapter(name).validate_python(bound) == bound

    def test_just_outside_is_refused(self, name: str) -> None:
        low, high = BOUNDS[name]
        whole = name in ("Seconds", "StepSeconds")
        below = low - 1 if whole else math.nextafter(low, -math.inf)
        above = high + 1 if whole else math.nextafter(high, math.inf)
        for value in (below, above):
            with pytest.raises(ValidationError):
                adapter(name).validate_python(value)

    def test_is_never_clamped(self, name: str) -> None:
        with pytest.raises(ValidationError):
            adapter(name).validate_python(1e15)

    def test_nan_and_infinity_are_refused(self, name: str) -> None:
        for value in (math.nan, math.inf, -math.inf):
            with pytest.raises(ValidationError):
                adapter(name).validate_python(value)

    def test_missing_is_not_a_value(self, name: str) -> None:
        with pytest.raises(ValidationError):
            adapter(name).validate_python(None)


def test_every_quantity_is_tested() -> None:
    quantities = {
        name
        for name, value in vars(units).items()
        if getattr(value, "__origin__", None) in (float, int)
    }
    assert quantities == set(BOUNDS)


NAME = TypeAdapter(units.Name)


@pytest.mark.parametrize("name", ["living", "child-one", "r2", "2nd-floor", "a" * 48])
def test_name(name: str) -> None:
    assert NAME.validate_python(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "Living", "living room", "living.room", "-a", "a-", "a--b", "a*", ">", "a\n", "ä", "a_b",
     "a" * 49],
)  # fmt: skip
def test_what_would_break_a_subject_is_no_name(name: str) -> None:
    with pytest.raises(ValidationError):
        NAME.validate_python(name)


INSTANT = TypeAdapter(units.UtcTime)


class TestUtcTime:
    @pytest.mark.parametrize(
        "text",
        ["2026-01-15T11:00:00Z", "2026-01-15T12:00:00+01:00", "2026-01-15T01:00:00-10:00"],
    )
    def test_every_offset_becomes_utc(self, text: str) -> None:
        found = INSTANT.validate_python(text)
        assert found == datetime(2026, 1, 15, 11, tzinfo=UTC)
        assert found.tzinfo is UTC
        assert INSTANT.dump_json(found) == b'"2026-01-15T11:00:00Z"'

    @pytest.mark.parametrize("text", ["2026-01-15T11:00:00", "2026-01-15", "11:00"])
    def test_without_an_offset_it_is_refused(self, text: str) -> None:
        with pytest.raises(ValidationError):
            INSTANT.validate_python(text)

    @given(st.datetimes(timezones=st.just(UTC)))
    def test_what_is_written_is_read_again(self, instant: datetime) -> None:
        assert INSTANT.validate_json(INSTANT.dump_json(instant)) == instant
