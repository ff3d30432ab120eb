"""What every device adapter shares: the two interfaces, the one error, strict reading of values.

An adapter measures (``read``) and acts (``apply``, ``read_back``). It keeps no rules of its own:
what may be done was decided by the safety service. It never blocks longer than its documented
time-out, and it reconnects by itself; a device that is away raises ``DeviceUnavailable``.
The wall clock is used for I/O time-outs only: time always comes from the device or the caller.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class DeviceUnavailable(ConnectionError):
    """A device does not answer. The text names device, address and what to look at."""

    def __init__(self, device: str, address: str, reason: str) -> None:
        super().__init__(f"{device} at {address}: {reason}")
        self.device = device
        self.address = address
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ReadBack:
    """What a device says it is doing.

    Attributes
    ----------
    value : the setting in the unit of ``command.Value`` (relay 0/1, battery and export limit W,
        EV mA); None when the device follows its own rules or does not say
    measured : the quantity itself in the same unit as the device measures it, None if unknown
    command_id : id of the command that the device says it follows, where it can say that
    """

    value: int | None
    measured: float | None = None
    command_id: str | None = None


class Actuator(Protocol):
    """One commandable device."""

    device: str
    tolerance: int
    """How far a read-back may differ from what was applied: the device's own resolution."""

    async def apply(self, value: int | None, until: datetime, command_id: str) -> bool:
        """Set ``value`` until the lease ends; None hands the device back to its own rules now.

        True: the device accepted. False: it refused. DeviceUnavailable: it did not answer.
        """
        ...

    async def read_back(self) -> ReadBack:
        """What the device is doing now."""
        ...


class Backoff:
    """Waiting times between attempts to connect, s: doubled from ``first_s`` up to ``most_s``."""

    def __init__(self, first_s: float = 0.1, most_s: float = 30.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._wait_s = first_s
        self._not_before = 0.0

    def failed(self) -> float:
        """Note a failure; the seconds to wait before the next attempt."""
        wait_s = self._wait_s
        self._wait_s = min(2 * wait_s, self._most_s)
        self._not_before = time.monotonic() + wait_s
        return wait_s

    def succeeded(self) -> None:
        """Note a success: the next failure waits shortly again."""
        self._wait_s = self._first_s
        self._not_before = 0.0

    @property
    def ready(self) -> bool:
        """True when an attempt may be made now."""
        return time.monotonic() >= self._not_before


def parse_number(value: object, low: float, high: float, field: str) -> float | None:
    """A bounded finite number; None stays None (the device does not know).

    Raises
    ------
    ValueError : not a number, not finite or outside ``low``..``high``; names the field. A value
        out of range is a broken sensor: it is refused and never clamped.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{field}: {value!r} is not a number; send a JSON number or null")
    if not math.isfinite(value) or not low <= value <= high:
        raise ValueError(f"{field}: {value!r} is outside {low:g}..{high:g}; check the sensor")
    return float(value)


def parse_time(value: object, field: str) -> datetime:
    """An instant from ISO 8601 text with an offset, in UTC; ValueError names the field."""
    if not isinstance(value, str):
        raise ValueError(f"{field}: {value!r} is not a time; send text like 2026-01-15T06:00:00Z")
    try:
        at = datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f"{field}: {value!r} is not an ISO 8601 time") from error
    if at.tzinfo is None:
        raise ValueError(f"{field}: {value!r} has no offset; add Z for UTC")
    return at.astimezone(UTC)


def write_time(at: datetime) -> str:
    """``2026-01-15T06:00:00Z``; ValueError for a time without zone."""
    if at.tzinfo is None:
        raise ValueError(f"time {at} has no zone; use datetime(..., tzinfo=UTC)")
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


async def stop(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended: Python 3.11's ``wait_for`` may swallow one cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.2)


def cancelled() -> bool:
    """True once this task was told to stop, even if a library swallowed the cancellation."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
