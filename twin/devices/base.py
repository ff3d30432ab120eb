"""What the simulated devices need of the house, and how each is driven.

Every device has ``connect``/``close``, ``async publish(observation)``, which returns when the
other side can have it and sets the device's "now", and an actuation part that is asked with the
simulated time at which the next step begins. Leases are judged in that time, never by the wall
clock, so that a simulated day means the same at any speed.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol


class RoomState(Protocol):
    """One room of an observation."""

    @property
    def temperature_c(self) -> float: ...
    @property
    def relay_on(self) -> bool: ...


class LoadState(Protocol):
    """One load that may wait, of an observation."""

    @property
    def relay_on(self) -> bool: ...
    @property
    def power_w(self) -> float: ...


class EvState(Protocol):
    """One charger of an observation."""

    @property
    def plugged(self) -> bool: ...
    @property
    def power_w(self) -> float: ...
    @property
    def session_energy_wh(self) -> float: ...
    @property
    def target_energy_wh(self) -> float | None: ...
    @property
    def departure(self) -> datetime | None: ...


class Observation(Protocol):
    """What the sensors of the house see at ``time``.

    Powers in W: ``grid_w`` + import, ``battery_w`` + charge. Counters in Wh, never falling.
    """

    @property
    def time(self) -> datetime: ...
    @property
    def rooms(self) -> Mapping[str, RoomState]: ...
    @property
    def outdoor_c(self) -> float: ...
    @property
    def ghi_w_m2(self) -> float: ...
    @property
    def pv_w(self) -> float: ...
    @property
    def load_w(self) -> float: ...
    @property
    def grid_w(self) -> float: ...
    @property
    def battery_w(self) -> float: ...
    @property
    def soc(self) -> float: ...
    @property
    def import_wh(self) -> float: ...
    @property
    def export_wh(self) -> float: ...
    @property
    def pv_wh(self) -> float: ...
    @property
    def load_wh(self) -> float: ...
    @property
    def battery_charge_wh(self) -> float: ...
    @property
    def battery_discharge_wh(self) -> float: ...
    @property
    def evs(self) -> Mapping[str, EvState]: ...
    @property
    def loads(self) -> Mapping[str, LoadState]: ...


def known(value: float | None) -> float | None:
    """A number that may be sent: NaN and infinities become None, as a sensor that says nothing."""
    return None if value is None or not math.isfinite(value) else value


def write_time(at: datetime) -> str:
    """``2026-01-15T06:00:00Z``."""
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
