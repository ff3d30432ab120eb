"""The safety service's mode, and what people may tell it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.base import Record
from contracts.units import UtcTime

Mode = Literal["normal", "degraded", "safe"]


class ModeChanged(Record):
    """The house moved to another safety mode."""

    time: UtcTime
    before: Mode
    after: Mode
    reasons: tuple[str, ...]
    latched: bool = False


class StopRequested(Record):
    """Emergency stop: every device to its safe value until a person clears it."""

    actor: Annotated[str, Field(min_length=1, max_length=80)]
    reason: str = ""


class ClearRequested(Record):
    """A person clears a latched stop or mismatch."""

    actor: Annotated[str, Field(min_length=1, max_length=80)]
    reason: str = ""
