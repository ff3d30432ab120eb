"""The planner's grid of steps: fine soon, coarse later, on whole quarter hours."""

from __future__ import annotations

from datetime import UTC, datetime

QUARTER_S = 900
STEPS_S: tuple[int, ...] = (900,) * 24 + (1_800,) * 36 + (3_600,) * 24
"""15 min for 6 h, 30 min to 24 h, 60 min to 48 h."""


def floor(instant: datetime, step_s: int) -> datetime:
    """The last multiple of a step (counted from the epoch) at or before an instant, UTC."""
    seconds = int(instant.timestamp())
    return datetime.fromtimestamp(seconds - seconds % step_s, UTC)
