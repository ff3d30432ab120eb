"""Loads that may wait, as the house sees them: a programme a window, run while the supply is on.

A programme becomes due when its window opens and stays due until it is done or the next one opens.
By the load's own timer the supply is on as soon as a programme is due (the baseline). Cut off in its
middle, a programme goes on where it was.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from contracts.site import SiteConfig
from twin.calendar import epoch_s, utc


class Programme:
    """One load: how much of the programme that is due has run, s; None when nothing is due."""

    def __init__(self, site: SiteConfig, index: int, time_s: int) -> None:
        self.load = site.loads[index]
        self._zone = site.location.zone
        self.on, self.power_w = False, 0.0
        self.ran_s: float | None = None
        self.opens_s = self._next_s(time_s - 1)

    def _next_s(self, after_s: int) -> int:
        """When the next window opens, epoch s; windows open on one weekday of seven at least."""
        after = utc(after_s)
        found = self.load.windows(self._zone, after, after + dt.timedelta(days=10))
        return min(epoch_s(first) for _, first, _ in found if epoch_s(first) > after_s)

    def step(self, time_s: int, dt_s: int, commanded: bool | None) -> float:
        """Live through a sub-step that starts at ``time_s``; its mean power, W."""
        if time_s >= self.opens_s:
            self.ran_s, self.opens_s = 0.0, self._next_s(time_s)
        self.on = self.ran_s is not None if commanded is None else commanded
        self.power_w = self._run(dt_s) if self.on and self.ran_s is not None else 0.0
        return self.power_w

    def _run(self, dt_s: int) -> float:
        assert self.ran_s is not None
        energy_ws, left_s = 0.0, float(dt_s)
        for seconds, watts in self.load.remaining(self.ran_s):
            energy_ws += min(left_s, seconds) * watts
            left_s -= min(left_s, seconds)
        self.ran_s += dt_s
        if self.ran_s >= self.load.length_s:
            self.ran_s = None
        return energy_ws / dt_s

    def save(self) -> dict[str, Any]:
        """State as a JSON-able dict."""
        names = ("on", "power_w", "ran_s", "opens_s")
        return {name: getattr(self, name) for name in names}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.on, self.power_w = bool(state["on"]), float(state["power_w"])
        self.ran_s, self.opens_s = state["ran_s"], int(state["opens_s"])
