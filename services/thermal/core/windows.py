"""Open windows, seen by the filter as a sudden unexplained loss of heat.

A one-sided CUSUM of the standardised innovations (E. S. Page, Biometrika 41, 1954) raises the
alarm; it ends when the room warms faster than predicted or the loss has faded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.thermal.core.filter import Innovation, RoomEstimate

ALLOWANCE_SIGMAS = 1.0
ALARM_SUM = 8.0
RELEASE_SIGMAS = 2.0
LEAST_DIFFERENCE_K = 4.0
LONGEST_OPEN_S = 4 * 3600


@dataclass(frozen=True)
class WindowState:
    """Per room: the CUSUM, whether a window counts as open, and for how long (s)."""

    falling: float = 0.0
    open: bool = False
    open_for_s: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"falling": self.falling, "open": self.open, "open_for_s": self.open_for_s}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> WindowState:
        """Inverse of `to_dict`."""
        return cls(float(data["falling"]), bool(data["open"]), int(data["open_for_s"]))


def watch_windows(
    states: Mapping[str, WindowState],
    innovations: Sequence[Innovation],
    estimates: Sequence[RoomEstimate],
    outside_c: float,
    step_s: int,
) -> dict[str, WindowState]:
    """New state per room after a filter step; rooms without a sample keep theirs.

    A room counts only while it is at least 4 K warmer than outside, since otherwise an open window
    takes no heat.
    """
    warm = {e.room: e.air_c - outside_c >= LEAST_DIFFERENCE_K for e in estimates}
    result = dict(states)
    for item in innovations:
        before = states.get(item.room, WindowState())
        z = item.residual_c / item.standard_deviation_c
        if before.open:
            lasted = before.open_for_s + step_s
            closed = z > RELEASE_SIGMAS or lasted >= LONGEST_OPEN_S or not warm[item.room]
            result[item.room] = WindowState() if closed else WindowState(ALARM_SUM, True, lasted)
            continue
        falling = max(0.0, before.falling - z - ALLOWANCE_SIGMAS) if warm[item.room] else 0.0
        if falling > ALARM_SUM:
            result[item.room] = WindowState(ALARM_SUM, True, 0)
        else:
            result[item.room] = WindowState(falling, False, 0)
    return result
