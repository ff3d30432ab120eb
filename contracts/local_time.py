"""Days of the week and times of day as people write them: local wall-clock time, never UTC."""

from __future__ import annotations

from datetime import time
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def some_days(value: tuple[Day, ...]) -> tuple[Day, ...]:
    """The days as they are; ValueError when there is none."""
    if not value:
        raise ValueError("name at least one day")
    return value


Days = Annotated[tuple[Day, ...], AfterValidator(some_days)]


def _quoted(value: object) -> object:
    # YAML 1.1 reads an unquoted 22:00 as the number 1320.
    if isinstance(value, int | float) or (isinstance(value, str) and ":" not in value):
        raise ValueError('write the local time in quotes, as "HH:MM"')
    return value


def _local(value: time) -> time:
    if value.tzinfo is not None:
        raise ValueError('a local time has no offset; write "HH:MM"')
    return value


LocalTime = Annotated[time, BeforeValidator(_quoted), AfterValidator(_local)]
